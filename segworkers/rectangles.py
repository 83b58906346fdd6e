"""Minimum-area rectangles of masks: how long, how wide, which way?

1. The convex hull of a mask's pixel edges, straight from its runs: only the topmost and the bottommost corner at each x
   can be on it (monotone chain on integers).
2. The hull's vertices may then be mapped by the caller, to metres east and north.
3. A smallest rectangle lies along an edge of the hull; each edge is tried against all vertices (hulls are short).
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# numba is untyped.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.masks import Runs

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

_TIE = 1e-9
"""Sizes closer than this share count as equal, so that rounding does not choose between them."""


def hulls(runs: Runs, offsets: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int32], _Ints]:
    """Vertices (v, 2) of (x, y) pixel corners of each mask's convex hull, and their offsets (m + 1).

    A mask over several slices has none.
    """
    return _hulls(runs, offsets.astype(np.int64))


def rectangles(vertices: NDArray[Any], offsets: _Ints) -> tuple[_Floats, _Floats, _Floats]:
    """Length, width (m,) and angle (m,) of the smallest rectangle around each ring of vertices (v, 2) of (x, y).

    length >= width, in the unit of the vertices. The angle is that of the long side, clockwise from +y, in degrees,
    0 <= angle < 180; of a square, the smaller of the two. NaN where a ring is empty or a vertex is not finite.
    """
    length, width, angle = _rectangles(np.ascontiguousarray(vertices, np.float64), offsets)
    return length, width, angle


@njit(nogil=True, cache=True)
def _hulls(runs: Runs, offsets: _Ints) -> tuple[NDArray[np.int32], _Ints]:
    """See `hulls`."""
    vertices = np.empty((4 * len(runs), 2), np.int32)
    ends = np.zeros(len(offsets), np.int64)
    longest = 0
    for mask in range(len(offsets) - 1):
        longest = max(longest, offsets[mask + 1] - offsets[mask])
    top = np.empty((2 * longest, 2), np.int32)
    bottom = np.empty((2 * longest, 2), np.int32)
    for mask in range(len(offsets) - 1):
        own = runs[offsets[mask] : offsets[mask + 1]]
        at = ends[mask]
        if len(own) and own[0, 0] == own[-1, 0]:
            corners = _silhouette(own, top, bottom)
            at += _chain(top[:corners], vertices[at:])
            at += _chain(bottom[:corners][::-1], vertices[at:])
        ends[mask + 1] = at
    return vertices[: ends[-1]].copy(), ends


@njit(nogil=True, cache=True)
def _silhouette(runs: Runs, top: NDArray[np.int32], bottom: NDArray[np.int32]) -> int:
    """Least and greatest y at each pixel-corner x of one mask, x rising; returns how many."""
    corners = 0
    for run in range(len(runs)):
        for side in range(2):
            x = runs[run, 1] + side
            at = corners
            while at > 0 and top[at - 1, 0] >= x:  # a column has several runs, and shares corners with the next
                at -= 1
            if at == corners:
                corners += 1
                top[at, 0] = bottom[at, 0] = x
                top[at, 1], bottom[at, 1] = runs[run, 2], runs[run, 3]
            else:
                top[at, 1] = min(top[at, 1], runs[run, 2])
                bottom[at, 1] = max(bottom[at, 1], runs[run, 3])
    return corners


@njit(nogil=True, cache=True)
def _chain(points: NDArray[np.int32], out: NDArray[np.int32]) -> int:
    """The points that turn towards one side only, written to `out`; returns how many."""
    kept = 0
    for point in range(len(points)):
        while kept >= 2:
            ax, ay = np.int64(out[kept - 1, 0] - out[kept - 2, 0]), np.int64(out[kept - 1, 1] - out[kept - 2, 1])
            bx, by = np.int64(points[point, 0] - out[kept - 2, 0]), np.int64(points[point, 1] - out[kept - 2, 1])
            if ax * by - ay * bx > 0:
                break
            kept -= 1
        out[kept, 0], out[kept, 1] = points[point, 0], points[point, 1]
        kept += 1
    return kept


@njit(nogil=True, cache=True)
def _rectangles(vertices: _Floats, offsets: _Ints) -> tuple[_Floats, _Floats, _Floats]:
    """See `rectangles`."""
    sizes = np.full((3, len(offsets) - 1), np.nan)
    for ring in range(len(offsets) - 1):
        hull = vertices[offsets[ring] : offsets[ring + 1]]
        best = np.inf
        for i in range(len(hull)):
            dx = hull[(i + 1) % len(hull), 0] - hull[i, 0]
            dy = hull[(i + 1) % len(hull), 1] - hull[i, 1]
            norm = np.hypot(dx, dy)
            if not norm > 0:
                continue
            along, across = _extent(hull, dx / norm, dy / norm)
            if along * across < best * (1 - _TIE):
                best = along * across
                sizes[0, ring], sizes[1, ring] = max(along, across), min(along, across)
                sizes[2, ring] = _long_angle(dx, dy, along, across)
    return sizes[0], sizes[1], sizes[2]


@njit(nogil=True, cache=True)
def _extent(hull: _Floats, ux: float, uy: float) -> tuple[float, float]:
    """Extent of the vertices along the unit vector and across it; NaN where a vertex is."""
    a_low = a_high = hull[0, 0] * ux + hull[0, 1] * uy
    c_low = c_high = hull[0, 1] * ux - hull[0, 0] * uy
    for i in range(1, len(hull)):
        a = hull[i, 0] * ux + hull[i, 1] * uy
        c = hull[i, 1] * ux - hull[i, 0] * uy
        if np.isnan(a):
            return np.nan, np.nan
        a_low, a_high = min(a_low, a), max(a_high, a)
        c_low, c_high = min(c_low, c), max(c_high, c)
    return a_high - a_low, c_high - c_low


@njit(nogil=True, cache=True)
def _long_angle(dx: float, dy: float, along: float, across: float) -> float:
    """Degrees clockwise from +y of the longer of two sides, the first of which runs along (dx, dy)."""
    side = np.degrees(np.arctan2(dx, dy)) % 180.0
    other = (side + 90.0) % 180.0
    side = 0.0 if 180.0 - side < 180.0 * _TIE else side
    other = 0.0 if 180.0 - other < 180.0 * _TIE else other
    if abs(along - across) <= _TIE * max(along, across):
        return min(side, other)
    return side if along > across else other
