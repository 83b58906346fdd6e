"""Views: what one window says about one object, and what two windows' views have in common.

An instance model sees every window on its own. Where windows overlap, both saw the same pixels, so two views of one
object must agree there. `compare` measures that agreement for all pairs of views at once:

1. pixels that two views of different windows share (`segworkers.overlaps`);
2. the same inside the *trusted* part of the strip both windows saw: models are unreliable near a window's internal
   borders, so a band of min(16, overlap // 4) pixels along them is left out;
3. each view's own pixels in the strip and in its trusted part; from these, two overlaps (IoU). The higher one counts:
   the trusted part where borders spoil the rest, the whole strip where an object hardly reaches the trusted part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx, zyx
from segworkers.box_pairs import box_pairs
from segworkers.lattice import Lattice
from segworkers.overlaps import agreement, shared_pixels
from segworkers.runs import Extents, RunTable, concatenate, pixels_in_boxes

TRUST_BAND = 16
"""Pixels along an internal border that are not compared, at most; measured to beat 0 and 32 with noisy models."""

DUPLICATE_IOU = 0.7
"""Views of one window and class that overlap more than this are one object said twice."""


TOLERANCE = 4
"""Pixels by which the outlines of one object differ between windows, at most a quarter of the overlap."""


def near_by(lattice: Lattice) -> Zyx:
    """TOLERANCE in each axis: less where windows overlap little, 0 where they do not."""
    return zyx([min(TOLERANCE, overlap // 4) for overlap in lattice.overlap])


@dataclass(frozen=True, eq=False)
class Views:
    """n detections of the windows of one lattice."""

    window: NDArray[np.int64]
    """(n,) flat lattice index of the window."""
    rank: NDArray[np.int64]
    """(n,) position among the window's views; (window, rank) identifies a view for good."""
    label: NDArray[np.int64]
    """(n,) index into the model's classes."""
    score: NDArray[np.float64]
    """(n,)"""
    cut: NDArray[np.bool_]
    """(n,) whether the mask touches a border of its window that lies inside the image."""
    marginal: NDArray[np.bool_]
    """(n,) whether the window is no authority on the object, see `is_marginal`."""
    masks: RunTable
    """Owners 0..n-1, in source coordinates; canonical."""

    def __len__(self) -> int:
        return len(self.window)

    @cached_property
    def extents(self) -> Extents:
        """Where the masks lie."""
        return self.masks.extents(len(self))

    def take(self, rows: NDArray[np.int64]) -> Views:
        """The views at `rows`, in that order."""
        return Views(
            self.window[rows],
            self.rank[rows],
            self.label[rows],
            self.score[rows],
            self.cut[rows],
            self.marginal[rows],
            self.masks.gather(rows, self.extents),
        )


def join_views(batches: Sequence[Views]) -> Views:
    """All views of all batches, in order."""
    start = np.cumsum([0, *(len(b) for b in batches)])
    return Views(
        np.concatenate([b.window for b in batches]),
        np.concatenate([b.rank for b in batches]),
        np.concatenate([b.label for b in batches]),
        np.concatenate([b.score for b in batches]),
        np.concatenate([b.cut for b in batches]),
        np.concatenate([b.marginal for b in batches]),
        concatenate([RunTable(b.masks.runs, b.masks.owner + s) for b, s in zip(batches, start, strict=False)]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Views of one class and of different windows, each pair once; i < j, but where i is a part of j or apart.

    Only those that touch (`segworkers.linking`) are of one window.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    overlap: NDArray[np.float64]
    """(k,) IoU in the strip both windows saw, or in its trusted part, whichever is higher; for parts and what is apart
    the share that is covered; 1 for what is the same in several masks, 0 for covers, near misses and what touches."""
    shared: NDArray[np.int64]
    """(k,) pixels in common, anywhere; of near misses those that come near, 0 for covers."""

    def __len__(self) -> int:
        return len(self.i)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """The pairs that an index or a boolean array names."""
        return Pairs(self.i[rows], self.j[rows], self.overlap[rows], self.shared[rows])

    def join(self, other: Pairs) -> Pairs:
        """These pairs, then the other's."""
        names = ("i", "j", "overlap", "shared")
        return Pairs(*(np.concatenate((getattr(self, name), getattr(other, name))) for name in names))


def without_duplicates(views: Views) -> Views:
    """Step 0, within each window: of views with one label and IoU above `DUPLICATE_IOU` the best stays.

    Best: higher score, then more pixels, then the model's own order; greedy, as non-maximum suppression is.
    """
    n, pixels = len(views), views.extents.pixels
    # One number for window and class: pairs of different labels are asked for where these are equal.
    kind = views.window * (int(views.label.max(initial=0)) + 1) + views.label
    i, j = box_pairs(views.extents.boxes, np.arange(n), kind)
    alike = np.minimum(pixels[i], pixels[j]) > DUPLICATE_IOU * np.maximum(pixels[i], pixels[j])
    i, j = i[alike], j[alike]
    shared = shared_pixels(views.masks, views.extents, i, j)
    same = shared > DUPLICATE_IOU * (pixels[i] + pixels[j] - shared)
    if not same.any():
        return views
    order = np.lexsort((views.rank, -pixels, -views.score))
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    better = np.where(place[i] < place[j], i, j)[same]
    worse = np.where(place[i] < place[j], j, i)[same]
    dropped = np.zeros(n, bool)
    for k in np.lexsort((place[worse], place[better])):
        if not dropped[better[k]]:
            dropped[worse[k]] = True
    return views.take(np.flatnonzero(~dropped))


def neighbours(
    views: Views, lattice: Lattice, family: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted pairs i < j of different windows and families (windows, or work tiles) and one label that come near.

    All that can be said of two views is said of such pairs.
    """
    i, j = box_pairs(views.extents.boxes, family, views.label, near_by(lattice))
    other = views.window[i] != views.window[j]
    return i[other], j[other]


def compare(
    views: Views, lattice: Lattice, i: NDArray[np.int64], j: NDArray[np.int64]
) -> tuple[Pairs, NDArray[np.bool_], NDArray[np.bool_]]:
    """Steps 1 to 3 for pairs of views of different windows; those without common pixels are left out.

    And (k,) whether one view of a pair holds all of the other that both windows saw. What is said of a pair depends on
    its two views and the lattice only, never on what else is compared with them. Only (k,) whether neither has a pixel
    there that no view of the other window has depends on all views of the two windows, which must be compared at once.
    """
    seen = lattice.window_boxes(views.window)
    band = np.minimum(TRUST_BAND, np.array(lattice.overlap) // 4)
    trusted = inner_boxes(lattice, views.window, band)
    shared, overlap, holds, full = agreement(views.masks, views.extents, i, j, views.window, seen, trusted)
    return Pairs(i, j, overlap, shared).take(shared > 0), holds[shared > 0], full[shared > 0]


def inner_boxes(lattice: Lattice, window: NDArray[np.int64], band: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 6) regions of windows of flat indices, less a band (z, y, x) along their internal borders."""
    return lattice.window_boxes(window) + np.hstack((band, -band)) * lattice.internal_sides(window)


def meet(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 6) what two boxes have in common, row by row; stop <= start in some axis where that is nothing."""
    return np.hstack((np.maximum(a[:, :3], b[:, :3]), np.minimum(a[:, 3:], b[:, 3:])))


def is_marginal(masks: RunTable, window: NDArray[np.int64], lattice: Lattice) -> NDArray[np.bool_]:
    """(n,) whether a mask lies mostly outside its window's own cell: other windows saw it farther from a border."""
    extents = masks.extents(len(window))
    inside = pixels_in_boxes(masks, extents, np.arange(len(window)), lattice.cell_boxes(window))
    return 2 * inside < extents.pixels
