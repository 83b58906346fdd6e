"""Is there a seam? Compares the density of objects near windows' borders with that of the rest.

Without a seam an object lies near a border with the probability that a valid pixel does. The model: of `m` objects of a
source a share `q = R·p / (R·p + 1 − p)` lies near, where `p` is the share of the pixels and `R`, one number for all
sources, the ratio of densities; each source is a stratum of its own, so their densities need not agree. `R` is the
maximum-likelihood estimate of this conditional Poisson model.

Objects come in clusters, so their scatter is not Poisson's and is taken from the data: residuals are summed over
blocks of cells, and the variance is that of the score, `Σᵢ Σⱼ wᵢⱼ eᵢ eⱼ`, with neighbouring blocks counted in because
clusters lie across their borders (Liang and Zeger, Biometrika 73, 1986, for the cluster-robust form; Conley, Journal
of Econometrics 92, 1999, for neighbours in space). It is never less than the binomial one, and Student's t with as many
degrees of freedom as there are blocks that matter (Kish's effective number) takes the place of the normal.
"""
# scipy ships no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from scipy.special import stdtrit

Verdict = Literal["flat", "excess near borders", "lack near borders", "too few objects", "cannot tell", "no borders"]

MIN_EXPECTED = 10
"""Objects that must be expected near borders, and away from them, before anything is said."""

MIN_BLOCKS = 3
"""Effective blocks below which scatter is unknown."""

MAX_WIDTH = 2.0
"""Where the interval's ends differ by a larger factor, the estimate of the scatter is not trusted either."""

FLAT_WIDTH = 1.5
"""An interval whose ends differ by a larger factor is not called flat: too large a seam could hide in it."""

FALSE_ALARMS = (0.005, 0.001)
"""Chances to call a seam where there is none: with a good estimate, and with one whose interval is too wide. Below that
of the interval, because a run may have many sources and a few large clusters make intervals too narrow."""

TOLERANCE = 0.01
"""Ratios this close to 1 count as flat, however certain they are: no model is the same at its window's border."""


@dataclass(frozen=True, slots=True, eq=False)
class Stratum:
    """The objects of one source that are not at its image's edge."""

    share: float
    """Of the valid pixels (not at the edge either) that lie near a border: p."""
    near: NDArray[np.int64]
    """(z, y, x) of blocks: objects near a border."""
    objects: NDArray[np.int64]
    """(z, y, x) of blocks: all objects."""
    has_single: bool = True
    """Whether those that are not near were seen by one window alone. Where all were seen by several, all may have been
    counted several times: a difference is a seam, but none says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamVerdict:
    """What the profile says, in words and as ratio of densities, near borders to elsewhere, with its 95 % interval."""

    verdict: Verdict
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def seam_verdict(strata: Sequence[Stratum]) -> SeamVerdict:
    """The verdict over sources with seams; the figures are None where there is nothing to compute them from."""
    if not strata:
        return SeamVerdict(verdict="no borders")
    single = [each for each in strata if each.has_single]
    found = _compare(single or strata)
    if not single and found.verdict in ("flat", "too few objects"):
        return replace(found, verdict="cannot tell")
    return found


def _compare(strata: Sequence[Stratum]) -> SeamVerdict:
    usable = [each for each in strata if 0 < each.share < 1 and each.objects.any()]
    share = np.array([each.share for each in usable])
    objects = np.array([int(each.objects.sum()) for each in usable], np.float64)
    near = float(sum(int(each.near.sum()) for each in usable))
    expected = float((objects * share).sum())
    if min(expected, float(objects.sum()) - expected) < MIN_EXPECTED:
        return SeamVerdict(verdict="too few objects")
    # Half an object at the ends, where the estimate would be 0 or infinite.
    log_ratio = _solve(share, objects, min(max(near, 0.5), float(objects.sum()) - 0.5))
    fitted = _fitted(share, log_ratio)
    information = float((objects * fitted * (1 - fitted)).sum())
    scatter, blocks = _scatter(usable, fitted)
    if blocks < MIN_BLOCKS:
        return SeamVerdict(verdict="too few objects")
    error = float(np.sqrt(max(scatter, information))) / information
    return _judge(log_ratio, error, blocks - 1)


def _judge(log_ratio: float, error: float, freedom: float) -> SeamVerdict:
    def reach(chance: float) -> float:
        return float(stdtrit(freedom, 1 - chance / 2)) * error

    ratio, low, high = (float(np.exp(log_ratio + step)) for step in (0.0, -reach(0.05), reach(0.05)))
    chance = FALSE_ALARMS[high > MAX_WIDTH * low]
    verdict: Verdict = "too few objects" if high > FLAT_WIDTH * low else "flat"
    if log_ratio - reach(chance) > np.log1p(TOLERANCE):
        verdict = "excess near borders"
    elif log_ratio + reach(chance) < np.log1p(-TOLERANCE):
        verdict = "lack near borders"
    return SeamVerdict(verdict=verdict, ratio=ratio, low=low, high=high)


def _fitted(share: NDArray[np.float64], log_ratio: float) -> NDArray[np.float64]:
    """Share of each source's objects that lies near where densities have this ratio."""
    odds = np.exp(log_ratio) * share / (1 - share)
    return odds / (1 + odds)


def _solve(share: NDArray[np.float64], objects: NDArray[np.float64], near: float) -> float:
    """Logarithm of the ratio that gives as many objects near as there are: bisection of a monotone function."""
    low, high = -50.0, 50.0
    for _ in range(80):
        middle = (low + high) / 2
        if float((objects * _fitted(share, middle)).sum()) < near:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _scatter(strata: Sequence[Stratum], fitted: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the number of objects near borders, and the effective number of blocks that it was taken from."""
    variance, total, squares, blocks = 0.0, 0.0, 0.0, 0
    for each, q in zip(strata, fitted, strict=True):
        residual = each.near - q * each.objects
        smooth = residual
        for axis in range(3):  # Bartlett's weights: 1 for a block itself, 1/2 for the next one along each axis
            smooth = convolve1d(smooth, [0.5, 1.0, 0.5], axis=axis, mode="constant")
        variance += float((residual * smooth).sum())
        total += float(each.objects.sum())
        squares += float((each.objects.astype(np.float64) ** 2).sum())
        blocks += int((each.objects > 0).sum())
    effective = total**2 / squares if squares else 0.0
    return variance * blocks / max(blocks - 1, 1), effective
