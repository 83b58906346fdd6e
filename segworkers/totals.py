"""Totals: sums over the objects of a class, in integers, so that any order and any split give the same."""
# pyarrow ships no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from segworkers.receipts import AREA_UNIT

SCORE_UNIT = 1 << 32
"""Scores are summed in integers of 1/2^32: means do not depend on the order."""


@dataclass(slots=True)
class ClassTotals:
    """Sums over the objects of one class, in integers so that any order gives the same."""

    objects: int = 0
    scored: int = 0
    score: int = 0
    pixels: int = 0
    area: int | None = 0

    def add(self, other: ClassTotals) -> None:
        """Add another sum; an unknown area stays unknown."""
        self.objects += other.objects
        self.scored += other.scored
        self.score += other.score
        self.pixels += other.pixels
        self.area = None if self.area is None or other.area is None else self.area + other.area


def sum_up(table: pa.Table, totals: dict[str, dict[str, ClassTotals]]) -> None:
    """Add rows of `instances` to the totals by source and class."""
    sources = table["source_id"].to_numpy(zero_copy_only=False)
    for source in dict.fromkeys(sources.tolist()):
        _sum_source(table.filter(pa.array(sources == source)), totals.setdefault(source, {}))


def _sum_source(table: pa.Table, totals: dict[str, ClassTotals]) -> None:
    labels = table["label"].to_numpy(zero_copy_only=False)
    score = table["score"].to_numpy(zero_copy_only=False)
    pixels = table["pixel_count"].to_numpy()
    area = table["area_m2"].to_numpy(zero_copy_only=False)
    for label in np.unique(labels.astype(str)):
        mine = labels == label
        scored = mine & ~np.isnan(score)
        units = np.rint(area[mine] * AREA_UNIT)
        totals.setdefault(str(label), ClassTotals()).add(
            ClassTotals(
                objects=int(mine.sum()),
                scored=int(scored.sum()),
                score=sum(int(value) for value in np.rint(score[scored] * SCORE_UNIT)),
                pixels=int(pixels[mine].sum()),
                area=None if np.isnan(units).any() else sum(int(value) for value in units),
            )
        )
