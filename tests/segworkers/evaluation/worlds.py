"""Small sources with predictions and truth, and the same comparison without runs, blocks or sparse pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from schemas.boxes import Box
from segworkers.evaluation.outcomes import Side
from segworkers.evaluation.pairs import Pairs, mask_pairs, shared_in_block
from segworkers.runs import RunTable, label_runs

Masks = list[NDArray[np.bool_]]


@st.composite
def label_images(draw: st.DrawFn, side: int = 12, most: int = 6) -> NDArray[np.int64]:
    """(1, side, side) of rectangles, the later over the earlier; numbers without gaps."""
    image = np.zeros((1, side, side), np.int64)
    for number in range(1, draw(st.integers(0, most)) + 1):
        y, x, h, w = (draw(st.integers(low, high)) for low, high in ((0, side - 1), (0, side - 1), (1, 7), (1, 7)))
        image[0, y : y + h, x : x + w] = number
    _, compact = np.unique(image, return_inverse=True)
    compact = compact.reshape(image.shape)
    return compact + (1 if image.size and image.min() > 0 else 0)


def pairs_of(predictions: NDArray[np.int64], truth: NDArray[np.int64], cuts: Sequence[int] = ()) -> Pairs:
    """Overlaps of two label images (1, y, x), in strips that end at the rows `cuts`."""
    height, width = predictions.shape[1:]
    edges = [0, *sorted(set(cuts)), height]
    blocks = [Box((0, a, 0), (1, b, width)) for a, b in pairwise(edges) if a < b]
    shared = [shared_in_block(table(predictions).clip(box), table(truth).clip(box)) for box in blocks]
    return mask_pairs(shared, areas(predictions), areas(truth))


def table(image: NDArray[np.int64]) -> RunTable:
    """Masks of a label image."""
    return label_runs(image, (0, 0, 0))


def areas(image: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) pixels of each label above 0."""
    return np.bincount(image.ravel(), minlength=int(image.max(initial=0)) + 1)[1:].astype(np.float64)


def side_of(image: NDArray[np.int64], classes: int = 1, scores: NDArray[np.float64] | None = None) -> Side:
    """The objects of a label image; classes in turn."""
    count = int(image.max(initial=0))
    boxes = np.zeros((count, 6))
    for k in range(count):
        z, y, x = np.nonzero(image == k + 1)
        boxes[k] = (z.min(), y.min(), x.min(), z.max() + 1, y.max() + 1, x.max() + 1)
    none = np.zeros(count, np.bool_)
    score = np.linspace(1, 0.1, count) if scores is None else scores
    return Side(np.arange(count) % classes, areas(image), boxes, none, none.copy(), score)


def dense_iou(predictions: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, m) by counting pixels of boolean images."""
    n, m = int(predictions.max(initial=0)), int(truth.max(initial=0))
    iou = np.zeros((n, m))
    for i in range(n):
        for j in range(m):
            a, b = predictions == i + 1, truth == j + 1
            iou[i, j] = (a & b).sum() / (a | b).sum()
    return iou


def best_total(iou: NDArray[np.float64], threshold: float) -> tuple[int, float]:
    """Matches and sum of IoU of the best one-to-one matching of the whole matrix."""
    good = np.where(iou >= threshold, 1 + iou / (sum(iou.shape) + 1), 0)
    rows, columns = linear_sum_assignment(good, maximize=True)
    kept = good[rows, columns] > 0
    return int(kept.sum()), float(iou[rows[kept], columns[kept]].sum())
