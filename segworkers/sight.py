"""What two windows saw of each other's views: links between them, pixels in the strip that both saw, what comes near.

Every answer about a pair depends on the views of its two windows only.
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
from segworkers.overlaps import near_pixels
from segworkers.runs import pixels_in_boxes
from segworkers.views import TRUST_BAND, Pairs, Views, inner_boxes, meet, near_by

STILL = 0.95
"""Two windows that agree on a view to this IoU in the strip see outlines in the same place: no tolerance is needed.

Among windows without outline noise the overlap of a link is 1; with outlines that move by a pixel few reach 0.95.
"""


class Sight:
    """Views of one lattice, and the links between them that are known so far."""

    def __init__(self, views: Views, lattice: Lattice, linked: Pairs) -> None:
        self.views, self.lattice = views, lattice
        rows, self._begins = rows_by(np.concatenate((linked.i, linked.j)), len(views))
        # The last entry, which is number -1, is of views without a link.
        self._partners = np.append(np.concatenate((linked.j, linked.i))[rows], -1)
        self._overlaps = np.append(np.tile(linked.overlap, 2)[rows], 0.0)

    @property
    def in_space(self) -> bool:
        """Whether windows have more than one plane."""
        return self.lattice.window[0] > 1

    def partner(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,) whom view[k] is linked to in the window of other[k]; -1 where it has no link there."""
        return self._partners[self._link(view, other)]

    def is_still(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(k,) whether view[k] and whom it is linked to in the window of other[k] agree on where the outlines are."""
        return self._overlaps[self._link(view, other)] >= STILL

    def _link(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        return _link(self._begins, self._partners, self.views.window, view, other)

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

    def facing_pixels(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,) pixels of view[k] that both windows saw and that other[k] could come near, as far as it reaches.

        Along the axes in which the windows lie apart, that is within the tolerance of the box of other[k].
        """
        window, reach = self.views.window, np.array(near_by(self.lattice))
        strip = meet(self.lattice.window_boxes(window[view]), self.lattice.window_boxes(window[other]))
        grown = meet(self.views.extents.boxes[other] + np.hstack((-reach, reach)), strip)
        apart = self.lattice.indices_of(window[view]) != self.lattice.indices_of(window[other])
        boxes = np.where(np.tile(apart, 2), grown, strip)
        return pixels_in_boxes(self.views.masks, self.views.extents, view, boxes)

    def lies_inside(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(k,) whether other[k] holds every pixel of view[k] that lies in its window."""
        return self.near(view, other, np.zeros((len(view), 3), np.int64)) == self.pixels(view, other)

    def near(self, view: NDArray[np.int64], other: NDArray[np.int64], reach: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,) pixels of view[k] within reach[k] (z, y, x) of other[k]."""
        return near_pixels(self.views.masks, self.views.extents, view, other, reach)

    def beside(self, view: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,) pixels of view[k] that lie next to other[k], or nearly so; 0 where other[k] is -1."""
        beside = np.zeros(len(view), np.int64)
        there = np.flatnonzero(other >= 0)
        reach = np.maximum(near_by(self.lattice), np.array(self.lattice.window) > 1)
        beside[there] = self.near(view[there], other[there], np.tile(reach, (len(there), 1)))
        return beside


@numba.njit(cache=True, nogil=True)
def _link(begins: Any, partners: Any, window: Any, view: Any, other: Any) -> Any:  # pragma: no cover - compiled
    """Number of the link of view[k] to the window of other[k]; -1 where there is none."""
    found = np.full(len(view), -1, np.int64)
    for k in range(len(view)):
        for link in range(begins[view[k]], begins[view[k] + 1]):
            if window[partners[link]] == window[other[k]]:
                found[k] = link
    return found
