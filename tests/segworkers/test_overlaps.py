"""Which masks meet and what they share, against dense masks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from segworkers.overlaps import agreement, near_pixels, shared_pixels
from segworkers.runs import RunTable, concatenate, label_runs

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


def within(box: Sequence[int] | NDArray[np.int64]) -> tuple[slice, ...]:
    return tuple(slice(low, max(low, high)) for low, high in zip(box[:3], box[3:], strict=True))


@given(images(), images(), st.lists(st.integers(0, 6), min_size=24, max_size=24))
def test_agreement_is_that_of_the_dense_masks(a: NDArray[np.int64], b: NDArray[np.int64], corners: list[int]) -> None:
    window = np.repeat(np.arange(2), MASKS)
    seen, trusted = (np.array(corners[k : k + 12]).reshape(2, 6) for k in (0, 12))
    cut = [np.zeros_like(image) for image in (a, b)]
    for image, part, box in zip((a, b), cut, seen, strict=True):
        part[within(box)] = image[within(box)]
    table, dense = both(*cut)
    i, j = (np.array(column) for column in zip(*product(range(MASKS), range(MASKS, 2 * MASKS)), strict=True))
    extents = table.extents(2 * MASKS)
    shared, overlap, holds, full = agreement(table, extents, i, j, window, seen[window], trusted[window])
    assert (shared_pixels(table, extents, i, j) == shared).all()
    for k, (p, q) in enumerate(zip(i, j, strict=True)):
        common: Any = dense[p] & dense[q]
        assert shared[k] == common.sum()
        expected = [0.0]
        for boxes in (seen, trusted):
            place = within([*boxes[:, :3].max(axis=0), *boxes[:, 3:].min(axis=0)])
            expected.append(common[place].sum() / max(1, (dense[p] | dense[q])[place].sum()))
        assert overlap[k] == max(expected)
        place = within([*seen[:, :3].max(axis=0), *seen[:, 3:].min(axis=0)])
        assert holds[k] == (common.any() and common.sum() in (dense[p][place].sum(), dense[q][place].sum()))
        left_out = (dense[p] & ~dense[MASKS:].any(0) | dense[q] & ~dense[:MASKS].any(0))[place]
        assert full[k] == (common.any() and not left_out.any())


@given(images(), images(), st.tuples(*[st.integers(0, 2)] * 3))
def test_near_pixels_are_those_within_reach(
    a: NDArray[np.int64], b: NDArray[np.int64], reach: tuple[int, int, int]
) -> None:
    table, dense = both(a, b)
    there = [k for k in range(2 * MASKS) if dense[k].any()]
    pairs = [(p, q) for p in there for q in there if p != q]
    i, j = np.array([p for p, _ in pairs], np.int64), np.array([q for _, q in pairs], np.int64)
    near = near_pixels(table, table.extents(2 * MASKS), i, j, np.tile(np.array(reach), (len(pairs), 1)))
    assert near.tolist() == [(dense[p] & grown(dense[q], reach)).sum() for p, q in pairs]
