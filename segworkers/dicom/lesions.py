"""Lesion: one finished object of one series, as the standard outputs need it; and how lesions lie in the slices.

Nothing here knows DICOM: a lesion is a row of the `instances` table with its mask unpacked to runs, so that memory
follows the masks and never the volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from schemas.masks import Runs, bbox, canonical, pixel_count, to_array
from schemas.rle import from_coco_rle

_SIDES = ("z_min", "y_min", "x_min", "z_max", "y_max", "x_max")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesion:
    """An object with its mask on the series' own grid. A measurement that is not known is None, never 0."""

    instance_id: str
    """32 hexadecimal digits, as in the tables."""
    label: str
    runs: Runs
    """Canonical runs (z, x, y_start, y_stop); never empty."""
    score: float | None = None
    mask_value: int = 0
    """Its number among the objects of the series, 1 and up, as in stitched masks."""
    volume_mm3: float | None = None
    long_axis_mm: float | None = None
    """Longest diameter within one slice, between pixel centres, and"""
    short_axis_mm: float | None = None
    """the longest perpendicular to it in the same slice."""
    max_diameter_mm: float | None = None
    """Longest distance in space."""
    value_unit: str | None = None
    """Of the values below: `HU`, `BQML`, `SUVbw`, …; None where unknown."""
    value_mean: float | None = None
    value_sd: float | None = None
    value_median: float | None = None
    value_min: float | None = None
    value_max: float | None = None

    def __post_init__(self) -> None:
        if not len(self.runs):
            raise ValueError(f"lesion {self.instance_id} has an empty mask")

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Lesion:
        """A row of `instances`; columns that it lacks, nulls and NaN are None. Raises ValueError on a torn mask."""
        box = Box(*_corners([int(row[side]) for side in _SIDES]))
        measured = {name: _number(row.get(name)) for name in _MEASURED}
        return cls(
            instance_id=row["instance_id"],
            label=row["label"],
            runs=from_coco_rle(row["mask_rle"], box),
            score=_number(row.get("score")),
            mask_value=int(row.get("mask_value") or 0),
            value_unit=row.get("value_unit") or None,
            **measured,
        )

    @property
    def box(self) -> Box:
        """The smallest box around the mask."""
        found = bbox(self.runs)
        assert found is not None
        return found

    @property
    def voxel_count(self) -> int:
        """Voxels of the mask."""
        return pixel_count(self.runs)

    def plane(self, z: int) -> Runs:
        """The runs in slice z."""
        first, last = np.searchsorted(self.runs[:, 0], [z, z + 1])
        return self.runs[first:last]


_MEASURED = tuple(
    field.name
    for field in fields(Lesion)
    if field.name.startswith("value_m") or field.name.endswith(("_mm", "_mm3", "_sd"))
)
"""Numbers that may be null."""


def in_order(lesions: Iterable[Lesion]) -> tuple[Lesion, ...]:
    """By their number, then by identity: the order of segments, groups and tiles in every output."""
    return tuple(sorted(lesions, key=lambda lesion: (lesion.mask_value, lesion.instance_id)))


def painting_order(lesions: Sequence[Lesion]) -> list[int]:
    """Indices from the bottom to the top.

    Where masks overlap the higher score is on top, then the smaller object, then the smaller number, as in stitched
    masks.
    """

    def height(index: int) -> tuple[float, int, int]:
        lesion = lesions[index]
        return (-math.inf if lesion.score is None else lesion.score, -lesion.voxel_count, -lesion.mask_value)

    return sorted(range(len(lesions)), key=height)


def overlap(lesions: Sequence[Lesion]) -> bool:
    """Whether any voxel belongs to two of the lesions."""
    if not lesions:
        return False
    together = canonical(np.concatenate([lesion.runs for lesion in lesions]))
    return pixel_count(together) < sum(lesion.voxel_count for lesion in lesions)


def by_slice(lesions: Sequence[Lesion]) -> dict[int, list[int]]:
    """Slice z to the indices of the lesions that reach it, both ascending."""
    found: dict[int, list[int]] = {}
    for index, lesion in enumerate(lesions):
        for z in np.unique(lesion.runs[:, 0]).tolist():
            found.setdefault(z, []).append(index)
    return dict(sorted(found.items()))


def paint(plane: NDArray[Any], runs: Runs, value: int) -> None:
    """Set the pixels of runs of one slice in `plane` (y, x), which shows that slice whole."""
    box = bbox(runs)
    if box is None:
        return
    _, y, x = box.within((0, 0, 0))
    plane[y, x][to_array(runs, box)[0]] = value


def check_inside(lesions: Iterable[Lesion], shape: Zyx) -> None:
    """Raises ValueError where a mask reaches beyond the volume's shape (z, y, x): it belongs to another one."""
    whole = Box.of_shape(shape)
    for lesion in lesions:
        if lesion.box not in whole:
            raise ValueError(f"lesion {lesion.instance_id} lies outside its volume of {shape} voxels (z, y, x)")


def _corners(sides: list[int]) -> tuple[Zyx, Zyx]:
    return (sides[0], sides[1], sides[2]), (sides[3], sides[4], sides[5])


def _number(value: Any) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(value)
