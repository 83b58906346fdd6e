"""The lattice: where a model's windows lie, and which part of the image each of them owns.

    window 0   |<-------- window -------->|
    window 1                     |<-------- window -------->|
                                 |overlap |
    cell 0     |<------------------->|
    cell 1                           |<----------------- … to the image's edge where it is the last

Laws: the lattice is anchored at pixel (0, 0, 0) and depends on nothing but window, overlap and extent; windows are
never shifted inward; cells partition the image; a pixel lies at least overlap // 2 away from every internal border of
the window whose cell it is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx


@dataclass(frozen=True, slots=True)
class Lattice:
    """Windows of `window` pixels with `overlap` pixels in common over an image of `extent` pixels, all (z, y, x)."""

    window: Zyx
    overlap: Zyx
    extent: Zyx

    def __post_init__(self) -> None:
        if any(o < 0 or 2 * o > w for o, w in zip(self.overlap, self.window, strict=True)):
            raise ValueError(f"overlap must lie between 0 and half the window, got {self.overlap} for {self.window}")

    @property
    def stride(self) -> Zyx:
        """Distance between window origins."""
        return zyx([w - o for w, o in zip(self.window, self.overlap, strict=True)])

    @property
    def shape(self) -> Zyx:
        """Number of windows in each axis: enough to cover the far edge, and none that another one covers wholly."""
        return zyx(
            [
                1 if extent <= window else -(-(extent - window) // stride) + 1
                for extent, window, stride in zip(self.extent, self.window, self.stride, strict=True)
            ]
        )

    def window_box(self, index: Zyx) -> Box:
        """The window's region; may reach past the image, where it is padded."""
        start = zyx([i * s for i, s in zip(index, self.stride, strict=True)])
        return Box(start, zyx([a + w for a, w in zip(start, self.window, strict=True)]))

    def real_box(self, index: Zyx) -> Box:
        """The part of the window that lies on the image."""
        box = self.window_box(index) & Box.of_shape(self.extent)
        assert box is not None, "every window starts on the image"
        return box

    def cell_edges(self, axis: int) -> NDArray[np.int64]:
        """The n + 1 borders of the cells along an axis, from 0 to the extent."""
        edges = np.arange(self.shape[axis] + 1, dtype=np.int64) * self.stride[axis] + self.overlap[axis] // 2
        edges[0], edges[-1] = 0, self.extent[axis]
        return edges

    def cell_box(self, index: Zyx) -> Box:
        """The cell that the window owns."""
        edges = [self.cell_edge(axis, i) for axis, i in enumerate(index)]
        stops = [self.cell_edge(axis, i + 1) for axis, i in enumerate(index)]
        return Box(zyx(edges), zyx(stops))

    def cell_edge(self, axis: int, index: int) -> int:
        """Border `index` of `cell_edges`, without the others."""
        if index == 0:
            return 0
        if index == self.shape[axis]:
            return self.extent[axis]
        return index * self.stride[axis] + self.overlap[axis] // 2

    def cells_of(self, axis: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the cell of each pixel position along an axis."""
        index = (positions - self.overlap[axis] // 2) // self.stride[axis]
        return np.clip(index, 0, self.shape[axis] - 1)

    def cells_of_boxes(self, boxes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Flat indices of the cells in which the lowest and the highest pixel of each box lie. boxes: (n, 6)."""
        low = [self.cells_of(axis, boxes[:, axis]) for axis in range(3)]
        high = [self.cells_of(axis, boxes[:, axis + 3] - 1) for axis in range(3)]
        return np.ravel_multi_index(low, self.shape), np.ravel_multi_index(high, self.shape)

    def internal_borders(self, index: Zyx) -> tuple[tuple[bool, bool], ...]:
        """For each axis, whether the window's near and far borders lie inside the image: objects may be cut there."""
        return tuple((i > 0, i < n - 1) for i, n in zip(index, self.shape, strict=True))

    def flat(self, index: Zyx) -> int:
        """Position of a window in lattice order (z, then y, then x)."""
        _, ny, nx = self.shape
        z, y, x = index
        return (z * ny + y) * nx + x

    def indices_of(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 3) the inverse of `flat`, for many windows."""
        return np.stack(np.unravel_index(windows, self.shape), axis=1).astype(np.int64)

    def window_boxes(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 6) `window_box` of flat indices: z0, y0, x0, z1, y1, x1."""
        start = self.indices_of(windows) * np.array(self.stride)
        return np.hstack((start, start + np.array(self.window)))

    def cell_boxes(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 6) `cell_box` of flat indices: z0, y0, x0, z1, y1, x1."""
        index = self.indices_of(windows)
        edges = [self.cell_edges(axis) for axis in range(3)]
        sides = [edges[axis][index[:, axis] + far] for far in (0, 1) for axis in range(3)]
        return np.stack(sides, axis=1)

    def internal_sides(self, windows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n, 6) `internal_borders` of flat indices: which sides of a window, in the order of a box, are cut."""
        index = self.indices_of(windows)
        return np.hstack((index > 0, index < np.array(self.shape) - 1))

    def indices(self, start: Zyx, stop: Zyx) -> Iterator[Zyx]:
        """Window indices of a half-open range, in lattice order."""
        for index in product(*(range(a, b) for a, b in zip(start, stop, strict=True))):
            yield zyx(index)
