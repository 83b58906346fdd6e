"""How much two masks have in common: a merge of their sorted runs, for many pairs at once."""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segworkers.runs import Extents, RunTable, pixels_in_box


def shared_pixels(masks: RunTable, extents: Extents, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
    """(k,) pixels that masks i[k] and j[k] have in common. masks: canonical."""
    return _shared(masks.runs, extents.offsets, i, j)


def agreement(
    masks: RunTable,
    extents: Extents,
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    window: NDArray[np.int64],
    seen: NDArray[np.int64],
    trusted: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """(k,) pixels that masks i[k] and j[k] have in common, their IoU, whether one holds the other, and if all is seen.

    All is seen where neither has pixels that the other window left out: what they share with masks of that window, with
    which they are paired here, adds up to all that they have.

    The IoU is the higher one of two: where the boxes `seen` of both meet, and where the boxes `trusted` do; 0 for masks
    without common pixels. The rest is said of where the boxes `seen` meet; not for masks without common pixels.
    masks: canonical. window: (masks,); seen, trusted: (masks, 6), one of each for a window, and its masks lie inside
    `seen`.
    """
    return _agreement(masks.runs, extents.offsets, extents.pixels, extents.boxes, i, j, window, seen, trusted)


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
def _is_last(runs: Any, run: int, stop: int) -> bool:  # pragma: no cover - compiled
    """Whether a run is the last one of its mask in its column, as most are."""
    return bool(run + 1 == stop or runs[run, 1] != runs[run + 1, 1] or runs[run, 0] != runs[run + 1, 0])


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
    z0, y0, x0, z1, y1, x1 = box
    while p < p_end and q < q_end:
        dz, dx = runs[p, 0] - runs[q, 0], runs[p, 1] - runs[q, 1]
        if dz == 0 and dx == 0:
            low, high = max(runs[p, 2], runs[q, 2]), min(runs[p, 3], runs[q, 3])
            shared += max(0, high - low)
            if z0 <= runs[p, 0] < z1 and x0 <= runs[p, 1] < x1:
                inside += max(0, min(high, y1) - max(low, y0))
            if _is_last(runs, p, p_end) and _is_last(runs, q, q_end):
                p, q = p + 1, q + 1
                continue
            p_first = runs[p, 3] <= runs[q, 3]
        else:
            p_first = dz < 0 or (dz == 0 and dx < 0)
        p += p_first
        q += not p_first
    return shared, inside


@numba.njit(cache=True, nogil=True)
def _shared(runs: Any, offsets: Any, left: Any, right: Any) -> Any:  # pragma: no cover - compiled
    shared = np.empty(len(left), np.int64)
    for k in range(len(left)):
        shared[k], _ = _common(runs, offsets, left[k], right[k], (0, 0, 0, 0, 0, 0))
    return shared


@numba.njit(cache=True, nogil=True)
def _meeting(boxes: Any, a: int, b: int) -> Any:  # pragma: no cover - compiled
    """What two boxes have in common."""
    return (
        max(boxes[a, 0], boxes[b, 0]),
        max(boxes[a, 1], boxes[b, 1]),
        max(boxes[a, 2], boxes[b, 2]),
        min(boxes[a, 3], boxes[b, 3]),
        min(boxes[a, 4], boxes[b, 4]),
        min(boxes[a, 5], boxes[b, 5]),
    )


@numba.njit(cache=True, nogil=True)
def _agreement(
    runs: Any, offsets: Any, pixels: Any, boxes: Any, left: Any, right: Any, window: Any, seen: Any, trusted: Any
) -> Any:  # pragma: no cover - compiled
    shared, overlap = np.zeros(len(left), np.int64), np.zeros(len(left), np.float64)
    holds = np.zeros(len(left), np.bool_)
    # What other windows see of each view, as a chain: every view meets several of each window.
    newest, older = np.full(len(window), -1, np.int64), np.empty(2 * len(left), np.int64)
    there, strips = np.empty(2 * len(left), np.int64), np.empty((2 * len(left), 2), np.int64)
    known = 0
    # Of each of these, the pixels that are in masks of the other window; of each pair, the two.
    matched, ends = np.zeros(2 * len(left), np.int64), np.full((len(left), 2), -1, np.int64)
    for k in range(len(left)):
        z0, y0, x0, z1, y1, x1 = _meeting(boxes, left[k], right[k])
        if z0 >= z1 or y0 >= y1 or x0 >= x1:
            continue
        strip, core = _meeting(seen, left[k], right[k]), _meeting(trusted, left[k], right[k])
        shared[k], inside = _common(runs, offsets, left[k], right[k], core)
        if shared[k] == 0:
            continue
        whole, middle = -shared[k], -inside
        for side in range(2):
            v, other = (left[k], window[right[k]]) if side == 0 else (right[k], window[left[k]])
            place = newest[v]
            while place >= 0 and there[place] != other:
                place = older[place]
            if place < 0:
                place, known = known, known + 1
                there[place], older[place], newest[v] = other, newest[v], place
                strips[place, 0] = pixels_in_box(runs, offsets, pixels, boxes, v, strip)
                strips[place, 1] = pixels_in_box(runs, offsets, pixels, boxes, v, core)
            whole, middle = whole + strips[place, 0], middle + strips[place, 1]
            holds[k] |= strips[place, 0] == shared[k]
            matched[place] += shared[k]
            ends[k, side] = place
        overlap[k] = max(shared[k] / max(whole, 1), inside / max(middle, 1))
    full = np.zeros(len(left), np.bool_)
    for k in range(len(left)):
        if shared[k]:
            a, b = ends[k]
            full[k] = matched[a] == strips[a, 0] and matched[b] == strips[b, 0]
    return shared, overlap, holds, full


@numba.njit(cache=True, nogil=True)
def _near_pixels(
    runs: Any, offsets: Any, left: Any, right: Any, reach: Any, boxes: Any
) -> Any:  # pragma: no cover - compiled
    result = np.zeros(len(left), np.int64)
    for k in range(len(left)):
        v, u = left[k], right[k]
        rz, ry, rx = reach[k]
        # Nothing farther than that from the other one's box is near it.
        z0, z1 = max(boxes[v, 0], boxes[u, 0] - rz), min(boxes[v, 3], boxes[u, 3] + rz)
        y0, y1 = max(boxes[v, 1], boxes[u, 1] - ry), min(boxes[v, 4], boxes[u, 4] + ry)
        x0, x1 = max(boxes[v, 2], boxes[u, 2] - rx), min(boxes[v, 5], boxes[u, 5] + rx)
        if z0 >= z1 or y0 >= y1 or x0 >= x1:
            continue
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
        for r in range(_seek(runs, offsets[v], offsets[v + 1], z0, x0), offsets[v + 1]):
            if runs[r, 0] >= z1:
                break
            if x0 <= runs[r, 1] < x1:
                for y in range(max(runs[r, 2], y0), min(runs[r, 3], y1)):
                    result[k] += near[runs[r, 0] - z0, runs[r, 1] - x0, y - y0]
    return result
