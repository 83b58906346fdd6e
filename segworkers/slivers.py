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

Where neither view has a link in the other's window, both have pixels in the strip that both windows saw, and most of
these lie in a *margin* of either window, the two are a *near miss*: in margins masks stop short, and halves of an
object may end a pixel apart. They are linked if a fifth of what the one with less in the strip has there lies within
the tolerance of the other: one to one, the nearest first, and as the weakest links that there are.

A *part* is what a border cuts off from an object that leaves the window and comes back: a neighbour sees that it is
one, in this window a model may say two. A part belongs to the view that covers most of what both windows saw of it,
unless it lies beside the view that is linked there already.
"""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segworkers.counting import rows_by
from segworkers.lattice import Lattice
from segworkers.linking import COVER, LINK, PART, ViewFacts, links
from segworkers.overlaps import near_pixels
from segworkers.runs import pixels_in_boxes
from segworkers.views import TRUST_BAND, Pairs, Views, compare, inner_boxes, meet, near_by, neighbours

SLIVER_COVER = 0.5
"""A leftover covered by a larger view to more than this share is a piece of it."""

NEAR_SHARE = 0.2
"""Of two views that just miss each other more than this share of the one with less in the strip lies near the other.

Chosen on development seeds of benchmarks/seams among 0.2, 0.3, 0.5 and 0.7; 0 and 0.1 were tried only as second tiers.
"""

PART_COVER = 0.5
"""A part is covered to more than this share where both windows saw it."""


def relations(
    views: Views, pixels: NDArray[np.int64], lattice: Lattice, family: NDArray[np.int64]
) -> tuple[Pairs, NDArray[np.int8]]:
    """Pairs of views of different families that matter, and (k,) what they are: LINK, PART or COVER.

    pixels: (n,) of each view. What is said of a pair depends on the views of its two windows only.
    """
    facts = ViewFacts(views.window, views.rank, pixels, views.marginal)
    i, j = neighbours(views, lattice, family)
    compared = compare(views, lattice, i, j)
    is_link = links(compared, facts)
    linked = compared.take(is_link)
    linked = linked.join(_near_misses(_Sight(views, lattice, linked), facts, i, j))
    sight = _Sight(views, lattice, linked)
    parts = _parts(sight, compared.take(~is_link))
    covering = _coverings(sight, facts, *facts.by_size(i, j))
    kind = np.repeat(np.array([LINK, PART, COVER], np.int8), [len(linked), len(parts), len(covering)])
    return linked.join(parts).join(covering), kind


class _Sight:
    """What windows see of each other's views, and whom views are linked to."""

    def __init__(self, views: Views, lattice: Lattice, linked: Pairs) -> None:
        self.views, self.lattice = views, lattice
        rows, self._begins = rows_by(np.concatenate((linked.i, linked.j)), len(views))
        self._partners = np.concatenate((linked.j, linked.i))[rows]

    def partner(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,) whom view[k] is linked to in the window of other[k]; -1 where it has no link there."""
        return _partner(self._begins, self._partners, self.views.window, view, other)

    def pixels(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,) pixels of view[k] that lie in the window of other[k]."""
        boxes = self.lattice.window_boxes(self.views.window[other])
        return pixels_in_boxes(self.views.masks, self.views.extents, view, boxes)

    def sure_pixels(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
        """(2, k) pixels of views i[k] and j[k] that both windows saw, and that lie in the margin of neither."""
        band = np.minimum(TRUST_BAND, np.array(self.lattice.overlap) // 2)
        window = self.views.window
        boxes = meet(inner_boxes(self.lattice, window[i], band), inner_boxes(self.lattice, window[j], band))
        return np.stack([pixels_in_boxes(self.views.masks, self.views.extents, view, boxes) for view in (i, j)])

    def near(self, view: NDArray[np.int64], other: NDArray[np.int64], reach: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,) pixels of view[k] within reach[k] (z, y, x) of other[k]."""
        return near_pixels(self.views.masks, self.views.extents, view, other, reach)

    def beside(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(k,) whether view[k] lies next to other[k], or nearly so; False where other[k] is -1."""
        beside = np.zeros(len(view), bool)
        there = np.flatnonzero(other >= 0)
        reach = np.maximum(near_by(self.lattice), np.array(self.lattice.window) > 1)
        beside[there] = self.near(view[there], other[there], np.tile(reach, (len(there), 1))) > 0
        return beside


@numba.njit(cache=True, nogil=True)
def _partner(begins: Any, partners: Any, window: Any, view: Any, other: Any) -> Any:  # pragma: no cover - compiled
    found = np.full(len(view), -1, np.int64)
    for k in range(len(view)):
        for p in partners[begins[view[k]] : begins[view[k] + 1]]:
            if window[p] == window[other[k]]:
                found[k] = p
    return found


def _near_misses(sight: _Sight, facts: ViewFacts, i: NDArray[np.int64], j: NDArray[np.int64]) -> Pairs:
    """Further links, of overlap 0, from views that come near: each window misses in a margin just what the other saw.

    Nothing is a near miss of a model without error: what has pixels in a strip has a link there.
    """
    for _ in range(2):
        free = sight.partner(i, j) < 0
        i, j = j[free], i[free]
    there = np.stack((sight.pixels(i, j), sight.pixels(j, i)))
    seen = (there > 0).all(axis=0)
    i, j, there = i[seen], j[seen], there[:, seen]
    in_margin = (2 * sight.sure_pixels(i, j) <= there).all(axis=0)
    i, j, there = i[in_margin], j[in_margin], there[:, in_margin]
    swap = there[0] > there[1]
    reach = np.tile(np.array(near_by(sight.lattice)), (len(i), 1))
    near = sight.near(np.where(swap, j, i), np.where(swap, i, j), reach)
    share = near / there.min(axis=0)
    pairs = Pairs(i, j, share, near).take(share > NEAR_SHARE)
    pairs = pairs.take(links(pairs, facts))
    return Pairs(pairs.i, pairs.j, np.zeros(len(pairs)), pairs.shared)


def _parts(sight: _Sight, compared: Pairs) -> Pairs:
    """Pairs of a part (i) and what it is a part of (j); their overlap is the share of the part that is covered."""
    part, whole = np.concatenate((compared.i, compared.j)), np.concatenate((compared.j, compared.i))
    cut = np.flatnonzero(sight.views.cut[part])
    free = cut[sight.partner(part[cut], whole[cut]) < 0]
    part, whole, shared = part[free], whole[free], np.tile(compared.shared, 2)[free]
    cover = shared / np.maximum(sight.pixels(part, whole), 1)
    kept = (cover > PART_COVER) & ~sight.beside(part, sight.partner(whole, part))
    return Pairs(part[kept], whole[kept], cover[kept], shared[kept])


def _coverings(sight: _Sight, facts: ViewFacts, small: NDArray[np.int64], large: NDArray[np.int64]) -> Pairs:
    """Pairs of a sliver and what covers it, from views that come near and the larger ones that they come near to."""
    usable = _unconfirmed(sight, facts, small, large)
    small, large = small[usable], large[usable]
    partner = sight.partner(large, small)
    proper = 2 * facts.pixels[small] < facts.pixels[large]
    proper |= (partner < 0) & (2 * sight.pixels(large, small) > facts.pixels[large])
    tolerance = np.where(proper[:, None], np.array(near_by(sight.lattice)), 0)
    is_cover = sight.near(small, large, tolerance) > SLIVER_COVER * facts.pixels[small]
    small, large, partner = small[is_cover], large[is_cover], partner[is_cover]
    rivals = ~sight.views.cut[small] & sight.beside(small, partner)
    small, large = small[~rivals], large[~rivals]
    none = np.zeros(len(small))
    return Pairs(np.minimum(small, large), np.maximum(small, large), none, none.astype(np.int64))


def _unconfirmed(
    sight: _Sight, facts: ViewFacts, small: NDArray[np.int64], large: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Which of the pairs are of a marginal view and a window that sees most of it, but in which it has no link.

    Left out are windows that are no neighbours: work tiles without a common seam never compare theirs.
    """
    rows = np.flatnonzero(facts.marginal[small])
    rows = rows[sight.partner(small[rows], large[rows]) < 0]
    small, large = small[rows], large[rows]
    index = sight.lattice.indices_of(facts.window[small]) - sight.lattice.indices_of(facts.window[large])
    sees_most = 2 * sight.pixels(small, large) > facts.pixels[small]
    return rows[(np.abs(index).max(axis=1, initial=0) == 1) & sees_most]
