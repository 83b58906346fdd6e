"""Which prediction is which true object: at most one of each, two ways.

`best_matching` is what counts, precision, recall, F1 and panoptic quality use: as many pairs with IoU of at least the
threshold as there can be, and of these sets the one with the largest sum of IoU. Above 0.5 and where neither side
overlaps itself there is only one (Kirillov et al. 2019, Panoptic segmentation, CVPR, section 4.1).

`match_by_score` is what average precision uses: predictions choose one after another, the highest score first, as COCO
does it (Lin et al. 2014, Microsoft COCO, ECCV; `evaluateImg` of pycocotools).
"""
# numba and scipy are partly untyped.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segworkers.components import groups_of
from segworkers.evaluation.pairs import Pairs

_Ints = NDArray[np.int64]

NOT_MATCHED = -1
"""Stands for the partner of what has none."""


def best_matching(pairs: Pairs, threshold: float, *, above: bool = False) -> Pairs:
    """The chosen pairs, sorted by prediction.

    threshold: least IoU; above: it must be greater, not equal, as panoptic quality wants it.
    """
    near = pairs.take(pairs.iou > threshold if above else pairs.iou >= threshold)
    _, p, p_count = np.unique(near.prediction, return_inverse=True, return_counts=True)
    _, t, t_count = np.unique(near.truth, return_inverse=True, return_counts=True)
    alone = (p_count[p] == 1) & (t_count[t] == 1)
    chosen = [np.flatnonzero(alone)]
    rest = np.flatnonzero(~alone)
    if len(rest):
        group = groups_of(len(p_count) + len(t_count), p[rest], len(p_count) + t[rest])[p[rest]]
        order = np.argsort(group, kind="stable")
        together = np.split(rest[order], np.flatnonzero(np.diff(group[order])) + 1)
        chosen += [rows[_assigned(p[rows], t[rows], near.iou[rows])] for rows in together]
    return near.take(np.sort(np.concatenate(chosen)))


def _assigned(p: _Ints, t: _Ints, iou: NDArray[np.float64]) -> _Ints:
    """Rows of one connected group that are chosen."""
    _, row = np.unique(p, return_inverse=True)
    _, column = np.unique(t, return_inverse=True)
    gain = np.zeros((row.max() + 1, column.max() + 1))
    # One more pair outweighs any sum of IoU.
    gain[row, column] = 1 + iou / (min(gain.shape) + 1)
    which = np.full(gain.shape, -1, np.int64)
    which[row, column] = np.arange(len(iou))
    rows = which[linear_sum_assignment(gain, maximize=True)]
    return rows[rows >= 0]


def match_by_score(pairs: Pairs, scores: NDArray[np.float64], ignored: NDArray[np.bool_], threshold: float) -> _Ints:
    """(n,) the true object that each prediction takes, or NOT_MATCHED.

    scores: (n,), equal ones choose in their order. ignored: (m,) true objects that are taken only where no other one is
    left; among equal IoU the later one is taken.
    """
    order = np.argsort(-scores, kind="stable")
    offsets = np.searchsorted(pairs.prediction, np.arange(len(scores) + 1)).astype(np.int64)
    return _by_score(order, offsets, pairs.truth, pairs.iou, ignored, threshold)


@numba.njit(cache=True, nogil=True)
def _by_score(
    order: Any, offsets: Any, truth: Any, iou: Any, ignored: Any, threshold: float
) -> Any:  # pragma: no cover - compiled
    taken = np.zeros(len(ignored), np.bool_)
    partner = np.full(len(order), -1, np.int64)
    for p in order:
        best, reached = -1, threshold
        for counted in (True, False):
            for k in range(offsets[p], offsets[p + 1]):
                if ignored[truth[k]] != counted and not taken[truth[k]] and iou[k] >= reached:
                    best, reached = truth[k], iou[k]
            if best >= 0:
                break
        if best >= 0:
            taken[best], partner[p] = True, best
    return partner
