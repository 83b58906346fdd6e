"""SliceParts: what each mask of a batch has in each slice: voxel counts, sums, and the hull of its voxel centres.

Everything that is measured of a mask in patient space, its surface aside, follows from this: a slice is a plane of the
patient, so sums and convex hulls taken on voxel indices may be mapped through any geometry afterwards. The farthest
voxels of a mask are among the vertices of its slices' hulls, of which there are a few dozen a slice.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# numba is untyped.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.masks import Runs

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SliceParts:
    """The s parts of m masks: mask after mask, and of each mask the slices that it has voxels in, z rising."""

    ends: _Ints
    """(m + 1,) where each mask's parts begin."""
    z: _Ints
    """(s,) slice."""
    count: _Ints
    """(s,) voxels."""
    sums: _Ints
    """(s, 2) sums of the voxels' y and x."""
    vertices: NDArray[np.int32]
    """(v, 2) of (y, x): voxel centres that are vertices of the part's convex hull; some may appear twice."""
    vertex_ends: _Ints
    """(s + 1,) where each part's vertices begin."""


def slice_parts(runs: Runs, offsets: NDArray[np.integer[Any]]) -> SliceParts:
    """Parts of a batch of canonical masks: runs one after another, offsets (m + 1).

    Raises ValueError where a mask is empty: an object has at least one voxel.
    """
    offsets = offsets.astype(np.int64)
    if (np.diff(offsets) <= 0).any():
        raise ValueError(f"mask {int(np.argmin(np.diff(offsets)))} of the batch is empty: there is nothing to measure")
    heads, ends = _part_heads(runs, offsets)
    count, sums = _sums(runs, heads)
    vertices, vertex_ends = _hulls(runs, heads)
    return SliceParts(
        ends=ends,
        z=runs[heads[:-1], 0].astype(np.int64),
        count=count,
        sums=sums,
        vertices=vertices,
        vertex_ends=vertex_ends,
    )


def mapped(vectors: NDArray[Any], steps: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(..., n) vectors of voxel indices, along n steps (n, d), as (..., d).

    A matrix product whose bits do not depend on how many vectors there are, nor on the machine's linear algebra.
    """
    total = vectors[..., :1] * steps[0]
    for k in range(1, len(steps)):
        total = total + vectors[..., k : k + 1] * steps[k]
    return total


@njit(nogil=True, cache=True)
def _part_heads(runs: Runs, offsets: _Ints) -> tuple[_Ints, _Ints]:
    """Where the runs of each part begin (s + 1,), and where the parts of each mask do (m + 1,)."""
    heads = np.empty(len(runs) + 1, np.int64)
    ends = np.zeros(len(offsets), np.int64)
    parts = 0
    for mask in range(len(offsets) - 1):
        for run in range(offsets[mask], offsets[mask + 1]):
            if run == offsets[mask] or runs[run, 0] != runs[run - 1, 0]:
                heads[parts] = run
                parts += 1
        ends[mask + 1] = parts
    heads[parts] = len(runs)
    return heads[: parts + 1].copy(), ends


@njit(nogil=True, cache=True)
def _sums(runs: Runs, heads: _Ints) -> tuple[_Ints, _Ints]:
    """Voxels (s,) and sums of their y and x (s, 2)."""
    count = np.zeros(len(heads) - 1, np.int64)
    sums = np.zeros((len(heads) - 1, 2), np.int64)
    for part in range(len(count)):
        for run in range(heads[part], heads[part + 1]):
            start, stop = np.int64(runs[run, 2]), np.int64(runs[run, 3])
            count[part] += stop - start
            sums[part, 0] += (stop - start) * (start + stop - 1) // 2
            sums[part, 1] += (stop - start) * np.int64(runs[run, 1])
    return count, sums


@njit(nogil=True, cache=True)
def _hulls(runs: Runs, heads: _Ints) -> tuple[NDArray[np.int32], _Ints]:
    """Vertices (v, 2) of (y, x) of each part's hull, and their offsets (s + 1)."""
    vertices = np.empty((2 * len(runs), 2), np.int32)
    ends = np.zeros(len(heads), np.int64)
    longest = 0
    for part in range(len(heads) - 1):
        longest = max(longest, heads[part + 1] - heads[part])
    low = np.empty((longest, 2), np.int32)
    high = np.empty((longest, 2), np.int32)
    for part in range(len(heads) - 1):
        columns = 0
        for run in range(heads[part], heads[part + 1]):
            if columns == 0 or low[columns - 1, 1] != runs[run, 1]:
                low[columns, 1] = high[columns, 1] = runs[run, 1]
                low[columns, 0] = runs[run, 2]
                columns += 1
            high[columns - 1, 0] = runs[run, 3] - 1  # runs of a column come in order: the last one ends it
        at = ends[part]
        at += _chain(low[:columns], vertices[at:], 1)
        at += _chain(high[:columns], vertices[at:], -1)
        ends[part + 1] = at
    return vertices[: ends[-1]].copy(), ends


@njit(nogil=True, cache=True)
def _chain(points: NDArray[np.int32], out: NDArray[np.int32], side: int) -> int:
    """The points that turn towards one side only (Andrew's monotone chain), written to `out`; returns how many."""
    kept = 0
    for point in range(len(points)):
        while kept >= 2:
            ax, ay = np.int64(out[kept - 1, 1] - out[kept - 2, 1]), np.int64(out[kept - 1, 0] - out[kept - 2, 0])
            bx, by = np.int64(points[point, 1] - out[kept - 2, 1]), np.int64(points[point, 0] - out[kept - 2, 0])
            if side * (ax * by - ay * bx) > 0:
                break
            kept -= 1
        out[kept, 0], out[kept, 1] = points[point, 0], points[point, 1]
        kept += 1
    return kept
