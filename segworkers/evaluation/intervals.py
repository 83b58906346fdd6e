"""95 % intervals: how much would the figures change with other images of the same kind?

- **Bootstrap over units** (images, or blocks of them; Efron 1979, Annals of Statistics 7(1)), percentiles of the
  resampled figures: whole units are drawn with replacement, because objects of one image are not independent.
- **Wilson's score interval** (Wilson 1927, JASA 22) for precision and recall where there are fewer than `LEAST_UNITS`
  units, or where all resamples agree, as they do for a share of 0 or 1. It takes objects for independent: with few
  images it is too narrow.

Other figures have no interval then.
"""
# scipy is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

CONFIDENCE = 0.95
RESAMPLES = 1_000
LEAST_UNITS = 5
_SEED = 20_190_607
_AT_ONCE = 50

Interval = tuple[float, float]
"""Low and high; NaN where it cannot be said."""

NO_INTERVAL: Interval = (float("nan"), float("nan"))


def resampled(units: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.float64]]:
    """Rows (k, units): how often each unit was drawn, `units` in all; `resamples` rows in parts, always the same."""
    random = np.random.default_rng(_SEED)
    for first in range(0, resamples, _AT_ONCE):
        drawn = min(_AT_ONCE, resamples - first)
        yield random.multinomial(units, np.full(units, 1 / units), size=drawn).astype(np.float64)


def percentiles(values: NDArray[np.float64]) -> Interval:
    """Of the resampled figures (resamples,). NaN where they all agree, or more than half of them say nothing."""
    known = values[~np.isnan(values)]
    if 2 * len(known) <= len(values) or not len(known) or known.min() == known.max():
        return NO_INTERVAL
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def wilson(hits: int, trials: int) -> Interval:
    """Of a share of independent trials; NaN where there are none."""
    if trials == 0:
        return NO_INTERVAL
    z = float(ndtri((1 + CONFIDENCE) / 2))
    share, extra = hits / trials, z * z / trials
    middle = (share + extra / 2) / (1 + extra)
    half = z * math.sqrt(share * (1 - share) / trials + extra / trials / 4) / (1 + extra)
    # Exact at the ends, where rounding would leave the range.
    return 0.0 if hits == 0 else middle - half, 1.0 if hits == trials else middle + half
