from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.overlay import Frame, blend, caption_strip, colours, draw, stretch
from schemas.masks import to_runs


def draw_masks(masks: list[np.ndarray], frame: Frame) -> np.ndarray:
    runs = [to_runs(mask[None]) for mask in masks]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in runs])]).astype(np.int64)
    boxes = []
    for mask in masks:
        y, x = np.nonzero(mask)
        boxes.append([0, y.min(), x.min(), 1, y.max() + 1, x.max() + 1])
    owner = np.zeros((frame.height, frame.width), np.int32)
    draw(owner, frame, np.concatenate(runs), offsets, np.array(boxes, np.int64), 1)
    return owner


MASKS = st.lists(
    st.lists(st.booleans(), min_size=20 * 24, max_size=20 * 24)
    .map(lambda bits: np.array(bits).reshape(20, 24))
    .filter(np.any),
    min_size=1,
    max_size=2,
)


@given(masks=MASKS, step=st.integers(1, 5), y0=st.integers(0, 9), x0=st.integers(0, 9))
def test_a_picture_pixel_belongs_to_the_last_mask_at_the_middle_of_its_step(masks, step: int, y0: int, x0: int):
    frame = Frame(y0, x0, step, step, (20 - y0) // step, (24 - x0) // step)
    expected = np.zeros((frame.height, frame.width), int)
    drawn = draw_masks(masks, frame)
    met = []
    for number, mask in enumerate(masks, 1):
        sampled = mask[y0 + step // 2 :: step, x0 + step // 2 :: step][: frame.height, : frame.width]
        expected[sampled] = number
        met.append(sampled.any())
    if all(met):
        np.testing.assert_array_equal(drawn, expected)


def test_an_object_smaller_than_a_picture_pixel_is_still_drawn():
    mask = np.zeros((40, 40), bool)
    mask[21, 13] = True
    owner = draw_masks([mask], Frame(0, 0, 10, 10, 4, 4))
    assert np.argwhere(owner == 1).tolist() == [[2, 1]]


def test_an_object_outside_the_picture_is_not_drawn():
    mask = np.zeros((40, 40), bool)
    mask[1, 1] = True
    assert not draw_masks([mask], Frame(20, 20, 1, 1, 10, 10)).any()


def test_a_huge_object_costs_what_its_runs_cost():
    runs = np.array([[0, x, 0, 10**6] for x in range(0, 10**6, 1000)], np.int32)
    owner = np.zeros((100, 100), np.int32)
    frame = Frame(0, 0, 10**4, 10**4, 100, 100)
    draw(owner, frame, runs, np.array([0, len(runs)]), np.array([[0, 0, 0, 1, 10**6, 10**6]]), 1)
    assert owner.all()


def test_a_colour_belongs_to_an_instance_and_is_bright():
    ids = [f"{number:032x}" for number in range(500)]
    first, again = colours(ids), colours(ids[::-1])[::-1]
    np.testing.assert_array_equal(first, again)
    assert (first.max(axis=1) == 255).all() and len(np.unique(first, axis=0)) > 300


def test_edges_are_solid_insides_are_blended_and_the_rest_is_untouched():
    picture = np.full((7, 7, 3), 100, np.uint8)
    owner = np.zeros((7, 7), np.int32)
    owner[1:6, 1:6] = 1
    result = blend(picture, owner, np.array([[200, 0, 0]], np.uint8))
    assert result[1, 1].tolist() == [200, 0, 0]
    assert result[3, 3].tolist() == [140, 60, 60]
    assert result[0, 0].tolist() == [100, 100, 100]
    assert picture.max() == 100


def test_touching_objects_are_parted_by_their_outlines():
    owner = np.repeat([[1, 1, 1, 1, 2, 2, 2, 2]], 5, axis=0).astype(np.int32)
    result = blend(np.zeros((5, 8, 3), np.uint8), owner, np.array([[250, 0, 0], [0, 250, 0]], np.uint8))
    assert result[2, 3].tolist() == [250, 0, 0] and result[2, 4].tolist() == [0, 250, 0]
    assert result[2, 1].tolist() == [100, 0, 0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("bands", [1, 3])
def test_values_are_stretched_over_the_whole_range_of_grey(dtype: str, bands: int):
    ramp = np.linspace(5, 105, 100).astype(dtype).reshape(1, 10, 10).repeat(bands, axis=0)
    rgb = stretch(ramp, np.ones((10, 10), bool))
    assert rgb.shape == (10, 10, 3) and rgb.min() == 0 and rgb.max() == 255


def test_invalid_and_not_finite_pixels_are_grey_and_do_not_stretch():
    pixels = np.linspace(0, 1, 100, dtype=np.float32).reshape(1, 10, 10).copy()
    valid = np.ones((10, 10), bool)
    pixels[0, 0, 0], pixels[0, 0, 1], valid[0, 1] = np.nan, 1e30, False
    rgb = stretch(pixels, valid)
    assert rgb[0, 0].tolist() == rgb[0, 1].tolist() == [40, 40, 40]
    assert rgb[9, 9].tolist() == [255, 255, 255]


def test_an_image_of_one_value_or_none_is_drawn():
    assert stretch(np.full((1, 4, 4), 7, np.uint8), np.ones((4, 4), bool)).shape == (4, 4, 3)
    assert (stretch(np.full((1, 4, 4), 7, np.uint8), np.zeros((4, 4), bool)) == 40).all()


def test_a_caption_takes_the_lines_it_needs():
    assert caption_strip("short", 300).shape == (28, 300, 3)
    assert caption_strip("a long caption " * 9, 300).shape[0] > 60
    assert caption_strip("", 50).shape[1] == 50
