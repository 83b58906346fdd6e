"""How well predicted masks fit annotated objects: precision, recall and F1 at IoU thresholds, for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from segworkers.segmenters.base import WindowMasks
from segworkers.training.samples import Sample

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""IoU."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of predicted, annotated and matched objects; sums over images with `+`."""

    predicted: int
    annotated: int
    matched: tuple[int, ...]
    """At each of `THRESHOLDS`."""

    def __add__(self, other: Agreement) -> Agreement:
        matched = tuple(a + b for a, b in zip(self.matched, other.matched, strict=True))
        return Agreement(self.predicted + other.predicted, self.annotated + other.annotated, matched)

    @property
    def f1(self) -> tuple[float, ...]:
        """F1 at each of `THRESHOLDS`; 1 where there is nothing and nothing was said."""
        total = self.predicted + self.annotated
        return tuple(2 * m / total if total else 1.0 for m in self.matched)

    @property
    def mean_f1(self) -> float:
        """Mean of F1 over `THRESHOLDS`: what checkpoints are chosen by."""
        return float(np.mean(self.f1))


NOTHING = Agreement(0, 0, (0,) * len(THRESHOLDS))
"""No images."""


def agreement(said: WindowMasks, sample: Sample) -> Agreement:
    """Match masks to the sample's objects one to one, the best score first, each to the free object of largest IoU.

    Masks that lie mostly in `sample.ignored` and match no object at the lowest threshold are not counted.
    """
    overlaps, ignored = overlap_matrix(said.crops, sample)
    order = np.argsort(-said.scores, kind="stable")
    matched = tuple(_matched(overlaps[order], threshold) for threshold in THRESHOLDS)
    excused = ignored & (overlaps.max(axis=1, initial=0.0) < THRESHOLDS[0])
    objects = int(np.count_nonzero(np.bincount(sample.labels.ravel())[1:]))
    return Agreement(len(order) - int(excused.sum()), objects, matched)


def overlap_matrix(
    crops: Sequence[tuple[Box, NDArray[np.bool_]]], sample: Sample
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """IoU of each mask with each label (k, largest label), and which masks (k,) lie mostly in `sample.ignored`.

    crops: boxes in the image (z = 1) and masks of their shapes.
    """
    areas = np.bincount(sample.labels.ravel())
    overlaps = np.zeros((len(crops), max(len(areas) - 1, 0)))
    ignored = np.zeros(len(crops), np.bool_)
    for row, (box, mask) in enumerate(crops):
        _, *place = box.within((0, 0, 0))
        seen, size = mask[0], int(mask.sum())
        shared = np.bincount(sample.labels[*place][seen], minlength=len(areas))[1:]
        overlaps[row] = shared / np.maximum(size + areas[1:] - shared, 1)
        if sample.ignored is not None:
            ignored[row] = 2 * int(sample.ignored[*place][seen].sum()) > size
    return overlaps, ignored


def _matched(overlaps: NDArray[np.float64], threshold: float) -> int:
    """Pairs of rows and columns, rows in their order, each with the free column of largest overlap."""
    free = overlaps.copy()
    count = 0
    for row in range(free.shape[0]):
        best = int(np.argmax(free[row])) if free.shape[1] else 0
        if free.shape[1] and free[row, best] >= threshold:
            free[:, best] = -1
            count += 1
    return count
