"""Runs of many masks in canonical order: by owner, then by column; runs of one mask that touch are one.

Masks mostly come as a few stretches that are in order, each from a window or a work tile. So rows are counted out to
their owners, and of each owner stretches are merged: one step a run where there is just one, which is most of them.
"""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segworkers.counting import rows_by


def canonical_runs(runs: NDArray[np.int32], owner: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The union of the runs of each owner: sorted by (owner, z, x, y_start), touching and overlapping runs joined.

    runs: (n, 4) z, x, y_start, y_stop; owner: (n,) from 0.
    """
    rows, begins = rows_by(owner, int(owner.max(initial=-1)) + 1)
    _sort(runs, rows, begins)
    return _join(runs, owner, rows)


@numba.njit(cache=True, nogil=True)
def _before(runs: Any, a: int, b: int) -> bool:  # pragma: no cover - compiled
    """Whether run a comes strictly before run b."""
    if runs[a, 0] != runs[b, 0]:
        return bool(runs[a, 0] < runs[b, 0])
    if runs[a, 1] != runs[b, 1]:
        return bool(runs[a, 1] < runs[b, 1])
    return bool(runs[a, 2] < runs[b, 2])


@numba.njit(cache=True, nogil=True)
def _sort(runs: Any, rows: Any, begins: Any) -> None:  # pragma: no cover - compiled
    """Sorts the rows of each owner, in place: a natural merge sort."""
    spare = np.empty(0, np.int64)
    for mask in range(len(begins) - 1):
        start, stop = begins[mask], begins[mask + 1]
        while _stretch(runs, rows, start, stop) < stop:
            if len(spare) < stop - start:
                spare = np.empty(stop - start, np.int64)
            low = start
            while low < stop:
                middle = _stretch(runs, rows, low, stop)
                high = _stretch(runs, rows, middle, stop)
                _merge(runs, rows, spare, low, middle, high)
                low = high


@numba.njit(cache=True, nogil=True)
def _stretch(runs: Any, rows: Any, start: int, stop: int) -> int:  # pragma: no cover - compiled
    """Where the rows that are in order from `start` on end."""
    end = min(start + 1, stop)
    while end < stop and not _before(runs, rows[end], rows[end - 1]):
        end += 1
    return end


@numba.njit(cache=True, nogil=True)
def _merge(runs: Any, rows: Any, spare: Any, low: int, middle: int, high: int) -> None:  # pragma: no cover - compiled
    """Merges two neighbouring stretches that are in order."""
    spare[: middle - low] = rows[low:middle]
    p, q = 0, middle
    for k in range(low, high):
        if p == middle - low:
            return
        if q < high and _before(runs, rows[q], spare[p]):
            rows[k] = rows[q]
            q += 1
        else:
            rows[k] = spare[p]
            p += 1


@numba.njit(cache=True, nogil=True)
def _join(runs: Any, owner: Any, rows: Any) -> Any:  # pragma: no cover - compiled
    out = np.empty((len(rows), 4), runs.dtype)
    names = np.empty(len(rows), owner.dtype)
    k = -1
    for row in rows:
        joins = k >= 0 and names[k] == owner[row] and out[k, 3] >= runs[row, 2]
        if joins and out[k, 1] == runs[row, 1] and out[k, 0] == runs[row, 0]:
            out[k, 3] = max(out[k, 3], runs[row, 3])
        else:
            k += 1
            for column in range(4):
                out[k, column] = runs[row, column]
            names[k] = owner[row]
    return (out, names) if k + 1 == len(rows) else (out[: k + 1].copy(), names[: k + 1].copy())
