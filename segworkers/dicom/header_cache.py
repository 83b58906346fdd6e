"""The header cache: what was found in files, kept in the crosswalk, so that an archive is read once.

    CROSSWALK/headers/KE/KEY.json.gz   one chunk of files, named after its first file

An entry counts only while size and stamp of its file are the same. Files that are no DICOM have entries too. The cache
holds originals; it may be deleted at any time.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from segworkers.dicom.header import Header, PetHeader
from segworkers.dicom.places import Candidate, FileState, Unusable
from segworkers.dicom.slide import Level, SlideFile, SlidePart
from segworkers.whole_files import appearing

Outcome = tuple[Header, ...] | Unusable | None
"""What a file turned out to be: headers, one a frame; unusable; or none of ours."""

LASTING = frozenset(("empty_file", "not_dicom", "damaged_header", "header_too_long"))
"""Reasons that stay true while the file stays the same; what the storage refused is asked for again."""

_DEFAULTS = {each.name: (None if each.default is MISSING else each.default) for each in fields(Header)}
_TUPLES = frozenset(name for name, each in Header.__annotations__.items() if "tuple" in str(each))
_KINDS = (Header, PetHeader, SlidePart, Level, SlideFile)
_SHAPE = repr([sorted(kind.__annotations__.items()) for kind in _KINDS])
PARSER_VERSION = 3
"""To be raised whenever the same bytes of a file give other headers, reasons or frames than before: a change of
`file_headers`, `header_bytes`, `elements`, `functional_groups`, `pet_headers`, `real_world`, `technical_texts` or
`slides.read_part` that leaves the attributes as they are. A change of the attributes themselves is seen without it."""

_VERSION = f"{hashlib.blake2b(_SHAPE.encode(), digest_size=8).hexdigest()}-{PARSER_VERSION}"
"""Headers with other attributes, or of another parser, are read again."""


@dataclass(frozen=True, slots=True)
class HeaderCache:
    """Chunks of outcomes. Picklable."""

    folder: str
    """Of the crosswalk."""

    def load(self, key: str) -> list[tuple[str, FileState, Outcome]]:
        """Places, states and outcomes of a chunk, in the order of storing; [] where there is none, or a torn one."""
        try:
            return [_entry(json.loads(line)) for line in self.lines(key)]
        except (ValueError, KeyError, TypeError):
            return []

    def lines(self, key: str) -> list[bytes]:
        """A chunk as it is stored, a file a line, for `outcome_of` and `series_of`; [] as above."""
        try:
            lines = gzip.decompress(self._path(key).read_bytes()).splitlines()
            return lines[1:] if lines and json.loads(lines[0]) == _VERSION else []
        except (OSError, EOFError, ValueError):
            return []

    def store(self, key: str, found: Iterable[tuple[Candidate, Outcome]]) -> None:
        """Keep a chunk, in place of an earlier one: whole or not at all."""
        lines = [json.dumps(_VERSION), *(_line(candidate, outcome) for candidate, outcome in found if _lasts(outcome))]
        path = self._path(key)
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        with (
            appearing(path) as partial,
            os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
        ):
            file.write(gzip.compress("\n".join(lines).encode(), 1, mtime=0))

    def _path(self, key: str) -> Path:
        return Path(self.folder) / "headers" / key[:2] / f"{key}.json.gz"


def chunk_key(searched: str, first: Candidate) -> str:
    """Name of a chunk: of its first file and of the input it was found in, as inputs may overlap."""
    return hashlib.blake2b(f"{searched}\n{first.place}".encode(), digest_size=16).hexdigest()


def outcome_of(line: bytes) -> Outcome:
    """What a line of a chunk says of its file. Raises ValueError, KeyError or TypeError where it is torn."""
    return _entry(json.loads(line))[2]


def series_of(line: bytes) -> str | None:
    """SeriesInstanceUID of the DICOM file of a line, the original; None of other files. Raises as `outcome_of`."""
    told: Any = json.loads(line)[3]
    return str(told[0].get("series_uid", "")) if told and not isinstance(told, str) else None


def _lasts(outcome: Outcome) -> bool:
    return not isinstance(outcome, Unusable) or outcome.reason in LASTING


def _line(candidate: Candidate, outcome: Outcome) -> str:
    told: Any = outcome.reason if isinstance(outcome, Unusable) else outcome and [_told(each) for each in outcome]
    return json.dumps([candidate.place, candidate.state.size, candidate.state.stamp, told])


def _told(header: Header) -> dict[str, Any]:
    """What differs from the defaults; place, size and stamp are the file's."""
    told = {name: value for name, default in _DEFAULTS.items() if (value := getattr(header, name)) != default}
    for name in ("place", "size", "stamp"):
        told.pop(name, None)
    if header.pet is not None:
        told["pet"] = asdict(header.pet)
    if header.slide is not None:
        told["slide"] = header.slide.to_json()
    return told


def _entry(line: Any) -> tuple[str, FileState, Outcome]:
    place, size, stamp, told = line
    state = FileState(size, stamp)
    if told is None:
        return place, state, None
    if isinstance(told, str):
        return place, state, Unusable(place, told, state)
    return place, state, tuple(_header(place, state, each) for each in told)


def _header(place: str, state: FileState, told: dict[str, Any]) -> Header:
    for name in _TUPLES & told.keys():
        told[name] = tuple(told[name])
    if "pet" in told:
        told["pet"] = PetHeader(**(told["pet"] | {"corrected_image": tuple(told["pet"]["corrected_image"])}))
    if "slide" in told:
        told["slide"] = SlidePart.from_json(told["slide"])
    return Header(place=place, size=state.size, stamp=state.stamp, **told)
