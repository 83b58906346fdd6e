"""What the oracle linker joins over a distance, which no rule can."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.seams import oracle, ours
from benchmarks.seams.alike import alike_objects
from benchmarks.seams.cases import Case, Detection, Mask, World
from benchmarks.seams.noise import NOISES
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
    assert reach(bar(48, 50)) == Reach(1, 1, (1,) * (1 + len(DISTANCES)), 1, 0)
    assert reach(bar(44, 59)) == Reach(1, 1, (2, 2, 1, 1), 2, 0)


def test_counts_are_added_and_shown_with_what_ours_is_over() -> None:
    total = Reach(10, 11, (14, 13, 13, 12), 15, 1) + Reach(10, 10, (10, 10, 10, 10), 10, 0)
    assert row(("vessels", "mixed"), total) == [
        *("vessels", "mixed", "20", "21", "24", "23", "23", "22", "25", "1"),
        *("+20.0", "+5.00", "+25.0"),
    ]


def neighbours(second_starts: int, second_stops: int, glued_from: int) -> Case:
    """Two bars that touch, in windows 0..64 and 32..96; the right window says one mask from `glued_from` on."""
    truth = np.zeros((1, 32, 96), np.int32)
    truth[0, 10:15, 34:second_starts] = 1
    truth[0, 10:15, second_starts:second_stops] = 2

    def said(start: int, stop: int, name: int) -> Detection:
        return Detection(Mask((0, 10, start), np.ones((1, 5, stop - start), bool)), 1.0, 0, name)

    left = [said(34, min(second_starts, 64), 1)]
    if second_starts < 64:
        left.append(said(second_starts, 64, 2))
    world = World("neighbours", truth, np.array([0, 0, 0]))
    answers = {(0, 0, 0): left, (0, 0, 1): [said(glued_from, second_stops, 2)]}
    return Case(world, "by hand", 0, WINDOW, OVERLAP, answers)


def test_what_looks_like_one_object_in_both_windows_cannot_be_kept_apart() -> None:
    """The left window ends where the second bar begins: a bar of 34..90 would have looked the same."""
    case = neighbours(second_starts=64, second_stops=90, glued_from=34)
    assert (len(oracle.merge(case).masks), alike_objects(case)) == (2, 1)


def test_what_a_window_saw_as_two_or_elsewhere_can_be_kept_apart() -> None:
    seen_as_two = neighbours(second_starts=50, second_stops=90, glued_from=34)
    assert alike_objects(seen_as_two) == 0
    other_pixels = neighbours(second_starts=64, second_stops=90, glued_from=36)
    assert (len(oracle.merge(other_pixels).masks), alike_objects(other_pixels)) == (2, 0)


def test_what_a_window_says_in_several_masks_does_not_look_like_one_object_in_it() -> None:
    """A part and what it is a part of are joined, but a perfect model would have said one mask."""
    truth = np.zeros((1, 64, 96), np.int32)
    truth[0, 10:15, 34:64], truth[0, 30:35, 34:64], truth[0, 10:35, 64:90] = 1, 2, 3

    def said(top: int, bottom: int, start: int, stop: int, name: int) -> Detection:
        return Detection(Mask((0, top, start), np.ones((1, bottom - top, stop - start), bool)), 1.0, 0, name)

    bow = np.zeros((1, 25, 56), bool)
    bow[0, :5, :30] = bow[0, 20:, :30] = bow[0, :, 30:] = True
    left = [said(10, 15, 34, 64, 1), said(30, 35, 34, 64, 2)]
    world = World("bow", truth, np.array([0, 0, 0, 0]))
    answers = {(0, 0, 0): left, (0, 0, 1): [Detection(Mask((0, 10, 34), bow), 1.0, 0, 3)]}
    case = Case(world, "by hand", 0, (1, 64, 64), OVERLAP, answers)
    assert (len(oracle.merge(case).masks), len(ours.merge_alone(case).masks), alike_objects(case)) == (3, 1, 0)


def test_outlines_that_move_hide_what_looks_like_one_object_without_them() -> None:
    steady = neighbours(second_starts=64, second_stops=90, glued_from=34)
    moved = neighbours(second_starts=64, second_stops=90, glued_from=36)
    assert (alike_objects(moved), alike_objects(moved, steady)) == (0, 1)
    assert (reach(moved).alike, reach(moved, steady).alike) == (0, 1)


def test_what_the_moved_outlines_let_our_merge_keep_apart_is_not_counted() -> None:
    steady = neighbours(second_starts=64, second_stops=90, glued_from=34)
    kept_apart = neighbours(second_starts=64, second_stops=90, glued_from=70)
    assert len(oracle.merge(kept_apart).masks) == 2
    assert alike_objects(kept_apart, steady) == 0


def test_without_moved_outlines_the_same_windows_err_on_the_same_objects() -> None:
    noise = NOISES["mixed"].steady()
    assert (noise.miss, noise.glue, noise.scores) == (0.05, 0.01, 0.3)
    assert (noise.jitter, noise.short, noise.shift) == (0.0, 0, 0)
    assert NOISES["glue1"].steady() == NOISES["glue1"]
