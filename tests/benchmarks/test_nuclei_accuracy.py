"""Scores of nuclei, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.nuclei_accuracy import NAMES, Score, interval, mistakes, same, score


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Found, truth, micronuclei: one exact, one with an IoU of 0.6, one missed, one on a micronucleus, one invented."""
    truth, found, small = (np.zeros((60, 60), np.int32) for _ in range(3))
    truth[0:10, 0:10], found[0:10, 0:10] = 1, 70
    truth[20:30, 0:10], found[20:30, 0:6] = 2, 4
    truth[40:50, 0:10] = 9
    small[0:8, 40:48], found[0:8, 40:50] = 1, 5
    found[40:50, 40:50] = 6
    return found, truth, small > 0


def test_matches_misses_and_what_is_left_out() -> None:
    total = score(*scene())
    assert total == Score(3, 3, (2, 1, 1, 1, 1), pytest.approx(1.6), 1)
    by_name = dict(zip(NAMES, total.measures, strict=True))
    assert by_name["F1@0.5"] == pytest.approx(4 / 6) and by_name["F1@0.8"] == pytest.approx(2 / 6)
    assert by_name["PQ"] == pytest.approx(1.6 / 3) and by_name["count error"] == 0
    assert by_name["precision@0.5"] == by_name["recall@0.5"] == pytest.approx(2 / 3)


def test_a_match_counts_even_on_a_micronucleus() -> None:
    found, truth, _ = scene()
    everywhere = np.ones(truth.shape, bool)
    assert score(found, truth, everywhere) == Score(2, 3, (2, 1, 1, 1, 1), pytest.approx(1.6), 2)


def test_without_background() -> None:
    full = np.ones((4, 4), np.int32)
    assert score(full, full * 3, np.zeros((4, 4), bool)) == Score(1, 1, (1,) * 5, 1.0, 0)
    assert score(full * 0, full * 0, np.zeros((4, 4), bool)) == Score()


def test_intervals_hold_the_value_and_have_no_width_where_images_agree() -> None:
    one = score(*scene())
    low, high = interval([one] * 4)
    assert low == pytest.approx(one.measures) and high == pytest.approx(one.measures)
    low, high = interval([one, Score(5, 5, (5,) * 5, 5.0, 0)])
    assert low[0] == pytest.approx(4 / 6) and high[0] == 1


def test_numbers_do_not_matter() -> None:
    a = np.array([[0, 1, 1], [2, 2, 0]])
    assert same(a, np.array([[0, 7, 7], [3, 3, 0]]))
    assert not same(a, np.array([[0, 7, 7], [7, 7, 0]]))
    assert not same(a, np.array([[0, 7, 7], [3, 3, 3]]))


def test_what_is_wrong_is_named() -> None:
    found, truth, small = scene()
    assert mistakes(found, truth, small) == {"background": 1}
    truth[0:10, 20:30], truth[0:10, 30:40] = 11, 12
    found[0:10, 20:40] = 8  # IoU 0.5 with both, which is no match
    truth[20:40, 20:40], found[20:26, 20:40] = 13, 9
    found[32:40, 20:28] = 10
    found[40:50, 0:10], found[40:59, 0:16] = 0, 14  # around object 9
    assert mistakes(found, truth, small) == {"background": 2, "joined": 1, "piece": 2}
    found[found == 14] = 0
    truth[40:58, 0:10], found[40:58, 4:15] = 9, 15
    assert mistakes(found, truth, small)["outline"] == 1
