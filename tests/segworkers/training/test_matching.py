"""Validation scores, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.boxes import Box
from segworkers.segmenters.base import WindowMasks
from segworkers.training.matching import NOTHING, Agreement, agreement
from segworkers.training.samples import Sample


def sample() -> Sample:
    labels = np.zeros((40, 40), np.int32)
    labels[0:10, 0:10] = 1
    labels[20:30, 20:30] = 3  # no object 2
    ignored = np.zeros((40, 40), bool)
    ignored[0:10, 30:40] = True
    return Sample(name="two", image=np.zeros((1, 40, 40), np.float32), labels=labels, ignored=ignored)


def said(*boxes: tuple[int, int, int, int], scores: tuple[float, ...] | None = None) -> WindowMasks:
    crops = [(Box((0, y0, x0), (1, y1, x1)), np.ones((1, y1 - y0, x1 - x0), bool)) for y0, x0, y1, x1 in boxes]
    values = np.array(scores if scores is not None else [0.9] * len(boxes))
    return WindowMasks(np.zeros(len(boxes), np.int64), values, crops)


def test_an_iou_of_0_8_counts_up_to_0_8() -> None:
    found = agreement(said((0, 0, 8, 10), (20, 20, 30, 30)), sample())
    assert found == Agreement(2, 2, (2, 2, 2, 2, 1))
    assert found.f1 == (1, 1, 1, 1, 0.5) and found.mean_f1 == pytest.approx(0.9)


def test_an_object_is_matched_once_and_the_rest_is_wrong() -> None:
    found = agreement(said((0, 0, 10, 10), (0, 0, 10, 9), scores=(0.5, 0.9)), sample())
    assert found.predicted == 2 and found.matched[0] == 1 and found.matched[-1] == 1


def test_what_lies_in_ignored_places_is_not_counted_unless_it_fits_an_object() -> None:
    assert agreement(said((0, 30, 10, 40)), sample()) == Agreement(0, 2, (0,) * 5)
    assert agreement(said((20, 30, 30, 40)), sample()).predicted == 1


def test_sums_and_nothing() -> None:
    one = agreement(said((0, 0, 10, 10)), sample())
    assert (one + one).matched == (2,) * 5 and NOTHING + one == one
    assert NOTHING.f1 == (1.0,) * 5
    assert agreement(said(), sample()) == Agreement(0, 2, (0,) * 5)
