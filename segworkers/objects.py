"""Objects: finished masks with what the merge knows about them, before they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segworkers.lattice import Lattice
from segworkers.runs import RunTable, bounding_boxes, concatenate, empty_runs


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """A batch of n whole objects of one source, on the lattice's grid."""

    label: NDArray[np.int64]
    """(n,) index into the model's classes."""
    score: NDArray[np.float64]
    """(n,) NaN where the model gives none."""
    masks: RunTable
    """Canonical; owners 0..n-1."""
    n_views: NDArray[np.int64]
    """(n,) windows whose detections were linked."""
    min_overlap: NDArray[np.float64]
    """(n,) smallest link overlap; NaN where there was no link."""
    assembled: NDArray[np.bool_]
    """(n,) whether no single window saw the object whole."""

    def __post_init__(self) -> None:
        n = len(self.label)
        if any(len(column) != n for column in (self.score, self.n_views, self.min_overlap, self.assembled)):
            raise ValueError(f"every column must have {n} entries")

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[np.int64]) -> Objects:
        """The objects at `rows`, in that order."""
        new_name = np.full(len(self), -1, np.int64)
        new_name[rows] = np.arange(len(rows))
        return Objects(
            self.label[rows],
            self.score[rows],
            self.masks.renumber(new_name).canonical(),
            self.n_views[rows],
            self.min_overlap[rows],
            self.assembled[rows],
        )

    def slice(self, start: int, stop: int) -> Objects:
        """The objects from `start` to `stop`; costs what they cost, not what all do."""
        rows = slice(start, min(stop, len(self)))
        runs = slice(*np.searchsorted(self.masks.owner, (rows.start, rows.stop)).tolist())
        return Objects(
            self.label[rows],
            self.score[rows],
            RunTable(self.masks.runs[runs], self.masks.owner[runs] - start),
            self.n_views[rows],
            self.min_overlap[rows],
            self.assembled[rows],
        )


def no_objects() -> Objects:
    """An empty batch."""
    none = np.empty(0)
    return Objects(none.astype(np.int64), none, empty_runs(), none.astype(np.int64), none, none.astype(bool))


def join_objects(batches: Sequence[Objects]) -> Objects:
    """All objects of all batches, in order."""
    if not batches:
        return no_objects()
    start = np.cumsum([0, *(len(b) for b in batches)])
    return Objects(
        np.concatenate([b.label for b in batches]),
        np.concatenate([b.score for b in batches]),
        concatenate([RunTable(b.masks.runs, b.masks.owner + s) for b, s in zip(batches, start, strict=False)]),
        np.concatenate([b.n_views for b in batches]),
        np.concatenate([b.min_overlap for b in batches]),
        np.concatenate([b.assembled for b in batches]),
    )


def seen_whole(masks: RunTable, count: int, lattice: Lattice) -> NDArray[np.bool_]:
    """(count,) whether some window of the lattice holds the mask clear of the borders that lie inside the image."""
    boxes = bounding_boxes(masks, count)
    whole = np.ones(count, bool)
    for axis in range(3):
        near, far = boxes[:, axis], boxes[:, axis + 3]
        row = lattice.row(axis)
        # The last window that starts before the object is the one that reaches farthest past it.
        window = row.windows_at(near - 1)
        start = row.starts(window)
        fits = (near > start) | (window == 0)
        fits &= (far < start + row.window) | (window == row.count - 1)
        whole &= fits
    return whole
