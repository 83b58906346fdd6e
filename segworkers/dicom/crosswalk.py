"""The crosswalk: the one place where pseudonyms meet originals. A folder of its own, for few eyes, outside every run.

    CROSSWALK/key                    the secret key of the pseudonyms, 64 hexadecimal digits, mode 0600
    CROSSWALK/stacks/SERIES.json.gz  `segworkers.dicom.stack.Stack`: files and original UIDs of a volume
    CROSSWALK/slides/SERIES.json.gz  `segworkers.dicom.slide.Slide`: the same of a whole-slide image
    CROSSWALK/names.jsonl            originals of pseudonyms: one JSON object a line, {"kind", "pseudonym", "original"}

The folder is made with mode 0700. Who may read it decides who may re-identify.
"""

from __future__ import annotations

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
            (path / "stacks").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SpecError(f"dicom.crosswalk: {folder} cannot be made: {error.strerror}") from error
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise SpecError(
                f"dicom.crosswalk: {folder} is open to others (mode {mode:04o}); it holds identities: chmod 700"
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

    def put(self, stack: Stack) -> None:
        """Keep a stack, in place of an earlier one of the same volume."""
        self._write(f"stacks/{stack.series_id}.json.gz", stack.to_bytes())

    def stack(self, series_id: str) -> Stack:
        """The stack of a volume. Raises StoreError where this crosswalk does not know it."""
        try:
            return Stack.from_bytes((Path(self.folder) / f"stacks/{series_id}.json.gz").read_bytes())
        except FileNotFoundError:
            raise StoreError(
                f"series {series_id} is not in the crosswalk: workers must see the folder that the driver wrote"
            ) from None

    def put_slide(self, slide: Slide) -> None:
        """Keep a slide, in place of an earlier one of the same series."""
        (Path(self.folder) / "slides").mkdir(mode=0o700, exist_ok=True)
        self._write(f"slides/{slide.series_id}.json.gz", slide.to_bytes())

    def slide(self, series_id: str) -> Slide:
        """The slide of a series. Raises StoreError where this crosswalk does not know it."""
        try:
            return Slide.from_bytes((Path(self.folder) / f"slides/{series_id}.json.gz").read_bytes())
        except FileNotFoundError:
            raise StoreError(
                f"series {series_id} is not in the crosswalk: workers must see the folder that the driver wrote"
            ) from None

    def add_names(self, names: Iterable[tuple[Kind, str, str]]) -> None:
        """Remember originals: (kind, pseudonym, original)."""
        path = Path(self.folder) / "names.jsonl"
        known = set(path.read_text().splitlines()) if path.exists() else set[str]()
        lines = {json.dumps({"kind": k, "pseudonym": p, "original": o}, sort_keys=True) for k, p, o in names}
        if lines - known:
            self._write("names.jsonl", "".join(f"{line}\n" for line in sorted(known | lines)).encode())

    def originals(self, pseudonyms: Collection[str]) -> Iterator[tuple[str, str, str]]:
        """Kind, pseudonym and original of those that this crosswalk knows, sorted by kind within each pseudonym.

        Raises StoreError where it has no names at all.
        """
        wanted, found = set(pseudonyms), set[tuple[str, str, str]]()
        try:
            with (Path(self.folder) / "names.jsonl").open(encoding="utf-8") as lines:
                for line in lines:
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

    def _make_key(self) -> None:
        path = Path(self.folder) / "key"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")

    def _write(self, name: str, data: bytes) -> None:
        path = Path(self.folder) / name
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        os.replace(partial, path)
