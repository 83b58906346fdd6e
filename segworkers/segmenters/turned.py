"""Answers for windows that were flipped on their way to the model (`segworkers.orientation`), turned back."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.boxes import Box, Zyx, zyx
from segworkers.orientation import NO_FLIPS, Flips, flipped
from segworkers.segmenters.base import DenseAnswer, DenseMaps, DenseProbabilities, WindowMasks


def flipped_back(
    answer: DenseAnswer | Sequence[WindowMasks], flips: Flips, window: Zyx
) -> DenseAnswer | Sequence[WindowMasks]:
    """A model's answer for flipped windows as one for the windows as they were: flipping is its own inverse."""
    if flips == NO_FLIPS:
        return answer
    if isinstance(answer, DenseMaps | DenseProbabilities):
        return _dense_back(answer, flips)
    return [_masks_back(one, flips, window) for one in answer]


def _dense_back(answer: DenseAnswer, flips: Flips) -> DenseAnswer:
    if isinstance(answer, DenseProbabilities):
        return DenseProbabilities(flipped(answer.values, flips))
    probability = None if answer.probability is None else flipped(answer.probability, flips)
    return DenseMaps(flipped(answer.classes, flips), probability)


def _masks_back(answer: WindowMasks, flips: Flips, window: Zyx) -> WindowMasks:
    crops = [(_box_back(box, flips, window), flipped(crop, flips)) for box, crop in answer.crops]
    return WindowMasks(answer.labels, answer.scores, crops, answer.capped)


def _box_back(box: Box, flips: Flips, window: Zyx) -> Box:
    sides = list(zip(box.start, box.stop, flips, window, strict=True))
    return Box(zyx([w - b if f else a for a, b, f, w in sides]), zyx([w - a if f else b for a, b, f, w in sides]))
