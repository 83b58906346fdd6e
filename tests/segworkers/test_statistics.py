"""Statistics of an image and what normalisation makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import InputError
from segworkers.readers.base import PixelBlock
from segworkers.statistics import BandStatistics, Statistics, image_statistics, normalise, otsu_level

KINDS = ("unit", "percentile", "zscore", "otsu")
IMAGES = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]),
    (2, 1, 6, 7),
    elements=st.integers(0, 120),
)


def _block(pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> PixelBlock:
    shape = pixels.shape[1:]
    return PixelBlock(pixels, np.ones(shape, bool) if valid is None else valid, Box.of_shape(shape))


def _brute_force_variance(values: NDArray[np.float64], level: float) -> float:
    upper, lower = values[values > level], values[values <= level]
    return len(upper) * len(lower) * (upper.mean() - lower.mean()) ** 2 if len(upper) and len(lower) else 0.0


@given(IMAGES)
def test_statistics_are_those_of_numpy(pixels: NDArray[Any]) -> None:
    for band, found in zip(pixels.astype(float), image_statistics(_block(pixels)).bands, strict=True):
        assert (found.low, found.high) == tuple(np.percentile(band, (1, 99)))
        assert (found.minimum, found.maximum, found.pixels) == (band.min(), band.max(), band.size)
        assert found.mean == pytest.approx(band.mean()) and found.std == pytest.approx(band.std())


@given(IMAGES)
def test_statistics_survive_json_exactly(pixels: NDArray[Any]) -> None:
    found = image_statistics(_block(pixels))
    assert Statistics.from_json(found.to_json()) == found


@given(IMAGES, st.integers(0, 41))
def test_pixels_that_are_not_valid_or_not_finite_do_not_count(pixels: NDArray[Any], hidden: int) -> None:
    valid = np.ones(42, bool)
    valid[hidden] = False
    spoilt = pixels.copy()
    spoilt.reshape(2, -1)[:, hidden] = 121
    assert image_statistics(_block(spoilt, valid.reshape(1, 6, 7))) == image_statistics(
        _block(pixels, valid.reshape(1, 6, 7))
    )
    if pixels.dtype.kind == "f":
        spoilt.reshape(2, -1)[:, hidden] = np.nan
        assert image_statistics(_block(spoilt)) == image_statistics(_block(pixels, valid.reshape(1, 6, 7)))


def test_band_without_valid_pixels_says_so() -> None:
    found = image_statistics(_block(np.full((1, 1, 2, 2), 9, np.uint8), np.zeros((1, 2, 2), bool)))
    assert found.bands == (BandStatistics(low=0, high=1, mean=0, std=1, minimum=0, maximum=1, otsu=0.5, pixels=0),)


@given(hnp.arrays(np.float64, st.integers(2, 60), elements=st.integers(-50, 300)))
def test_otsu_level_has_the_greatest_between_class_variance(values: NDArray[np.float64]) -> None:
    level = otsu_level(values, integral=True)
    best = max(_brute_force_variance(values, cut) for cut in np.unique(values))
    assert _brute_force_variance(values, level) == pytest.approx(best)


@pytest.mark.parametrize(("dtype", "expected"), [(np.uint8, 100.0), (np.float32, 100.0)])
def test_otsu_level_lies_in_the_middle_of_the_gap(dtype: type[np.generic], expected: float) -> None:
    pixels = np.array([0] * 30 + [200] * 3, dtype).reshape(1, 1, 3, 11)
    assert image_statistics(_block(pixels)).bands[0].otsu == pytest.approx(expected, abs=0.1)


def test_constant_image_has_nothing_above_its_otsu_level() -> None:
    pixels = np.full((1, 1, 4, 4), 7, np.uint8)
    out = normalise(pixels[None], "otsu", image_statistics(_block(pixels)), "uint8")
    assert (out == 0.5).all()


@given(IMAGES)
def test_otsu_normalisation_splits_exactly_at_the_level(pixels: NDArray[Any]) -> None:
    statistics = image_statistics(_block(pixels))
    out = normalise(pixels[None], "otsu", statistics, pixels.dtype.name)[0]
    for band, found, values in zip(pixels, statistics.bands, out, strict=True):
        assert np.array_equal(values > 0.5, band > found.otsu)


@given(IMAGES, st.sampled_from(KINDS))
def test_normalising_a_window_alone_gives_what_the_whole_gives(pixels: NDArray[Any], kind: Any) -> None:
    statistics = image_statistics(_block(pixels))
    whole = normalise(pixels[None], kind, statistics, pixels.dtype.name)
    part = normalise(pixels[None, :, :, 1:4, 2:5], kind, statistics, pixels.dtype.name)
    assert whole.dtype == part.dtype == np.float32
    assert np.array_equal(whole[..., 1:4, 2:5], part)


@given(IMAGES)
def test_tables_for_small_integers_agree_with_arithmetic(pixels: NDArray[Any]) -> None:
    statistics = image_statistics(_block(pixels))
    for kind in KINDS:
        direct = normalise(pixels[None].astype(np.float64), kind, statistics, pixels.dtype.name)
        assert np.array_equal(normalise(pixels[None], kind, statistics, pixels.dtype.name), direct)


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255), ("uint16", 65535), ("int16", 32767), ("float32", 1.0)])
def test_unit_divides_by_the_maximum_of_the_sources_type(dtype: str, value: float) -> None:
    pixels = np.full((1, 1, 1, 2, 2), value, dtype)
    assert (normalise(pixels, "unit", None, dtype) == 1).all()
    assert (normalise(pixels.astype(np.float32), "unit", None, dtype) == 1).all()


def test_percentile_is_clipped_and_zscore_centred() -> None:
    pixels = np.arange(1000, dtype=np.uint16).reshape(1, 1, 20, 50)
    statistics = image_statistics(_block(pixels))
    percentile = normalise(pixels[None], "percentile", statistics, "uint16")
    assert (percentile.min(), percentile.max()) == (0, 1)
    assert percentile[0, 0, 0, 10, 0] == pytest.approx((500 - 9.99) / (989.01 - 9.99))
    zscore = normalise(pixels[None], "zscore", statistics, "uint16")
    assert abs(zscore.mean()) < 1e-6 and zscore.std() == pytest.approx(1)


def test_percentiles_without_extent_fall_back_on_minimum_and_maximum() -> None:
    pixels = np.zeros((1, 1, 100, 100), np.uint8)
    pixels[0, 0, 0, :5] = 50
    assert normalise(pixels[None], "percentile", image_statistics(_block(pixels)), "uint8").max() == 1


def test_none_returns_the_pixels_and_nan_becomes_zero() -> None:
    pixels = np.array([np.nan, np.inf, 2.0], np.float32).reshape(1, 1, 1, 1, 3)
    assert normalise(pixels, "none", None, "float32") is pixels
    assert normalise(pixels, "unit", None, "float32").ravel().tolist() == [0, 0, 2]


def test_missing_bands_in_the_statistics_are_refused() -> None:
    with pytest.raises(InputError, match="statistics of 2 bands, got none"):
        normalise(np.zeros((1, 2, 1, 1, 1)), "zscore", None, "float64")
