"""Slivers: what a window saw of an object at its border and could not link to the window that saw the object well.

A window's model is unreliable at the window's borders: masks stop short, outlines move, of an object that a border
cuts a crumb is seen. Links cannot be had from such crumbs, and a crumb that stays is an object counted twice. So a view
that lies mostly in other windows' cells, and is linked to nothing there, is compared with what those windows saw: where
a larger view of its class covers most of it, it is said to be a sliver of that one. A sliver proper, less than half
as large as what covers it, is given `views.TOLERANCE` pixels: that far outlines of one object differ between windows.
So is a view of any size where the sliver's window has nothing else to say of the larger one, though it sees most of it:
each window misses just what the other saw close by, so they mean the same. None is given where the larger view's link
in the sliver's window is nearly exact: these two windows do not differ.

One thing speaks against it: where the larger view is linked to a neighbour of the sliver in the sliver's own window,
and that window saw the two *apart*, the other one took them for one. Both stay. A sliver that the border cuts, beside
that neighbour, is no witness: near a border it is more often the model that splits. But it is one where some of it is
farther from the neighbour than outlines move, or where outlines do not move, since the larger view's link is nearly
exact. In space it is one also where the larger view holds both to the last pixel and the two touch: parts of one
object, 26-connected, never do. In a plane such distance or exactness is not enough: the two must touch, as 8-connected
parts never do, and the larger view be the *sum* of what that window saw there. A model that splits moves outlines as
well. Nothing else of that window covers such a witness either: what was seen of it there is known.

A *part* is what a border cuts off from an object that leaves the window and comes back: a neighbour sees that it is
one, in this window a model may say two. A part belongs to the view that covers most of what both windows saw of it,
unless it lies beside the view that is linked there already. Where that window saw the two apart, it is
kept in mind that what covers both may be two objects in one mask.

In a plane, where several views of a window are, to the last pixel, what another window saw in other masks, and do not
touch, they are parts beyond doubt (`segworkers.exact_pairs`).

In space, where several views of a window are exactly what it saw of another window's view, and two of them touch, that
view is two objects beyond doubt, and each of the several is *held* by it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from segworkers.exact_pairs import exact_pairs, touching_cut
from segworkers.lattice import Lattice
from segworkers.linking import APART, COVER, EXACT, HELD, INSIDE, LINK, PART, PROVEN, SAME, TOUCH, ViewFacts, links
from segworkers.near_misses import near_misses
from segworkers.sight import Sight
from segworkers.views import Pairs, Views, compare, near_by, neighbours

SLIVER_COVER = 0.5
"""A leftover covered by a larger view to more than this share is a piece of it."""

WITNESS_SHARE = 0.9
"""Of a cut piece beside its neighbour less than this share is near the neighbour, or else it may be the outline's move.

With 1 crumbs of moved outlines are counted twice, with 0.5 and 0.75 more of what was glued is lost; compared on
development seeds of benchmarks/seams.
"""

PART_COVER = 0.5
"""A part is covered to more than this share where both windows saw it."""


def relations(
    views: Views, pixels: NDArray[np.int64], lattice: Lattice, family: NDArray[np.int64]
) -> tuple[Pairs, NDArray[np.int8]]:
    """Pairs of views of different families that matter, and (k,) what they are (`segworkers.linking`).

    pixels: (n,) of each view. What is said of a pair depends on the views of its two windows only; but of views of one
    window it is only said that they touch where another window shows the same pixels of one of them.
    """
    facts = ViewFacts(views.window, views.rank, pixels, views.marginal, views.cut)
    i, j = neighbours(views, lattice, family)
    compared, holds, full = compare(views, lattice, i, j)
    is_link = links(compared, facts)
    is_exact, is_same = exact_pairs(views, lattice, compared, full)
    # Of what is the same as something in the other window, that window missed nothing.
    near = near_misses(Sight(views, lattice, compared.take(is_link | is_same)), facts, i, j)
    sight = Sight(views, lattice, compared.take(is_link).join(near))
    touching = touching_cut(views, lattice, np.concatenate((compared.i[is_exact], compared.j[is_exact])))
    parts, apart = _pieces(sight, facts, compared.take(~is_link & ~is_same))
    witness, touch = _sure_witnesses(sight, compared, holds, apart)
    covering = _coverings(sight, facts, *facts.by_size(i, j))
    covering = covering.take(~_is_explained(sight, facts, covering, apart.take(witness)))
    proven = touch & sight.in_space
    is_single = is_link & ~is_same
    is_inside = is_single & holds & sight.in_space
    found = {
        LINK: compared.take(is_single & ~is_exact & ~is_inside).join(near),
        INSIDE: compared.take(is_inside),
        EXACT: compared.take(is_single & is_exact),
        # The two windows agree on what is the same, all of it together, so the overlap is 1.
        SAME: replace(compared.take(is_same), overlap=np.ones(np.count_nonzero(is_same))),
        PART: parts,
        COVER: covering,
        APART: apart.take(~proven),
        PROVEN: apart.take(proven),
        HELD: _held(sight, compared, holds, apart.take(proven)),
        TOUCH: touching,
    }
    kind = np.repeat(np.array(list(found), np.int8), [len(pairs) for pairs in found.values()])
    return reduce(Pairs.join, found.values()), kind


def _sure_witnesses(
    sight: Sight, compared: Pairs, holds: NDArray[np.bool_], apart: Pairs
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(k,) which of those apart nothing covers, and (k,) which touch the neighbour, where one view holds both.

    The first are slivers of nothing that the other window saw; in space the second are among them.

    compared, holds: as for `_sums`.
    """
    partner = sight.partner(apart.j, apart.i)
    sure = _holds_both(sight, apart.i, apart.j)
    rows = np.flatnonzero(sure)
    touch = np.zeros(len(apart), bool)
    touch[rows] = _touch(sight, apart.i[rows], partner[rows])
    if sight.in_space:
        return sure, touch
    sums = _sums(sight, compared, holds, apart.j[touch], sight.views.window[apart.i[touch]])
    views = len(sight.views)
    return touch & np.isin(apart.i * views + apart.j, sums.i * views + sums.j), touch


def _held(sight: Sight, compared: Pairs, holds: NDArray[np.bool_], proven: Pairs) -> Pairs:
    """Pairs of a view (i) and the view of another window that holds it (j), which is several objects.

    These are the sums of which two touch. Left out are views of which another mask of j's window has a pixel, too.

    compared, holds: as for `_sums`. proven: pairs that become PROVEN.
    """
    window, windows = sight.views.window, _windows(sight)
    held = _sums(sight, compared, holds, proven.j, window[proven.i])
    i, j = np.concatenate((compared.i, compared.j)), np.concatenate((compared.j, compared.i))
    place, masks = np.unique(i * windows + window[j], return_counts=True)
    return held.take(masks[np.searchsorted(place, held.i * windows + window[held.j])] == 1)


def _sums(
    sight: Sight, compared: Pairs, holds: NDArray[np.bool_], whole: NDArray[np.int64], window: NDArray[np.int64]
) -> Pairs:
    """Pairs of a view of window[k] (i) and whole[k] (j), where such views are all that the window saw of whole[k].

    To the last pixel: each lies in it, and together they have as many as it has there. If masks of the window do not
    overlap, none is left over: outlines stand still.

    compared, holds: of `compare`, all pairs of the two windows.
    """
    windows = _windows(sight)
    i, j = np.concatenate((compared.i, compared.j)), np.concatenate((compared.j, compared.i))
    shared, place = np.tile(compared.shared, 2), j * windows + sight.views.window[i]
    rows = np.flatnonzero(np.isin(place, whole * windows + window))
    i, j, shared, place = i[rows], j[rows], shared[rows], place[rows]
    beyond = ~np.tile(holds, 2)[rows] | (shared < sight.pixels(i, j))
    _, number = np.unique(place, return_inverse=True)
    is_sum = (np.bincount(number, shared)[number] == sight.pixels(j, i)) & (np.bincount(number, beyond)[number] == 0)
    return Pairs(i, j, np.ones(len(i)), shared).take(is_sum)


def _windows(sight: Sight) -> int:
    """More than any number of a window."""
    return int(sight.views.window.max(initial=0)) + 1


def _is_explained(sight: Sight, facts: ViewFacts, covering: Pairs, witnesses: Pairs) -> NDArray[np.bool_]:
    """(k,) whether the sliver is a witness against the view that covers it, or against another one of its window."""
    windows = _windows(sight)
    known = np.unique(witnesses.i * windows + facts.window[witnesses.j])
    small, large = facts.by_size(covering.i, covering.j)
    return np.isin(small * windows + facts.window[large], known)


def _touch(sight: Sight, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(k,) whether two views of one window touch, if by a corner."""
    return sight.near(first, second, np.tile(np.array(sight.lattice.step), (len(first), 1))) > 0


def _holds_both(sight: Sight, small: NDArray[np.int64], large: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(k,) whether large[k] holds small[k], and whom it is linked to in that window, to the last pixel."""
    partner = sight.partner(large, small)
    rows = np.flatnonzero(partner >= 0)
    rows = rows[sight.lies_inside(small[rows], large[rows])]
    held = np.zeros(len(small), bool)
    held[rows] = sight.lies_inside(partner[rows], large[rows])
    return held


def _pieces(sight: Sight, facts: ViewFacts, compared: Pairs) -> tuple[Pairs, Pairs]:
    """Pairs of a part (i) and what it is a part of (j), and of a view (i) and what covers it and a neighbour of it (j).

    Their overlap is the share of the first that is covered, where both windows saw it.
    """
    piece, whole = np.concatenate((compared.i, compared.j)), np.concatenate((compared.j, compared.i))
    free = np.flatnonzero(sight.partner(piece, whole) < 0)
    piece, whole, shared = piece[free], whole[free], np.tile(compared.shared, 2)[free]
    partner = sight.partner(whole, piece)
    cover = shared / np.maximum(sight.pixels(piece, whole), 1)
    usable = (cover > PART_COVER) & (sight.views.cut[piece] | (partner >= 0))
    pairs, partner = Pairs(piece, whole, cover, shared).take(usable), partner[usable]
    beside = sight.beside(pairs.i, partner)
    is_part = sight.views.cut[pairs.i] & (beside == 0)
    return pairs.take(is_part), pairs.take(_apart(sight, facts, pairs.i, pairs.j, beside))


def _apart(
    sight: Sight, facts: ViewFacts, small: NDArray[np.int64], large: NDArray[np.int64], beside: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(k,) whether the window of small[k] saw it apart from whom large[k] is linked to there.

    beside: (k,) how much of small[k] lies beside that one.
    """
    cut = sight.views.cut[small] & ~sight.is_still(large, small)
    cut &= beside >= WITNESS_SHARE * facts.pixels[small]
    if sight.in_space:
        rows = np.flatnonzero(cut)
        rows = rows[_holds_both(sight, small[rows], large[rows])]
        cut[rows] = ~_touch(sight, small[rows], sight.partner(large[rows], small[rows]))
    return (beside > 0) & ~cut


def _coverings(sight: Sight, facts: ViewFacts, small: NDArray[np.int64], large: NDArray[np.int64]) -> Pairs:
    """Pairs of a sliver and what covers it, from views that come near and the larger ones that they come near to.

    What `_sure_witnesses` says is not known here yet.
    """
    usable = _unconfirmed(sight, facts, small, large)
    small, large = small[usable], large[usable]
    partner = sight.partner(large, small)
    proper = 2 * facts.pixels[small] < facts.pixels[large]
    proper |= (partner < 0) & (2 * sight.pixels(large, small) > facts.pixels[large])
    moving = proper & ~(sight.is_still(large, small) & sight.in_space)
    tolerance = np.where(moving[:, None], np.array(near_by(sight.lattice)), 0)
    is_cover = sight.near(small, large, tolerance) > SLIVER_COVER * facts.pixels[small]
    small, large, partner = small[is_cover], large[is_cover], partner[is_cover]
    rivals = _apart(sight, facts, small, large, sight.beside(small, partner))
    if not sight.in_space:
        rivals &= ~sight.views.cut[small]
    small, large = small[~rivals], large[~rivals]
    none = np.zeros(len(small))
    return Pairs(np.minimum(small, large), np.maximum(small, large), none, none.astype(np.int64))


def _unconfirmed(
    sight: Sight, facts: ViewFacts, small: NDArray[np.int64], large: NDArray[np.int64]
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
