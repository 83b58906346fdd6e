"""Windows along one axis: where each of them starts, and where the cell that it owns begins.

Without a region the windows begin at pixel 0 and none is shifted. With one they are laid around it:

    region of 7 pixels              |o o o o o o o|
    cells of windows of 2   · ·|· · |o o|o o|o|o o|· · |· ·
    the same, mirrored      · ·|· · |o o|o|o o|o o|· · |· ·

Windows in the region lie as pyliverlesionseg (KU Leuven, Apache-2.0; `DeepVoxNet.predict`) lays them: side by side from
the region's first pixel, the last one shifted inward to end with the region; where it overlaps the one before it, its
answer counts. A region smaller than a window lies in the middle of one. Windows that overlap by themselves begin at the
region's border and are neither shifted nor centred. Beyond the region windows go on to both ends of the image, so that
cells cover all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
"""First pixel and the one after the last."""


@dataclass(frozen=True, slots=True)
class WindowRow:
    """Windows of `window` pixels every `stride` pixels; those from `turn` on lie `jump` pixels nearer to the first."""

    window: int
    stride: int
    extent: int
    """Pixels of the image."""
    first: int
    """Start of window 0; may lie before the image."""
    count: int
    turn: int
    jump: int
    edge_turn: int
    """The first border between cells that lies `jump` pixels nearer."""
    offset: int
    """Pixels from a window's start to the border between its cell and the one before."""

    def starts(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """First pixel of each window."""
        return self.first + index * self.stride - self.jump * (index >= self.turn)

    def start(self, index: int) -> int:
        """First pixel of one window."""
        return self.first + index * self.stride - self.jump * (index >= self.turn)

    def edge(self, index: int) -> int:
        """Border between the cells of windows index - 1 and index; the image's ends for 0 and `count`."""
        if index == 0:
            return 0
        if index == self.count:
            return self.extent
        return self.first + index * self.stride - self.jump * (index >= self.edge_turn) + self.offset

    def edges(self) -> NDArray[np.int64]:
        """The count + 1 borders of the cells, from 0 to the extent."""
        index = np.arange(self.count + 1, dtype=np.int64)
        edges = self.first + index * self.stride - self.jump * (index >= self.edge_turn) + self.offset
        edges[0], edges[-1] = 0, self.extent
        return edges

    def cells_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the cell of each pixel."""
        return self._last_at(positions - self.offset, self.edge_turn)

    def windows_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the last window that starts at or before each pixel."""
        return self._last_at(positions, self.turn)

    def _last_at(self, positions: NDArray[Any], turn: int) -> NDArray[np.int64]:
        along = positions - self.first
        if self.jump:
            along = along + self.jump * (along >= turn * self.stride - self.jump)
        return np.clip(along // self.stride, 0, self.count - 1)


@lru_cache(4096)
def window_row(window: int, overlap: int, extent: int, region: Span | None, mirrored: bool) -> WindowRow:
    """The windows along an axis.

    region: pixels that the windows are laid around; None: all, from 0. mirrored: lay them from the region's far end.
    """
    if region is None:
        return _regular(window, overlap, extent, 0)
    if not mirrored:
        return _around(window, overlap, extent, region)
    row = _around(window, overlap, extent, (extent - region[1], extent - region[0]))
    first = extent - row.start(row.count - 1) - window
    turn = row.count - row.turn if row.jump else row.count
    return replace(row, first=first, turn=turn, edge_turn=turn + 1)


def most_windows(window: int, overlap: int, extent: int) -> int:
    """The most windows along an axis that meet a region, wherever in the image it lies and however large it is."""
    if not overlap:
        return -(-extent // window)
    return _regular(window, overlap, extent, overlap + 1 - window).count


def _regular(window: int, overlap: int, extent: int, first: int) -> WindowRow:
    """Windows from `first` on: enough to cover the far edge, and none that another one covers wholly."""
    stride = window - overlap
    count = max(1, -(-(extent - first - window) // stride) + 1)
    return WindowRow(window, stride, extent, first, count, count, 0, count, overlap // 2)


def _around(window: int, overlap: int, extent: int, region: Span) -> WindowRow:
    low, high = region
    side, stride = high - low, window - overlap
    if overlap:
        return _regular(window, overlap, extent, low - -(-low // stride) * stride)
    if side <= window:
        low += side // 2 - window // 2
    before = max(0, -(-low // stride))
    first = low - before * stride
    if side <= window:
        return _regular(window, overlap, extent, first)
    inside, after = -(-side // window), -(-(extent - high) // window)
    count, jump = before + inside + after, inside * window - side
    turn = before + inside - 1 if jump else count
    return WindowRow(window, stride, extent, first, count, turn, jump, turn, 0)
