"""Where the seams are: how far a pixel lies from the borders at which windows may cut or double objects.

A merge that adds no error leaves the density of objects flat over that distance. The *seam profile* of a source counts
valid pixels and objects by distance, in bins that double in width. Distances are whole pixels of the model's grid, 0
next to a border; what is counted are pixels of the source's own grid, so profiles add up to the `images` table.

What is compared is whole periods of the lattice, each a strip that two windows share with half of what lies between it
and the next one: then a density that changes slowly over the image is no seam. The margins that are left over, where
the image's edge cuts objects and no other window disagrees, are counted apart. An axis without a whole period does not
count: nothing could be compared along it.
"""

# numba's decorators are not typed.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false, reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid

NEAR_PX = 8
"""Width of the zone along a border that is compared with the rest, at least; half the overlap where that is more."""

NEAR_SHARE = 32
"""The zone is at least one such part of a window: objects that are cut lie about half their size from the border."""

FAR_SHARE = 0.1
"""What is left to compare with is at least this share of the pixels: the zone is narrower where overlaps are wide."""

EDGE_SHARE = 8
"""The margins are at least one such part of a window, or the overlap where that is more: objects are cut in them."""

MAX_BLOCKS = (1, 256, 16, 6)
"""Blocks along an axis at most, by the number of axes that have seams: a few hundred blocks say enough of scatter."""

IN_MARGIN = -1
"""Instead of a bin: the position lies in a margin."""

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One axis that has seams."""

    axis: int
    first: int
    """Where the first period begins."""
    periods: int
    """Whole periods between the margins."""
    distance: NDArray[np.int64]
    """(extent,) pixels between a pixel and the nearest border of any window inside the image."""
    at_edge: NDArray[np.bool_]
    """(extent,) whether the pixel lies in a margin."""


@dataclass(frozen=True, slots=True)
class SeamFrame:
    """The seams of one source: arithmetic on its grid and lattice, so any two processes agree."""

    grid: ModelGrid
    lattice: Lattice

    @property
    def has_seams(self) -> bool:
        """Whether any window ends inside the image."""
        return max(self.lattice.shape) > 1

    @property
    def bins(self) -> tuple[int, ...]:
        """Lower ends of the distance bins 0, 1, 2, 4, 8 … that the lattice allows; empty without a whole period."""
        return tuple(2**k >> 1 for k in range(self.reach.bit_length() + 1)) if self.axes else ()

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which there is at least one whole period: distances are taken along these."""
        return tuple(each.axis for each in _axes(self))

    @property
    def reach(self) -> int:
        """The largest distance of any pixel outside the margins; 0 without a whole period."""
        return _reach(self)

    @property
    def near(self) -> int:
        """How many of the bins are compared with the others: where seams would show."""
        if not self.axes:
            return 0
        widths = (max(self.lattice.overlap[a] / 2, self.lattice.window[a] / NEAR_SHARE) for a in self.axes)
        wanted = max(NEAR_PX, *widths)
        far_enough = [k for k, low in enumerate(self.bins) if k and self._share_beyond(low) >= FAR_SHARE]
        return next((k for k in far_enough if self.bins[k] >= wanted), max(far_enough, default=1))

    def _share_beyond(self, distance: int) -> float:
        """Share of the pixels outside the margins that lie at least so far from every border."""
        share = 1.0
        for each in _axes(self):
            share *= float((each.distance[~each.at_edge] >= distance).mean())
        return share

    @property
    def size(self) -> int:
        """Entries of a profile: one for each bin, and the last for the margins."""
        return len(self.bins) + 1

    @property
    def blocks(self) -> Zyx:
        """Blocks of neighbouring periods along each axis, over which the scatter of the objects is taken."""
        blocks = [1, 1, 1]
        for each in _axes(self):
            blocks[each.axis] = max(1, -(-each.periods // self._periods_per_block(each)))
        return zyx(blocks)

    def _periods_per_block(self, each: _Axis) -> int:
        return max(1, -(-each.periods // MAX_BLOCKS[len(_axes(self))]))

    def count_pixels(self, cell: Box, valid: NDArray[np.bool_]) -> tuple[int, ...]:
        """The cell's valid pixels on the source's own grid, by bin, the margins last.

        cell: box on the model's grid; valid: (z, y, x) over it.
        """
        levels, sizes = list[_Ints](), list[_Ints]()
        for axis, level in enumerate(_levels(self)):
            start, stop = cell.start[axis], cell.stop[axis]
            levels.append(level[start:stop])
            sizes.append(np.diff(self.grid.native_edges(axis, np.arange(start, stop + 1))))
        counts = np.zeros(self.size, np.int64)
        _count(valid, *levels, *sizes, counts)  # pyright: ignore[reportCallIssue] (three of each)
        return tuple(counts.tolist())

    def bins_of(self, centroids: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) bin of the pixel that each (z, y, x) on the source's own grid lies in; the last is the margins."""
        position = self._model_pixels(centroids)
        levels = [level[position[:, axis]] for axis, level in enumerate(_levels(self))]
        lowest = np.minimum(np.minimum(levels[0], levels[1]), levels[2])
        return np.where(lowest == IN_MARGIN, len(self.bins), lowest)

    def blocks_of(self, centroids: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) flat index, in the shape of `blocks`, of the block of each (z, y, x); margins go to the nearest one."""
        position = self._model_pixels(centroids)
        shape = self.blocks
        index = np.zeros((3, len(position)), np.int64)
        for each in _axes(self):
            period = (position[:, each.axis] - each.first) // self.lattice.stride[each.axis]
            index[each.axis] = np.clip(period // self._periods_per_block(each), 0, shape[each.axis] - 1)
        return np.ravel_multi_index(tuple(index), shape).astype(np.int64)

    def _model_pixels(self, centroids: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n, 3) pixel of the model's grid under each native position."""
        native, model = np.array(self.grid.native), np.array(self.grid.shape)
        pixel = np.clip(np.floor(centroids).astype(np.int64), 0, native - 1)
        return (2 * pixel + 1) * model // (2 * native)


@lru_cache(64)
def _axes(frame: SeamFrame) -> tuple[_Axis, ...]:
    """The axes with a whole period; kept, because a large source asks for them with every cell."""
    found = (_axis(frame.lattice, axis) for axis in range(3) if frame.lattice.shape[axis] > 1)
    return tuple(each for each in found if each.periods > 0)


@lru_cache(64)
def _reach(frame: SeamFrame) -> int:
    return min((int(each.distance[~each.at_edge].max(initial=0)) for each in _axes(frame)), default=0)


def _axis(lattice: Lattice, axis: int) -> _Axis:
    stride, window, extent = lattice.stride[axis], lattice.window[axis], lattice.extent[axis]
    starts = np.arange(lattice.shape[axis], dtype=np.int64) * stride
    borders = np.unique(np.concatenate((starts[1:], starts[:-1] + window)))
    pixel = np.arange(extent, dtype=np.int64)
    after = np.searchsorted(borders, pixel, "right")
    far = np.iinfo(np.int64).max
    below = np.where(after > 0, pixel - borders[after - 1], far)
    above = np.where(after < len(borders), borders[np.minimum(after, len(borders) - 1)] - 1 - pixel, far)
    margin = max(lattice.overlap[axis], window // EDGE_SHARE)
    first = stride + lattice.overlap[axis] // 2 - stride // 2
    periods = max(0, min(lattice.shape[axis] - 1, (extent - margin - first) // stride))
    at_edge = (pixel < first) | (pixel >= first + periods * stride)
    return _Axis(axis, first, periods, np.minimum(below, above), at_edge)


@lru_cache(64)
def _levels(frame: SeamFrame) -> tuple[NDArray[np.int64], ...]:
    """For z, y and x: the bin of each position as far as this axis is concerned; a pixel has the least of three."""
    bins = np.array(frame.bins, np.int64)
    levels = [np.full(extent, len(bins), np.int64) for extent in frame.lattice.extent]
    for each in _axes(frame):
        level = np.searchsorted(bins, np.minimum(each.distance, frame.reach), "right") - 1
        levels[each.axis] = np.where(each.at_edge, IN_MARGIN, level).astype(np.int64)
    return tuple(levels)


@njit(nogil=True, cache=True)
def _count(
    valid: NDArray[np.bool_], z: _Ints, y: _Ints, x: _Ints, depth: _Ints, height: _Ints, width: _Ints, counts: _Ints
) -> None:
    """Add the native pixels under each valid model pixel to its bin; index -1, the last, is the margins."""
    for k in range(valid.shape[0]):
        for i in range(valid.shape[1]):
            row, area = min(z[k], y[i]), depth[k] * height[i]
            for j in range(valid.shape[2]):
                if valid[k, i, j]:
                    counts[min(row, x[j])] += area * width[j]
