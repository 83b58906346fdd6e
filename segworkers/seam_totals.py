"""What the published rows of a source say about its seams: sums in integers, the same for any order and any split."""
# pyarrow ships no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segworkers.seam_test import Stratum
from segworkers.seams import SeamFrame

TYPICAL = 95
"""Percentile of the objects' sizes that a window should see whole."""


@dataclass(slots=True)
class ObjectSizes:
    """Sizes of the objects of one class, on the model's grid."""

    counts: dict[int, int] = field(default_factory=dict[int, int])
    """Objects by their length in pixels, rounded up."""
    assembled: int = 0
    """Objects that no single window saw whole."""

    def add(self, other: ObjectSizes) -> None:
        """Add another class or source."""
        for size, count in other.counts.items():
            self.counts[size] = self.counts.get(size, 0) + count
        self.assembled += other.assembled

    @property
    def objects(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def typical(self) -> int | None:
        """The smallest length that `TYPICAL` percent of the objects do not exceed; None without objects."""
        wanted, below = -(-TYPICAL * self.objects // 100), 0
        for size in sorted(self.counts):
            below += self.counts[size]
            if below >= wanted:
                return size
        return None


@dataclass(slots=True)
class SeamTotals:
    """Sums over the objects of one source."""

    objects: list[int]
    """By the bins of its `SeamFrame`, the margins last."""
    near: list[int]
    """By block: objects in the bins that its `SeamFrame` calls near."""
    inner: list[int]
    """By block: all objects but those in the margins."""
    sizes: dict[str, ObjectSizes] = field(default_factory=dict[str, ObjectSizes])
    """By class."""

    @classmethod
    def of(cls, frame: SeamFrame) -> SeamTotals:
        """Nothing yet."""
        blocks = prod(frame.blocks)
        return cls([0] * frame.size, [0] * blocks, [0] * blocks)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SeamTotals:
        """The inverse of `dataclasses.asdict` through JSON, which turns sizes into texts."""
        sizes = {
            label: ObjectSizes({int(size): count for size, count in each["counts"].items()}, each["assembled"])
            for label, each in values["sizes"].items()
        }
        return cls(values["objects"], values["near"], values["inner"], sizes)

    def stratum(self, frame: SeamFrame, pixels: Sequence[int]) -> Stratum:
        """The source as the test wants it. pixels: valid ones by bin, the margins last."""
        inner = sum(pixels[:-1])
        return Stratum(
            sum(pixels[: frame.near]) / inner if inner else 0.0,
            np.array(self.near, np.int64).reshape(frame.blocks),
            np.array(self.inner, np.int64).reshape(frame.blocks),
            frame.has_single,
        )


def sum_up_seams(table: pa.Table, frames: Mapping[str, SeamFrame], totals: dict[str, SeamTotals]) -> None:
    """Add rows of `instances` to the totals of their sources."""
    sources = table["source_id"].to_numpy(zero_copy_only=False)
    for source in dict.fromkeys(sources.tolist()):
        if source in frames:
            mine = table.filter(pa.array(sources == source))
            _sum_source(mine, frames[source], totals.setdefault(source, SeamTotals.of(frames[source])))


def _sum_source(table: pa.Table, frame: SeamFrame, totals: SeamTotals) -> None:
    centroids = np.stack([table[f"centroid_{axis}_px"].to_numpy() for axis in "zyx"], axis=1)
    bins, blocks = frame.bins_of(centroids), frame.blocks_of(centroids)
    _add(totals.objects, bins)
    _add(totals.near, blocks[bins < frame.near])
    _add(totals.inner, blocks[bins < len(frame.bins)])
    labels = table["label"].to_numpy(zero_copy_only=False).astype(str)
    assembled = table["assembled"].to_numpy(zero_copy_only=False)
    lengths = _lengths(table, frame)
    for label in np.unique(labels):
        mine = labels == label
        sizes, counts = np.unique(lengths[mine], return_counts=True)
        found = ObjectSizes(dict(zip(sizes.tolist(), counts.tolist(), strict=True)), int(assembled[mine].sum()))
        totals.sizes.setdefault(str(label), ObjectSizes()).add(found)


def _add(sums: list[int], index: NDArray[np.int64]) -> None:
    for k, count in zip(*np.unique(index, return_counts=True), strict=True):
        sums[int(k)] += int(count)


def _lengths(table: pa.Table, frame: SeamFrame) -> NDArray[np.int64]:
    """(n,) length in pixels of the model's grid, rounded up; of a solid the longer side of its box in the plane."""
    length = table["length_px"].to_numpy(zero_copy_only=False)
    sides = [table[f"{axis}_max"].to_numpy() - table[f"{axis}_min"].to_numpy() for axis in "yx"]
    length = np.where(np.isnan(length), np.maximum(*sides), length)
    scale = max(m / n for m, n in zip(frame.grid.shape[1:], frame.grid.native[1:], strict=True))
    return np.ceil(np.round(length * scale, 6)).astype(np.int64)
