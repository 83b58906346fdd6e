"""Batches of objects: any way of cutting and joining them leaves them as they were."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segworkers import rows
from segworkers.objects import Objects, join_objects, no_objects
from segworkers.runs import RunTable

COLUMNS = ("label", "score", "n_views", "min_overlap", "assembled")


def some_objects(n: int, seed: int) -> Objects:
    """Canonical masks of one to three runs each."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n), rng.integers(1, 4, n))
    x = np.arange(len(owner))
    runs = np.stack((np.zeros_like(x), x, rng.integers(0, 9, len(x)), np.full(len(x), 20)), axis=1).astype(np.int32)
    numbers = rng.integers(0, 100, (5, n))
    return Objects(
        numbers[0], numbers[1] / 7, RunTable(runs, owner), numbers[2], numbers[3] / 7, numbers[4] > 50
    )  # fmt: skip


def same(a: Objects, b: Objects) -> bool:
    return (
        all(getattr(a, name).tolist() == getattr(b, name).tolist() for name in COLUMNS)
        and a.masks.runs.tolist() == b.masks.runs.tolist()
        and a.masks.owner.tolist() == b.masks.owner.tolist()
    )


@given(n=st.integers(0, 20), seed=st.integers(0, 99), start=st.integers(0, 22), stop=st.integers(0, 25))
def test_a_slice_is_what_taking_its_rows_gives(n: int, seed: int, start: int, stop: int) -> None:
    objects, start = some_objects(n, seed), min(start, n)
    assert same(objects.slice(start, max(start, stop)), objects.take(np.arange(start, max(start, min(stop, n)))))


@given(sizes=st.lists(st.integers(0, 12), max_size=8), most=st.integers(1, 10))
def test_batches_hold_the_same_objects_and_are_neither_large_nor_many(sizes: list[int], most: int) -> None:
    given_ = [some_objects(n, seed) for seed, n in enumerate(sizes)]
    found = list(rows._batches(iter(given_), most))
    assert same(join_objects(found), join_objects(given_))
    assert all(1 <= len(batch) <= most for batch in found)
    assert all(len(a) + len(b) > most for a, b in pairwise(found))


def test_nothing_gives_no_batch() -> None:
    assert list(rows._batches(iter([no_objects()]), 5)) == []
