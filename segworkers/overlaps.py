"""How much two masks have in common: a merge of their sorted runs, for many pairs at once."""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segworkers.runs import Extents, RunTable, pixels_in_box


def shared_pixels(
    masks: RunTable, extents: Extents, i: NDArray[np.int64], j: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(k,) pixels that masks i[k] and j[k] have in common. masks: canonical."""
    return _shared(masks.runs, extents.offsets, i, j)


def agreement(
    masks: RunTable,
    extents: Extents,
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    seen: NDArray[np.int64],
    trusted: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(k,) pixels that masks i[k] and j[k] have in common, and (k,) their IoU.

    It is the higher one of two: where the boxes `seen` of both meet, and where the boxes `trusted` do; 0 for masks
    without common pixels. masks: canonical. seen, trusted: (masks, 6).
    """
    return _agreement(masks.runs, extents.offsets, extents.pixels, extents.boxes, i, j, seen, trusted)


def near_pixels(
    masks: RunTable, extents: Extents, i: NDArray[np.int64], j: NDArray[np.int64], reach: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(k,) pixels of mask i[k] that lie within reach[k] (z, y, x) of mask j[k] in every axis; 0 means inside it.

    masks: sorted by owner.
    """
    return _near_pixels(masks.runs, extents.offsets, i, j, reach, extents.boxes)


@numba.njit(cache=True, nogil=True)
def _seek(runs: Any, start: int, stop: int, z: int, x: int) -> int:  # pragma: no cover - compiled
    """The first run of a mask at or after column (z, x)."""
    while start < stop:
        middle = (start + stop) // 2
        if runs[middle, 0] < z or (runs[middle, 0] == z and runs[middle, 1] < x):
            start = middle + 1
        else:
            stop = middle
    return start


@numba.njit(cache=True, nogil=True)
def _common(runs: Any, offsets: Any, a: int, b: int, box: Any) -> Any:  # pragma: no cover - compiled
    """Pixels that two masks have in common, and those of them inside a box."""
    shared = inside = 0
    p, p_end, q, q_end = offsets[a], offsets[a + 1], offsets[b], offsets[b + 1]
    if p == p_end or q == q_end:
        return shared, inside
    p = _seek(runs, p, p_end, runs[q, 0], runs[q, 1])
    if p < p_end:
        q = _seek(runs, q, q_end, runs[p, 0], runs[p, 1])
    while p < p_end and q < q_end:
        z, x, start, stop = runs[p]
        if z != runs[q, 0] or x != runs[q, 1]:
            if z < runs[q, 0] or (z == runs[q, 0] and x < runs[q, 1]):
                p += 1
            else:
                q += 1
            continue
        low, high = max(start, runs[q, 2]), min(stop, runs[q, 3])
        if low < high:
            shared += high - low
            if box[0] <= z < box[3] and box[2] <= x < box[5]:
                inside += max(0, min(high, box[4]) - max(low, box[1]))
        if stop <= runs[q, 3]:
            p += 1
        else:
            q += 1
    return shared, inside


@numba.njit(cache=True, nogil=True)
def _shared(runs: Any, offsets: Any, left: Any, right: Any) -> Any:  # pragma: no cover - compiled
    shared, nowhere = np.empty(len(left), np.int64), np.zeros(6, np.int64)
    for k in range(len(left)):
        shared[k], _ = _common(runs, offsets, left[k], right[k], nowhere)
    return shared


@numba.njit(cache=True, nogil=True)
def _meet(a: Any, b: Any, box: Any) -> None:  # pragma: no cover - compiled
    """Writes into `box` what two boxes have in common."""
    for axis in range(3):
        box[axis], box[axis + 3] = max(a[axis], b[axis]), min(a[axis + 3], b[axis + 3])


@numba.njit(cache=True, nogil=True)
def _agreement(
    runs: Any, offsets: Any, pixels: Any, boxes: Any, left: Any, right: Any, seen: Any, trusted: Any
) -> Any:  # pragma: no cover - compiled
    shared, overlap = np.zeros(len(left), np.int64), np.zeros(len(left), np.float64)
    strip, core = np.empty(6, np.int64), np.empty(6, np.int64)
    for k in range(len(left)):
        a, b = left[k], right[k]
        _meet(trusted[a], trusted[b], core)
        shared[k], inside = _common(runs, offsets, a, b, core)
        if shared[k] == 0:
            continue
        _meet(seen[a], seen[b], strip)
        whole, middle = -shared[k], -inside
        for v in (a, b):
            whole += pixels_in_box(runs, offsets[v], offsets[v + 1], pixels[v], boxes[v], strip)
            middle += pixels_in_box(runs, offsets[v], offsets[v + 1], pixels[v], boxes[v], core)
        overlap[k] = max(shared[k] / max(whole, 1), inside / max(middle, 1))
    return shared, overlap


@numba.njit(cache=True, nogil=True)
def _near_pixels(
    runs: Any, offsets: Any, left: Any, right: Any, reach: Any, boxes: Any
) -> Any:  # pragma: no cover - compiled
    result = np.zeros(len(left), np.int64)
    for k in range(len(left)):
        v, u = left[k], right[k]
        z0, y0, x0, z1, y1, x1 = boxes[v]
        rz, ry, rx = reach[k]
        near = np.zeros((z1 - z0, x1 - x0, y1 - y0), np.bool_)
        for r in range(_seek(runs, offsets[u], offsets[u + 1], z0 - rz, 0), offsets[u + 1]):
            if runs[r, 0] >= z1 + rz:
                break
            top, bottom = max(runs[r, 2] - ry, y0), min(runs[r, 3] + ry, y1)
            if top >= bottom:
                continue
            for z in range(max(runs[r, 0] - rz, z0), min(runs[r, 0] + rz + 1, z1)):
                for x in range(max(runs[r, 1] - rx, x0), min(runs[r, 1] + rx + 1, x1)):
                    near[z - z0, x - x0, top - y0 : bottom - y0] = True
        for r in range(offsets[v], offsets[v + 1]):
            for y in range(runs[r, 2], runs[r, 3]):
                result[k] += near[runs[r, 0] - z0, runs[r, 1] - x0, y - y0]
    return result
