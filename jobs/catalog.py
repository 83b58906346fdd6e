"""The catalog: from what the user typed to a list of inputs, and to their headers. Knows no file format."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from jobs.manifests import MANIFEST_SUFFIXES, read_manifest
from schemas.errors import InputError
from schemas.sources import Source
from segworkers.readers.base import Reader
from segworkers.readers.locations import Location, locate, redact, split_s3
from segworkers.readers.remote import s3_list

RASTER_SUFFIXES = frozenset(
    (
        *(".tif", ".tiff", ".gtiff", ".btf", ".vrt", ".jp2", ".j2k", ".jpx", ".png", ".jpg", ".jpeg", ".webp", ".bmp"),
        *(".img", ".ntf", ".nitf", ".ecw", ".sid", ".nc", ".h5", ".hdf", ".hdf5"),
    )
)
"""What counts as an image inside folders, prefixes and open globs. Formats that cannot be read are listed on purpose:
they are reported instead of overlooked. Sidecars (.ovr, .msk, .aux.xml, world files) are not images."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An input that is left out, and why."""

    uri: str
    """As shown to people: absolute where it can be, without passwords and signatures."""
    reason: str
    """Stable code: `not_found`, `no_match`, `duplicate`, `nested_manifest`, `bad_name`, or an InputError's."""
    message: str
    hint: str = ""


RUN_FILE = "run.json"
"""Marks a run folder, which is never searched for inputs."""


def find_inputs(inputs: Sequence[str]) -> tuple[list[str], list[Skipped]]:
    """Every input that the arguments name, and what was left out; nothing bad raises.

    inputs: files, folders (recursive), globs (`**` too), manifests (.txt, .csv, .parquet), file://, http(s):// and
    s3:// objects, s3 prefixes and globs. Hidden files are passed over unless named, and so are run folders. The inputs
    are absolute, distinct and sorted; URLs keep the signatures they were given with, to be opened, not shown.
    """
    found: dict[str, str] = {}
    skipped: list[Skipped] = []
    for item in _expand(inputs, nested=False):
        if isinstance(item, Skipped):
            skipped.append(item)
        elif _bad_name(item.uri):
            name = item.uri.encode("utf-8", "backslashreplace").decode()
            skipped.append(Skipped(name, "bad_name", f"{name}: the name is not UTF-8.", "Rename the file."))
        elif item.uri in found:
            shown = redact(item.uri)
            skipped.append(Skipped(shown, "duplicate", f"{shown}: given more than once; it is taken once."))
        else:
            found[item.uri] = item.full
    skipped.sort(key=lambda skip: (skip.uri, skip.reason, skip.message))
    return [found[uri] for uri in sorted(found)], skipped


def an_image_in(folder: str) -> str | None:
    """The first image that a search of a folder of this machine comes to; None where it finds none."""
    return next((item.uri for item in _walk(folder, []) if isinstance(item, Location)), None)


def describe_all(reader: Reader, uris: Iterable[str], threads: int = 8) -> tuple[list[Source], list[Skipped]]:
    """The headers of all inputs, in their order, read by several threads; what cannot be used is skipped."""
    sources: list[Source] = []
    skipped: list[Skipped] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="describe") as pool:
        for outcome in pool.map(partial(_describe, reader), uris):
            if isinstance(outcome, Source):
                sources.append(outcome)
            else:
                skipped.append(outcome)
    return sources, skipped


def _describe(reader: Reader, uri: str) -> Source | Skipped:
    try:
        return reader.describe(uri)
    except InputError as error:
        return _skip(uri, error)


def _skip(uri: str, error: InputError) -> Skipped:
    return Skipped(redact(uri), error.reason, error.message, error.hint)


def _expand(inputs: Iterable[str], *, nested: bool) -> Iterator[Location | Skipped]:
    for text in inputs:
        try:
            location = locate(text)
            if location.kind == "local":
                yield from _expand_local(location, nested)
            elif location.kind == "gdal":
                yield location
            elif _suffix(location.uri) in MANIFEST_SUFFIXES:
                yield from _expand_manifest(location, nested)
            elif location.kind == "s3":
                yield from _expand_s3(location)
            else:
                yield location
        except InputError as error:
            yield _skip(text, error)


def _expand_manifest(location: Location, nested: bool) -> Iterator[Location | Skipped]:
    if nested:
        message = f"{redact(location.uri)}: a manifest listed in a manifest."
        yield Skipped(redact(location.uri), "nested_manifest", message, "List its inputs directly, or give both.")
        return
    yield from _expand(read_manifest(location), nested=True)


def _expand_local(location: Location, nested: bool) -> Iterator[Location | Skipped]:
    path = location.full
    if os.path.isdir(path):
        runs: list[str] = []
        yield from _or_no_match(path, _walk(path, runs), runs)
    elif os.path.exists(path):
        if _suffix(path) in MANIFEST_SUFFIXES:
            yield from _expand_manifest(location, nested)
        else:
            yield location
    elif glob.has_magic(path):
        yield from _or_no_match(path, _glob(path))
    else:
        yield Skipped(path, "not_found", f"{path}: no such file or folder.", "Check the path.")


def _or_no_match(
    what: str, items: Iterator[Location | Skipped], runs: Sequence[str] = ()
) -> Iterator[Location | Skipped]:
    """The items, or a line that says there were none; runs: folders that were passed over while they were found."""
    empty = True
    for item in items:
        empty = False
        yield item
    if empty and runs:
        message = f"{what}: no image found: {runs[0]} holds a run ({RUN_FILE}), and run folders are not searched."
        yield Skipped(what, "no_match", message, f"Name images in it one by one or by a pattern, {runs[0]}/*.tif.")
    elif empty:
        endings = " ".join(sorted(RASTER_SUFFIXES))
        yield Skipped(what, "no_match", f"{what}: no image found.", f"Files that count as images end in {endings}.")


def _walk(folder: str, runs: list[str]) -> Iterator[Location | Skipped]:
    """Images under a folder, through links to folders too, each folder once; run folders are added to `runs`."""
    refused: list[OSError] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refused.append):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if RUN_FILE in files:  # an earlier run's own masks and pictures are no images to segment
            runs.append(parent)
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and _suffix(name) in RASTER_SUFFIXES:
                path = os.path.join(parent, name)
                yield Location("local", path, path)
    for error in refused:
        where = str(error.filename)
        yield Skipped(where, "access_denied", f"{where}: {error.strerror}.", "Check the folder's permissions.")


def _glob(pattern: str) -> Iterator[Location | Skipped]:
    """Matches of a pattern; where it leaves the ending open, only images count."""
    for path in sorted(glob.iglob(pattern, recursive=True)):
        if os.path.isdir(path):
            # `**` yields every folder as well as what is in it.
            if "**" not in pattern:
                yield from _walk(path, [])
        elif _counts(pattern, path):
            yield Location("local", path, path)


def _counts(pattern: str, name: str) -> bool:
    ending = _suffix(pattern)
    return _suffix(name) in RASTER_SUFFIXES if not ending or glob.has_magic(ending) else True


def _expand_s3(location: Location) -> Iterator[Location | Skipped]:
    uri = location.uri
    bucket, key = split_s3(uri)
    if glob.has_magic(key):
        folder = key[: min(key.index(mark) for mark in "*?[" if mark in key)].rpartition("/")[0]
        names = (name for name in s3_list(f"s3://{bucket}/{folder}") if _matches(uri, name) and _counts(uri, name))
        yield from _or_no_match(uri, (Location("s3", name, name) for name in names))
    elif _suffix(key) in RASTER_SUFFIXES and not uri.endswith("/"):
        yield location  # no request: whether it exists shows when it is opened
    else:
        names = list(s3_list(uri))
        if not names and key and not uri.endswith("/"):
            yield location
        else:
            runs = tuple(name.removesuffix(RUN_FILE) for name in names if name.endswith(f"/{RUN_FILE}"))
            shown = (name for name in names if not (_is_hidden(name, uri) or name.startswith(runs)))
            images = (name for name in shown if _suffix(name) in RASTER_SUFFIXES)
            passed = [run.rstrip("/") for run in runs]
            yield from _or_no_match(uri, (Location("s3", name, name) for name in images), passed)


def _matches(pattern: str, name: str) -> bool:
    """Like the local glob: `*` stays within a folder, `**` alone crosses folders."""
    return _match_parts(pattern.split("/"), name.split("/"))


def _match_parts(patterns: Sequence[str], names: Sequence[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        hidden = next((at for at, name in enumerate(names) if name.startswith(".")), len(names))
        return any(_match_parts(patterns[1:], names[skip:]) for skip in range(hidden + 1))
    if not names or not fnmatch.fnmatchcase(names[0], patterns[0]):
        return False
    if names[0].startswith(".") and not patterns[0].startswith("."):
        return False
    return _match_parts(patterns[1:], names[1:])


def _is_hidden(name: str, folder: str) -> bool:
    return any(part.startswith(".") for part in name.removeprefix(folder).split("/"))


def _suffix(name: str) -> str:
    return PurePosixPath(name.partition("?")[0] if "://" in name else name).suffix.lower()


def _bad_name(uri: str) -> bool:
    try:
        uri.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
