"""The table of metrics: one row for each class, size and threshold, for all of them together, and for each image."""

# scipy is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from segworkers.evaluation import metrics
from segworkers.evaluation.intervals import (
    LEAST_UNITS,
    NO_INTERVAL,
    RESAMPLES,
    Interval,
    percentiles,
    resampled,
    wilson,
)
from segworkers.evaluation.tally import (
    FALSE,
    HITS,
    IGNORED_PREDICTIONS,
    IGNORED_TRUTH,
    MISSES,
    UNKNOWN_PREDICTIONS,
    UNKNOWN_TRUTH,
    Ranking,
    Tally,
)

_Floats = NDArray[np.float64]

_RANKED_AT_MOST = 20_000_000
"""Predictions of a class times resamples: of classes with more, average precision is resampled less often, but"""
_LEAST_RESAMPLES = 200
"""at least so often, because every resample goes through all of them."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its 95 % interval; NaN is unknown."""

    value: float
    interval: Interval = NO_INTERVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table of metrics. `NAMES` are its figures."""

    label: int | None
    """Class; None: all of them."""
    size: int | None
    """Size; None: all of them."""
    threshold: int
    """Place among the thresholds."""
    counts: Mapping[str, int]
    """Numbers of objects by what became of them."""
    figures: Mapping[str, Figure]
    method: str
    """How the intervals of this row were found: `bootstrap`, `wilson` or `none`."""


COUNTS = {
    "matched": HITS,
    "false_positives": FALSE,
    "misses": MISSES,
    "ignored_predictions": IGNORED_PREDICTIONS,
    "ignored_truth": IGNORED_TRUTH,
    "unknown_predictions": UNKNOWN_PREDICTIONS,
    "unknown_truth": UNKNOWN_TRUTH,
}
"""Counts of a row and their fields."""

_OF_NUMBERS = {
    "count_error": metrics.count_error,
    "count_error_share": metrics.count_error_share,
    "precision": metrics.precision,
    "recall": metrics.recall,
    "f1": metrics.f1,
    "mean_iou": metrics.mean_iou,
}
"""Figures from pooled numbers."""

_PANOPTIC = {"pq": metrics.panoptic_quality, "sq": metrics.mean_iou, "rq": metrics.f1}
"""Figures of panoptic quality: means over classes, independent of the thresholds, told in the rows of the first."""

NAMES = (*_OF_NUMBERS, "ap", *_PANOPTIC)
"""Figures of a row."""


def summarise(tally: Tally) -> list[Row]:
    """All rows: for all classes and for each, all sizes and each, and each threshold.

    Raises ValueError where no source was added.
    """
    if not tally.units:
        return []
    numbers, drawn = _numbers(tally)
    precision_of_classes = _Ranked(tally)
    classes, sizes, thresholds = (len(range(extent)) for extent in tally.scheme.shape[:3])
    rows: list[Row] = []
    for label in (None, *range(classes)):
        for size in (None, *range(sizes)):
            for t in range(thresholds - 1):
                ap = precision_of_classes.figure(label, size, t)
                rows.append(_row(numbers, drawn, (label, size, t), ap))
    return rows


def _numbers(tally: Tally) -> tuple[_Floats, _Floats | None]:
    """Sums over all units, shaped as the scheme says, and of the resamples; None where there are too few units."""
    unit, column, value = tally.numbers()
    shape = tally.scheme.shape
    table = csr_array((value, (unit, column)), shape=(tally.units, int(np.prod(shape))))
    total = np.asarray(table.sum(axis=0), np.float64).reshape(shape)
    if tally.units < LEAST_UNITS:
        return total, None
    parts = [np.asarray(weights @ table).reshape(-1, *shape) for weights in resampled(tally.units)]
    return total, np.concatenate(parts)


def _row(numbers: _Floats, drawn: _Floats | None, key: tuple[int | None, int | None, int], ap: Figure) -> Row:
    label, size, t = key
    here, redrawn = _pooled(numbers, key), None if drawn is None else _pooled(drawn, key)
    figures = {name: _figure(name, here, redrawn) for name in _OF_NUMBERS} | {"ap": ap}
    for name, made in _PANOPTIC.items():
        value, interval = float("nan"), NO_INTERVAL
        if t == 0:
            value = float(_panoptic(made, numbers, label, size))
            interval = NO_INTERVAL if drawn is None else percentiles(_panoptic(made, drawn, label, size))
        figures[name] = Figure(value, interval)
    counted = int(here[HITS] + here[FALSE] + here[MISSES])
    return Row(
        label=label,
        size=size,
        threshold=t,
        counts={name: int(here[place]) for name, place in COUNTS.items()},
        figures=figures,
        method="none" if not counted else "wilson" if drawn is None else "bootstrap",
    )


def _pooled(numbers: _Floats, key: tuple[int | None, int | None, int]) -> _Floats:
    """(..., fields) of one threshold, summed over what is not asked for apart."""
    label, size, t = key
    chosen = numbers[..., t, :]
    chosen = chosen.sum(axis=-2) if size is None else chosen[..., size, :]
    return chosen.sum(axis=-2) if label is None else chosen[..., label, :]


def _panoptic(made: Any, numbers: _Floats, label: int | None, size: int | None) -> _Floats:
    """Of the numbers of panoptic quality, the last threshold's; a mean over classes where none is asked for."""
    chosen = numbers[..., -1, :]
    chosen = chosen.sum(axis=-2) if size is None else chosen[..., size, :]
    return metrics.mean_of_classes(made(chosen), -1) if label is None else made(chosen[..., label, :])


def _figure(name: str, here: _Floats, redrawn: _Floats | None) -> Figure:
    value = float(_OF_NUMBERS[name](here))
    interval = NO_INTERVAL if redrawn is None else percentiles(_OF_NUMBERS[name](redrawn))
    if np.isnan(interval[0]) and name in {"precision", "recall"}:
        hits = int(here[HITS])
        interval = wilson(hits, hits + int(here[FALSE if name == "precision" else MISSES]))
    return Figure(value, interval)


class _Ranked:
    """Average precision of classes, sizes and thresholds; each class is sorted and resampled once."""

    def __init__(self, tally: Tally) -> None:
        self._units, self._scheme = tally.units, tally.scheme
        classes, sizes, thresholds, _ = tally.scheme.shape
        positives = np.zeros((classes, thresholds - 1, sizes + 1, tally.units)) if tally.units < 50_000 else None
        rows = tally.positives()
        total = np.zeros((classes, thresholds - 1, sizes + 1))
        np.add.at(total, (rows[:, 1], rows[:, 2], rows[:, 3]), rows[:, 4])
        if positives is not None:
            np.add.at(positives, (rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 0]), rows[:, 4])
        self._value = np.full(total.shape, np.nan)
        self._drawn: _Floats | None = None
        self._unranked = False
        rankings = [tally.ranking(label) for label in range(classes)]
        largest = max((len(each.score) for each in rankings), default=0)
        resamples = max(min(RESAMPLES, _RANKED_AT_MOST // max(largest, 1)), _LEAST_RESAMPLES)
        if tally.units >= LEAST_UNITS and positives is not None:
            self._drawn = np.full((classes, thresholds - 1, resamples), np.nan)
        for label, ranking in enumerate(rankings):
            self._rank(label, ranking, total[label], None if positives is None else positives[label])

    def _rank(self, label: int, ranking: Ranking, total: _Floats, positives: _Floats | None) -> None:
        if np.isnan(ranking.score).any():  # no score, no order
            self._unranked = True
            return
        order = np.argsort(-ranking.score, kind="stable")
        state, unit = ranking.state[order], ranking.unit[order]
        ones = np.ones(len(order))
        for t in range(total.shape[0]):
            for size in range(total.shape[1]):
                self._value[label, t, size] = metrics.average_precision(state[:, t, size], ones, total[t, size])
        if self._drawn is None or positives is None:
            return
        first = 0
        for weights in resampled(self._units, self._drawn.shape[-1]):
            part = slice(first, first + len(weights))
            for t in range(total.shape[0]):
                drawn = metrics.average_precision(state[:, t, 0], weights[:, unit], weights @ positives[t, 0])
                self._drawn[label, t, part] = drawn
            first += len(weights)

    def figure(self, label: int | None, size: int | None, t: int) -> Figure:
        """Of one class, or the mean over those with true objects; unknown where the model gave no scores."""
        place = 0 if size is None else size + 1
        if label is None and self._unranked:
            return Figure(float("nan"))
        chosen = self._value[:, t, place]
        value = metrics.mean_of_classes(chosen, -1) if label is None else chosen[label]
        interval = NO_INTERVAL
        if self._drawn is not None and size is None:
            drawn = self._drawn[:, t]
            interval = percentiles(metrics.mean_of_classes(drawn, 0) if label is None else drawn[label])
        return Figure(float(value), interval)


def image_figures(numbers: _Floats) -> dict[str, Any]:
    """Counts and figures of one image by itself; NaN is unknown. numbers: those of `numbers_of`."""
    counts = {name: int(numbers[place]) for name, place in COUNTS.items()}
    return counts | {name: float(made(numbers)) for name, made in _OF_NUMBERS.items()}
