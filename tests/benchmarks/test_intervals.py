"""Intervals against values from tables, and their laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.seams.intervals import Interval, paired, summary, verdict

NUMBERS = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
SEEDS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=12)


def test_summary_uses_the_t_of_the_tables() -> None:
    # Standard deviation sqrt(2.5); t(0.975, 4) = 2.776.
    found = summary([1, 2, 3, 4, 5])
    assert found.mean == 3.0
    assert found.half == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=1e-3)
    assert (found.low + found.high) / 2 == pytest.approx(3.0)


def test_equal_values_have_no_spread_and_one_value_says_nothing_of_it() -> None:
    assert summary([0.1] * 3) == Interval(0.1, 0.1, 0.1)
    assert summary([2.0]) == Interval(2.0, -math.inf, math.inf)


def test_what_is_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="one finite number for each seed"):
        summary([])
    with pytest.raises(ValueError, match="one finite number for each seed"):
        summary([1.0, math.nan])
    with pytest.raises(ValueError, match="found 2 of ours and 1 of theirs"):
        paired([1, 2], [1])


def test_pairs_see_what_spreads_hide() -> None:
    ours, theirs = [1.0, 5.0, 9.0, 13.0], [1.5, 5.6, 9.5, 13.4]
    assert summary(ours).high > summary(theirs).low
    assert verdict(paired(ours, theirs), lower_is_better=True) == "better"
    assert verdict(paired(ours, theirs), lower_is_better=False) == "worse"


def test_verdicts() -> None:
    assert verdict(Interval(0.0, 0.0, 0.0), lower_is_better=True) == "within"
    assert verdict(Interval(1.0, -0.1, 2.1), lower_is_better=True) == "within"
    assert verdict(Interval(1.0, 0.1, 1.9), lower_is_better=True) == "worse"
    assert verdict(Interval(1.0, 0.1, 1.9), lower_is_better=False) == "better"
    assert verdict(paired([1.0], [100.0]), lower_is_better=True) == "within"


@given(SEEDS)
def test_paired_is_the_interval_of_the_paired_t_test(seeds: list[tuple[float, float]]) -> None:
    ours, theirs = [a for a, _ in seeds], [b for _, b in seeds]
    assume(max(a - b for a, b in seeds) - min(a - b for a, b in seeds) > 1e-3)
    found = paired(ours, theirs)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


@given(SEEDS)
def test_who_is_ours_turns_the_verdict_round(seeds: list[tuple[float, float]]) -> None:
    ours, theirs = [a for a, _ in seeds], [b for _, b in seeds]
    turned = {"better": "worse", "worse": "better", "within": "within"}
    one = verdict(paired(ours, theirs), lower_is_better=True)
    assert verdict(paired(theirs, ours), lower_is_better=True) == turned[one]
    assert verdict(paired(ours, theirs), lower_is_better=False) == turned[one]
