"""Masks cut at the borders of a lattice's cells, so that each piece has one owner among the windows."""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segworkers.lattice import Lattice
from segworkers.runs import RunTable


def split_at_cells(table: RunTable, lattice: Lattice) -> tuple[RunTable, NDArray[np.int64]]:
    """Cut every run at the borders of the cells.

    Returns the pieces, in the same order, and for each the flat lattice index of its cell.
    """
    pieces, owner, cell = _split(table.runs, table.owner, *(lattice.cell_edges(axis) for axis in range(3)))
    return RunTable(pieces, owner), cell


def cells_touched(table: RunTable, masks: int, lattice: Lattice) -> NDArray[np.int64]:
    """(masks,) number of cells that each mask has pixels in."""
    pieces, cell = split_at_cells(table, lattice)
    cells = int(np.prod(lattice.shape))
    key = pieces.owner * cells + cell
    # Neighbouring columns of a mask mostly lie in one cell: what is left to sort is short.
    changes = np.unique(key[np.r_[True, np.diff(key) != 0]]) if len(key) else key
    return np.bincount(changes // cells, minlength=masks).astype(np.int64)


@numba.njit(cache=True, nogil=True)
def _cell(edges: Any, near: int, position: int) -> int:  # pragma: no cover - compiled
    """The cell of a position along an axis, looked for from a cell that is near: neighbouring runs share cells."""
    while near > 0 and position < edges[near]:
        near -= 1
    while near < len(edges) - 2 and position >= edges[near + 1]:
        near += 1
    return near


@numba.njit(cache=True, nogil=True)
def _split(runs: Any, owner: Any, edges_z: Any, edges_y: Any, edges_x: Any) -> Any:  # pragma: no cover - compiled
    total = y = 0
    for k in range(len(owner)):
        y = _cell(edges_y, y, runs[k, 2])
        total += _cell(edges_y, y, runs[k, 3] - 1) - y + 1
    pieces, owners, cells = np.empty((total, 4), runs.dtype), np.empty(total, np.int64), np.empty(total, np.int64)
    piece = z = x = 0
    for k in range(len(owner)):
        z, x, y = _cell(edges_z, z, runs[k, 0]), _cell(edges_x, x, runs[k, 1]), _cell(edges_y, y, runs[k, 2])
        start, stop = runs[k, 2], runs[k, 3]
        while start < stop:
            end = min(stop, edges_y[y + 1])
            pieces[piece, 0], pieces[piece, 1], pieces[piece, 2], pieces[piece, 3] = runs[k, 0], runs[k, 1], start, end
            owners[piece] = owner[k]
            cells[piece] = (z * (len(edges_y) - 1) + y) * (len(edges_x) - 1) + x
            piece += 1
            y += end == edges_y[y + 1] and end < stop
            start = end
    return pieces, owners, cells
