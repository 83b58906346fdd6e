"""Which masks meet and what they share, against dense masks."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from segworkers.overlaps import box_pairs, near_pixels, shared_pixels
from segworkers.runs import RunTable, bounding_boxes, concatenate, label_runs

SHAPE = (3, 7, 9)
MASKS = 4


def images() -> st.SearchStrategy[NDArray[np.int64]]:
    return arrays(np.int64, SHAPE, elements=st.integers(0, MASKS), fill=st.just(0))


def both(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[RunTable, NDArray[np.bool_]]:
    """The masks of two label images, as runs and as (masks, z, y, x)."""
    first, second = label_runs(a, (0, 0, 0)), label_runs(b, (0, 0, 0))
    table = concatenate([first, RunTable(second.runs, second.owner + MASKS)]).canonical()
    return table, np.array([image == k for image in (a, b) for k in range(1, MASKS + 1)])


def grown(mask: NDArray[np.bool_], reach: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The voxels within `reach` of the mask, by looking at each neighbour."""
    padded = np.pad(mask, [(r, r) for r in reach])
    result = np.zeros_like(mask)
    for z, y, x in product(*(range(2 * r + 1) for r in reach)):
        result |= padded[z : z + mask.shape[0], y : y + mask.shape[1], x : x + mask.shape[2]]
    return result


def filled_box(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    result = np.zeros_like(mask)
    if mask.any():
        result[tuple(slice(p.min(), p.max() + 1) for p in np.nonzero(mask))] = True
    return result


@given(images(), images(), st.tuples(*[st.integers(0, 2)] * 3), st.lists(st.integers(0, 1), min_size=8, max_size=8))
def test_pairs_are_those_of_boxes_that_nearly_meet(
    a: NDArray[np.int64], b: NDArray[np.int64], reach: tuple[int, int, int], labels: list[int]
) -> None:
    table, dense = both(a, b)
    family, label = np.repeat([0, 1], MASKS), np.array(labels)
    i, j = box_pairs(bounding_boxes(table, 2 * MASKS), family, label, reach)
    expected = [
        (p, q)
        for p, q in product(range(MASKS), range(MASKS, 2 * MASKS))
        if labels[p] == labels[q] and (grown(filled_box(dense[p]), reach) & filled_box(dense[q])).any()
    ]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected


@given(images(), images(), st.lists(st.integers(0, 6), min_size=6, max_size=6))
def test_shared_pixels_are_those_of_the_dense_masks(
    a: NDArray[np.int64], b: NDArray[np.int64], corners: list[int]
) -> None:
    table, dense = both(a, b)
    i, j = (np.array(column) for column in zip(*product(range(MASKS), range(MASKS, 2 * MASKS)), strict=True))
    boxes = np.tile(np.array([0, 0, 0, *SHAPE]), (2 * MASKS, 1))
    boxes[:MASKS, :3], boxes[MASKS:, 3:] = corners[:3], corners[3:]
    shared, inside = shared_pixels(table, i, j, boxes, 2 * MASKS)
    z, y, x = (slice(low, high) for low, high in zip(corners[:3], corners[3:], strict=True))
    for k, (p, q) in enumerate(zip(i, j, strict=True)):
        common: Any = dense[p] & dense[q]
        assert shared[k] == common.sum()
        assert inside[k] == common[z, y, x].sum()


@given(images(), images(), st.tuples(*[st.integers(0, 2)] * 3))
def test_near_pixels_are_those_within_reach(
    a: NDArray[np.int64], b: NDArray[np.int64], reach: tuple[int, int, int]
) -> None:
    table, dense = both(a, b)
    there = [k for k in range(2 * MASKS) if dense[k].any()]
    pairs = [(p, q) for p in there for q in there if p != q]
    i, j = np.array([p for p, _ in pairs], np.int64), np.array([q for _, q in pairs], np.int64)
    near = near_pixels(table, i, j, np.tile(np.array(reach), (len(pairs), 1)), bounding_boxes(table, 2 * MASKS))
    assert near.tolist() == [(dense[p] & grown(dense[q], reach)).sum() for p, q in pairs]
