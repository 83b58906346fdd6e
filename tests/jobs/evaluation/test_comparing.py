"""One source beside its truth: what is looked up of the image, and how often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.evaluation.comparing import Compared, compare
from jobs.evaluation.gathering import Surroundings
from jobs.truth.base import Target, TruthItem
from jobs.truth.rasters import ArrayTruth
from schemas.boxes import Box
from segworkers.runs import RunTable, empty_runs


class Nothing:
    """A run that found nothing."""

    boxes, pixels = np.empty((0, 6), np.int64), np.empty(0, np.int64)
    names, score = np.empty(0, "S32"), np.empty(0)

    def block(self, box: Box) -> RunTable:
        return empty_runs()


class Image:
    """Which pixels are valid, and how often somebody asked."""

    def __init__(self, valid: NDArray[np.bool_]) -> None:
        self.valid, self.asked = valid, 0

    def __call__(self, box: Box) -> NDArray[np.bool_]:
        self.asked += 1
        return self.valid[box.within((0, 0, 0))]


def compared(labels: NDArray[Any], image: Image, *, boxes_only: bool = False) -> Compared:
    truth = ArrayTruth(labels, lambda key: TruthItem(name=str(key)))
    target = Target(source_id="a", uri="/a.tif", shape=labels.shape)
    classes = (np.empty(0, np.int64), lambda *_: 0)
    around = Surroundings(valid=image)
    found: Any = Nothing()
    return compare(target, truth, found, around, classes, boxes_only=boxes_only, least=0.5)


def unknown(result: Compared) -> set[str]:
    return {item.name for item, flag in zip(result.items, result.truth.unknown, strict=True) if flag}


@pytest.mark.parametrize("boxes_only", [False, True])
def test_the_image_is_asked_once_a_block_however_many_objects_were_missed(
    boxes_only: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("segworkers.evaluation.blocks.SIDE", 40)
    labels = np.zeros((1, 80, 80), np.uint16)
    labels[0, ::4, ::4] = np.arange(1, 401).reshape(20, 20)
    valid = np.ones(labels.shape, np.bool_)
    valid[:, :, 40:] = False
    image = Image(valid)
    assert unknown(compared(labels, image, boxes_only=boxes_only)) == {str(k) for k in labels[0, ::4, 40::4].ravel()}
    assert image.asked <= 4


def test_an_object_of_many_blocks_is_unknown_where_half_of_all_its_pixels_is_not_valid():
    side = 4200
    labels = np.zeros((1, side, side), np.uint8)
    labels[0, 1, 1:] = labels[0, 2:, 1] = 1
    labels[0, 3, 3:] = labels[0, 4:, 3] = 2
    valid = np.ones(labels.shape, np.bool_)
    valid[0, 1, 1:], valid[0, 3, 5:] = False, False
    assert unknown(compared(labels, Image(valid))) == {"1"}
