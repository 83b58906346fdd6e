"""Which masks meet, and how much they have in common: a join of boxes, then a merge of sorted runs for each pair."""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx
from segworkers.runs import RunTable


def box_pairs(
    boxes: NDArray[np.int64], family: NDArray[np.int64], label: NDArray[np.int64], reach: Zyx = (0, 0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted pairs i < j of different family and equal label whose boxes, one grown by `reach`, have pixels in common.

    boxes: (n, 6) half-open z0, y0, x0, z1, y1, x1, as of `runs.bounding_boxes`: masks without pixels pair with nothing.
    A sweep along the axis in which the boxes spread farthest, label by label: fast where few boxes share a place there,
    which windows of a model see to.
    """
    there = boxes[boxes[:, 0] < boxes[:, 3]]
    spread = there[:, 3:].max(axis=0, initial=0) - there[:, :3].min(axis=0, initial=0)
    axis = int(np.argmax(spread))
    order = np.lexsort((boxes[:, axis], label))
    i, j = _box_pairs(boxes[order], family[order], label[order], np.array(reach, np.int64), axis)
    i, j = np.minimum(order[i], order[j]), np.maximum(order[i], order[j])
    order = np.argsort(i * len(boxes) + j)
    return i[order], j[order]


def shared_pixels(
    masks: RunTable, i: NDArray[np.int64], j: NDArray[np.int64], boxes: NDArray[np.int64], total: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(k,) pixels that masks i[k] and j[k] have in common, and (k,) those of them inside the boxes of both.

    masks: canonical, `total` of them. boxes: (total, 6) for each mask.
    """
    return _shared(masks.runs, masks.offsets(total), i, j, boxes)


def near_pixels(
    masks: RunTable,
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    reach: NDArray[np.int64],
    boxes: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(k,) pixels of mask i[k] that lie within reach[k] (z, y, x) of mask j[k] in every axis; 0 means inside it.

    masks: sorted by owner. boxes: (masks, 6) as of `runs.bounding_boxes`.
    """
    return _near_pixels(masks.runs, masks.offsets(len(boxes)), i, j, reach, boxes)


@numba.njit(cache=True, nogil=True)
def _box_pairs(boxes: Any, family: Any, label: Any, reach: Any, axis: int) -> Any:  # pragma: no cover - compiled
    capacity = max(16, 4 * len(boxes))
    left, right = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    k = 0
    for a in range(len(boxes)):
        for b in range(a + 1, len(boxes)):
            if label[a] != label[b] or boxes[b, axis] >= boxes[a, axis + 3] + reach[axis]:
                break
            if family[a] == family[b]:
                continue
            if boxes[a, 2] >= boxes[b, 5] + reach[2] or boxes[b, 2] >= boxes[a, 5] + reach[2]:
                continue
            if boxes[a, 1] >= boxes[b, 4] + reach[1] or boxes[b, 1] >= boxes[a, 4] + reach[1]:
                continue
            if boxes[a, 0] >= boxes[b, 3] + reach[0] or boxes[b, 0] >= boxes[a, 3] + reach[0]:
                continue
            if k == capacity:
                capacity *= 2
                left = np.concatenate((left, np.empty(k, np.int64)))
                right = np.concatenate((right, np.empty(k, np.int64)))
            left[k], right[k] = a, b
            k += 1
    return left[:k].copy(), right[:k].copy()


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
def _shared(runs: Any, offsets: Any, left: Any, right: Any, boxes: Any) -> Any:  # pragma: no cover - compiled
    shared = np.zeros(len(left), np.int64)
    inside = np.zeros(len(left), np.int64)
    for k in range(len(left)):
        a, b = left[k], right[k]
        p, p_end, q, q_end = offsets[a], offsets[a + 1], offsets[b], offsets[b + 1]
        if p == p_end or q == q_end:
            continue
        p = _seek(runs, p, p_end, runs[q, 0], runs[q, 1])
        if p < p_end:
            q = _seek(runs, q, q_end, runs[p, 0], runs[p, 1])
        z0, z1 = max(boxes[a, 0], boxes[b, 0]), min(boxes[a, 3], boxes[b, 3])
        y0, y1 = max(boxes[a, 1], boxes[b, 1]), min(boxes[a, 4], boxes[b, 4])
        x0, x1 = max(boxes[a, 2], boxes[b, 2]), min(boxes[a, 5], boxes[b, 5])
        while p < p_end and q < q_end:
            if runs[p, 0] != runs[q, 0] or runs[p, 1] != runs[q, 1]:
                if runs[p, 0] < runs[q, 0] or (runs[p, 0] == runs[q, 0] and runs[p, 1] < runs[q, 1]):
                    p += 1
                else:
                    q += 1
                continue
            low, high = max(runs[p, 2], runs[q, 2]), min(runs[p, 3], runs[q, 3])
            if low < high:
                shared[k] += high - low
                if z0 <= runs[p, 0] < z1 and x0 <= runs[p, 1] < x1:
                    inside[k] += max(0, min(high, y1) - max(low, y0))
            if runs[p, 3] <= runs[q, 3]:
                p += 1
            else:
                q += 1
    return shared, inside


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
