"""What the oracle linker joins over a distance, which no rule can."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.seams import oracle
from benchmarks.seams.cases import Case, Detection, Mask, World
from benchmarks.seams.reach import DISTANCES, Reach, near_objects, reach, row

WINDOW, OVERLAP = (1, 32, 64), (0, 0, 32)


def bar(first_stops: int, second_starts: int) -> Case:
    """A bar along x in two windows, 0..64 and 32..96, of which each saw a piece."""
    truth = np.zeros((1, 32, 96), np.int32)
    truth[0, 10:15] = 1
    pieces = {(0, 0, 0): (0, first_stops), (0, 0, 1): (second_starts, 96)}
    said = {
        index: [Detection(Mask((0, 10, start), np.ones((1, 5, stop - start), bool)), 1.0, 0, 1)]
        for index, (start, stop) in pieces.items()
    }
    return Case(World("bar", truth, np.array([0, 0])), "by hand", 0, WINDOW, OVERLAP, said)


@given(stops=st.integers(20, 64), starts=st.integers(32, 80), distance=st.integers(0, 40))
def test_pieces_are_one_where_they_come_within_the_distance(stops: int, starts: int, distance: int) -> None:
    case = bar(stops, starts)
    assert list(near_objects(case, [(distance, distance, distance)])) == [1 if starts - (stops - 1) <= distance else 2]
    assert len(oracle.merge(case).masks) == 1


def test_what_lies_within_the_tolerance_is_joined_by_the_merge_and_what_lies_farther_is_not() -> None:
    assert reach(bar(48, 50)) == Reach(1, 1, (1,) * (1 + len(DISTANCES)), 1)
    assert reach(bar(44, 59)) == Reach(1, 1, (2, 2, 1, 1), 2)


def test_counts_are_added_and_shown_with_what_ours_is_over() -> None:
    total = Reach(10, 11, (14, 13, 13, 12), 15) + Reach(10, 10, (10, 10, 10, 10), 10)
    assert row(("vessels", "mixed"), total) == [
        *("vessels", "mixed", "20", "21", "24", "23", "23", "22", "25"),
        *("+20.0", "+5.00"),
    ]
