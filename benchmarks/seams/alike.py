"""What no rule can keep apart: true objects that all windows show as one.

A window that glues two neighbours says one mask of them. Where another window sees one of the two only, since a border
hides the other, everything that any window says is what a perfect model says of a single object there. A rule that is
exact with perfect models must join it. The oracle linker does not: it knows which true object a mask shows most of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks.seams import oracle, ours
from benchmarks.seams.cases import Case
from schemas.boxes import Box, Zyx
from segworkers.lattice import Lattice
from segworkers.linking import Groups
from segworkers.views import Views


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """A case after our merge, with true identities."""

    views: Views
    lattice: Lattice
    groups: Groups
    truth: NDArray[np.int64]
    """(n,) true object of each view."""

    @classmethod
    def of(cls, case: Case) -> _Merged:
        known = oracle.identified(case)
        name = {
            (int(window), int(rank)): int(truth)
            for window, rank, truth in zip(known.views.window, known.views.rank, known.truth, strict=True)
        }
        views, groups = ours.grouped(known.views, known.lattice)
        truth = np.array([name[int(w), int(r)] for w, r in zip(views.window, views.rank, strict=True)], np.int64)
        return cls(views, known.lattice, groups, truth)

    def fused(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], int]]:
        """Views (rows) that are one object, their true objects, and how many of these are lost by it."""
        pairs = np.unique(np.stack((self.groups.group, self.truth)), axis=1)
        for group in np.flatnonzero(np.bincount(pairs[0, pairs[0] >= 0]) > 1).tolist():
            rows = np.flatnonzero(self.groups.group == group)
            together = np.unique(self.truth[rows])
            elsewhere = np.unique(self.truth[(self.groups.group != group) & np.isin(self.truth, together)])
            lost = len(together) - 1 - len(elsewhere)
            if lost > 0:
                yield rows, together, lost

    def is_one_view_a_window(self, together: NDArray[np.int64]) -> bool:
        """Whether no window says several masks of some true objects."""
        windows = self.views.window[np.isin(self.truth, together)]
        return len(np.unique(windows)) == len(windows)


def alike_objects(case: Case, steady: Case | None = None) -> int:
    """By how many our merge finds fewer objects than the oracle because several look like one in all windows.

    That is: the views that were joined say the same pixels wherever two windows overlap, one view of each window, and
    windows beside them that say nothing overlap none of these pixels. A perfect model says just this of a world with
    that one object there.

    steady: what the same model says where outlines do not move and masks do not stop short (`Noise.steady`). Such
    noise falls on one object as it falls on several. So what looks like one in `steady`, and is one view of each window
    in `case` too, cannot be told from one there, though no two windows say the same pixels. Counted is what is lost in
    both.
    """
    merged = _Merged.of(steady or case)
    alike = [
        (together, lost)
        for rows, together, lost in merged.fused()
        if merged.is_one_view_a_window(together) and _looks_like_one(merged.views, rows, merged.lattice)
    ]
    return sum(lost for _, lost in alike) if steady is None else _lost_as_well(_Merged.of(case), alike)


def _lost_as_well(merged: _Merged, alike: Sequence[tuple[NDArray[np.int64], int]]) -> int:
    """Of true objects that are lost by being one, so many as are lost by the same in another case."""
    found = 0
    for _, together, lost in merged.fused():
        if merged.is_one_view_a_window(together):
            both = ((int(np.isin(before, together).sum()) - 1, most) for before, most in alike)
            found += min(lost, sum(max(0, min(common, most)) for common, most in both))
    return found


def _looks_like_one(views: Views, rows: NDArray[np.int64], lattice: Lattice) -> bool:
    shown = {index: _painted(views, rows, index, lattice) for index in _around(views, rows, lattice)}
    for (_, (here, a)), (_, (there, b)) in product(shown.items(), repeat=2):
        strip = a & b
        if strip is not None and (here[strip.within(a.start)] != there[strip.within(b.start)]).any():
            return False
    return True


def _around(views: Views, rows: NDArray[np.int64], lattice: Lattice) -> set[Zyx]:
    """The windows of the views, and those that overlap them."""
    around: set[Zyx] = set()
    for z, y, x in lattice.indices_of(np.unique(views.window[rows])).tolist():
        for dz, dy, dx in product((-1, 0, 1), repeat=3):
            index = (z + dz, y + dy, x + dx)
            if all(0 <= i < n for i, n in zip(index, lattice.shape, strict=True)):
                around.add(index)
    return around


def _painted(views: Views, rows: NDArray[np.int64], index: Zyx, lattice: Lattice) -> tuple[NDArray[np.bool_], Box]:
    """(z, y, x) what a window says of the views together, and where the window lies."""
    box = lattice.real_box(index)
    said = np.zeros(box.shape, np.bool_)
    z0, y0, x0 = box.start
    offsets, runs = views.extents.offsets, views.masks.runs
    for view in rows[views.window[rows] == lattice.flat(index)]:
        for z, x, top, bottom in runs[offsets[view] : offsets[view + 1]].tolist():
            said[z - z0, top - y0 : bottom - y0, x - x0] = True
    return said, box
