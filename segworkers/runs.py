"""Many masks at once, as runs: cut out of label images, clipped, sorted, counted.

A batch of masks is a `RunTable`: one row of `runs` for each vertical run of pixels and `owner`, the mask it belongs to.
Runs are (z, x, y_start, y_stop), half-open, because COCO's run lengths are column-major too. The algebra of single
masks is in `schemas.masks`.
"""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from segworkers.canonical import canonical_runs
from segworkers.counting import rows_by

Runs = NDArray[np.int32]
"""(n, 4): z, x, y_start, y_stop."""


@dataclass(frozen=True, slots=True, eq=False)
class RunTable:
    """Runs of many masks. Masks may overlap; the runs of one mask never do."""

    runs: Runs
    """(n, 4) int32: z, x, y_start, y_stop."""
    owner: NDArray[np.int64]
    """(n,) the mask that each run belongs to."""

    def __post_init__(self) -> None:
        if self.runs.shape != (len(self.owner), 4):
            raise ValueError(f"runs must be ({len(self.owner)}, 4), got {self.runs.shape}")

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) pixels in each run."""
        return (self.runs[:, 3] - self.runs[:, 2]).astype(np.int64)

    def pixel_counts(self, masks: int) -> NDArray[np.int64]:
        """(masks,) pixels of each mask."""
        return self.extents(masks).pixels

    def take(self, rows: NDArray[Any]) -> RunTable:
        """The rows that an index or a boolean array names."""
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        return RunTable(self.runs.take(rows, axis=0), self.owner.take(rows))  # faster than by index

    def renumber(self, new_owner: NDArray[np.int64]) -> RunTable:
        """The same runs with owner i renamed to new_owner[i]; negative new names drop the runs."""
        owner = new_owner[self.owner] if len(self.owner) else self.owner
        keep = owner >= 0
        return RunTable(self.runs[keep], owner[keep])

    def clip(self, box: Box) -> RunTable:
        """The part of every mask that lies in `box`."""
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        runs = self.runs
        inside = (runs[:, 0] >= z0) & (runs[:, 0] < z1) & (runs[:, 1] >= x0) & (runs[:, 1] < x1)
        inside &= (runs[:, 2] < y1) & (runs[:, 3] > y0)
        cut = runs[inside].copy()
        np.clip(cut[:, 2:], y0, y1, out=cut[:, 2:])
        return RunTable(cut, self.owner[inside])

    def canonical(self) -> RunTable:
        """Sorted by (owner, z, x, y_start), with runs of one mask that touch or overlap joined: a union."""
        return RunTable(*canonical_runs(self.runs, self.owner))

    def gather(self, masks: NDArray[np.int64], extents: Extents) -> RunTable:
        """Some masks, renumbered by their place in `masks`; in canonical order if this table is."""
        return RunTable(*_gather(self.runs, masks, extents.offsets))

    def extents(self, masks: int) -> Extents:
        """What is known of each of `masks` masks at a glance."""
        return Extents(*_extents(self.runs, self.owner, masks))

    def offsets(self, masks: int) -> NDArray[np.int64]:
        """(masks + 1,) where each mask's runs begin; the table must be sorted by owner."""
        return np.searchsorted(self.owner, np.arange(masks + 1)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Extents:
    """Where n masks lie, in a table and in the image."""

    offsets: NDArray[np.int64]
    """(n + 1,) where each mask's runs begin, in a table that is sorted by owner."""
    pixels: NDArray[np.int64]
    """(n,)"""
    boxes: NDArray[np.int64]
    """(n, 6) half-open z0, y0, x0, z1, y1, x1; without meaning for masks without pixels, but start > stop."""


def empty_runs() -> RunTable:
    """No runs of no masks."""
    return RunTable(np.empty((0, 4), np.int32), np.empty(0, np.int64))


def concatenate(tables: Sequence[RunTable]) -> RunTable:
    """All runs of all tables; owners must already be distinct where the masks are."""
    if not tables:
        return empty_runs()
    return RunTable(np.concatenate([t.runs for t in tables]), np.concatenate([t.owner for t in tables]))


def column_major(shape: Zyx, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros (z, y, x) whose memory runs along y, as runs do: scanning them for runs needs no transposed copy."""
    z, y, x = shape
    return np.zeros((z, x, y), dtype).transpose(0, 2, 1)


def label_runs(labels: NDArray[Any], origin: Zyx) -> RunTable:
    """Runs of every label above 0 of an image; owner = label - 1; sorted by (owner, z, x, y_start).

    labels: (z, y, x) integers, fastest where memory runs along y (`column_major`); origin: position of its first voxel
    in the source.
    """
    columns = np.ascontiguousarray(labels.transpose(0, 2, 1))
    runs, owner = _column_runs(columns)
    runs += np.array([origin[0], origin[2], origin[1], origin[1]], np.int32)
    order, _ = rows_by(owner, int(owner.max(initial=-1)) + 1)
    return RunTable(runs[order], owner[order])


def box_runs(box: Box) -> Runs:
    """Runs of all voxels of a box."""
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    z, x = (side.ravel() for side in np.meshgrid(np.arange(z0, z1), np.arange(x0, x1), indexing="ij"))
    return np.stack((z, x, np.full(len(z), y0), np.full(len(z), y1)), axis=1).astype(np.int32)


def mask_runs(mask: NDArray[np.bool_], origin: Zyx) -> Runs:
    """Runs of one boolean mask (z, y, x) whose first voxel lies at `origin`."""
    return label_runs(mask.view(np.uint8), origin).runs


def bounding_boxes(table: RunTable, masks: int) -> NDArray[np.int64]:
    """(masks, 6) half-open z0, y0, x0, z1, y1, x1; rows of masks without pixels are meaningless."""
    return table.extents(masks).boxes


def pixels_in_boxes(
    table: RunTable, extents: Extents, masks: NDArray[np.int64], boxes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(k,) pixels of mask masks[k] inside boxes[k] (z0, y0, x0, z1, y1, x1).

    extents: of the table, which is sorted by owner.
    """
    return _pixels_in_boxes(table.runs, extents.offsets, extents.pixels, extents.boxes, masks, boxes)


@numba.njit(cache=True, nogil=True)
def _column_runs(columns: Any) -> Any:  # pragma: no cover - compiled
    depth, width, height = columns.shape
    count = 0
    for z in range(depth):
        for x in range(width):
            previous = 0
            for y in range(height):
                value = columns[z, x, y]
                if value not in (previous, 0):
                    count += 1
                previous = value
    runs = np.empty((count, 4), np.int32)
    owner = np.empty(count, np.int64)
    k = -1
    for z in range(depth):
        for x in range(width):
            previous = 0
            for y in range(height):
                value = columns[z, x, y]
                if value != previous:
                    if previous != 0:
                        runs[k, 3] = y
                    if value != 0:
                        k += 1
                        runs[k, 0], runs[k, 1], runs[k, 2] = z, x, y
                        owner[k] = value - 1
                    previous = value
            if previous != 0:
                runs[k, 3] = height
    return runs, owner


@numba.njit(cache=True, nogil=True)
def _gather(runs: Any, masks: Any, offsets: Any) -> Any:  # pragma: no cover - compiled
    total = 0
    for mask in masks:
        total += offsets[mask + 1] - offsets[mask]
    out, owner = np.empty((total, 4), runs.dtype), np.empty(total, np.int64)
    place = 0
    for k in range(len(masks)):
        for run in range(offsets[masks[k]], offsets[masks[k] + 1]):
            for column in range(4):
                out[place, column] = runs[run, column]
            owner[place] = k
            place += 1
    return out, owner


@numba.njit(cache=True, nogil=True)
def _extents(runs: Any, owner: Any, masks: int) -> Any:  # pragma: no cover - compiled
    offsets, pixels = np.zeros(masks + 1, np.int64), np.zeros(masks, np.int64)
    boxes = np.empty((masks, 6), np.int64)
    boxes[:, :3], boxes[:, 3:] = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    k = 0
    while k < len(owner):
        # Neighbouring runs mostly are of one mask: what they add up to is kept at hand.
        mask, first, total = owner[k], k, 0
        z0, x0, y0, y1 = runs[k, 0], runs[k, 1], runs[k, 2], runs[k, 3]
        z1, x1 = z0, x0
        while k < len(owner) and owner[k] == mask:
            z0, z1 = min(z0, runs[k, 0]), max(z1, runs[k, 0])
            x0, x1 = min(x0, runs[k, 1]), max(x1, runs[k, 1])
            y0, y1 = min(y0, runs[k, 2]), max(y1, runs[k, 3])
            total += runs[k, 3] - runs[k, 2]
            k += 1
        offsets[mask + 1] += k - first
        pixels[mask] += total
        here = (np.int64(z0), np.int64(y0), np.int64(x0), np.int64(z1 + 1), np.int64(y1), np.int64(x1 + 1))
        for axis in range(3):
            boxes[mask, axis] = min(boxes[mask, axis], here[axis])
            boxes[mask, axis + 3] = max(boxes[mask, axis + 3], here[axis + 3])
    for mask in range(masks):
        offsets[mask + 1] += offsets[mask]
    return offsets, pixels, boxes


@numba.njit(cache=True, nogil=True)
def pixels_in_box(runs: Any, offsets: Any, pixels: Any, boxes: Any, mask: int, box: Any) -> int:  # pragma: no cover
    """Compiled: the pixels of a mask inside `box`, a tuple. The other arrays are those of `Extents`."""
    z0, y0, x0, z1, y1, x1 = box
    begins_inside = z0 <= boxes[mask, 0] and y0 <= boxes[mask, 1] and x0 <= boxes[mask, 2]
    if begins_inside and boxes[mask, 3] <= z1 and boxes[mask, 4] <= y1 and boxes[mask, 5] <= x1:
        return int(pixels[mask])
    inside = 0
    for r in range(offsets[mask], offsets[mask + 1]):
        if z0 <= runs[r, 0] < z1 and x0 <= runs[r, 1] < x1:
            inside += max(0, min(runs[r, 3], y1) - max(runs[r, 2], y0))
    return inside


@numba.njit(cache=True, nogil=True)
def _pixels_in_boxes(
    runs: Any, offsets: Any, pixels: Any, own: Any, masks: Any, boxes: Any
) -> Any:  # pragma: no cover - compiled
    result = np.empty(len(masks), np.int64)
    for k in range(len(masks)):
        box = (boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3], boxes[k, 4], boxes[k, 5])
        result[k] = pixels_in_box(runs, offsets, pixels, own, masks[k], box)
    return result
