"""Holes of masks: the parts of a mask's background that it encloses, found and filled on runs.

Between the runs of a column lie gaps. Gaps of neighbouring columns that touch are one piece of background; a piece that
reaches past the first or last run of a column, or a column in which the mask has no pixel, is open to the outside, and
every other piece is a hole (union-find over the gaps). No bitmap is made: cost follows the mask's runs, not its box.

Background is connected by the dual of the mask's connectivity, else a diagonal line would be in one piece and leak all
the same (Rosenfeld, Connectivity in digital pictures, 1970): masks of 8, 18 or 26 neighbours have holes of 4 (in space
6), masks of 4 or 6 have holes of 8 (in space 26).
"""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segworkers.model_grid import ModelGrid
from segworkers.runs import RunTable, concatenate


def fill_holes(masks: RunTable, grid: ModelGrid, connectivity: int, max_pixels: int | None = None) -> RunTable:
    """The masks with their holes filled, canonical; equals `scipy.ndimage.binary_fill_holes` of each mask by itself.

    masks: canonical, on the model's grid; connectivity: 4, 8, 6, 18 or 26, of the masks' pixels.
    max_pixels: pixels of the source's own grid in the largest hole that is filled; None fills all.
    """
    gaps, hole = find_holes(masks, connectivity, solid=grid.shape[0] > 1)
    if max_pixels is not None and len(gaps):
        pixels = grid.to_native(RunTable(gaps.runs, hole).canonical()).pixel_counts(int(hole.max()) + 1)
        gaps = gaps.take(pixels[hole] <= max_pixels)
    return concatenate([masks, gaps]).canonical() if len(gaps) else masks


def find_holes(masks: RunTable, connectivity: int, *, solid: bool) -> tuple[RunTable, NDArray[np.int64]]:
    """All holes of all masks: their runs, owned by the mask around them, and (n,) the hole of each run, 0 and up.

    masks: canonical; connectivity: as `fill_holes`; solid: whether there is background before and behind a plane, so
    that a ring of one plane is a tunnel and no hole.
    """
    sharing = (masks.owner[1:] == masks.owner[:-1]) & (masks.runs[1:, :2] == masks.runs[:-1, :2]).all(axis=1)
    above = np.flatnonzero(sharing)
    if not len(above):
        return masks.take(above), above
    # Few masks have a gap at all; only their runs are looked at.
    with_gaps = np.zeros(int(masks.owner[-1]) + 1, bool)
    with_gaps[masks.owner[above]] = True
    some = masks.take(with_gaps[masks.owner])
    column = np.flatnonzero(_column_starts(some))
    piece = _pieces(some.runs, some.owner, np.append(column, len(some)), connectivity in (4, 6), solid)
    inner = np.flatnonzero(piece < len(some))
    gaps = some.runs[inner].copy()
    gaps[:, 2], gaps[:, 3] = some.runs[inner, 3], some.runs[inner + 1, 2]
    _, hole = np.unique(piece[inner], return_inverse=True)
    return RunTable(gaps, some.owner[inner]), hole.astype(np.int64)


def _column_starts(table: RunTable) -> NDArray[np.bool_]:
    starts = np.ones(len(table), bool)
    starts[1:] = (table.owner[1:] != table.owner[:-1]) | (table.runs[1:, :2] != table.runs[:-1, :2]).any(axis=1)
    return starts


@numba.njit(cache=True, nogil=True)
def _pieces(runs: Any, owner: Any, column: Any, diagonal: bool, solid: bool) -> Any:  # pragma: no cover - compiled
    """(n,) piece of background that the gap behind each run belongs to; n is the outside.

    column: (m + 1,) first run of each column. Gap i lies between runs i and i + 1; behind a column's last run and
    before its first lies the outside.
    """
    n, outside = len(runs), len(runs)
    parent = np.arange(n + 1)
    for c in range(len(column) - 1):
        parent[column[c + 1] - 1] = outside
    for dz in range(-1, 2):
        for dx in range(-1, 2):
            straight = abs(dz) + abs(dx) == 1
            if (dz, dx) == (0, 0) or not (straight or diagonal) or (dz != 0 and not solid):
                continue
            _sweep(runs, owner, column, dz, dx, diagonal, parent)
    for i in range(n):
        parent[i] = _root(parent, i)
    return parent[:n]


@numba.njit(cache=True, nogil=True)
def _sweep(
    runs: Any, owner: Any, column: Any, dz: int, dx: int, diagonal: bool, parent: Any
) -> None:  # pragma: no cover - compiled
    """Join the gaps of every column with those of its neighbour at (dz, dx), which is all outside where it is not."""
    columns, outside = len(column) - 1, len(runs)
    other = 0
    for c in range(columns):
        a, end = column[c], column[c + 1]
        if end - a < 2:
            continue  # no gap in it; what is beside it looks here itself
        mask, z, x = owner[a], runs[a, 0] + dz, runs[a, 1] + dx
        while other < columns and _before(owner, runs, column[other], mask, z, x):
            other += 1
        b = column[other] if other < columns else outside
        if b == outside or owner[b] != mask or runs[b, 0] != z or runs[b, 1] != x:
            for i in range(a, end - 1):
                _join(parent, i, outside)
        elif dz > 0 or (dz == 0 and dx > 0) or column[other + 1] - b < 2:
            _join_columns(runs, a, end, b, column[other + 1], diagonal, parent)


@numba.njit(cache=True, nogil=True)
def _before(owner: Any, runs: Any, run: int, mask: int, z: int, x: int) -> bool:  # pragma: no cover - compiled
    if owner[run] != mask:
        return owner[run] < mask
    if runs[run, 0] != z:
        return runs[run, 0] < z
    return runs[run, 1] < x


@numba.njit(cache=True, nogil=True)
def _join_columns(
    runs: Any, a: int, a_end: int, b: int, b_end: int, diagonal: bool, parent: Any
) -> None:  # pragma: no cover - compiled
    """Join the gaps of runs a..a_end with those of runs b..b_end that they touch; both include the two outer gaps."""
    outside, far = len(runs), np.int64(np.iinfo(np.int32).max)
    slack = 1 if diagonal else 0
    i, j = a - 1, b - 1
    while i < a_end and j < b_end:
        top_i = runs[i, 3] if i >= a else -far
        top_j = runs[j, 3] if j >= b else -far
        end_i = runs[i + 1, 2] if i + 1 < a_end else far
        end_j = runs[j + 1, 2] if j + 1 < b_end else far
        if max(top_i, top_j) < min(end_i, end_j) + slack:
            first = i if a <= i < a_end - 1 else outside
            second = j if b <= j < b_end - 1 else outside
            _join(parent, first, second)
        if end_i <= end_j:
            i += 1
        else:
            j += 1


@numba.njit(cache=True, nogil=True)
def _join(parent: Any, a: int, b: int) -> None:  # pragma: no cover - compiled
    a, b = _root(parent, a), _root(parent, b)
    parent[min(a, b)] = max(a, b)  # the outside has the largest number, so it stays a root


@numba.njit(cache=True, nogil=True)
def _root(parent: Any, i: int) -> int:  # pragma: no cover - compiled
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
