"""Slivers: what a window saw of an object at its border and could not link to the window that saw the object well.

A window's model is unreliable at the window's borders: masks stop short, outlines move, of an object that a border
cuts a crumb is seen. Links cannot be had from such crumbs, and a crumb that stays is an object counted twice. So a view
that lies mostly in other windows' cells, and is linked to nothing there, is compared with what those windows saw: where
a larger view of its class covers most of it, it is said to be a sliver of that one. A sliver proper, less than half
as large as what covers it, is given TOLERANCE pixels: that far the outlines of one object differ between windows.

One thing speaks against it: where the larger view is linked to a neighbour of the sliver in the sliver's own window,
that window saw two objects side by side that the other one took for one. Both stay.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx, zyx
from segworkers.lattice import Lattice
from segworkers.linking import ViewFacts, links
from segworkers.overlaps import box_pairs, near_pixels
from segworkers.runs import bounding_boxes
from segworkers.views import Pairs, Views, compare

TOLERANCE = 4
"""Pixels by which the outlines of one object differ between windows, at most a quarter of the overlap."""

SLIVER_COVER = 0.5
"""A leftover covered by a larger view to more than this share is a piece of it."""


def near_by(lattice: Lattice) -> Zyx:
    """TOLERANCE in each axis: less where windows overlap little, 0 where they do not."""
    return zyx([min(TOLERANCE, overlap // 4) for overlap in lattice.overlap])


def relations(
    views: Views, pixels: NDArray[np.int64], lattice: Lattice, family: NDArray[np.int64]
) -> tuple[Pairs, NDArray[np.bool_], NDArray[np.bool_]]:
    """Pairs of views of different families that matter: links, and slivers with what covers them.

    pixels: (n,) of each view. Returns the pairs, (k,) which are links, (k,) which are covers. What is said of a pair
    depends on the views of its two windows only.
    """
    facts = ViewFacts(views.window, views.rank, pixels, views.marginal)
    compared = compare(views, lattice, family)
    linked = compared.take(links(compared, facts))
    covering = _coverings(views, facts, linked, lattice, family)
    pairs = linked.join(covering)
    is_link = np.arange(len(pairs)) < len(linked)
    return pairs, is_link, ~is_link


def _coverings(views: Views, facts: ViewFacts, linked: Pairs, lattice: Lattice, family: NDArray[np.int64]) -> Pairs:
    """Pairs of a sliver and what covers it."""
    reach = np.array(near_by(lattice))
    boxes = bounding_boxes(views.masks, len(views))
    small, large, partner = _neighbours(views, facts, linked, lattice, boxes, family)
    proper = 2 * facts.pixels[small] < facts.pixels[large]
    tolerance = np.where(proper[:, None], reach, 0)
    covered = near_pixels(views.masks, small, large, tolerance, boxes)
    is_cover = covered > SLIVER_COVER * facts.pixels[small]
    small, large, partner = small[is_cover], large[is_cover], partner[is_cover]
    rival = np.flatnonzero(partner >= 0)
    side_by_side = np.zeros(len(small), bool)
    reaches = np.tile(np.maximum(reach, np.array(lattice.window) > 1), (len(rival), 1))
    near = near_pixels(views.masks, small[rival], partner[rival], reaches, boxes)
    side_by_side[rival] = near > 0
    small, large = small[~side_by_side], large[~side_by_side]
    none = np.zeros(len(small))
    return Pairs(np.minimum(small, large), np.maximum(small, large), none, none.astype(np.int64))


def _neighbours(
    views: Views,
    facts: ViewFacts,
    linked: Pairs,
    lattice: Lattice,
    boxes: NDArray[np.int64],
    family: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Marginal views, larger views of the same class of other windows whose boxes come near, and the latter's partners.

    Left out are windows that do not overlap the marginal view's (work tiles without a common seam never compare them),
    and those in which it has a link. The partner is the view of the marginal view's window that the larger one is
    linked to; -1 where it has none there.
    """
    i, j = box_pairs(boxes, family, views.label, near_by(lattice))
    index = np.stack(np.unravel_index(views.window, lattice.shape), axis=1)
    apart = np.abs(index[i] - index[j]).max(axis=1)
    small, large = facts.by_size(i, j)
    usable = (apart == 1) & facts.marginal[small]
    small, large = small[usable], large[usable]
    windows = int(views.window.max(initial=0)) + 1
    slot = np.concatenate((linked.i * windows + views.window[linked.j], linked.j * windows + views.window[linked.i]))
    partner = np.concatenate((linked.j, linked.i))
    order = np.argsort(slot)
    slot, partner = slot[order], partner[order]
    free = _partner(slot, partner, small * windows + views.window[large]) < 0
    small, large = small[free], large[free]
    return small, large, _partner(slot, partner, large * windows + views.window[small])


def _partner(slot: NDArray[np.int64], partner: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The partner in each wanted slot, -1 where the slot is free; slots are sorted and have one partner each."""
    if not len(slot):
        return np.full(len(wanted), -1, np.int64)
    at = np.minimum(np.searchsorted(slot, wanted), len(slot) - 1)
    return np.where(slot[at] == wanted, partner[at], -1)
