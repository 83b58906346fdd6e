"""Means over seeds with 95 % intervals, and who is better where two rules saw the same seeds.

Student's t on the values, or on the differences of pairs: a seed that is hard for one rule is hard for the other, so
the differences spread less than the values. Source: Student (1908), The probable error of a mean, Biometrika 6(1).
"""
# pyright: reportUnknownMemberType=false
# scipy hands out partly unknown types.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

CONFIDENCE = 0.95
Verdict = Literal["better", "within", "worse"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the interval that holds it with 95 % confidence, in the unit of the values."""

    mean: float
    low: float
    """-inf where one value says nothing of the spread."""
    high: float
    """inf where one value says nothing of the spread."""

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


def summary(values: Sequence[float]) -> Interval:
    """Mean of `values` with its interval; values that are all equal have an interval of no width.

    Raises ValueError where there are no values or one is not a number.
    """
    count = len(values)
    if count == 0 or not all(math.isfinite(value) for value in values):
        raise ValueError(f"expected one finite number for each seed, found {list(values)}")
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean, -math.inf, math.inf)
    if min(values) == max(values):
        return Interval(float(values[0]), float(values[0]), float(values[0]))
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Interval of the mean of ours - theirs, seed by seed in the same order.

    Raises ValueError where the two do not pair up.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"expected values for the same seeds, found {len(ours)} of ours and {len(theirs)} of theirs")
    return summary([a - b for a, b in zip(ours, theirs, strict=True)])


def verdict(difference: Interval, *, lower_is_better: bool) -> Verdict:
    """What an interval of ours - theirs says: `within` where it holds 0, so also where there is one seed only."""
    if difference.low <= 0.0 <= difference.high:
        return "within"
    return "better" if (difference.high < 0.0) == lower_is_better else "worse"
