"""Slivers: what a window saw of an object at its border and could not link to the window that saw the object well.

A window's model is unreliable at the window's borders: masks stop short, outlines move, of an object that a border
cuts a crumb is seen. Links cannot be had from such crumbs, and a crumb that stays is an object counted twice. So a view
that lies mostly in other windows' cells, and is linked to nothing there, is compared with what those windows saw: where
a larger view of its class covers most of it, it is said to be a sliver of that one. A sliver proper, less than half
as large as what covers it, is given `views.TOLERANCE` pixels: that far outlines of one object differ between windows.
So is a view of any size where the sliver's window has nothing else to say of the larger one, though it sees most of it:
each window misses just what the other saw close by, so they mean the same.

One thing speaks against it: where the larger view is linked to a neighbour of the sliver in the sliver's own window,
and the border does not cut the sliver, that window saw two objects side by side that the other took for one. Both stay.

A *part* is what a border cuts off from an object that leaves the window and comes back: a neighbour sees that it is
one, in this window a model may say two. A part belongs to the view that covers most of what both windows saw of it,
unless it lies beside the view that is linked there already.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segworkers.lattice import Lattice
from segworkers.linking import COVER, LINK, PART, ViewFacts, links
from segworkers.overlaps import box_pairs, near_pixels
from segworkers.runs import bounding_boxes, pixels_in_boxes
from segworkers.views import Pairs, Views, compare, meet, near_by, window_boxes

SLIVER_COVER = 0.5
"""A leftover covered by a larger view to more than this share is a piece of it."""

PART_COVER = 0.5
"""A part is covered to more than this share where both windows saw it."""


def relations(
    views: Views, pixels: NDArray[np.int64], lattice: Lattice, family: NDArray[np.int64]
) -> tuple[Pairs, NDArray[np.int8]]:
    """Pairs of views of different families that matter, and (k,) what they are: LINK, PART or COVER.

    pixels: (n,) of each view. What is said of a pair depends on the views of its two windows only.
    """
    facts = ViewFacts(views.window, views.rank, pixels, views.marginal)
    compared = compare(views, lattice, family)
    is_link = links(compared, facts)
    linked, boxes = compared.take(is_link), bounding_boxes(views.masks, len(views))
    slots = _Slots(linked, views.window)
    parts = _parts(views, compared.take(~is_link), slots, lattice, boxes)
    covering = _coverings(views, facts, slots, lattice, boxes, family)
    kind = np.repeat(np.array([LINK, PART, COVER], np.int8), [len(linked), len(parts), len(covering)])
    return linked.join(parts).join(covering), kind


class _Slots:
    """Whom each view is linked to in each other window."""

    def __init__(self, linked: Pairs, window: NDArray[np.int64]) -> None:
        self._window = window
        self._windows = int(window.max(initial=0)) + 1
        slot = np.concatenate((self._slot(linked.i, linked.j), self._slot(linked.j, linked.i)))
        order = np.argsort(slot)
        self._sorted, self._partner = slot[order], np.concatenate((linked.j, linked.i))[order]

    def partner(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,) whom view[k] is linked to in the window of other[k]; -1 where it has no link there."""
        if not len(self._sorted):
            return np.full(len(view), -1, np.int64)
        wanted = self._slot(view, other)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return np.where(self._sorted[at] == wanted, self._partner[at], -1)

    def _slot(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        return view * self._windows + self._window[other]


def _parts(views: Views, compared: Pairs, slots: _Slots, lattice: Lattice, boxes: NDArray[np.int64]) -> Pairs:
    """Pairs of a part (i) and what it is a part of (j); their overlap is the share of the part that is covered."""
    part, whole = np.concatenate((compared.i, compared.j)), np.concatenate((compared.j, compared.i))
    shared = np.concatenate((compared.shared, compared.shared))
    usable = views.cut[part] & (slots.partner(part, whole) < 0)
    part, whole, shared = part[usable], whole[usable], shared[usable]
    seen = window_boxes(lattice, views.window, np.zeros(3, np.int64))
    inside = pixels_in_boxes(views.masks, part, meet(seen[part], seen[whole]), len(views))
    cover = shared / np.maximum(inside, 1)
    kept = (cover > PART_COVER) & ~_beside(views, part, slots.partner(whole, part), lattice, boxes)
    part, whole, shared, cover = part[kept], whole[kept], shared[kept], cover[kept]
    return Pairs(part, whole, cover, shared)


def _coverings(
    views: Views,
    facts: ViewFacts,
    slots: _Slots,
    lattice: Lattice,
    boxes: NDArray[np.int64],
    family: NDArray[np.int64],
) -> Pairs:
    """Pairs of a sliver and what covers it."""
    small, large = _neighbours(views, facts, slots, lattice, boxes, family)
    partner = slots.partner(large, small)
    proper = 2 * facts.pixels[small] < facts.pixels[large]
    proper |= (partner < 0) & _sees_most(views, facts, small, large, lattice)
    tolerance = np.where(proper[:, None], np.array(near_by(lattice)), 0)
    covered = near_pixels(views.masks, small, large, tolerance, boxes)
    is_cover = covered > SLIVER_COVER * facts.pixels[small]
    small, large, partner = small[is_cover], large[is_cover], partner[is_cover]
    rivals = ~views.cut[small] & _beside(views, small, partner, lattice, boxes)
    small, large = small[~rivals], large[~rivals]
    none = np.zeros(len(small))
    return Pairs(np.minimum(small, large), np.maximum(small, large), none, none.astype(np.int64))


def _beside(
    views: Views, view: NDArray[np.int64], other: NDArray[np.int64], lattice: Lattice, boxes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(k,) whether view[k] lies next to other[k], or nearly so; False where other[k] is -1."""
    beside = np.zeros(len(view), bool)
    there = np.flatnonzero(other >= 0)
    reach = np.tile(np.maximum(near_by(lattice), np.array(lattice.window) > 1), (len(there), 1))
    beside[there] = near_pixels(views.masks, view[there], other[there], reach, boxes) > 0
    return beside


def _neighbours(
    views: Views,
    facts: ViewFacts,
    slots: _Slots,
    lattice: Lattice,
    boxes: NDArray[np.int64],
    family: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Marginal views, and larger views of the same class of other windows whose boxes come near.

    Left out are windows that do not see most of the marginal view (work tiles without a common seam never compare
    theirs), and those in which it has a link.
    """
    i, j = box_pairs(boxes, family, views.label, near_by(lattice))
    index = np.stack(np.unravel_index(views.window, lattice.shape), axis=1)
    apart = np.abs(index[i] - index[j]).max(axis=1)
    small, large = facts.by_size(i, j)
    usable = (apart == 1) & facts.marginal[small]
    small, large = small[usable], large[usable]
    free = _sees_most(views, facts, large, small, lattice) & (slots.partner(small, large) < 0)
    return small[free], large[free]


def _sees_most(
    views: Views, facts: ViewFacts, view: NDArray[np.int64], other: NDArray[np.int64], lattice: Lattice
) -> NDArray[np.bool_]:
    """(k,) whether most of other[k] lies in the window of view[k]."""
    windows = window_boxes(lattice, views.window, np.zeros(3, np.int64))
    return 2 * pixels_in_boxes(views.masks, other, windows[view], len(views)) > facts.pixels[other]
