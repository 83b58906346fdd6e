"""Area-weighted resampling against exact fractions, and the law that reads agree where they overlap."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from schemas.boxes import Box, zyx
from segworkers.readers.base import PixelBlock
from segworkers.resampling import area_weights, model_shape, native_box_for, reduce_block, volume_shape

EXTENTS = st.tuples(st.integers(1, 3), st.integers(1, 23), st.integers(1, 23))
DTYPES = st.sampled_from(["uint8", "int16", "float32"])


def boxes_in(shape: tuple[int, int, int]) -> st.SearchStrategy[Box]:
    """Any box inside [0, shape)."""
    pairs = [st.tuples(st.integers(0, n - 1), st.integers(1, n)).map(sorted) for n in shape]
    ranges = [pair.map(lambda p: (p[0], max(p[1], p[0] + 1))) for pair in pairs]
    return st.tuples(*ranges).map(lambda r: Box(zyx([a for a, _ in r]), zyx([b for _, b in r])))


def image(shape: tuple[int, int, int], dtype: str, seed: int, bands: int = 2) -> PixelBlock:
    """Random pixels, a third of them invalid and, where floats allow, NaN."""
    random = np.random.default_rng(seed)
    pixels = (random.random((bands, *shape)) * 250 - (100 if dtype != "uint8" else 0)).astype(dtype)
    valid = random.random(shape) > 0.33
    if dtype == "float32":
        pixels[:, ~valid] = np.nan
    return PixelBlock(pixels, valid, Box.of_shape(shape))


def cut(block: PixelBlock, box: Box) -> PixelBlock:
    part = box.within(block.box.start)
    return PixelBlock(block.pixels[(slice(None), *part)], block.valid[part], box)


@given(native=EXTENTS, model=EXTENTS, dtype=DTYPES, data=st.data())
def test_two_reads_agree_bit_for_bit_where_they_overlap(
    native: tuple[int, int, int], model: tuple[int, int, int], dtype: str, data: st.DataObject
) -> None:
    whole = image(native, dtype, data.draw(st.integers(0, 9)))
    a, b = data.draw(boxes_in(model)), data.draw(boxes_in(model))
    first, second = (reduce_block(cut(whole, native_box_for(box, native, model)), box, native, model) for box in (a, b))
    common = a & b
    if common is not None:
        one, two = cut(first, common), cut(second, common)
        assert one.pixels.tobytes() == two.pixels.tobytes()
        assert_array_equal(one.valid, two.valid)


@given(native=st.integers(1, 40), model=st.integers(1, 40))
def test_weights_of_a_coarser_grid_are_the_exact_overlaps(native: int, model: int) -> None:
    assume(model <= native)
    first, weights = area_weights(native, model, 0, model)
    unit = Fraction(native, model) / int(weights[0].sum())
    shared = np.zeros((model, native), object)
    for i in range(model):
        for j in range(native):
            low = max(Fraction(i * native, model), Fraction(j))
            high = min(Fraction((i + 1) * native, model), Fraction(j + 1))
            shared[i, j] = max(Fraction(0), high - low)
    for i, (start, row) in enumerate(zip(first.tolist(), weights.tolist(), strict=True)):
        found = {start + k: weight * unit for k, weight in enumerate(row) if weight}
        assert found == {j: share for j, share in enumerate(shared[i].tolist()) if share}


@given(native=st.integers(1, 40), model=st.integers(2, 90))
def test_a_finer_grid_is_linear_between_centres_and_constant_beyond(native: int, model: int) -> None:
    assume(model > native)
    first, weights = area_weights(native, model, 0, model)
    values = np.random.default_rng(native).random(native + 2)
    centres = (np.arange(model) + 0.5) * native / model - 0.5
    found = (values[first[:, None] + np.arange(2)] * weights).sum(axis=1) / weights[0].sum()
    np.testing.assert_allclose(found, np.interp(centres, np.arange(native), values[:native]), atol=1e-12)


@given(native=EXTENTS, model=EXTENTS, seed=st.integers(0, 9))
def test_pixels_are_exact_means_of_the_valid_area_rounded_half_to_even(
    native: tuple[int, int, int], model: tuple[int, int, int], seed: int
) -> None:
    assume(native != model)
    whole = image(native, "uint8", seed, bands=1)
    result = reduce_block(whole, Box.of_shape(model), native, model)
    axes = [area_weights(n, m, 0, m) for n, m in zip(native, model, strict=True)]
    for index in list(np.ndindex(model))[:: max(1, len(list(np.ndindex(model))) // 20)]:
        total, area, full = Fraction(0), 0, 0
        spans = [
            [(int(first[i]) + k, int(w)) for k, w in enumerate(weights[i].tolist()) if w]
            for (first, weights), i in zip(axes, index, strict=True)
        ]
        for z, wz in spans[0]:
            for y, wy in spans[1]:
                for x, wx in spans[2]:
                    full += wz * wy * wx
                    if whole.valid[z, y, x]:
                        area += wz * wy * wx
                        total += wz * wy * wx * int(whole.pixels[0, z, y, x])
        assert result.valid[index] == (2 * area >= full)
        assert result.pixels[0][index] == (round(total / area) if area else 0)


def test_whole_factors_are_plain_block_means() -> None:
    pixels = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    block = PixelBlock(pixels, np.ones((1, 4, 4), bool), Box.of_shape((1, 4, 4)))
    half = reduce_block(block, Box.of_shape((1, 2, 2)), (1, 4, 4), (1, 2, 2))
    assert half.pixels.ravel().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_slices_between_slices_are_mixtures_of_both() -> None:
    pixels = np.array([0, 400], np.int16).reshape(1, 2, 1, 1)
    block = PixelBlock(pixels, np.ones((2, 1, 1), bool), Box.of_shape((2, 1, 1)))
    finer = reduce_block(block, Box.of_shape((4, 1, 1)), (2, 1, 1), (4, 1, 1))
    assert finer.pixels.ravel().tolist() == [0, 100, 300, 400]


def test_volume_shape_is_finer_and_coarser_as_each_axis_needs() -> None:
    assert volume_shape((48, 512, 512), (5.0, 0.57, 0.57), (3.0, 1.0, 1.0)) == (80, 292, 292)
    assert volume_shape((48, 512, 512), (3.02, 1.0, 1.0), (3.0, 1.0, 1.0)) == (48, 512, 512)
    assert volume_shape((1, 4, 4), (0.1, 0.1, 0.1), (3.0, 3.0, 3.0)) == (1, 1, 1)


def test_half_valid_is_valid_and_less_is_not() -> None:
    pixels = np.array([[10, 30, 10, 99]], np.uint8).reshape(1, 1, 1, 4)
    valid = np.array([True, False, False, False]).reshape(1, 1, 4)
    block = PixelBlock(pixels, valid, Box.of_shape((1, 1, 4)))
    two = reduce_block(block, Box.of_shape((1, 1, 2)), (1, 1, 4), (1, 1, 2))
    assert (two.pixels.ravel().tolist(), two.valid.ravel().tolist()) == ([10, 0], [True, False])
    one = reduce_block(block, Box.of_shape((1, 1, 1)), (1, 1, 4), (1, 1, 1))
    assert (one.pixels.item(), one.valid.item()) == (10, False)


def test_a_block_that_is_too_small_is_refused() -> None:
    block = PixelBlock(np.zeros((1, 1, 4, 4), np.uint8), np.ones((1, 4, 4), bool), Box.of_shape((1, 4, 4)))
    with pytest.raises(ValueError, match="need the native pixels"):
        reduce_block(block, Box.of_shape((1, 3, 3)), (1, 8, 8), (1, 4, 4))


def test_model_shape_spans_the_image_and_leaves_near_resolutions_alone() -> None:
    assert model_shape((1000, 2000), (0.1, 0.1), 0.3) == ((333, 667), (1000 / 333, 2000 / 667))
    assert model_shape((1000, 2000), (0.3, 0.3), 0.305) == ((1000, 2000), (1.0, 1.0))
    assert model_shape((1000, 2000), (0.3, 0.15), 0.3) == ((1000, 1000), (1.0, 2.0))
    assert model_shape((10, 10), (1.0, 1.0), 0.5) == ((20, 20), (0.5, 0.5))
    assert model_shape((3, 3), (0.1, 0.1), 30.0)[0] == (1, 1)
    with pytest.raises(ValueError, match="above 0"):
        model_shape((3, 3), (0.1, 0.0), 30.0)
