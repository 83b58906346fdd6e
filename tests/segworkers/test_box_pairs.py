"""The join of boxes against all pairs of boxes, looked at one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segworkers.box_pairs import box_pairs


@st.composite
def boxes(draw: st.DrawFn) -> NDArray[np.int64]:
    """Up to 60 boxes, most of them small, some as large as the image, some without pixels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, extent = draw(st.integers(0, 60)), np.array(draw(st.sampled_from([(1, 60, 60), (9, 30, 30), (1, 5, 100_000)])))
    low = rng.integers(0, extent, (n, 3))
    high = low + 1 + rng.integers(0, np.where(rng.random((n, 1)) < 0.1, extent, np.minimum(extent, 8)), (n, 3))
    found = np.hstack((low, high))
    found[rng.random(n) < 0.1] = [*[np.iinfo(np.int64).max] * 3, *[np.iinfo(np.int64).min] * 3]
    return found


def nearly_meet(a: NDArray[np.int64], b: NDArray[np.int64], reach: tuple[int, int, int]) -> bool:
    """Whether a voxel of b lies within reach of one of a; empty boxes have none."""
    if a[0] > a[3] or b[0] > b[3]:
        return False
    return bool((a[:3] - reach < b[3:]).all() and (b[:3] < a[3:] + reach).all())


@given(boxes(), st.tuples(*[st.integers(0, 3)] * 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_pairs_are_those_of_boxes_that_nearly_meet(
    found: NDArray[np.int64], reach: tuple[int, int, int], families: int, labels: int, seed: int
) -> None:
    rng, n = np.random.default_rng(seed), len(found)
    family, label = rng.integers(0, families, n), rng.integers(0, labels, n)
    i, j = box_pairs(found, family, label, reach)
    expected = [
        (a, b)
        for a in range(n)
        for b in range(a + 1, n)
        if family[a] != family[b] and label[a] == label[b] and nearly_meet(found[a], found[b], reach)
    ]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
