"""Gaussian blending of overlapping windows: averaged class probabilities that depend neither on tiles nor on batches.

A pixel that several windows show gets the class whose sum of weight * probability is largest, the lowest of several.
The weight falls from a window's middle to its borders, where models are least sure: the importance map of nnU-Net
(Isensee et al. 2021, Nature Methods 18, "sliding window", Gaussian importance weighting) in the closed form of MONAI's
`sliding_window_inference(mode="gaussian", sigma_scale=0.125)`, without MONAI's floor of 0.001, which would make windows
equal near the corners of their cells.

Sums in floating point depend on their order. Here every pixel's windows are added in lattice order (z, then y, then x)
in float32, in whatever order they arrive: a window waits until all earlier ones that overlap it are in. Sums exist for
one cell at a time, from the first to the last window that meets it: about two rows of cells (2-D) or two planes (3-D).
"""

# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx, zyx
from segworkers.lattice import Lattice

SIGMA = 0.125
"""Standard deviation of the weights as a fraction of the window, in each axis."""

CellMap = tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.float32]]
"""Classes (0 = background) and the winners' mean probabilities of a cell, both (z, y, x) of the cell's shape."""


@lru_cache(4)
def importance_map(window: Zyx) -> NDArray[np.float32]:
    """(z, y, x) weight of each pixel of a window; read-only; largest 1, nowhere 0 (e^-8 an axis at the borders).

    Each axis is rounded to float32 before they are multiplied, so that machines agree on every bit.
    """
    z, y, x = (_profile(size) for size in window)
    weights = z[:, None, None] * y[:, None] * x
    weights.setflags(write=False)
    return weights


def _profile(size: int) -> NDArray[np.float32]:
    distance = np.arange(size) - (size - 1) / 2
    weight = np.exp(-0.5 * (distance / (SIGMA * size)) ** 2)
    return (weight / weight.max()).astype(np.float32)


class Blender:
    """Makes the maps of a range of cells out of the windows that meet them.

    A window that has nothing to say (it failed, or has no valid pixel) counts for nothing in the cells of others, whose
    weights are normalised by the windows that are left; its own cell gets no map.
    """

    def __init__(self, lattice: Lattice, start: Zyx, stop: Zyx, channels: int) -> None:
        """start, stop: the cells to make, half-open lattice indices; channels: classes and background."""
        self._lattice = lattice
        self._start, self._stop = start, stop
        self._channels = channels
        self._weights = importance_map(lattice.window)
        # A window reaches overlap - overlap // 2 pixels into the cells after its own, overlap // 2 into those before.
        self._later = zyx([int(o > 0) for o in lattice.overlap])
        self._earlier = zyx([int(o > 1) for o in lattice.overlap])
        self._missing = {
            cell: sum(1 for _ in self._around(cell, self._later, self._earlier))
            for cell in lattice.indices(start, stop)
        }
        """Windows that each cell still waits for."""
        self._outstanding = {w for cell in self._missing for w in self._around(cell, self._later, self._earlier)}
        self._waiting: dict[Zyx, NDArray[np.float32] | None] = {}
        self._silent: set[Zyx] = set()
        self._sums: dict[Zyx, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    @property
    def complete(self) -> bool:
        """Whether every window that meets a cell of the range has been added."""
        return not self._missing

    def add(self, index: Zyx, probabilities: NDArray[np.floating[Any]] | None) -> dict[Zyx, CellMap]:
        """Take what a window says, and give the cells that are complete now, each of them once.

        probabilities: (channels, z, y, x) of the whole window, None where it has nothing to say. Windows that meet no
        cell of the range, and repetitions, change nothing.
        """
        if index not in self._outstanding or index in self._waiting:
            return {}
        self._waiting[index] = None if probabilities is None else np.ascontiguousarray(probabilities, np.float32)
        complete: dict[Zyx, CellMap] = {}
        turn = [index]
        while turn:
            window = turn.pop()
            if window in self._waiting and not any(w in self._outstanding for w in self._neighbours(window, -1)):
                self._outstanding.discard(window)
                complete |= self._blend(window, self._waiting.pop(window))
                turn.extend(self._neighbours(window, 1))
        held = self._waiting.get(index)
        if held is not None:  # a copy, so that the rest of the batch can go
            self._waiting[index] = held.copy()
        return complete

    def _blend(self, window: Zyx, probabilities: NDArray[np.float32] | None) -> dict[Zyx, CellMap]:
        """Add a window whose turn it is to the cells that it meets."""
        if probabilities is None:
            self._silent.add(window)
            self._sums.pop(window, None)
        complete: dict[Zyx, CellMap] = {}
        for cell in self._around(window, self._earlier, self._later):
            if cell not in self._missing:
                continue
            if probabilities is not None and cell not in self._silent:
                self._sum(window, probabilities, cell)
            self._missing[cell] -= 1
            if not self._missing[cell]:
                del self._missing[cell]
                if cell in self._sums:
                    complete[cell] = _winners(*self._sums.pop(cell))
        return complete

    def _sum(self, window: Zyx, probabilities: NDArray[np.float32], cell: Zyx) -> None:
        cell_box, window_box = self._lattice.cell_box(cell), self._lattice.window_box(window)
        both = cell_box & window_box
        assert both is not None, "only windows that meet the cell are asked for"
        if cell not in self._sums:
            shape = cell_box.shape
            self._sums[cell] = (np.zeros((self._channels, *shape), np.float32), np.zeros(shape, np.float32))
        sums, total = self._sums[cell]
        place, inside = both.shift([-a for a in cell_box.start]), both.shift([-a for a in window_box.start])
        _add(sums, total, probabilities, self._weights, place.start, inside.start, both.shape)

    def _around(self, index: Zyx, before: Zyx, after: Zyx) -> Iterator[Zyx]:
        """Lattice indices from `before` before `index` to `after` after it, in lattice order."""
        first = zyx([max(i - b, 0) for i, b in zip(index, before, strict=True)])
        stop = zyx([min(i + a + 1, n) for i, a, n in zip(index, after, self._lattice.shape, strict=True)])
        return self._lattice.indices(first, stop)

    def _neighbours(self, index: Zyx, side: int) -> Iterator[Zyx]:
        """Windows that overlap this one and come before it (-1) or after it (1) in lattice order."""
        for offset in product(*((-1, 0, 1) if o else (0,) for o in self._lattice.overlap)):
            if (offset > (0, 0, 0)) - (offset < (0, 0, 0)) == side:
                yield zyx([i + d for i, d in zip(index, offset, strict=True)])


def _winners(sums: NDArray[np.float32], total: NDArray[np.float32]) -> CellMap:
    classes = np.empty(total.shape, np.min_scalar_type(len(sums) - 1))
    probability = np.empty(total.shape, np.float32)
    _take_largest(sums, total, classes, probability)
    return classes, probability


# Without fastmath the compiler neither reorders nor fuses: each product and each sum is rounded to float32.
@numba.njit(cache=True, nogil=True)
def _add(
    sums: Any, total: Any, probabilities: Any, weights: Any, place: Any, inside: Any, shape: Any
) -> None:  # pragma: no cover - compiled
    """Add weight * probability to a cell's sums (channels, z, y, x) and the weights to their total (z, y, x).

    place, inside: where the common part of `shape` (z, y, x) starts in the cell and in the window.
    """
    (z0, y0, x0), (wz, wy, wx) = place, inside
    for z in range(shape[0]):
        for y in range(shape[1]):
            for x in range(shape[2]):
                total[z0 + z, y0 + y, x0 + x] += weights[wz + z, wy + y, wx + x]
            for k in range(len(sums)):
                for x in range(shape[2]):
                    weight = weights[wz + z, wy + y, wx + x]
                    sums[k, z0 + z, y0 + y, x0 + x] += weight * probabilities[k, wz + z, wy + y, wx + x]


@numba.njit(cache=True, nogil=True)
def _take_largest(sums: Any, total: Any, classes: Any, probability: Any) -> None:  # pragma: no cover - compiled
    """The class of the largest sum, the lowest of several, and that sum over the sum of the weights, at most 1."""
    for z in range(total.shape[0]):
        for y in range(total.shape[1]):
            for x in range(total.shape[2]):
                best, winner = sums[0, z, y, x], 0
                for k in range(1, len(sums)):
                    if sums[k, z, y, x] > best:
                        best, winner = sums[k, z, y, x], k
                classes[z, y, x] = winner
                probability[z, y, x] = min(best / total[z, y, x], np.float32(1))
