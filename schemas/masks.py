"""Masks as column runs: the exact pixels of one object, and their algebra.

A mask is an int32 array (n, 4) of runs (z, x, y_start, y_stop): the pixels y_start <= y < y_stop of column (z, x), in
source coordinates. It is **canonical** when sorted by (z, x, y_start) with runs that neither overlap nor touch within a
column; two canonical masks hold the same pixels exactly where their arrays are equal. Every function here expects
canonical runs and returns them; `canonical` makes them. Columns, because COCO's run-length code is column-major.

Cost and memory follow the number of runs, never the extent: a river whose box is 20,000 pixels a side stays small.
A batch of m masks is one array of runs, mask after mask, with int64 offsets (m + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx

Runs = NDArray[np.int32]
"""(n, 4) of (z, x, y_start, y_stop)."""

NO_RUNS: Runs = np.empty((0, 4), np.int32)
"""The empty mask."""
NO_RUNS.flags.writeable = False


def to_runs(mask: NDArray[np.bool_], origin: Sequence[int] = (0, 0, 0)) -> Runs:
    """Runs of a bitmap (z, y, x) whose first voxel lies at `origin` (z, y, x)."""
    depth, height, width = mask.shape
    padded = np.zeros((depth, width, height + 2), np.bool_)
    padded[:, :, 1:-1] = mask.transpose(0, 2, 1)
    z, x, y = np.nonzero(padded[:, :, 1:] != padded[:, :, :-1])  # alternately a start and a stop
    runs = np.stack([z[::2], x[::2], y[::2], y[1::2]], axis=1) + _column_offset(origin)
    return runs.astype(np.int32)


def to_array(runs: Runs, box: Box) -> NDArray[np.bool_]:
    """Bitmap (z, y, x) of `box`; pixels outside the box are left out. Memory is the box's: meant for crops."""
    z, x, y_start, y_stop = (clip(runs, box) - _column_offset(box.start)).T
    depth, height, width = box.shape
    toggles = np.zeros((depth, width, height + 1), np.bool_)
    toggles[z, x, y_start] = True
    toggles[z, x, y_stop] = True
    filled = np.logical_xor.accumulate(toggles, axis=2)[:, :, :height]
    return np.ascontiguousarray(filled.transpose(0, 2, 1))


def canonical(runs: NDArray[np.integer[Any]]) -> Runs:
    """The union of any runs (n, 4): sorted, overlapping and touching ones joined, empty ones dropped.

    `canonical(concatenate([a, b]))` is the union of two masks.
    """
    runs = runs[runs[:, 3] > runs[:, 2]]
    if not len(runs):
        return NO_RUNS.copy()
    start, stop = _linear(runs, runs)
    order = np.argsort(start, kind="stable")
    start, stop = start[order], stop[order]
    reach = np.maximum.accumulate(stop)  # columns lie apart on the line, so the reach never leaks into the next
    heads = np.flatnonzero(np.concatenate([[True], start[1:] > reach[:-1]]))
    tails = np.append(heads[1:], len(runs)) - 1
    joined = runs[order[heads]].astype(np.int32)
    joined[:, 3] = joined[:, 2] + (reach[tails] - start[heads])
    return joined


def pixel_count(runs: Runs) -> int:
    """Number of pixels."""
    return int(np.sum(runs[:, 3].astype(np.int64) - runs[:, 2]))


def clip(runs: Runs, box: Box) -> Runs:
    """The pixels within `box`."""
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    z, x, y_start, y_stop = runs.T
    kept = runs[(z >= z0) & (z < z1) & (x >= x0) & (x < x1) & (y_start < y1) & (y_stop > y0)]
    kept[:, 2:] = np.clip(kept[:, 2:], y0, y1)
    return kept


def intersection_count(a: Runs, b: Runs) -> int:
    """Number of pixels that both masks hold."""
    if not len(a) or not len(b):
        return 0
    both = np.concatenate([a, b])
    a_start, a_stop = _linear(a, both)
    b_start, b_stop = _linear(b, both)
    before = np.concatenate([[0], np.cumsum(b_stop - b_start)])

    def count_before(position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pixels of b at linear positions below `position`."""
        run = np.searchsorted(b_start, position, side="right") - 1
        partial = np.minimum(position, b_stop[run]) - b_start[run]
        return np.where(run < 0, 0, before[run] + partial)

    return int(np.sum(count_before(a_stop) - count_before(a_start)))


def bbox(runs: Runs) -> Box | None:
    """The smallest box around the mask, None where it is empty."""
    if not len(runs):
        return None
    z0, x0, y0 = (int(value) for value in runs[:, :3].min(axis=0))
    z1, x1 = (int(value) + 1 for value in runs[:, :2].max(axis=0))
    return Box((z0, y0, x0), (z1, int(runs[:, 3].max()), x1))


def _column_offset(origin: Sequence[int] | Zyx) -> NDArray[np.int32]:
    """(z, y, x) as (z, x, y, y), to add to runs."""
    z, y, x = origin
    return np.array([z, x, y, y], np.int32)


def _linear(
    runs: NDArray[np.integer[Any]], within: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and stops of runs on one line that keeps the order (z, x, y), with a gap after each column.

    within: runs whose box fixes the line, so that several masks can share it.
    """
    z0, x0, y0 = (int(value) for value in within[:, :3].min(axis=0))
    width = int(within[:, 1].max()) + 1 - x0
    height = int(within[:, 3].max()) + 1 - y0
    column = ((runs[:, 0].astype(np.int64) - z0) * width + (runs[:, 1].astype(np.int64) - x0)) * height - y0
    return column + runs[:, 2], column + runs[:, 3]
