"""The threshold model: levels, classes, and Otsu through the image's statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import SpecError
from segworkers.readers.base import PixelBlock
from segworkers.segmenters.threshold import ThresholdSegmenter
from segworkers.statistics import image_statistics, normalise

WINDOWS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]), (2, 1, 1, 4, 4), elements=st.integers(0, 20)
)


@given(WINDOWS, st.lists(st.sampled_from([-1.0, 0.0, 2.5, 7.0, 7.5, 19.0, 300.0]), min_size=1, unique=True))
def test_class_is_the_number_of_levels_passed(windows: NDArray[Any], levels: list[float]) -> None:
    levels = sorted(levels)
    valid = np.ones((2, 1, 4, 4), bool)
    valid[0, 0, 0, 0] = False
    above = ThresholdSegmenter({"value": levels}).predict(windows, valid).classes
    below = ThresholdSegmenter({"value": levels, "above": False}).predict(windows, valid).classes
    for index in np.ndindex(valid.shape):
        value = float(windows[index[0], 0, *index[1:]])
        passed = sum(value > level for level in levels)
        assert above[index] == passed * valid[index]
        assert below[index] == (len(levels) - passed) * valid[index]


def test_nan_is_background_on_both_sides() -> None:
    windows = np.full((1, 1, 1, 2, 2), np.nan, np.float32)
    for above in (True, False):
        segmenter = ThresholdSegmenter({"value": 0.0, "above": above})
        assert not segmenter.predict(windows, np.ones((1, 1, 2, 2), bool)).classes.any()


@given(WINDOWS)
def test_otsu_marks_what_lies_above_the_images_level(windows: NDArray[Any]) -> None:
    segmenter = ThresholdSegmenter({})
    image = windows[0]
    statistics = image_statistics(PixelBlock(image, np.ones((1, 4, 4), bool), Box.of_shape((1, 4, 4))))
    assert segmenter.manifest.normalise == "otsu"
    shown = normalise(image[None], "otsu", statistics, image.dtype.name)
    found = segmenter.predict(shown, np.ones((1, 1, 4, 4), bool))
    assert np.array_equal(found.classes[0], image[0] > statistics.bands[0].otsu)


def test_manifest_says_what_was_asked_for() -> None:
    manifest = ThresholdSegmenter(
        {
            "value": "3, 9",
            "classes": "low,high",
            "band": "nir",
            "window": "256,128",
            "overlap": [0, 16, 16],
            "connectivity": 4,
        },
        "abc",
    ).manifest
    assert manifest.classes == ("low", "high") and manifest.bands == ("nir",) and manifest.normalise == "none"
    assert manifest.window == (1, 256, 128) and manifest.overlap == (0, 16, 16)
    assert manifest.connectivity == 4 and manifest.digest == "abc"
    assert ThresholdSegmenter({"value": [1, 2]}).manifest.classes == ("level_1", "level_2")
    assert ThresholdSegmenter({"value": 1}).manifest.classes == ("object",)


def test_all_problems_of_the_options_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        ThresholdSegmenter({"value": [2, 1], "abov": True, "overlap": [0, 400, 0], "connectivity": 5, "band": [0, 1]})
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    for part in (
        "ascending",
        "did you mean 'above'",
        "half the window",
        "expected 4 or 8",
        "expected one band, found 2",
    ):
        assert part in text
