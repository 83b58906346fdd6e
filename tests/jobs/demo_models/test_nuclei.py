"""The classical nuclei model on drawn nuclei: counts, splits, and independence of the window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jobs.demo_models.nuclei import Nuclei, join_shallow, watershed
from segworkers.segmenters.declaration import class_problems, read_manifest

Image = NDArray[np.float32]


def draw(shape: tuple[int, int], discs: list[tuple[int, int, int]], background: float = 0.05) -> Image:
    """Discs (y, x, radius) of brightness 0.8."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, background, np.float32)
    for row, column, radius in discs:
        image[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 0.8
    return image


def count(image: Image, valid: NDArray[np.bool_] | None = None) -> int:
    valid = np.ones(image.shape, np.bool_) if valid is None else valid
    return len(Nuclei("cpu").predict(image[None, None, None], valid[None, None])[0]["scores"])


def painted(image: Image) -> NDArray[np.int32]:
    answer = Nuclei("cpu").predict(image[None, None, None], np.ones((1, 1, *image.shape), np.bool_))[0]
    labels = np.zeros(image.shape, np.int32)
    for number, ((_, y0, x0, _, y1, x1), mask) in enumerate(answer["masks"], start=1):
        assert mask.shape == (1, y1 - y0, x1 - x0)
        labels[y0:y1, x0:x1][mask[0]] = number
    return labels


def test_it_declares_what_a_plugin_must() -> None:
    assert class_problems(Nuclei, {"threshold": 0.2}) == []
    assert read_manifest(Nuclei, "Nuclei", "").classes == ("nucleus",)


def test_separate_nuclei_are_counted_and_keep_their_shape() -> None:
    discs = [(40, 40, 12), (40, 100, 15), (110, 60, 20), (150, 150, 9)]
    image = draw((200, 200), discs)
    labels = painted(image)
    assert labels.max() == len(discs)
    assert np.mean((labels > 0) == (image > 0.5)) > 0.98


@pytest.mark.parametrize("scale", [1, 2])
def test_touching_nuclei_are_cut_at_their_waist_whatever_their_size(scale: int) -> None:
    assert count(draw((200, 200), [(100, 80, 13 * scale), (100, 80 + 24 * scale, 13 * scale)])) == 2
    assert count(draw((200, 200), [(100, 80, 13 * scale), (100, 80 + 6 * scale, 13 * scale)])) == 1


def test_an_uneven_background_is_not_counted() -> None:
    slope = np.linspace(0, 0.4, 300, dtype=np.float32)[None, :]
    image = np.clip(draw((300, 300), [(60, 60, 14), (200, 220, 14)]) + slope, 0, 1)
    assert count(image) == 2


def test_nothing_is_found_in_nothing() -> None:
    assert count(np.zeros((64, 64), np.float32)) == 0
    assert count(np.ones((64, 64), np.float32)) == 0


def test_specks_and_invalid_pixels_are_left_out() -> None:
    image = draw((128, 128), [(40, 40, 12), (90, 90, 3)])
    assert count(image) == 1
    valid = np.ones(image.shape, np.bool_)
    valid[:64] = False
    assert count(image, valid) == 0


def test_every_window_of_a_batch_is_answered_on_its_own() -> None:
    one, two = draw((96, 96), [(48, 48, 12)]), draw((96, 96), [(30, 30, 12), (70, 70, 12)])
    answers = Nuclei().predict(np.stack([one, two])[:, None, None], np.ones((2, 1, 96, 96), np.bool_))
    assert [len(answer["scores"]) for answer in answers] == [1, 2]
    assert all(answer["scores"].min() > 0.5 for answer in answers)


@settings(max_examples=10)
@given(st.integers(0, 20), st.integers(0, 20))
def test_the_window_makes_no_difference_far_from_its_border(dy: int, dx: int) -> None:
    rng = np.random.default_rng(7)
    discs = [(int(y), int(x), int(radius)) for y, x, radius in rng.integers((0, 0, 8), (500, 500, 16), (60, 3))]
    image = draw((500, 500), discs)
    whole, part = painted(image) > 0, painted(image[2 * dy : 2 * dy + 440, 2 * dx : 2 * dx + 440]) > 0
    inner = np.s_[100:340, 100:340]
    assert np.array_equal(whole[2 * dy : 2 * dy + 440, 2 * dx : 2 * dx + 440][inner], part[inner])


def test_watershed_gives_each_pixel_to_the_peak_it_climbs_to() -> None:
    relief = np.array([[1, 3, 2, 4, 1, 0, 5]], np.float32)
    basins, peaks = watershed(relief, np.array([[1, 1, 1, 1, 1, 0, 1]], np.bool_))
    assert basins.tolist() == [[1, 1, 2, 2, 2, 0, 3]]
    assert peaks.tolist() == [0, 3, 4, 5]
    assert (
        join_shallow(basins, peaks, relief, 0.7).tolist()[0][1]
        != join_shallow(basins, peaks, relief, 0.7).tolist()[0][2]
    )
    joined = join_shallow(basins, peaks, relief, 0.6)[0]
    assert joined[0] == joined[4] != joined[6]


def test_a_plateau_drains_one_way() -> None:
    basins, peaks = watershed(np.ones((5, 7), np.float32), np.ones((5, 7), np.bool_))
    assert (basins == 1).all()
    assert len(peaks) == 2
