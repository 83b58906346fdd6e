"""What became of each prediction and each true object of one source, at one threshold.

What is not counted is never a mistake and never a success, unless it is matched to something that counts:

- `IGNORED`: predictions that lie at least half in a region that is to be ignored (or outside of what was annotated, or
  in a COCO `iscrowd` region of their class), or that only an ignored true object explains; true objects in such places,
  but for crowds.
- `UNKNOWN`: what touches pixels that could not be processed or are not valid. Nobody looked there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segworkers.evaluation.matching import NOT_MATCHED, best_matching, match_by_score
from segworkers.evaluation.pairs import Pairs

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]

MATCHED, WRONG, IGNORED, UNKNOWN = 0, 1, 2, 3
"""`WRONG` is a false positive of a prediction, a miss of a true object."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The predictions, or the true objects, of one source: n of them, without their masks."""

    label: _Ints
    """(n,) class."""
    area: _Floats
    """(n,) pixels; of boxes, where boxes are compared."""
    boxes: _Floats
    """(n, 6) z0, y0, x0, z1, y1, x1, in pixels."""
    ignored: _Bools
    """(n,) lies at least half in what is to be ignored."""
    unknown: _Bools
    """(n,) touches what could not be processed."""
    score: _Floats
    """(n,) of predictions; NaN where the model gave none."""

    def __post_init__(self) -> None:
        if {len(each) for each in (self.area, self.boxes, self.ignored, self.unknown, self.score)} != {len(self.label)}:
            raise ValueError("every object needs a class, an area, a box, two flags and a score")

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """States at one threshold."""

    prediction: NDArray[np.int8]
    """(n,) MATCHED, WRONG, IGNORED or UNKNOWN."""
    truth: NDArray[np.int8]
    """(m,) the same."""
    matches: Pairs
    """Those of MATCHED predictions and true objects."""


def of_one_class(pairs: Pairs, predictions: Side, truth: Side) -> Pairs:
    """The pairs whose prediction and true object have the same class."""
    return pairs.take(predictions.label[pairs.prediction] == truth.label[pairs.truth])


def outcome(pairs: Pairs, predictions: Side, truth: Side, threshold: float, *, above: bool = False) -> Outcome:
    """States by `best_matching` of what counts. pairs: of one class."""
    counted = ~truth.ignored[pairs.truth]
    matches = best_matching(pairs.take(counted), threshold, above=above)
    p_state = np.full(len(predictions), WRONG, np.int8)
    t_state = np.full(len(truth), WRONG, np.int8)
    p_state[predictions.unknown] = UNKNOWN
    t_state[truth.unknown] = UNKNOWN
    near = pairs.iou > threshold if above else pairs.iou >= threshold
    p_state[pairs.prediction[near & ~counted]] = IGNORED
    p_state[predictions.ignored] = IGNORED
    t_state[truth.ignored] = IGNORED
    p_state[matches.prediction] = MATCHED
    t_state[matches.truth] = MATCHED
    return Outcome(p_state, t_state, matches)


def ranked(pairs: Pairs, predictions: Side, truth: Side, threshold: float, inside: tuple[_Bools, _Bools]) -> Outcome:
    """States by `match_by_score`, for average precision of one range of sizes.

    pairs: of one class. inside: (n,) and (m,) whether objects are of this size; others are ignored as COCO ignores
    them: true objects always, predictions where nothing that counts explains them.
    """
    of_size, true_of_size = inside
    set_aside = truth.ignored | ~true_of_size
    partner = match_by_score(pairs, predictions.score, set_aside, threshold)
    p_state = np.full(len(predictions), WRONG, np.int8)
    t_state = np.full(len(truth), WRONG, np.int8)
    p_state[predictions.unknown] = UNKNOWN
    t_state[truth.unknown] = UNKNOWN
    p_state[predictions.ignored | ~of_size] = IGNORED
    t_state[set_aside] = IGNORED
    found = np.flatnonzero(partner != NOT_MATCHED)
    aside = set_aside[partner[found]]
    p_state[found] = np.where(aside, IGNORED, MATCHED)
    hit = found[~aside]
    t_state[partner[hit]] = MATCHED
    return Outcome(p_state, t_state, Pairs(hit, partner[hit], np.ones(len(hit))))
