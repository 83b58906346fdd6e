from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.truth.base import Target
from jobs.truth.coco import CocoFile
from jobs.truth.files import TruthFile
from schemas.errors import SpecError
from tests.jobs.evaluation.scenes import coco_of

LABELS = np.zeros((100, 100), np.uint16)
LABELS[10:30, 5:50] = 1


def truth_of(body: dict[str, Any]) -> Any:
    file = CocoFile(TruthFile.plain(Path("a.json")), body, boxes_only=False)
    return file.truth(0, Target(source_id="a", uri="/images/a.tif", shape=(1, 100, 100)))


@pytest.mark.parametrize("kind", ["string", "counts"])
def test_run_lengths_of_another_size_are_refused_even_where_the_number_of_pixels_agrees(kind: str):
    body = coco_of({"a.tif": LABELS}, kind)
    assert len(truth_of(body).items) == 1
    body["annotations"][0] |= {"id": 77}
    body["annotations"][0]["segmentation"]["size"] = [50, 200]
    with pytest.raises(SpecError, match=r"annotation 77: .*\[50, 200\].*\[100, 100\]"):
        truth_of(body)


def test_run_lengths_that_say_no_size_are_those_of_the_image():
    body = coco_of({"a.tif": LABELS}, "string")
    del body["annotations"][0]["segmentation"]["size"]
    assert truth_of(body).bounds.tolist() == [[5, 10, 50, 30]]
