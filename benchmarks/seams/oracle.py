"""The oracle linker: this project's views and assembly, but links are decided by true identity.

What is left of its error is the model's, and that of putting masks together, which is this project's here; what another
rule adds is that rule's own. A glued detection counts for the larger of its objects. It links the views of one true
object wherever two windows overlap in which both saw it and the object has pixels in the part that both windows saw.
`everywhere=True` joins all views of an object, even those with a window between them that saw nothing: no linker can
do that, since nothing in the image says so. Nor can any join views that end far from each other, which the oracle does
where the object passes through both windows: `benchmarks.seams.reach` counts those.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.seams.cases import Case, Outcome, World
from benchmarks.seams.ours import Said, masks_of
from schemas.boxes import Box
from segworkers.assembly import assemble
from segworkers.components import groups_of
from segworkers.encoding import views_of
from segworkers.lattice import Lattice
from segworkers.linking import Groups
from segworkers.views import Views


@dataclass(frozen=True, slots=True, eq=False)
class Identified:
    """The views of a case, and which true objects they are of."""

    views: Views
    truth: NDArray[np.int64]
    """(n,) ids of true objects."""
    lattice: Lattice
    world: World

    def pairs(self, *, everywhere: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Two views of one object each, and, but for `everywhere`, of windows that both saw a part of the object."""
        left, right = list[int](), list[int]()
        order = np.argsort(self.truth, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(self.truth[order])) + 1):
            boxes = [_real(self.lattice, int(self.views.window[row])) for row in rows]
            for a in range(len(rows)):
                for b in range(a):
                    strip = boxes[a] & boxes[b]
                    meets = strip is not None and _meets(self.world, int(self.truth[rows[a]]), strip)
                    if everywhere or meets:
                        left.append(int(rows[a]))
                        right.append(int(rows[b]))
        return np.array(left, np.int64), np.array(right, np.int64)


def identified(case: Case) -> Identified:
    """What a case's windows say, with true identities."""
    shape = case.world.truth.shape
    lattice = Lattice(case.window, case.overlap, shape)
    said = Said(case)
    answers = {index: said.answer(start) for index, start in case.starts()}
    views = views_of(answers, np.ones(shape, bool), (0, 0, 0), lattice)
    truth = np.array([d.truth for _, start in case.starts() for d in said.said(start)], np.int64)
    ends = np.cumsum([0, *map(len, case.windows.values())])
    first_of = {lattice.flat(index): int(end) for index, end in zip(case.windows, ends, strict=False)}
    first = np.array([first_of[window] for window in views.window.tolist()], np.int64)
    return Identified(views, truth[first + views.rank] if len(views) else truth, lattice, case.world)


def merge(case: Case, *, everywhere: bool = False) -> Outcome:
    """Whole objects by true identity."""
    began = time.perf_counter()
    known = identified(case)
    group = groups_of(len(known.views), *known.pairs(everywhere=everywhere))
    objects = assemble(known.views, Groups(group, np.full(int(group.max(initial=-1)) + 1, np.nan)), known.lattice)
    return Outcome(masks_of(objects), objects.label, time.perf_counter() - began)


def _meets(world: World, identity: int, box: Box) -> bool:
    return bool((world.truth[box.within((0, 0, 0))] == identity).any())


def _real(lattice: Lattice, window: int) -> Box:
    z, y, x = (int(i) for i in np.unravel_index(window, lattice.shape))
    return lattice.real_box((z, y, x))
