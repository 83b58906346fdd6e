"""Adding up outcomes: numbers of each class, size and threshold for each unit, which is what gets resampled.

A **unit** is an image, or a block of one where there are few images: what lies far apart errs independently, neighbours
do not. All that is kept of a source is a few numbers for each of its units, and for average precision the score and the
state of each prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segworkers.evaluation.outcomes import (
    IGNORED,
    MATCHED,
    UNKNOWN,
    WRONG,
    Outcome,
    Side,
    of_one_class,
    outcome,
    ranked,
)
from segworkers.evaluation.pairs import Pairs

_Ints = NDArray[np.int64]

HITS, FALSE, MISSES, IOU, IGNORED_PREDICTIONS, IGNORED_TRUTH, UNKNOWN_PREDICTIONS, UNKNOWN_TRUTH, FIELDS = range(9)
"""Numbers that are kept: matches, false positives, misses, their sum of IoU, and what is not counted."""

_FIELDS_OF_STATES = (
    (WRONG, FALSE, MISSES),
    (MATCHED, None, HITS),  # counted once, where the true object is
    (IGNORED, IGNORED_PREDICTIONS, IGNORED_TRUTH),
    (UNKNOWN, UNKNOWN_PREDICTIONS, UNKNOWN_TRUTH),
)
"""State, and the fields that count it of predictions and of true objects."""

PANOPTIC = 0.5
"""IoU that a match must exceed in panoptic quality (Kirillov et al. 2019)."""

BLOCKS_A_SIDE = 8
"""Blocks along y and along x that a source is cut into where there are few of them."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """What is counted apart."""

    classes: int
    thresholds: tuple[float, ...]
    """Least IoU of a match, each 0 < t < 1."""
    sizes: tuple[float, ...]
    """Borders between sizes in pixels, ascending; k borders make k + 1 sizes."""
    blocks: bool
    """Whether blocks of sources are units, not whole sources."""

    def __post_init__(self) -> None:
        if not self.thresholds or not all(0 < each < 1 for each in self.thresholds):
            raise ValueError(f"thresholds must lie between 0 and 1, got {self.thresholds}")
        if list(self.sizes) != sorted(set(self.sizes)) or any(each <= 0 for each in self.sizes):
            raise ValueError(f"borders of sizes must ascend and be above 0, got {self.sizes}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Classes, sizes, thresholds (the last is that of panoptic quality), fields."""
        return self.classes, len(self.sizes) + 1, len(self.thresholds) + 1, FIELDS

    def size_of(self, area: NDArray[np.float64]) -> _Ints:
        """(n,) size of objects; a border belongs to the larger one."""
        return np.searchsorted(np.asarray(self.sizes, np.float64), area, side="right").astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What average precision needs of the predictions of one class, from all sources."""

    score: NDArray[np.float64]
    unit: _Ints
    state: NDArray[np.int8]
    """(n, thresholds, 1 + sizes): first of all sizes together."""


def numbers_of(each: Outcome) -> NDArray[np.float64]:
    """(FIELDS,) of one source at one threshold, all classes and sizes together."""
    numbers = np.zeros(FIELDS)
    for state, p_field, t_field in _FIELDS_OF_STATES:
        if p_field is not None:
            numbers[p_field] = (each.prediction == state).sum()
        numbers[t_field] = (each.truth == state).sum()
    numbers[IOU] = each.matches.iou.sum()
    return numbers


@dataclass(slots=True)
class Tally:
    """Sums over sources; `add` one after the other."""

    scheme: Scheme
    units: int = 0
    """Units so far."""
    _unit: list[_Ints] = field(default_factory=list[_Ints])
    _column: list[_Ints] = field(default_factory=list[_Ints])
    _value: list[NDArray[np.float64]] = field(default_factory=list[NDArray[np.float64]])
    _rankings: dict[int, list[Ranking]] = field(default_factory=dict[int, list[Ranking]])
    _positives: list[_Ints] = field(default_factory=list[_Ints])

    def add(self, pairs: Pairs, predictions: Side, truth: Side, extent: Sequence[int]) -> tuple[Outcome, ...]:
        """Count one source; returns its outcome at each threshold.

        pairs: of any classes; extent: (z, y, x) of the source in pixels.
        """
        pairs = of_one_class(pairs, predictions, truth)
        p_unit, t_unit, used = self._units_of(predictions, truth, extent)
        scheme = self.scheme
        p_size, t_size = scheme.size_of(predictions.area), scheme.size_of(truth.area)
        outcomes = tuple(outcome(pairs, predictions, truth, each) for each in scheme.thresholds)
        strict = outcome(pairs, predictions, truth, PANOPTIC, above=True)
        for t, each in enumerate((*outcomes, strict)):
            for state, p_field, t_field in _FIELDS_OF_STATES:
                if p_field is not None:
                    self._count(p_unit, predictions.label, p_size, t, p_field, each.prediction == state)
                self._count(t_unit, truth.label, t_size, t, t_field, each.truth == state)
            at = each.matches.truth
            self._put(t_unit[at], truth.label[at], t_size[at], t, IOU, each.matches.iou)
        self._rank(pairs, predictions, truth, (p_unit, t_unit), (p_size, t_size))
        self.units += used
        return outcomes

    def numbers(self) -> tuple[_Ints, _Ints, NDArray[np.float64]]:
        """Unit, column and value of what was counted; columns are places in an array of `scheme.shape`."""
        none = np.empty(0, np.int64)
        return (
            np.concatenate([none, *self._unit]),
            np.concatenate([none, *self._column]),
            np.concatenate([np.empty(0), *self._value]),
        )

    def ranking(self, label: int) -> Ranking:
        """Predictions of one class."""
        parts = self._rankings.get(label, [])
        shape = (0, len(self.scheme.thresholds), len(self.scheme.sizes) + 2)
        return Ranking(
            np.concatenate([np.empty(0), *(each.score for each in parts)]),
            np.concatenate([np.empty(0, np.int64), *(each.unit for each in parts)]),
            np.concatenate([np.empty(shape, np.int8), *(each.state for each in parts)]),
        )

    def positives(self) -> _Ints:
        """(k, 5) rows of unit, class, threshold, size (0: all of them) and number of true objects that count."""
        return np.concatenate([np.empty((0, 5), np.int64), *self._positives])

    def _units_of(self, predictions: Side, truth: Side, extent: Sequence[int]) -> tuple[_Ints, _Ints, int]:
        boxes = np.concatenate([predictions.boxes, truth.boxes])
        if not self.scheme.blocks:
            unit, used = np.full(len(boxes), self.units), 1
        else:
            middle = (boxes[:, :3] + boxes[:, 3:]) / 2
            sides = np.array([1 if extent[0] == 1 else BLOCKS_A_SIDE // 2, BLOCKS_A_SIDE, BLOCKS_A_SIDE])
            cell = np.clip((middle * sides / np.array(extent)).astype(np.int64), 0, sides - 1)
            _, unit = np.unique(np.ravel_multi_index(tuple(cell.T), tuple(sides)), return_inverse=True)
            used = max(int(unit.max(initial=-1)) + 1, 1)
            unit = unit + self.units
        return unit[: len(predictions)].astype(np.int64), unit[len(predictions) :].astype(np.int64), used

    def _count(self, unit: _Ints, label: _Ints, size: _Ints, t: int, kind: int, rows: NDArray[np.bool_]) -> None:
        self._put(unit[rows], label[rows], size[rows], t, kind, np.ones(int(rows.sum())))

    def _put(self, unit: _Ints, label: _Ints, size: _Ints, t: int, kind: int, value: NDArray[Any]) -> None:
        shape = self.scheme.shape
        column = np.ravel_multi_index((label, size, np.full(len(label), t), np.full(len(label), kind)), shape)
        columns = int(np.prod(shape))
        keys, place = np.unique(unit * columns + column, return_inverse=True)
        self._unit.append(keys // columns)
        self._column.append(keys % columns)
        self._value.append(np.bincount(place, weights=value, minlength=len(keys)).astype(np.float64))

    def _rank(
        self, pairs: Pairs, predictions: Side, truth: Side, units: tuple[_Ints, _Ints], sizes: tuple[_Ints, _Ints]
    ) -> None:
        count = len(self.scheme.sizes) + 2
        state = np.empty((len(predictions), len(self.scheme.thresholds), count), np.int8)
        for t, threshold in enumerate(self.scheme.thresholds):
            for size in range(count):
                inside = sizes[0] == size - 1, sizes[1] == size - 1
                if size == 0:
                    inside = np.ones(len(predictions), np.bool_), np.ones(len(truth), np.bool_)
                each = ranked(pairs, predictions, truth, threshold, inside)
                state[:, t, size] = each.prediction
                rows = np.flatnonzero((each.truth == MATCHED) | (each.truth == WRONG))
                classes = self.scheme.classes
                keys, number = np.unique(units[1][rows] * classes + truth.label[rows], return_counts=True)
                where = np.full(len(keys), t), np.full(len(keys), size)
                self._positives.append(np.stack([keys // classes, keys % classes, *where, number], axis=1))
        for label in np.unique(predictions.label):
            rows = np.flatnonzero(predictions.label == label)
            part = Ranking(predictions.score[rows], units[0][rows], state[rows])
            self._rankings.setdefault(int(label), []).append(part)
