"""Candidate files of an input: what may be DICOM, by where it lies. Whether it is shows its content, not its name.

Folders are searched with all that is below them, links to folders followed once; hidden files, run folders and names
that end like a raster's are passed over. Zip archives are searched by their directory; nothing is unpacked. The order
is that of sorted names, the same every time.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# obstore's listing is typed as a union that depends on its arguments.

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import obstore
from obstore.exceptions import BaseError

from schemas.errors import InputError
from segworkers.dicom import zips
from segworkers.dicom.dicomdir import is_dicomdir, referenced_files
from segworkers.dicom.places import (
    DICOM_SUFFIXES,
    Candidate,
    FileState,
    Places,
    Unusable,
    object_state,
    storage_refusal,
)
from segworkers.readers.locations import Location, split_s3

RUN_FILE = "run.json"
"""Marks a run folder, which is never searched for inputs."""


HIDDEN = "hidden"
"""Kind of files and folders whose names begin with a dot."""

RUN_FOLDERS = "run folders"
"""Kind of folders that hold earlier runs."""


@dataclass(frozen=True, slots=True)
class Search:
    """How to search: what is passed over, and where bytes come from."""

    places: Places
    passed_over: frozenset[str] = frozenset()
    """Endings of names, lower case with their dot, that other readers open."""
    counts: Counter[str] = field(default_factory=Counter[str])
    """What was passed over because of its name or place, by what it is; grows while `candidates` is consumed."""

    def candidates(self, location: Location) -> Iterator[Candidate | Unusable]:
        """Every file that may be DICOM: of a folder, glob, file, DICOMDIR, zip, S3 object or prefix; else none."""
        if location.kind == "s3":
            yield from self._s3(location.uri)
        elif location.kind == "local":
            yield from self._local(location.full)

    def _local(self, path: str) -> Iterator[Candidate | Unusable]:
        if os.path.isdir(path):
            yield from self._walk(path)
        elif os.path.exists(path):
            yield from self._named(path, os.stat(path))
        elif glob.has_magic(path):
            for each in sorted(glob.iglob(path, recursive=True)):
                # `**` yields every folder as well as what is in it.
                if os.path.isfile(each):
                    yield from self._file(each, os.stat(each))
                elif "**" not in path:
                    yield from self._walk(each)

    def _named(self, path: str, state: os.stat_result) -> Iterator[Candidate | Unusable]:
        """A file that the user named: a DICOMDIR stands for what it lists."""
        if not is_dicomdir(path):
            yield from self._file(path, state)
            return
        try:
            for listed in referenced_files(self.places.read(path), os.path.dirname(path)):
                yield self._listed(listed)
        except InputError as error:
            yield Unusable(path, error.reason)

    def _listed(self, path: str | None) -> Candidate | Unusable:
        if path is None or not os.path.isfile(path):
            return Unusable(path or "", "missing_file")
        found = os.stat(path)
        return Candidate(path, FileState(found.st_size, str(found.st_mtime_ns)), promised=True)

    def _walk(self, folder: str) -> Iterator[Candidate | Unusable]:
        refused: list[OSError] = []
        seen: set[tuple[int, int]] = set()
        for parent, folders, files in os.walk(folder, followlinks=True, onerror=refused.append):
            try:
                found = os.stat(parent)
            except OSError as error:  # it went, or was closed, since it was listed
                refused.append(error)
                folders.clear()
                continue
            if (found.st_dev, found.st_ino) in seen or RUN_FILE in files:
                self.counts[RUN_FOLDERS] += RUN_FILE in files
                folders.clear()
                continue
            seen.add((found.st_dev, found.st_ino))
            self.counts[HIDDEN] += sum(name.startswith(".") for name in (*folders, *files))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith(".") and not self._is_foreign(name):
                    yield from self._found(os.path.join(parent, name))
        for error in refused:
            yield Unusable(str(error.filename), storage_refusal(error).reason)

    def _found(self, path: str) -> Iterator[Candidate | Unusable]:
        try:
            state = os.stat(path)
        except OSError as error:
            if not os.path.islink(path):  # a link to nothing is no file
                yield Unusable(path, storage_refusal(error).reason)
            return
        if stat.S_ISREG(state.st_mode) and not is_dicomdir(path):
            yield from self._file(path, state)

    def _file(self, path: str, found: os.stat_result) -> Iterator[Candidate | Unusable]:
        if self._is_foreign(path) or not stat.S_ISREG(found.st_mode):
            return
        yield from self._entry(path, FileState(found.st_size, str(found.st_mtime_ns)))

    def _entry(self, place: str, state: FileState) -> Iterator[Candidate | Unusable]:
        """One file or object: a zip stands for its members."""
        if not has_plain_name(place):
            yield Unusable(place, "bad_name", state)
        elif suffix_of(place) == ".zip":
            for each in zips.members(self.places, place, state):
                if isinstance(each, Unusable) or not self._is_foreign(each.place):
                    yield each
        else:
            yield Candidate(place, state, promised=suffix_of(place) in DICOM_SUFFIXES)

    def _s3(self, uri: str) -> Iterator[Candidate | Unusable]:
        bucket, key = split_s3(uri)
        prefix, objects = key, self._objects(bucket, key)
        if glob.has_magic(key):
            prefix = key[: min(key.index(mark) for mark in "*?[" if mark in key)].rpartition("/")[0]
            objects = ((name, state) for name, state in self._objects(bucket, prefix) if matches(uri, name))
        try:
            runs: tuple[str, ...] | None = None
            for name, state in objects:
                below = name.removeprefix(f"s3://{bucket}/{key}".rstrip("/"))
                hidden = any(part.startswith(".") for part in below.split("/"))
                self.counts[HIDDEN] += hidden
                if hidden or is_dicomdir(name) or self._is_foreign(name):
                    continue
                if runs is None:
                    runs = self._runs(bucket, prefix)
                if not name.startswith(runs):
                    yield from self._entry(name, state)
        except (BaseError, OSError, ValueError) as error:
            yield Unusable(uri, storage_refusal(error).reason)

    def _runs(self, bucket: str, prefix: str) -> tuple[str, ...]:
        """Run folders under a prefix. They are listed first: `dicom`, `ledger` and more sort before `run.json`."""
        files = [name for name, _ in self._objects(bucket, prefix) if name.endswith(f"/{RUN_FILE}")]
        self.counts[RUN_FOLDERS] += len(files)
        return tuple(name.removesuffix(RUN_FILE) for name in files)

    def _objects(self, bucket: str, prefix: str) -> Iterator[tuple[str, FileState]]:
        """Objects under a prefix that ends at a folder, or the one object of that name."""
        store = self.places.store(bucket)
        empty = True
        for page in obstore.list(store, prefix=prefix.rstrip("/") or None):
            for meta in page:
                empty = False
                yield f"s3://{bucket}/{meta['path']}", object_state(meta)
        if empty and prefix and not prefix.endswith("/"):
            try:
                yield f"s3://{bucket}/{prefix}", object_state(obstore.head(store, prefix))
            except FileNotFoundError:
                return

    def _is_foreign(self, name: str) -> bool:
        return suffix_of(name) in self.passed_over


def suffix_of(name: str) -> str:
    """The ending with its dot, lower case; empty where there is none, or only digits as the parts of a UID are."""
    suffix = os.path.splitext(name)[1].lower()
    return "" if suffix[1:].isdigit() else suffix


def has_plain_name(place: str) -> bool:
    """Whether a name is UTF-8 and cannot be mistaken for a member of a zip."""
    try:
        place.encode()
    except UnicodeEncodeError:
        return False
    return ".zip!" not in place.lower()


def matches(pattern: str, name: str) -> bool:
    """Like a local glob: `*` stays within a folder, `**` alone crosses folders, hidden names must be spelled out."""
    return _match_parts(pattern.split("/"), name.split("/"))


def _match_parts(patterns: list[str], names: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_match_parts(patterns[1:], names[skip:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], patterns[0]) and _match_parts(patterns[1:], names[1:])
