"""The crosswalk: the one place where pseudonyms meet originals. A folder of its own, for few eyes, outside every run.

    CROSSWALK/key                    the secret key of the pseudonyms, 64 hexadecimal digits, mode 0600
    CROSSWALK/stacks/SERIES.VERSION.json.gz  `segworkers.dicom.stack.Stack`: files and original UIDs of a volume
    CROSSWALK/slides/SERIES.VERSION.json.gz  `segworkers.dicom.slide.Slide`: the same of a whole-slide image
    CROSSWALK/names/DIGEST.jsonl             originals of pseudonyms: {"kind", "pseudonym", "original"} in each line

VERSION stands for the fingerprint of the source, so that a run reads the version that it planned, whatever another has
catalogued since. Files appear whole and are never changed in place: several drivers, also on several machines, may
write at the same time. The folder is made with mode 0700. Who may read it decides who may re-identify.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from schemas.errors import SpecError, StoreError
from segworkers.dicom.slide import Slide
from segworkers.dicom.stack import Stack
from segworkers.pseudonyms import KEY_BYTES, Kind, Pseudonyms


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """A crosswalk folder. Picklable: workers open stacks through it."""

    folder: str
    """Absolute path that driver and workers see."""

    @classmethod
    def open(cls, folder: str) -> Crosswalk:
        """Make the folder and its key, or find them. Raises SpecError where others may enter, or it cannot be made."""
        path = Path(folder)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("stacks", "slides", "names"):
                (path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SpecError(f"dicom.crosswalk: {folder} cannot be made: {error.strerror}") from error
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise SpecError(
                f"dicom.crosswalk: {folder} is open to others (mode {mode:04o}); it holds identities: chmod 700"
            )
        if not (path / "key").exists() and any(next((path / name).iterdir(), None) for name in ("stacks", "names")):
            raise SpecError(
                f"dicom.crosswalk: {folder} has identities but no key; with a new one they get other pseudonyms: "
                "restore the file `key`, or choose another folder"
            )
        crosswalk = cls(str(path.absolute()))
        crosswalk._make_key()
        return crosswalk

    def pseudonyms(self) -> Pseudonyms:
        """What names things in the runs of this crosswalk. Raises StoreError where the key is damaged."""
        text = (Path(self.folder) / "key").read_text().strip()
        try:
            return Pseudonyms(bytes.fromhex(text))
        except ValueError as error:
            raise StoreError(f"the crosswalk's key must be {2 * KEY_BYTES} hexadecimal digits: {error}") from None

    def put(self, stack: Stack, fingerprint: str) -> None:
        """Keep the stack of a source with this fingerprint; earlier versions of the volume stay."""
        self._write(f"stacks/{_version(stack.series_id, fingerprint)}", stack.to_bytes())

    def stack(self, series_id: str, fingerprint: str) -> Stack:
        """The stack of the source with this fingerprint. Raises StoreError where this crosswalk does not know it."""
        return Stack.from_bytes(self._read("stacks", series_id, fingerprint))

    def put_slide(self, slide: Slide, fingerprint: str) -> None:
        """Keep the slide of a source with this fingerprint; earlier versions of it stay."""
        self._write(f"slides/{_version(slide.series_id, fingerprint)}", slide.to_bytes())

    def slide(self, series_id: str, fingerprint: str) -> Slide:
        """The slide of the source with this fingerprint. Raises StoreError where this crosswalk does not know it."""
        return Slide.from_bytes(self._read("slides", series_id, fingerprint))

    def add_names(self, names: Iterable[tuple[Kind, str, str]]) -> None:
        """Remember originals: (kind, pseudonym, original). What is not known yet becomes a file of its own."""
        lines = {json.dumps({"kind": k, "pseudonym": p, "original": o}, sort_keys=True) for k, p, o in names}
        text = "".join(f"{line}\n" for line in sorted(lines.difference(self._name_lines()))).encode()
        if text:
            self._write(f"names/{hashlib.blake2b(text, digest_size=16).hexdigest()}.jsonl", text, sync=True)

    def originals(self, pseudonyms: Collection[str]) -> Iterator[tuple[str, str, str]]:
        """Kind, pseudonym and original of those that this crosswalk knows, sorted by kind within each pseudonym.

        Raises StoreError where it has no names at all.
        """
        wanted, found = set(pseudonyms), set[tuple[str, str, str]]()
        try:
            for line in self._name_lines():
                each = json.loads(line)
                if each["pseudonym"] in wanted:
                    found.add((each["kind"], each["pseudonym"], each["original"]))
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(f"{self.folder}: expected a crosswalk with names ({type(error).__name__})") from None
        known = {pseudonym for _, pseudonym, _ in found}
        found |= {each for each in self._uids() if each[1] in wanted - known} if wanted - known else set()
        yield from sorted(found, key=lambda each: (each[1], each[0]))

    def _uids(self) -> Iterator[tuple[Kind, str, str]]:
        """UIDs that objects refer to and that are no names of their own: those of stacks and slides."""
        names = self.pseudonyms()
        stacks = (Stack.from_bytes(path.read_bytes()) for path in sorted(Path(self.folder).glob("stacks/*.json.gz")))
        slides = (Slide.from_bytes(path.read_bytes()) for path in sorted(Path(self.folder).glob("slides/*.json.gz")))
        for held in chain(stacks, slides):
            yield "study", names.of("study", held.study_uid), held.study_uid
            yield "series", names.of("series", held.series_uid), held.series_uid
            frame = held.frame_of_reference_uid
            yield "frame_of_reference", names.of("frame_of_reference", frame), frame
            files = held.slices if isinstance(held, Stack) else (file for level in held.levels for file in level.files)
            for each in files:
                yield "instance", names.of("instance", each.uid), each.uid

    def _name_lines(self) -> Iterator[str]:
        """Lines of all files of names, without their ends. Raises OSError where there is no folder of them."""
        for path in sorted(each for each in (Path(self.folder) / "names").iterdir() if each.suffix == ".jsonl"):
            with path.open(encoding="utf-8") as lines:
                yield from (line.rstrip("\n") for line in lines)

    def _make_key(self) -> None:
        """The first key that is there whole is the key, whoever made it."""
        path = Path(self.folder) / "key"
        if path.exists():
            return
        partial = _partial(path, f"{secrets.token_hex(KEY_BYTES)}\n".encode(), sync=True)
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        except OSError as error:
            raise SpecError(f"dicom.crosswalk: {self.folder} must allow hard links ({error.strerror})") from error
        finally:
            partial.unlink()

    def _read(self, kind: str, series_id: str, fingerprint: str) -> bytes:
        try:
            return (Path(self.folder) / kind / _version(series_id, fingerprint)).read_bytes()
        except FileNotFoundError:
            raise StoreError(
                f"this version of series {series_id} is not in the crosswalk: workers must see the folder that the "
                "driver wrote"
            ) from None

    def _write(self, name: str, data: bytes, *, sync: bool = False) -> None:
        """Whole or not at all. What is there with the same content stays: others may be reading it."""
        path = Path(self.folder) / name
        if not path.exists() or path.read_bytes() != data:
            os.replace(_partial(path, data, sync=sync), path)


def _partial(path: Path, data: bytes, *, sync: bool) -> Path:
    """A new file beside `path`, mode 0600, to be renamed; no two writers share its name, on whatever machines.

    sync: wait until it is on the storage; stacks and slides need not, as the next catalog makes them again.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    return partial


def _version(series_id: str, fingerprint: str) -> str:
    return f"{series_id}.{hashlib.blake2b(fingerprint.encode(), digest_size=8).hexdigest()}.json.gz"
