"""Where the seams are: how far a pixel lies from the strips that windows share, where objects may be cut or doubled.

A merge that adds no error leaves the density of objects flat over that distance. The *seam profile* of a source counts
valid pixels and objects by it, in bins that double in width away from the strips' borders. Distances are whole pixels
of the model's grid and have a sign:

    window 0  ----------------------------------|
    window 1              |-----------------------------------
    seen by   one         | two                 | one
    distance  ... 3 2 1 0 | -1 -2 -3 ... -2 -1  | 0 1 2 3 ...

A pixel has the least of its distances along the axes: it is negative wherever two or more windows see it. Without an
overlap the strip has no width, and both sides of a border are 0. The sign matters because an error lies on one side:
objects are counted twice in a whole strip, and lost around its middle, where every window is near its own border. What
is counted are pixels of the source's own grid, so profiles add up to the `images` table.

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
"""What is compared with the rest reaches so far from the strip's middle, at least; the strip itself where it is wider.
"""

NEAR_SHARE = 32
"""It reaches at least one such part of a window: objects that are cut lie about half their size from the border."""

FAR_SHARE = 0.1
"""What is left to compare with is at least this share of the pixels, or else no more than the strips is near."""

SINGLE_SHARE = 0.01
"""Where one window alone sees less than this share of the pixels, the strips' middle is compared with their rest."""

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
    """(extent,) pixels between a pixel and the nearest border of any window inside the image: d, or -1 - d in a strip
    that two windows share."""
    at_edge: NDArray[np.bool_]
    """(extent,) whether the pixel lies in a margin."""

    @property
    def inner(self) -> NDArray[np.int64]:
        """(k,) distances outside the margins."""
        return self.distance[~self.at_edge]


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
        """Lower ends of the bins … -4, -2, -1, 0, 1, 2, 4 … that the lattice allows; the first is the strips' middle.

        Empty without a whole period.
        """
        return _bins(self)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which there is at least one whole period: distances are taken along these."""
        return tuple(each.axis for each in _axes(self))

    @property
    def reach(self) -> int:
        """The largest distance outside the margins: -1 where windows overlap by half, 0 without a whole period."""
        return min((int(each.inner.max()) for each in _axes(self)), default=0)

    @property
    def near(self) -> int:
        """How many of the bins are compared with the others: where seams would show."""
        return _near(self)

    @property
    def has_single(self) -> bool:
        """Whether enough pixels are seen by one window alone: only beside them a doubling of the rest would show."""
        return not self.axes or _share_beyond(self, 0) >= SINGLE_SHARE

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
        for start, stop, level, size in zip(cell.start, cell.stop, _levels(self), _sizes(self.grid), strict=True):
            levels.append(level[start:stop])
            sizes.append(size[start:stop])
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
    if frame.lattice.region is not None:  # a few windows around an organ: no period that could be compared
        return ()
    found = (_axis(frame.lattice, axis) for axis in range(3) if frame.lattice.shape[axis] > 1)
    return tuple(each for each in found if each.periods > 0)


@lru_cache(64)
def _bins(frame: SeamFrame) -> tuple[int, ...]:
    if not _axes(frame):
        return ()
    depth = max(0, *(-int(each.inner.min()) for each in _axes(frame)))
    inside = [max(-depth, -(2**k)) for k in reversed(range((depth - 1).bit_length() + 1))] if depth else []
    outside = [2**k >> 1 for k in range(frame.reach.bit_length() + 1)] if frame.reach >= 0 else []
    return (*inside, *outside)


@lru_cache(64)
def _near(frame: SeamFrame) -> int:
    if not _axes(frame):
        return 0
    bins, lattice = frame.bins, frame.lattice
    if not frame.has_single:
        return min(range(1, len(bins)), key=lambda k: abs(_share_beyond(frame, bins[k]) - 0.5), default=len(bins))
    wanted = max(max(NEAR_PX, lattice.window[a] / NEAR_SHARE) - lattice.overlap[a] / 2 for a in frame.axes)
    allowed = [
        k for k, low in enumerate(bins) if k and (low == 0 or (low > 0 and _share_beyond(frame, low) >= FAR_SHARE))
    ]
    return next((k for k in allowed if bins[k] >= wanted), max(allowed, default=len(bins)))


def _share_beyond(frame: SeamFrame, distance: int) -> float:
    """Share of the pixels outside the margins that have at least this distance."""
    return float(np.prod([(each.inner >= distance).mean() for each in _axes(frame)]))


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
    strip = pixel // stride  # that begins with window `strip`, if such a window there is
    is_shared = (strip > 0) & (strip < lattice.shape[axis]) & (pixel - strip * stride < lattice.overlap[axis])
    distance = np.minimum(below, above)
    return _Axis(axis, first, periods, np.where(is_shared, -1 - distance, distance), at_edge)


@lru_cache(64)
def _levels(frame: SeamFrame) -> tuple[NDArray[np.int64], ...]:
    """For z, y and x: the bin of each position as far as this axis is concerned; a pixel has the least of three."""
    bins = np.array(frame.bins, np.int64)
    levels = [np.full(extent, len(bins), np.int64) for extent in frame.lattice.extent]
    for each in _axes(frame):
        level = np.searchsorted(bins, np.minimum(each.distance, frame.reach), "right") - 1
        levels[each.axis] = np.where(each.at_edge, IN_MARGIN, level).astype(np.int64)
    return tuple(levels)


@lru_cache(8)
def _sizes(grid: ModelGrid) -> tuple[NDArray[np.int64], ...]:
    """For z, y and x, (extent,) each: native pixels that a position of the model's grid stands for."""
    return tuple(np.diff(grid.native_edges(axis, np.arange(grid.shape[axis] + 1))) for axis in range(3))


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
