"""Which boxes of a set meet: a join through a grid of bins, as spatial hashing does it.

Each box is listed in the bins that it lies in; bins are about twice as large as boxes are in the mean, so there are few
of either. Bins share a table of about as many buckets as there are boxes, so memory does not grow with the space
between them.
"""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx

MOST_BINS = 8
"""Bins that a box lies in along an axis, but for one: few large boxes among small ones must not fill the table."""


def box_pairs(
    boxes: NDArray[np.int64], family: NDArray[np.int64], label: NDArray[np.int64], reach: Zyx = (0, 0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted pairs i < j of different family and equal label whose boxes, one grown by `reach`, have pixels in common.

    boxes: (n, 6) half-open z0, y0, x0, z1, y1, x1, as of `runs.Extents`: masks without pixels pair with nothing.
    """
    there = np.flatnonzero(boxes[:, 0] < boxes[:, 3])
    if not len(there):
        return there, there
    # Growing one of two boxes on both sides, or both of them on the far side, is the same.
    low, high = boxes[there, :3], boxes[there, 3:] + np.array(reach)
    sides = high - low
    size = np.maximum(2 * sides.sum(axis=0) // len(there), -(-sides.max(axis=0) // MOST_BINS))
    i, j = _pairs(low, high, low // size, (high - 1) // size, family[there], label[there])
    return there[i], there[j]


@numba.njit(cache=True, nogil=True)
def _bucket(label: Any, first: Any, last: Any, a: int, k: int, mask: int) -> int:  # pragma: no cover - compiled
    """Where the k-th bin of box a is listed."""
    width, height = last[a, 2] - first[a, 2] + 1, last[a, 1] - first[a, 1] + 1
    x, y, z = first[a, 2] + k % width, first[a, 1] + k // width % height, first[a, 0] + k // (width * height)
    mixed = ((label[a] * 1000003 + z) * 1000003 + y) * 1000003 + x
    return int((mixed ^ (mixed >> 17)) & mask)


@numba.njit(cache=True, nogil=True)
def _listed(first: Any, last: Any, label: Any) -> Any:  # pragma: no cover - compiled
    """Boxes by bucket in ascending order, where each bucket begins, and the bins of each box."""
    buckets = 16
    while buckets < 2 * len(label):
        buckets *= 2
    begins, bins = np.zeros(buckets + 1, np.int64), np.ones(len(label), np.int64)
    for a in range(len(label)):
        for axis in range(3):
            bins[a] *= last[a, axis] - first[a, axis] + 1
        for k in range(bins[a]):
            begins[_bucket(label, first, last, a, k, buckets - 1) + 1] += 1
    begins = np.cumsum(begins)
    place, members = begins.copy(), np.empty(begins[-1], np.int64)
    for a in range(len(label)):
        for k in range(bins[a]):
            bucket = _bucket(label, first, last, a, k, buckets - 1)
            members[place[bucket]] = a
            place[bucket] += 1
    return members, begins, bins


@numba.njit(cache=True, nogil=True)
def _pairs(low: Any, high: Any, first: Any, last: Any, family: Any, label: Any) -> Any:  # pragma: no cover - compiled
    members, begins, bins = _listed(first, last, label)
    capacity = max(16, 4 * len(label))
    left, right = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    # Two boxes may have several bins in common: the box that each was last paired with.
    latest = np.full(len(label), -1, np.int64)
    count = 0
    for a in range(len(label)):
        start = count
        for k in range(bins[a]):
            bucket = _bucket(label, first, last, a, k, len(begins) - 2)
            for m in range(begins[bucket + 1] - 1, begins[bucket] - 1, -1):
                b = members[m]
                if b <= a:
                    break
                if not _meet(low, high, a, b) or latest[b] == a or label[a] != label[b] or family[a] == family[b]:
                    continue
                latest[b] = a
                if count == capacity:
                    left = np.concatenate((left, np.empty(capacity, np.int64)))
                    right = np.concatenate((right, np.empty(capacity, np.int64)))
                    capacity *= 2
                # Few: each is put in its place among those before it.
                place = count
                while place > start and right[place - 1] > b:
                    right[place] = right[place - 1]
                    place -= 1
                left[count], right[place] = a, b
                count += 1
    return left[:count].copy(), right[:count].copy()


@numba.njit(cache=True, nogil=True)
def _meet(low: Any, high: Any, a: int, b: int) -> bool:  # pragma: no cover - compiled
    meet = True
    for axis in range(3):
        meet &= low[a, axis] < high[b, axis] and low[b, axis] < high[a, axis]
    return meet
