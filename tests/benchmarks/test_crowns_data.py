"""Crown boxes as ellipses, images reduced and stretched as the job does it."""

# rasterio and scipy.ndimage are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from benchmarks.models.boxes_and_masks import Counts, line, match_boxes
from benchmarks.models.crowns_data import contrast, ellipses, reduced, stretched

side = st.integers(8, 40)


@given(y=st.integers(0, 50), x=st.integers(0, 50), height=side, width=side)
def test_an_ellipse_fills_its_box(y: int, x: int, height: int, width: int) -> None:
    labels = ellipses(np.array([[y, x, y + height, x + width]], np.float64), (100, 100))
    (place,) = ndimage.find_objects(labels)
    assert (place[0].start, place[0].stop, place[1].start, place[1].stop) == (y, y + height, x, x + width)
    assert (labels > 0).sum() == pytest.approx(math.pi / 4 * height * width, rel=0.12)


def test_the_smaller_of_two_crowns_lies_on_top_and_what_reaches_out_is_cut() -> None:
    labels = ellipses(np.array([[10, 10, 20, 20], [0, 0, 30, 30], [-10, 40, 10, 60]], np.float64), (50, 50))
    assert labels[15, 15] == 1
    assert labels[3, 15] == 2
    assert labels[0, 49] == 3


def test_images_are_reduced_by_means_and_stretched_by_percentiles() -> None:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    small = reduced(pixels)
    assert small.shape == (3, 2, 3)
    assert small[1, 1, 2] == pixels[2:4, 4:6, 1].mean()
    image = np.random.default_rng(0).uniform(20, 90, (3, 50, 60)).astype(np.float32)
    shown = stretched(image, contrast(image))
    assert (shown == 0).mean() == pytest.approx(0.01, abs=0.003)
    assert (shown == 1).mean() == pytest.approx(0.01, abs=0.003)


def test_boxes_are_matched_one_to_one() -> None:
    truth = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float64)
    found = np.array([[0, 0, 10, 9], [0, 1, 10, 10], [20, 20, 40, 40]], np.float64)
    assert match_boxes(found, truth, 0.4).tolist() in ([0], [1])
    assert match_boxes(found, truth, 0.2).tolist() in ([0, 2], [1, 2])
    assert len(match_boxes(found[:0], truth, 0.4)) == 0


def test_counts_add_up_and_say_how_sure_they_are() -> None:
    both = Counts(10, 8, 6) + Counts(0, 2, 0)
    assert (both.precision, both.recall, both.f1) == (0.6, 0.6, 0.6)
    assert "precision 0.600 [0.31" in line("x", both)
    assert "not defined" in line("x", Counts())
