"""Which views are one object: links between views, then groups of linked views.

`links` works on pairs of overlapping windows and looks at nothing else, so it can run anywhere, in any order.
`group_views` works on whole connected sets of views and decides what cannot be decided pair by pair:

1. between two windows views are linked one to one, the best match first;
2. linked views are one object, over any number of windows (union-find);
3. a set in which two views of one window met, or would by links of a view that another window saw as two, is taken
   apart again: its links are followed from the strongest to the weakest, and one that would bring two views of a window
   together is refused. A chain cannot glue neighbours. Links of a view that was seen as two objects come last, so it
   joins one of these and not both; nor does it join to anything else what some window shows whole. Each of the two,
   where they are exactly that view, is held: it keeps the place of the view's window for it, and is together with no
   other view of that window. Only parts of what another window saw whole, and no window as two
   (`segworkers.slivers`), may be together; and, in a plane, views that do not touch, in a set in which all windows
   agree to the last pixel: they are parts of an object that goes on elsewhere (`segworkers.exact_pairs`);
4. views that lie in other windows' cells for the most part, and that larger views of other windows cover, are slivers
   of those and go, where nothing else was linked to them (`segworkers.slivers`).

All choices follow a total order of overlap, pixels and (window, rank): no ties, no arrival order.
"""

# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segworkers.components import groups_of
from segworkers.views import Pairs

MIN_OVERLAP = 0.02
"""Below this IoU two views are not the same thing, even if they are each other's best.

So low because matching is one to one: what is left for a weak pair has no better partner. Where masks stop short of the
windows' borders, two halves of an object meet in a pixel's width. Weak links can be listed (`segworkers verify
--doubtful`); 0.02, 0.05, 0.1 and 0.2 were compared with benchmarks/seams.
"""


LINK, PART, COVER, APART, INSIDE, PROVEN, HELD, EXACT, SAME, TOUCH = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
"""What two views may be to each other.

LINK, the same object. PART, one a part of the other. COVER, one a sliver of the other. APART, one of two that its
window saw side by side where the other says one. In space: INSIDE, a link of which one holds all pixels of the other
where both windows saw it; PROVEN, apart beyond doubt: both of the two lie in the other to the last pixel, and touch, as
parts of one object cannot; HELD, one of those whose sum is all that its window saw of the other. In a plane: EXACT, a
link of the same pixels where both windows saw them; SAME, parts of one object, of which both windows saw the same
pixels, if in different masks; TOUCH, cut views of one window that touch (`segworkers.exact_pairs`).
"""


@dataclass(frozen=True, eq=False)
class ViewFacts:
    """What grouping needs to know about n views; no masks."""

    window: NDArray[np.int64]
    rank: NDArray[np.int64]
    pixels: NDArray[np.int64]
    marginal: NDArray[np.bool_]
    cut: NDArray[np.bool_]

    @cached_property
    def key(self) -> NDArray[np.int64]:
        """(n,) position of each view in the order of (window, rank): the last tie-break of everything."""
        key = np.empty(len(self.window), np.int64)
        key[np.lexsort((self.rank, self.window))] = np.arange(len(self.window))
        return key

    def by_size(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The smaller and the larger view of each pair; of equals the one with the later key is the smaller."""
        key = self.key
        swap = (self.pixels[i] > self.pixels[j]) | ((self.pixels[i] == self.pixels[j]) & (key[i] < key[j]))
        return np.where(swap, j, i), np.where(swap, i, j)


def links(pairs: Pairs, facts: ViewFacts) -> NDArray[np.bool_]:
    """(k,) which pairs are links: one-to-one between each two windows, the strongest first, at least `MIN_OVERLAP`.

    Greedy matching in the total order of overlap, pixels and keys; what it says of two windows depends on their pairs
    only.
    """
    strong = np.flatnonzero(pairs.overlap >= MIN_OVERLAP)
    i, j = pairs.i[strong], pairs.j[strong]
    low, high = np.minimum(facts.key[i], facts.key[j]), np.maximum(facts.key[i], facts.key[j])
    order = _strongest_first(pairs.overlap[strong], pairs.shared[strong], low, high)
    chosen = np.zeros(len(pairs), bool)
    chosen[strong[_greedy(order, i, j, facts.window)]] = True
    return chosen


def _strongest_first(
    overlap: NDArray[np.float64], shared: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Order by falling overlap, then falling common pixels, then keys; compares the rest where overlaps are equal."""
    order = np.argsort(-overlap)
    equal = np.diff(overlap[order]) == 0
    tied = np.flatnonzero(np.r_[False, equal] | np.r_[equal, False])
    rows = order[tied]
    order[tied] = rows[np.lexsort((high[rows], low[rows], -shared[rows], -overlap[rows]))]
    return order


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The outcome of `group_views` for n views."""

    group: NDArray[np.int64]
    """(n,) object of each view, numbered without gaps; -1 for slivers that go."""
    min_overlap: NDArray[np.float64]
    """(groups,) smallest overlap among an object's links; NaN where it has none."""

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.min_overlap)


def group_views(facts: ViewFacts, pairs: Pairs, kind: NDArray[np.int8]) -> Groups:
    """Steps 2 to 4. kind: (k,) of each pair, as `slivers.relations` gives them."""
    n = len(facts.window)
    glued, proven = np.zeros(n, bool), np.zeros(n, bool)
    proven[pairs.j[kind == PROVEN]] = True
    glued[pairs.j[(kind == APART) | (kind == PROVEN)]] = True
    is_part = (kind == PART) & ~proven[pairs.j]  # of what covers two objects anything may be a part
    same = kind == SAME
    is_linked = np.isin(kind, (LINK, INSIDE, EXACT, SAME)) | is_part
    linked, linked_kind = pairs.take(is_linked), kind[is_linked]
    # Parts have a seat of their own: two of one window may be together where one of them is a part.
    seat = facts.window.copy()
    parts = np.unique(np.concatenate((pairs.i[is_part], pairs.i[same], pairs.j[same])))
    seat[parts] = int(seat.max(initial=0)) + 1 + np.arange(len(parts))
    held = kind == HELD
    seats = _Seats(seat, pairs.i[held], pairs.j[held])
    touch = pairs.take(kind == TOUCH)
    linked = linked.take(_without_conflicts(facts, linked, linked_kind, seats, glued, touch))
    group = groups_of(n, linked.i, linked.j)
    group = _without_slivers(facts, group, pairs.take(kind == COVER))
    present = np.zeros(int(group.max(initial=-1)) + 1, bool)
    present[group[group >= 0]] = True
    group[group >= 0] = (np.cumsum(present) - 1)[group[group >= 0]]
    weakest = np.full(np.count_nonzero(present), np.inf)
    alive = group[linked.i] >= 0
    np.minimum.at(weakest, group[linked.i][alive], linked.overlap[alive])
    weakest[np.isinf(weakest)] = np.nan
    return Groups(group, weakest)


@numba.njit(cache=True, nogil=True)
def _greedy(order: Any, i: Any, j: Any, window: Any) -> Any:  # pragma: no cover - compiled
    """Which pairs, one after the other in the given order, find both views free for each other's window."""
    chosen = np.zeros(len(i), np.bool_)
    # Links of each view as a chain: number 2 k is i[k]'s link to j[k], 2 k + 1 the other way.
    newest, older = np.full(len(window), -1, np.int64), np.empty(2 * len(i), np.int64)
    ends = (i, j)
    for k in order:
        free = True
        for side in range(2):
            link = newest[ends[side][k]]
            while link >= 0:
                free &= window[ends[1 - link % 2][link // 2]] != window[ends[1 - side][k]]
                link = older[link]
        if free:
            chosen[k] = True
            for side in range(2):
                older[2 * k + side] = newest[ends[side][k]]
                newest[ends[side][k]] = 2 * k + side
    return chosen


@dataclass(frozen=True, slots=True, eq=False)
class _Seats:
    """What a set of views may hold once: a view for each seat. Some views keep another one's seat for it.

    A part, which has a seat of its own, is kept from nobody.
    """

    seat: NDArray[np.int64]
    """(n,) windows, but for parts, which have one of their own."""
    held: NDArray[np.int64]
    """(k,) views that keep a seat, each one at most in each window,"""
    holder: NDArray[np.int64]
    """(k,) and for whom."""

    def shared(self, group: NDArray[np.int64]) -> NDArray[np.int64]:
        """Groups in which two would have one seat. group: (n,) of each view."""
        owner = np.concatenate((np.arange(len(self.seat)), self.held))
        taken = np.concatenate((np.arange(len(self.seat)), self.holder))
        place = group[owner] * (int(self.seat.max(initial=0)) + 1) + self.seat[taken]
        order = np.argsort(place)
        twice = (np.diff(place[order]) == 0) & (np.diff(taken[order]) != 0)
        return group[owner[order[1:][twice]]]


def _unsure(group: NDArray[np.int64], inexact: Pairs, glued: NDArray[np.bool_], touch: Pairs) -> NDArray[np.bool_]:
    """(n,) sets in which not all is beyond doubt: a link is inexact, a view was seen as two, or two views touch.

    In the others two views of one window are parts of an object that goes on elsewhere: no outline moved on the way
    from one to the other. group: (n,) set of each view, whose number is that of a set, too. inexact: such links.
    """
    unsure = np.zeros(len(group), bool)
    unsure[group[inexact.i]] = True
    unsure[group[glued]] = True
    unsure[group[touch.i[group[touch.i] == group[touch.j]]]] = True
    return unsure


def _without_conflicts(
    facts: ViewFacts,
    linked: Pairs,
    kind: NDArray[np.int8],
    seats: _Seats,
    glued: NDArray[np.bool_],
    touch: Pairs,
) -> NDArray[np.bool_]:
    """Which links stay (step 3); all of those sets in which no seat is taken twice and no link may bridge.

    kind: (k,) of each link. glued: (n,) views that were seen as two. touch: pairs of kind TOUCH.
    """
    keep = np.ones(len(linked), bool)
    n = len(glued)
    group = groups_of(n, linked.i, linked.j)
    may_bridge = (kind == INSIDE) & (glued[linked.i] | glued[linked.j])
    doubtful = np.zeros(n, bool)
    doubtful[group[linked.i[may_bridge]]] = True
    doubtful[seats.shared(group)] = True
    doubtful &= _unsure(group, linked.take(~np.isin(kind, (EXACT, SAME))), glued, touch)
    rows = np.flatnonzero(doubtful[group[linked.i]])
    if not len(rows):
        return keep
    key = facts.key
    low = np.minimum(key[linked.i], key[linked.j])[rows]
    high = np.maximum(key[linked.i], key[linked.j])[rows]
    order = rows[_strongest_first(linked.overlap[rows], linked.shared[rows], low, high)]
    order = order[np.argsort(glued[linked.i[order]] | glued[linked.j[order]], kind="stable")]
    sets = _Sets(seats, ~facts.cut & ~glued)
    for link in order:
        i, j = int(linked.i[link]), int(linked.j[link])
        bridges = may_bridge[link] and ((glued[i] and sets.is_bridge(i, j)) or (glued[j] and sets.is_bridge(j, i)))
        keep[link] = not bridges and sets.join(i, j)
    return keep


class _Sets:
    """Sets of views that grow link by link, in which each seat is taken once."""

    def __init__(self, seats: _Seats, whole: NDArray[np.bool_]) -> None:
        """whole: (n,) views that show all of their object."""
        self._seat, self._is_whole = seats.seat, whole
        self._kept: dict[int, dict[int, int]] = {}
        for view, holder in zip(seats.held.tolist(), seats.holder.tolist(), strict=True):
            self._kept.setdefault(view, {})[int(seats.seat[holder])] = holder
        self._leader: dict[int, int] = {}
        self._taken: dict[int, dict[int, int]] = {}
        """Who has which seat in the set of a leader."""
        self._size: dict[int, int] = {}
        self._whole: dict[int, bool] = {}

    def _find(self, view: int) -> int:
        leader = self._leader
        if view not in leader:
            leader[view] = view
            self._taken[view] = {int(self._seat[view]): view, **self._kept.get(view, {})}
            self._size[view], self._whole[view] = 1, bool(self._is_whole[view])
        while leader[view] != view:
            leader[view] = leader[leader[view]]
            view = leader[view]
        return view

    def is_bridge(self, glued: int, other: int) -> bool:
        """Whether a link would have a glued view bring together a whole object and anything else."""
        mine = self._find(glued)
        if mine == self._find(other):
            return False
        return self._whole[mine] or (bool(self._is_whole[other]) and self._size[mine] > 1)

    def join(self, i: int, j: int) -> bool:
        """Make one set of those of two views unless a seat would be taken twice; whether they are together now."""
        a, b = self._find(i), self._find(j)
        if a == b:
            return True
        if len(self._taken[a]) < len(self._taken[b]):
            a, b = b, a
        if any(self._taken[a].get(seat, view) != view for seat, view in self._taken[b].items()):
            return False
        self._leader[b] = a
        self._taken[a] |= self._taken.pop(b)
        self._size[a] += self._size.pop(b)
        self._whole[a] |= self._whole.pop(b)
        return True


def _without_slivers(facts: ViewFacts, group: NDArray[np.int64], covering: Pairs) -> NDArray[np.int64]:
    """Groups with -1 for the views that step 4 drops: sets of which every view is marginal and covered from outside."""
    small, large = facts.by_size(covering.i, covering.j)
    outside = group[small] != group[large]
    small, large = small[outside], large[outside]
    covered = np.zeros(len(group), bool)
    covered[small] = True
    sliver = np.ones(int(group.max(initial=-1)) + 1, bool)
    sliver[group[~(covered & facts.marginal)]] = False
    rows = np.flatnonzero(sliver[group[small]])
    pixels, first = np.zeros(len(sliver), np.int64), np.full(len(sliver), len(group))
    np.maximum.at(pixels, group, facts.pixels)
    np.minimum.at(first, group, facts.key)
    # From the largest down: whether the larger one stays is known before the smaller one asks.
    rows = rows[np.lexsort((first[group[small[rows]]], -pixels[group[small[rows]]]))]
    return _dropped(group, np.bincount(group, minlength=len(sliver)), small[rows], large[rows])


@numba.njit(cache=True, nogil=True)
def _dropped(group: Any, size: Any, small: Any, large: Any) -> Any:  # pragma: no cover - compiled
    """Groups with -1 for sets of which each view is covered by one that stays; pairs come set by set."""
    result = group.copy()
    counted = np.zeros(len(group), np.bool_)
    start = 0
    while start < len(small):
        own, covered, stop = group[small[start]], 0, start
        while stop < len(small) and group[small[stop]] == own:
            if result[large[stop]] >= 0 and not counted[small[stop]]:
                counted[small[stop]] = True
                covered += 1
            stop += 1
        if covered == size[own]:
            for k in range(start, stop):
                result[small[k]] = -1
        start = stop
    return result
