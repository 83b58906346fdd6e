"""The lattice: where a model's windows lie, and which part of the image each of them owns.

    window 0   |<-------- window -------->|
    window 1                     |<-------- window -------->|
                                 |overlap |
    cell 0     |<------------------->|
    cell 1                           |<----------------- … to the image's edge where it is the last

Laws: cells partition the image; a pixel lies at least overlap // 2 away from every internal border of the window whose
cell it is in. The lattice is anchored at pixel (0, 0, 0), depends on nothing but window, overlap and extent, and no
window is shifted inward. Only where a first stage tells a region are windows laid around that, and see no more than it
(`segworkers.window_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from segworkers.window_rows import WindowRow, window_row


@dataclass(frozen=True, slots=True)
class Lattice:
    """Windows of `window` pixels with `overlap` pixels in common over an image of `extent` pixels, all (z, y, x)."""

    window: Zyx
    overlap: Zyx
    extent: Zyx
    region: Box | None = None
    """What the windows are laid around, within the image; None: the image from its first pixel on."""
    mirrored: tuple[bool, bool, bool] = (False, False, False)
    """For each axis, whether windows are laid from the region's far end: where the model sees the axis backwards."""

    def __post_init__(self) -> None:
        if any(o < 0 or 2 * o > w for o, w in zip(self.overlap, self.window, strict=True)):
            raise ValueError(f"overlap must lie between 0 and half the window, got {self.overlap} for {self.window}")
        if self.region is not None and self.region not in Box.of_shape(self.extent):
            raise ValueError(f"the region {self.region} must lie within the image of shape {self.extent}")

    def row(self, axis: int) -> WindowRow:
        """The windows along one axis."""
        region = None if self.region is None else (self.region.start[axis], self.region.stop[axis])
        return window_row(self.window[axis], self.overlap[axis], self.extent[axis], region, self.mirrored[axis])

    @property
    def stride(self) -> Zyx:
        """Distance between window origins."""
        return zyx([w - o for w, o in zip(self.window, self.overlap, strict=True)])

    @property
    def step(self) -> Zyx:
        """How far a pixel reaches to its neighbours, corners included: not along z where windows are planes."""
        return zyx([int(w > 1) for w in self.window])

    @property
    def shape(self) -> Zyx:
        """Number of windows in each axis: enough to cover the far edge, and none that another one covers wholly."""
        return (self.row(0).count, self.row(1).count, self.row(2).count)

    @property
    def visible(self) -> Box:
        """What windows may see: the region, or the whole image."""
        return self.region or Box.of_shape(self.extent)

    def sees(self, index: Zyx) -> bool:
        """Whether the window itself, without context, meets what windows may see; if not, no model is asked."""
        return self.region is None or self.window_box(index) & self.region is not None

    def window_box(self, index: Zyx) -> Box:
        """The window's region; may reach past the image, where it is padded."""
        start = zyx([self.row(axis).start(i) for axis, i in enumerate(index)])
        return Box(start, zyx([a + w for a, w in zip(start, self.window, strict=True)]))

    def real_box(self, index: Zyx) -> Box:
        """The part of the window that lies on the image."""
        box = self.window_box(index) & Box.of_shape(self.extent)
        assert box is not None, "every window meets the image"
        return box

    def cell_edges(self, axis: int) -> NDArray[np.int64]:
        """The n + 1 borders of the cells along an axis, from 0 to the extent."""
        return self.row(axis).edges()

    def cell_box(self, index: Zyx) -> Box:
        """The cell that the window owns."""
        start = zyx([self.row(axis).edge(i) for axis, i in enumerate(index)])
        return Box(start, zyx([self.row(axis).edge(i + 1) for axis, i in enumerate(index)]))

    def cells_of(self, axis: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the cell of each pixel position along an axis."""
        return self.row(axis).cells_at(positions)

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
        index = self.indices_of(windows)
        start = np.stack([self.row(axis).starts(index[:, axis]) for axis in range(3)], axis=1)
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
