"""The model's grid: the source's own, or one over the same extent where the model was made for other pixels.

Windows, masks and the merge live on the model's grid. Measurements are made on the source's own (native) grid: native
pixel X belongs to the model pixel that its centre falls in, floor((X + 0.5) / scale). Every native pixel belongs to
exactly one model pixel, so cells partition the native grid too. The model's grid may be finer along an axis, most often
across the slices of a volume: then some of its pixels have no native one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from segworkers.runs import RunTable

_Edge = TypeVar("_Edge", int, NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class ModelGrid:
    """Extent of the model's grid over a native extent; both (z, y, x)."""

    native: Zyx
    shape: Zyx

    def __post_init__(self) -> None:
        if min(*self.shape, *self.native) < 1:
            raise ValueError(f"a grid needs at least one pixel in each axis, got {self.shape} over {self.native}")

    @property
    def is_native(self) -> bool:
        """Whether the two grids are one."""
        return self.native == self.shape

    def native_edges(self, axis: int, edges: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) model pixel borders along an axis (0 z, 1 y, 2 x) as native pixel borders, within 0..native extent."""
        return np.clip(_first_native(edges, self.native[axis], self.shape[axis]), 0, self.native[axis])

    def _native_corner(self, corner: Zyx) -> Zyx:
        """The same for one border of each axis: plain integers, since every cell of a source is asked for."""
        sides = zip(corner, self.native, self.shape, strict=True)
        return zyx([min(max(_first_native(edge, native, model), 0), native) for edge, native, model in sides])

    def has_native(self, box: Box) -> bool:
        """Whether the centre of a native pixel lies in a box of model pixels: always, but on a finer grid."""
        start, stop = self._native_corner(box.start), self._native_corner(box.stop)
        return all(near < far for near, far in zip(start, stop, strict=True))

    def native_box(self, box: Box) -> Box:
        """The native pixels of a box of model pixels. Raises ValueError where a finer grid's box has none."""
        return Box(self._native_corner(box.start), self._native_corner(box.stop))

    def to_native(self, masks: RunTable) -> RunTable:
        """The masks on the native grid; canonical."""
        if self.is_native:
            return masks
        runs = masks.runs.astype(np.int64)
        x0, x1 = self.native_edges(2, runs[:, 1]), self.native_edges(2, runs[:, 1] + 1)
        z0, z1 = self.native_edges(0, runs[:, 0]), self.native_edges(0, runs[:, 0] + 1)
        times = (x1 - x0) * (z1 - z0)
        row = np.repeat(np.arange(len(runs)), times)
        step = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
        width = (x1 - x0)[row]
        wide = np.empty((len(row), 4), np.int32)
        wide[:, 0] = z0[row] + step // width
        wide[:, 1] = x0[row] + step % width
        wide[:, 2] = self.native_edges(1, runs[:, 2])[row]
        wide[:, 3] = self.native_edges(1, runs[:, 3])[row]
        some = wide[:, 2] < wide[:, 3]
        return RunTable(wide[some], masks.owner[row[some]]).canonical()


def _first_native(edge: _Edge, native: int, model: int) -> _Edge:
    """First X with floor((X + 1/2) · model / native) >= edge, in integers: X = ceil(edge · native / model − 1/2)."""
    return -((model - 2 * edge * native) // (2 * model))
