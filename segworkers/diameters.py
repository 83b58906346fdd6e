"""Diameters of masks in patient space: the longest within one slice, the extent across it, and the longest in 3-D.

All are distances between voxel **centres**: nearer the truth than distances between voxel corners, which are about one
voxel longer (a disc of 20 mm in pixels of 0.7 mm measures 19.9 mm between centres and 20.6 to 21.3 mm between corners).

Which of several diameters of equal length is the long axis, decides the short axis: of those the one with the longest
short axis, then the first in order of z, x, y. Lengths closer than a share of 1e-9 are equal, so that rounding, and so
the patient's position in the scanner, does not choose.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# numba is untyped.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.volumes import VolumeGeometry
from segworkers.slice_hulls import SliceParts, mapped

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

_TIE = 1e-9
"""Lengths closer than this share count as equal."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Axes:
    """Long and short axis of m masks; see `slice_axes`."""

    long_mm: _Floats
    """(m,) NaN where no slice holds two voxels of the mask."""
    short_mm: _Floats
    """(m,) NaN there too, and where all voxels of the slice lie on one line: its width is less than a voxel, not 0."""
    slice: _Ints
    """(m,) z of the slice that both are in; -1 where there is none."""
    long_ends: _Floats
    """(m, 2, 3) voxel indices (z, y, x) of the two voxels that are farthest apart; NaN where there are none."""
    short_ends: _Floats
    """(m, 2, 3) voxel indices (z, y, x), fractions allowed, of a line across the long axis that is `short_mm` long and
    lies midway between the two voxels that bound the mask on either side; NaN where there is none."""


def slice_axes(parts: SliceParts, geometry: VolumeGeometry) -> Axes:
    """Longest diameter within one slice, and the largest extent of the mask perpendicular to it in the same slice.

    What RECIST 1.1 (Eisenhauer et al. 2009) measures by hand in the plane of the acquisition, found automatically: not
    a reader's measurement. Extent is the distance between the two lines along the long axis that enclose the mask.
    """
    plane, _ = _planes(geometry)
    points = mapped(parts.vertices, plane)
    found, long_pairs, lines = _slice_axes(parts.ends, parts.vertex_ends, points)
    part = found[:, 2].astype(np.int64)
    known = part >= 0
    z = np.where(known, parts.z[part], -1)
    long_ends, short_ends = np.full((2, len(z), 2, 3), np.nan)
    long_ends[known, :, 0] = short_ends[known, :, 0] = z[known, None]
    long_ends[known, :, 1:] = parts.vertices[long_pairs[known]]
    short_ends[known, :, 1:] = mapped(lines[known], np.linalg.inv(plane))
    short = np.where(found[:, 1] > 0, found[:, 1], np.nan)
    short_ends[np.isnan(short)] = np.nan
    return Axes(
        long_mm=np.where(known, found[:, 0], np.nan),
        short_mm=short,
        slice=z,
        long_ends=long_ends,
        short_ends=short_ends,
    )


def max_diameters_mm(parts: SliceParts, geometry: VolumeGeometry) -> _Floats:
    """(m,) largest distance between two voxel centres; NaN for a mask of one voxel.

    Exact: all pairs of hull vertices, of those pairs of slices that could hold a longer one than was found already.
    """
    plane, places = _planes(geometry)
    owner = np.repeat(np.arange(len(parts.z)), np.diff(parts.vertex_ends))
    points = mapped(parts.vertices, plane) + places[parts.z[owner], :2]
    squared = _max_diameters(parts.ends, parts.vertex_ends, points, places[parts.z, 2])
    return np.where(squared > 0, np.sqrt(squared), np.nan)


def _planes(geometry: VolumeGeometry) -> tuple[_Floats, _Floats]:
    """Millimetres in a frame that lies in the slices' plane.

    Returns the steps of one row and of one column (2, 2), and where each slice's voxel (y, x) = (0, 0) lies (z, 3): in
    the plane, and along its normal.
    """
    normal = geometry.normal
    first = np.array(geometry.column_step) / np.linalg.norm(geometry.column_step)
    axes = np.stack([first, np.cross(normal, first)], axis=1)
    steps = mapped(np.array([geometry.row_step, geometry.column_step]), axes)
    origins = geometry.origins()
    places = mapped(origins - origins[0], np.column_stack([axes, normal]))
    return steps, places


@njit(nogil=True, cache=True)
def _slice_axes(ends: _Ints, vertex_ends: _Ints, points: _Floats) -> tuple[_Floats, _Ints, _Floats]:
    """Long and short axis and the part they are in (m, 3), vertices of the long axis (m, 2), short line (m, 2, 2)."""
    masks = len(ends) - 1
    found = np.full((masks, 3), -1.0)
    pairs = np.full((masks, 2), -1)
    lines = np.zeros((masks, 2, 2))
    line = np.zeros((2, 2))
    for mask in range(masks):
        longest = 0.0
        for part in range(ends[mask], ends[mask + 1]):
            longest = max(longest, _longest(points[vertex_ends[part] : vertex_ends[part + 1]], longest))
        if longest == 0.0:
            continue
        for part in range(ends[mask], ends[mask + 1]):
            first, last = vertex_ends[part], vertex_ends[part + 1]
            for i in range(first, last):
                for j in range(i + 1, last):
                    du, dv = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
                    length = np.sqrt(du * du + dv * dv)
                    if length < longest * (1 - _TIE):
                        continue
                    width = _across(points[first:last], points[i], du / length, dv / length, line)
                    if found[mask, 2] < 0 or width > found[mask, 1] + longest * _TIE:
                        found[mask] = longest, width, float(part)
                        pairs[mask] = i, j
                        lines[mask] = line
    return found, pairs, lines


@njit(nogil=True, cache=True)
def _longest(points: _Floats, least: float) -> float:
    """Largest distance between two of the points; anything where it is below `least`."""
    u_low, v_low = u_high, v_high = points[0, 0], points[0, 1]
    for i in range(1, len(points)):
        u_low, u_high = min(u_low, points[i, 0]), max(u_high, points[i, 0])
        v_low, v_high = min(v_low, points[i, 1]), max(v_high, points[i, 1])
    best = 0.0
    if (u_high - u_low) ** 2 + (v_high - v_low) ** 2 < least * least:
        return best
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            best = max(best, (points[j, 0] - points[i, 0]) ** 2 + (points[j, 1] - points[i, 1]) ** 2)
    return np.sqrt(best)


@njit(nogil=True, cache=True)
def _across(points: _Floats, origin: _Floats, du: float, dv: float, line: _Floats) -> float:
    """Extent of the points across the unit vector; writes the ends of a line of that length, see `Axes.short_ends`."""
    low = high = 0.0
    scale = 0.0
    for i in range(len(points)):
        side = (points[i, 1] - origin[1]) * du - (points[i, 0] - origin[0]) * dv
        low, high = min(low, side), max(high, side)
        scale = max(scale, abs(points[i, 0] - origin[0]) + abs(points[i, 1] - origin[1]))
    width = high - low
    if width <= _TIE * scale:  # all on one line, up to rounding
        width = 0.0
    reach = np.array([[np.inf, -np.inf], [np.inf, -np.inf]])  # along the axis, of the points at either side
    for i in range(len(points)):
        u, v = points[i, 0] - origin[0], points[i, 1] - origin[1]
        side, along = v * du - u * dv, u * du + v * dv
        if side <= low + _TIE * scale:
            reach[0] = min(reach[0, 0], along), max(reach[0, 1], along)
        if side >= high - _TIE * scale:
            reach[1] = min(reach[1, 0], along), max(reach[1, 1], along)
    middle = reach.sum() / 4
    for end, side in ((0, low), (1, high)):
        line[end, 0] = origin[0] + middle * du - side * dv
        line[end, 1] = origin[1] + middle * dv + side * du
    return width


@njit(nogil=True, cache=True)
def _max_diameters(ends: _Ints, vertex_ends: _Ints, points: _Floats, heights: _Floats) -> _Floats:
    """Squared (m,). points: (v, 2) in the plane of their slice, all slices in one frame; heights: (s,) of slices."""
    squared = np.zeros(len(ends) - 1)
    circles = _circles(vertex_ends, points)
    for mask in range(len(squared)):
        first, last = ends[mask], ends[mask + 1]
        highest, from_part, to_part = -1.0, first, first
        for a in range(first, last):
            for b in range(a, last):
                bound = _bound(circles[a], circles[b], heights[a] - heights[b])
                if bound > highest:
                    highest, from_part, to_part = bound, a, b
        # The likeliest pair first: it rules out most of the others.
        best = _farthest(vertex_ends, points, circles, heights, from_part, to_part, 0.0)
        for a in range(first, last):
            for b in range(a, last):
                if _bound(circles[a], circles[b], heights[a] - heights[b]) > best:
                    best = _farthest(vertex_ends, points, circles, heights, a, b, best)
        squared[mask] = best
    return squared


@njit(nogil=True, cache=True)
def _circles(vertex_ends: _Ints, points: _Floats) -> _Floats:
    """(s, 3) middle and radius of a circle around each part's vertices."""
    circles = np.empty((len(vertex_ends) - 1, 3))
    for part in range(len(circles)):
        own = points[vertex_ends[part] : vertex_ends[part + 1]]
        u, v = (own[:, 0].min() + own[:, 0].max()) / 2, (own[:, 1].min() + own[:, 1].max()) / 2
        radius = 0.0
        for i in range(len(own)):
            radius = max(radius, np.sqrt((own[i, 0] - u) ** 2 + (own[i, 1] - v) ** 2))
        circles[part] = u, v, radius
    return circles


@njit(nogil=True, cache=True)
def _bound(a: _Floats, b: _Floats, height: float) -> float:
    """Squared distance that no two points of two circles exceed."""
    reach = np.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) + a[2] + b[2]
    return (reach * reach + height * height) * (1 + _TIE)


@njit(nogil=True, cache=True)
def _farthest(
    vertex_ends: _Ints, points: _Floats, circles: _Floats, heights: _Floats, a: int, b: int, best: float
) -> float:
    """The larger of `best` and the largest squared distance between points of parts a and b."""
    height = (heights[a] - heights[b]) ** 2
    for i in range(vertex_ends[a], vertex_ends[a + 1]):
        u, v = points[i, 0], points[i, 1]
        reach = np.sqrt((u - circles[b, 0]) ** 2 + (v - circles[b, 1]) ** 2) + circles[b, 2]
        if (reach * reach + height) * (1 + _TIE) <= best:
            continue
        for j in range(vertex_ends[b], vertex_ends[b + 1]):
            best = max(best, (u - points[j, 0]) ** 2 + (v - points[j, 1]) ** 2 + height)
    return best
