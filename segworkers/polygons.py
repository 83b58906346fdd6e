"""Polygons of masks along pixel edges: which rings bound exactly these pixels?

1. Every run has two horizontal edges, its top (walked right) and its bottom (walked left): the inside lies on one side
   throughout. What a walker meets at an edge's end depends only on the runs next to it in two neighbouring columns, so
   each edge has one successor, found by moving along both columns together:

        T_i ─────▶ T_j          T_i ────┐           ┌──▶ T_j            straight on, or along x = const
        ▒▒▒▒▒▒▒▒▒▒▒▒▒▒          ▒▒▒▒▒▒▒▒│        ▒▒▒│▒▒▒▒▒               down to T_j or B_i, or up to T_j or B_(i-1)
                                ▒▒▒▒▒▒▒▒▼ B_i    T_i┘
   Where two pixels touch at a corner only, the walker stays with its own pixel: parts are 4-connected.
2. Following successors gives rings with vertices at corners only. A ring that comes back to such a pinched one is cut
   there into simple rings (a hole that touches its shell or another hole in a point), so no ring touches itself.
3. Runs that share an edge belong to one part; each part has one shell (area > 0) and its holes (area < 0).

Memory is that of runs and vertices, never of the box. Area equals the pixel count exactly, every result is valid. In
pixel coordinates (x, y), y down, shells have positive signed area and holes negative.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# numba and shapely are untyped.

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray

from schemas.masks import Runs

_Ints = NDArray[np.int64]


def polygons(runs: Runs, offsets: NDArray[np.integer[Any]]) -> NDArray[np.object_]:
    """Polygon or MultiPolygon (m,) of each mask in pixel corners (x, y); None where a mask is empty or spans slices.

    runs: canonical masks one after another; offsets: (m + 1).
    """
    masks = np.empty(len(offsets) - 1, object)
    z = runs[:, 0]
    filled = np.flatnonzero(np.diff(offsets) > 0)
    flat = filled[z[offsets[filled]] == z[offsets[filled + 1] - 1]]  # runs are sorted by z first
    keep = np.zeros(len(masks), np.bool_)
    keep[flat] = True
    mask_of_run = np.repeat(np.arange(len(masks)), np.diff(offsets))
    kept = keep[mask_of_run]
    runs, mask_of_run = np.ascontiguousarray(runs[kept]), mask_of_run[kept]
    if not len(runs):
        return masks
    part_of_run, successor, pinch = _link(runs, mask_of_run)
    xy, ring_ends, ring_run = _cut(*_walk(runs, successor, pinch), len(successor))
    parts, part = _assemble(xy, ring_ends, part_of_run[ring_run])
    mask_of_part = mask_of_run[part]
    counts = np.bincount(mask_of_part, minlength=len(masks))
    first = np.cumsum(counts) - counts
    single = np.flatnonzero(counts == 1)
    masks[single] = parts[first[single]]
    several = counts[mask_of_part] > 1
    if several.any():
        owners, owner = np.unique(mask_of_part[several], return_inverse=True)
        masks[owners] = shapely.multipolygons(parts[several], indices=owner)
    return masks


def _assemble(
    xy: NDArray[np.int32], ring_ends: _Ints, ring_part: NDArray[np.int32]
) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
    """Polygons of closed rings, and the part (the index of its first run) that each one is, in rising order."""
    area = _ring_areas(xy, ring_ends)
    order = np.lexsort((area < 0, ring_part))
    is_shell = area[order] > 0
    lengths = np.diff(ring_ends)[order]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.arange(int(starts[-1])) + np.repeat(ring_ends[:-1][order] - starts[:-1], lengths)
    polygon_starts = np.append(np.flatnonzero(is_shell), len(order))
    coordinates = xy[rows].astype(np.float64)
    made = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, (starts, polygon_starts))
    return made, ring_part[order][is_shell]


@njit(nogil=True, cache=True)
def _ring_areas(xy: NDArray[np.int32], ring_ends: _Ints) -> NDArray[np.float64]:
    """Signed areas (n,) of closed rings."""
    areas = np.zeros(len(ring_ends) - 1)
    for ring in range(len(areas)):
        for i in range(ring_ends[ring], ring_ends[ring + 1] - 1):
            # Rings run along the axes, so only edges with x constant sweep area.
            areas[ring] += float(xy[i, 0]) * float(xy[i + 1, 1] - xy[i, 1])
    return areas


@njit(nogil=True, cache=True)
def _link(runs: Runs, mask_of_run: _Ints) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Part of each run (n,), successor of each edge (2n,), pinched corner at each edge's start and end (2n, 2) or -1.

    Edge 2i is the top of run i, 2i + 1 its bottom. A part is named by its first run.
    """
    n = len(runs)
    parent = np.arange(n).astype(np.int32)
    successor = np.empty(2 * n, np.int32)
    pinch = np.full((2 * n, 2), -1, np.int32)
    previous_start, previous_stop = 0, 0  # the column before
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and mask_of_run[stop] == mask_of_run[start] and runs[stop, 1] == runs[start, 1]:
            stop += 1
        touches = (
            previous_stop > previous_start
            and mask_of_run[previous_start] == mask_of_run[start]
            and runs[previous_start, 1] + 1 == runs[start, 1]
        )
        if not touches:
            _link_tops(runs, previous_start, previous_stop, start, start, successor)
            previous_start = previous_stop = start
        else:
            _link_tops(runs, previous_start, previous_stop, start, stop, successor)
            _join(runs, previous_start, previous_stop, start, stop, parent, pinch)
        _link_bottoms(runs, previous_start, previous_stop, start, stop, successor)
        previous_start, previous_stop, start = start, stop, stop
    _link_tops(runs, previous_start, previous_stop, n, n, successor)
    for i in range(n):
        parent[i] = parent[parent[i]]  # parents come first, so one step reaches the root
    return parent, successor, pinch


@njit(nogil=True, cache=True)
def _link_tops(
    runs: Runs, left: int, left_stop: int, right: int, right_stop: int, successor: NDArray[np.int32]
) -> None:
    """Successors of the tops of the column left..left_stop, whose right neighbour is right..right_stop."""
    j = right
    for i in range(left, left_stop):
        y = runs[i, 2]
        while j < right_stop and runs[j, 3] <= y:
            j += 1
        if j < right_stop and runs[j, 2] < y:  # both pixels on the right are filled: up, until the wall ends
            blocked = i > left and runs[i - 1, 3] > runs[j, 2]
            successor[2 * i] = 2 * (i - 1) + 1 if blocked else 2 * j
        elif j < right_stop and runs[j, 2] < runs[i, 3]:  # straight on, or down to a run that begins on the right
            successor[2 * i] = 2 * j
        else:  # down to the run's own bottom
            successor[2 * i] = 2 * i + 1


@njit(nogil=True, cache=True)
def _link_bottoms(
    runs: Runs, left: int, left_stop: int, right: int, right_stop: int, successor: NDArray[np.int32]
) -> None:
    """Successors of the bottoms of the column right..right_stop, whose left neighbour is left..left_stop."""
    k = left - 1
    for i in range(right, right_stop):
        y = runs[i, 3]
        while k + 1 < left_stop and runs[k + 1, 2] < y:
            k += 1
        if k >= left and runs[k, 3] > y:  # both pixels on the left are filled: down, until the wall ends
            blocked = i + 1 < right_stop and runs[i + 1, 2] < runs[k, 3]
            successor[2 * i + 1] = 2 * (i + 1) if blocked else 2 * k + 1
        elif k >= left and runs[k, 3] > runs[i, 2]:  # straight on, or up to a run that ends on the left
            successor[2 * i + 1] = 2 * k + 1
        else:  # up to the run's own top
            successor[2 * i + 1] = 2 * i


@njit(nogil=True, cache=True)
def _join(
    runs: Runs,
    left: int,
    left_stop: int,
    right: int,
    right_stop: int,
    parent: NDArray[np.int32],
    pinch: NDArray[np.int32],
) -> None:
    """Unite runs that share an edge across two columns, and name the corners where two of them only touch."""
    i, j = left, right
    while i < left_stop and j < right_stop:
        if runs[i, 3] == runs[j, 2]:  # i ends where j begins: both walkers start an edge here
            pinch[2 * i + 1, 0] = pinch[2 * j, 0] = 2 * j
        elif runs[i, 2] == runs[j, 3]:  # j ends where i begins: both walkers end an edge here
            pinch[2 * i, 1] = pinch[2 * j + 1, 1] = 2 * i + 1
        elif runs[i, 3] > runs[j, 2] and runs[i, 2] < runs[j, 3]:
            a, b = _root(parent, i), _root(parent, j)
            parent[max(a, b)] = min(a, b)
        i_stop, j_stop = runs[i, 3], runs[j, 3]
        if i_stop <= j_stop:
            i += 1
        if j_stop <= i_stop:
            j += 1


@njit(nogil=True, cache=True)
def _root(parent: NDArray[np.int32], i: int) -> int:
    """The first run of i's part, shortening the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def _walk(
    runs: Runs, successor: NDArray[np.int32], pinch: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32], _Ints, NDArray[np.int32]]:
    """Follow all edges; rings are open here.

    Returns corners (c, 2) of (x, y), the pinched corner each one is (c,) or -1, ring ends (r + 1), and a run inside
    each ring (r,).
    """
    corners = 0
    for edge in range(len(successor)):
        corners += 2 * (not _is_straight(runs, edge, successor[edge]))
    xy = np.empty((corners, 2), np.int32)
    name = np.empty(corners, np.int32)
    ring_ends = np.zeros(corners // 4 + 1, np.int64)  # a ring has at least 4 corners
    ring_run = np.empty(corners // 4, np.int32)
    seen = np.zeros(len(successor), np.bool_)
    rings = at = 0
    for first in range(len(successor)):
        if seen[first]:
            continue
        edge = first
        while not seen[edge]:
            seen[edge] = True
            after = successor[edge]
            if not _is_straight(runs, edge, after):  # along x = const, from the end of one edge to the next one's start
                x = runs[edge >> 1, 1] + 1 - (edge & 1)  # tops end on their column's right, bottoms on its left
                xy[at, 0], xy[at, 1], name[at] = x, runs[edge >> 1, 2 + (edge & 1)], pinch[edge, 1]
                xy[at + 1, 0], xy[at + 1, 1], name[at + 1] = x, runs[after >> 1, 2 + (after & 1)], pinch[after, 0]
                at += 2
            edge = after
        ring_run[rings] = first >> 1
        rings += 1
        ring_ends[rings] = at
    return xy, name, ring_ends[: rings + 1], ring_run[:rings]


@njit(nogil=True, cache=True)
def _cut(
    xy: NDArray[np.int32], name: NDArray[np.int32], ends: _Ints, run: NDArray[np.int32], names: int
) -> tuple[NDArray[np.int32], _Ints, NDArray[np.int32]]:
    """Simple closed rings of rings that may pass a pinched corner twice: vertices (v, 2), ends (r + 1), runs (r,).

    Such passes are nested like brackets, because the ring touches itself without crossing: whenever a corner comes up
    again, what was walked since is a ring of its own.
    """
    closed = np.empty((len(xy) + len(xy) // 4, 2), np.int32)
    closed_ends = np.zeros(len(xy) // 4 + 1, np.int64)
    closed_run = np.empty(len(xy) // 4, np.int32)
    stack = np.empty(len(xy), np.int64)
    place = np.full(names, -1, np.int64)  # where a pinched corner lies on the stack
    rings = 0
    for ring in range(len(run)):
        top = 0
        for corner in range(ends[ring], ends[ring + 1]):
            if name[corner] >= 0 and place[name[corner]] >= 0:
                start = place[name[corner]]
                closed_ends[rings + 1] = _close(xy, stack[start:top], closed, closed_ends[rings])
                closed_run[rings] = run[ring]
                rings += 1
                top = start
            if name[corner] >= 0:
                place[name[corner]] = top
            stack[top] = corner
            top += 1
        closed_ends[rings + 1] = _close(xy, stack[:top], closed, closed_ends[rings])
        closed_run[rings] = run[ring]
        rings += 1
        for corner in range(ends[ring], ends[ring + 1]):
            if name[corner] >= 0:
                place[name[corner]] = -1
    return closed[: closed_ends[rings]], closed_ends[: rings + 1], closed_run[:rings]


@njit(nogil=True, cache=True)
def _close(xy: NDArray[np.int32], ring: _Ints, closed: NDArray[np.int32], at: int) -> int:
    """Write the corners named by `ring` from `at` on, the first one again at the end; returns where it ends."""
    for i in range(len(ring) + 1):
        corner = ring[i % len(ring)]
        closed[at + i, 0], closed[at + i, 1] = xy[corner, 0], xy[corner, 1]
    return at + len(ring) + 1


@njit(nogil=True, cache=True)
def _is_straight(runs: Runs, edge: int, after: int) -> bool:
    """Whether two successive edges lie on one line: both tops or both bottoms, at the same y."""
    side = edge & 1
    return side == (after & 1) and runs[edge >> 1, 2 + side] == runs[after >> 1, 2 + side]
