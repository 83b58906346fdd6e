"""What no rule can keep apart: true objects that all windows show as one.

A window that glues two neighbours says one mask of them. Where another window sees one of the two only, since a border
hides the other, everything that any window says is what a perfect model says of a single object there. A rule that is
exact with perfect models must join it. The oracle linker does not: it knows which true object a mask shows most of.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks.seams import oracle, ours
from benchmarks.seams.cases import Case
from schemas.boxes import Box, Zyx
from segworkers.lattice import Lattice
from segworkers.views import Views


def alike_objects(case: Case) -> int:
    """By how many our merge finds fewer objects than the oracle because several look like one in all windows.

    That is: the views that were joined say the same pixels wherever two windows overlap, and windows beside them that
    say nothing overlap none of these pixels. A perfect model says just this of a world with that one object there.
    """
    known = oracle.identified(case)
    name = {
        (int(window), int(rank)): int(truth)
        for window, rank, truth in zip(known.views.window, known.views.rank, known.truth, strict=True)
    }
    views, groups = ours.grouped(known.views, known.lattice)
    truth = np.array([name[int(w), int(r)] for w, r in zip(views.window, views.rank, strict=True)], np.int64)
    found = 0
    for group in range(groups.count):
        rows = np.flatnonzero(groups.group == group)
        together = np.unique(truth[rows])
        elsewhere = np.unique(truth[(groups.group != group) & np.isin(truth, together)])
        gone = len(together) - 1 - len(elsewhere)
        if gone > 0 and _looks_like_one(views, rows, known.lattice):
            found += gone
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
