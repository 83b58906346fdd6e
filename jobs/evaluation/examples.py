"""Which mistakes an evaluation shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jobs.evaluation.comparing import Compared
from jobs.truth.base import Target
from segworkers.evaluation.outcomes import WRONG, Outcome

MOST_PICTURES = 24
"""False positives, and misses, that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A false positive or a miss, for the page."""

    target: Target
    is_prediction: bool
    name: str
    label: str
    box: tuple[float, ...]
    """z0, y0, x0, z1, y1, x1 in pixels."""
    score: float
    """NaN of true objects, and where the model gave none."""
    best_iou: float
    """With any object of its class on the other side."""
    rank: float


@dataclass(slots=True)
class Examples:
    """The false positives with the highest scores, and the largest misses; no more than the page shows."""

    _kept: dict[bool, list[Example]] = field(default_factory=lambda: {True: [], False: []})

    def add(self, compared: Compared, outcome: Outcome, classes: Sequence[str]) -> None:
        """Those of one source."""
        for is_prediction, side, state, other in (
            (True, compared.predictions, outcome.prediction, compared.pairs.prediction),
            (False, compared.truth, outcome.truth, compared.pairs.truth),
        ):
            same = compared.predictions.label[compared.pairs.prediction] == compared.truth.label[compared.pairs.truth]
            best = np.zeros(len(side))
            np.maximum.at(best, other[same], compared.pairs.iou[same])
            wrong = np.flatnonzero(state == WRONG)
            rank = np.nan_to_num(side.score[wrong], nan=0.0) if is_prediction else side.area[wrong]
            chosen: list[int] = wrong[np.argsort(-rank, kind="stable")[:MOST_PICTURES]].tolist()
            for k in chosen:
                name = compared.names[k : k + 1].astype(str).tolist()[0] if is_prediction else compared.items[k].name
                self._kept[is_prediction].append(
                    Example(
                        target=compared.target,
                        is_prediction=is_prediction,
                        name=name,
                        label=classes[int(side.label[k])],
                        box=tuple(float(value) for value in side.boxes[k]),
                        score=float(side.score[k]) if is_prediction else float("nan"),
                        best_iou=float(best[k]),
                        rank=float(np.nan_to_num(side.score[k]) if is_prediction else side.area[k]),
                    )
                )
            self._kept[is_prediction].sort(key=lambda each: -each.rank)
            del self._kept[is_prediction][MOST_PICTURES:]

    def best(self) -> list[Example]:
        """False positives first."""
        return [*self._kept[True], *self._kept[False]]
