"""Drawing worlds: objects painted one by one on empty pixels, then cut into connected objects with gap-free ids."""

# cc3d publishes no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, cos, floor, hypot, sin
from typing import cast

import cc3d
import numpy as np
from numpy.typing import NDArray

from benchmarks.seams.cases import World

Floats = NDArray[np.float64]
Inside = Callable[[Floats, Floats], NDArray[np.bool_]]
"""Local coordinates (u, v) to whether a shape covers them."""
Rect = tuple[float, float, float, float]
"""u_start, u_stop, v_start, v_stop; half-open, so that rectangles of one frame that share a side tile exactly."""

SMALLEST = 6
"""Pieces of fewer pixels are not objects: what is left of one at the image's edge or behind another."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Local coordinates (u, v) of a shape in a plane: turned by `angle` (radians) about (y, x)."""

    y: float
    x: float
    angle: float

    def local(self, y: Floats, x: Floats) -> tuple[Floats, Floats]:
        """(u, v) of image positions."""
        c, s = cos(self.angle), sin(self.angle)
        return c * (x - self.x) + s * (y - self.y), c * (y - self.y) - s * (x - self.x)

    def place(self, u: float, v: float) -> tuple[float, float]:
        """Image position (y, x) of local coordinates."""
        c, s = cos(self.angle), sin(self.angle)
        return self.y + s * u + c * v, self.x + c * u - s * v


class Canvas:
    """An image (z, y, x) being painted. What is painted first stays: later objects get only the pixels still free."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.ids = np.zeros(shape, np.int32)
        self._label = [0]

    def new(self, label: int) -> int:
        """The id of a new object of class `label`."""
        self._label.append(label)
        return len(self._label) - 1

    def shape(self, frame: Frame, reach: Rect, inside: Inside, label: int, room: float = 1.0) -> bool:
        """Paint a shape on a plane image where `inside` holds, unless less than `room` of it is free.

        `reach` bounds it in the frame. Returns whether anything was painted.
        """
        corners = [frame.place(u, v) for u in reach[:2] for v in reach[2:]]
        _, height, width = self.ids.shape
        y0, y1 = max(floor(min(y for y, _ in corners)), 0), min(ceil(max(y for y, _ in corners)) + 1, height)
        x0, x1 = max(floor(min(x for _, x in corners)), 0), min(ceil(max(x for _, x in corners)) + 1, width)
        if y0 >= y1 or x0 >= x1:
            return False
        mask = inside(*frame.local(np.arange(y0, y1, dtype=float)[:, None], np.arange(x0, x1, dtype=float)[None]))
        under = self.ids[0, y0:y1, x0:x1]
        free = mask & (under == 0)
        painted = int(free.sum())
        if painted == 0 or painted < room * int(mask.sum()):
            return False
        under[free] = self.new(label)
        return True

    def rects(self, frame: Frame, rects: Sequence[Rect], label: int, room: float = 1.0) -> bool:
        """Paint a union of rectangles; see `shape`."""
        reach = (min(r[0] for r in rects), max(r[1] for r in rects), min(r[2] for r in rects), max(r[3] for r in rects))

        def inside(u: Floats, v: Floats) -> NDArray[np.bool_]:
            covered = [(u >= a) & (u < b) & (v >= c) & (v < d) for a, b, c, d in rects]
            return cast("NDArray[np.bool_]", np.logical_or.reduce(covered))

        return self.shape(frame, reach, inside, label, room)

    def tube(self, path: Floats, radius: float, identity: int) -> None:
        """Paint balls of `radius` px along a path, (n, 3) positions at most 1 px apart, as object `identity`."""
        r = floor(radius)
        axes = [np.arange(-min(r, n - 1), min(r, n - 1) + 1) for n in self.ids.shape]
        ball = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        ball = ball[(ball**2).sum(1) <= radius**2]
        points = np.rint(path).astype(np.int64)
        points = points[np.r_[True, (points[1:] != points[:-1]).any(1)]]
        where = (points[:, None] + ball).reshape(-1, 3)
        where = where[((where >= 0) & (where < self.ids.shape)).all(1)]
        flat = where @ np.array([self.ids[0].size, self.ids.shape[2], 1])
        pixels = self.ids.reshape(-1)
        pixels[flat[pixels[flat] == 0]] = identity

    def finish(self, name: str, smallest: int = SMALLEST) -> World:
        """The world: every 8-connected (26-connected) piece of what was painted is an object, small ones dropped."""
        pieces = cc3d.connected_components(self.ids, connectivity=26, out_dtype=np.uint32)
        size = np.bincount(pieces.reshape(-1))
        keep = size >= smallest
        keep[0] = False
        painted = np.zeros(len(size), np.int32)
        painted[pieces] = self.ids
        new = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
        label = np.array(self._label, np.int64)[painted[keep]]
        return World(name, new[pieces], np.r_[np.int64(0), label])


def circles(
    rng: np.random.Generator, side: int, radius: tuple[float, float], cover: float
) -> list[tuple[float, float, float]]:
    """Random (y, x, radius) that do not meet, radii log-uniform, centres in the image, until they cover `cover` of it.

    The large ones come first: they would find no room later. Gives up after as many tries as would fill the image
    several times over.
    """
    lo, hi = radius[0], min(radius[1], side / 2)
    draws = max(8, ceil(6 * cover * side**2 / (np.pi * lo * hi)))
    radii = np.sort(np.exp(rng.uniform(np.log(min(lo, hi)), np.log(hi), draws)))[::-1]
    found: list[tuple[float, float, float]] = []
    for r in _enough(radii, cover * side**2):
        for _ in range(20):
            y, x = rng.uniform(0, side, 2)
            if all(hypot(y - b, x - a) > r + q for b, a, q in found):
                found.append((float(y), float(x), float(r)))
                break
    return found


def _enough(radii: Floats, area: float) -> Floats:
    """Every k-th radius, so that their circles cover about `area`."""
    count = max(1, round(area / float(np.mean(np.pi * radii**2))))
    return radii[np.linspace(0, len(radii) - 1, min(count, len(radii))).round().astype(int)]
