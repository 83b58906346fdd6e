"""Slide: where the tiles of a whole-slide image are stored, level by level, and how a level is chosen. Pure.

A slide names files and original UIDs, so it is kept in the crosswalk only, as a `segworkers.dicom.stack.Stack` is.
Only VOLUME images become levels (PS3.3 C.8.12.4.1.1): LABEL, OVERVIEW and THUMBNAIL images may show a name.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from schemas.errors import InputError

SPACING_TOLERANCE = 0.02
"""How much coarser than wanted a level may be: 0.2527 µm pass for 0.25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideFile:
    """One file of a level; several make a concatenation."""

    place: str
    """Absolute path, s3:// URL, or `ARCHIVE.zip!member`."""
    uid: str
    """SOPInstanceUID, the original."""
    size: int
    stamp: str
    """Size and version when the header was read, as in `Slice`."""
    first_frame: int
    """Frames of the concatenation before this file."""
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One resolution of one optical path and focal plane."""

    rows: int
    columns: int
    """Of the total pixel matrix."""
    tile: tuple[int, int]
    """Rows and columns of a frame."""
    pixel_um: tuple[float, float]
    """Micrometres between (rows, columns)."""
    samples: int
    """3 for colours, 1 for grey."""
    dtype: str
    files: tuple[SlideFile, ...]
    """In the order of their frames."""
    positions: tuple[tuple[int, int, int], ...] | None = None
    """TILED_SPARSE: 0-based (row, column) of the first pixel of a tile, and its frame; None for TILED_FULL."""
    notes: tuple[str, ...] = ()
    """What was chosen or ignored, one line each, beginning with a code and a colon."""

    def frame_of(self, frame: int) -> tuple[SlideFile, int]:
        """The file that holds a frame of the level, and the frame's number in it; 0-based."""
        for file in self.files:
            if file.first_frame <= frame < file.first_frame + file.frames:
                return file, frame - file.first_frame
        raise InputError("missing_file", f"frame {frame + 1} is in none of the level's files.", "Complete the series.")

    def tiles(self, start: tuple[int, int], stop: tuple[int, int]) -> list[tuple[int, int, int]]:
        """(row, column, frame) of the tiles that reach into rows and columns start..stop, in the order of frames.

        TILED_FULL: tiles lie row by row from the top left (PS3.3 C.7.6.17.3), the first plane of them is taken.
        """
        height, width = self.tile
        if self.positions is not None:
            return [
                (row, column, frame)
                for row, column, frame in self.positions
                if start[0] - height < row < stop[0] and start[1] - width < column < stop[1]
            ]
        across = -(-self.columns // width)
        return [
            (row * height, column * width, row * across + column)
            for row in range(start[0] // height, -(-stop[0] // height))
            for column in range(start[1] // width, -(-stop[1] // width))
        ]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: changes when a file of the level does, or the choice of frames."""
        facts = asdict(self)
        for file in facts["files"]:
            del file["place"]
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """All levels of one slide, finest first."""

    series_id: str
    """The pseudonym under which it is kept."""
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    levels: tuple[Level, ...]

    def level_of(self, shape: tuple[int, ...]) -> Level:
        """The level with these (rows, columns). Raises InputError(`changed`) where there is none."""
        for level in self.levels:
            if (level.rows, level.columns) == tuple(shape):
                return level
        raise InputError(
            "changed",
            f"series {self.series_id}: the crosswalk holds another slide under this name than the one planned.",
            "Run again without resuming.",
        )

    def to_bytes(self) -> bytes:
        """Compressed JSON, for `from_bytes`."""
        return gzip.compress(json.dumps(asdict(self), sort_keys=True).encode(), mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> Slide:
        """The inverse of `to_bytes`."""
        raw = json.loads(gzip.decompress(data))
        return cls(levels=tuple(_level(each) for each in raw.pop("levels")), **raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidePart:
    """What the header of one file tells; holds originals, so it stays where the crosswalk is."""

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    group: tuple[int, int, str]
    """Rows and columns of the total pixel matrix, and what the files of a level share: concatenation, or own UID."""
    order: tuple[float, int, str]
    """Focal plane, InstanceNumber and UID: of several images of one size the first is read."""
    level: Level
    """With this file alone."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> SlidePart:
        """The inverse of `to_json`, after JSON made lists of tuples."""
        changed: dict[str, Any] = {name: tuple(raw[name]) for name in ("group", "order")}
        changed["level"] = _level(raw["level"])
        return cls(**(raw | changed))


def _level(raw: dict[str, Any]) -> Level:
    positions = raw["positions"]
    changed: dict[str, Any] = {name: tuple(raw[name]) for name in ("tile", "pixel_um", "notes")}
    changed["files"] = tuple(SlideFile(**each) for each in raw["files"])
    changed["positions"] = None if positions is None else tuple((each[0], each[1], each[2]) for each in positions)
    return Level(**(raw | changed))


def choose_level(slide: Slide, wanted_um: float | None) -> Level:
    """The coarsest level that is at least as fine as `wanted_um` (micrometres a pixel); the finest for None.

    Raises InputError(`too_coarse`) where even the finest is coarser: a slide is reduced to a model's resolution, never
    enlarged.
    """
    if wanted_um is None:
        return slide.levels[0]
    fine = [level for level in slide.levels if max(level.pixel_um) <= wanted_um * (1 + SPACING_TOLERANCE)]
    if not fine:
        found = max(slide.levels[0].pixel_um)
        raise InputError(
            "too_coarse",
            f"series {slide.series_id}: expected pixels of {wanted_um:g} µm or finer, the finest are of {found:g} µm.",
            "Ask for a coarser resolution, with a model that was trained on it.",
        )
    return fine[-1]
