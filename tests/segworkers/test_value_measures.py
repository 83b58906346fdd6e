"""Values inside masks: what NumPy and exact fractions say of the same voxels, whatever order they came in."""

from __future__ import annotations

import math
from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from schemas.masks import Runs, to_runs
from segworkers.value_measures import STATISTICS, ValueAccumulator, ValueMeasurements
from tests.mask_strategies import batch

SHAPE = (4, 6, 7)
MASKS = hnp.arrays(np.bool_, SHAPE).filter(lambda mask: bool(mask.any()))
FLOATS = st.one_of(
    st.floats(-1e6, 1e6, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, -0.0, 0.0])
)
VALUES = st.one_of(
    hnp.arrays(np.int16, SHAPE),
    hnp.arrays(np.int16, SHAPE, elements=st.sampled_from([-32768, 32767, 0])),
    hnp.arrays(np.uint8, SHAPE),
    hnp.arrays(np.int32, SHAPE),
    hnp.arrays(np.uint32, SHAPE),
    hnp.arrays(np.float32, SHAPE, elements=FLOATS),
)


def collected(
    masks: list[NDArray[np.bool_]], values: NDArray[Any], valid: NDArray[np.bool_], order: list[int] | None = None
) -> ValueMeasurements:
    """All slices, in the order given."""
    accumulator = ValueAccumulator(*batch([to_runs(mask) for mask in masks]), values.dtype)
    for z in accumulator.slices if order is None else [z for z in order if z in accumulator.slices]:
        accumulator.add(z, values[z], valid[z])
    return accumulator.finish()


def truth(inside: NDArray[Any]) -> dict[str, float]:
    """Statistics by exact arithmetic and NumPy."""
    exact = [Fraction(float(value)) for value in inside]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    wide = inside.astype(np.float64)
    p10, median, p90 = np.percentile(wide, [10, 50, 90])
    sd = math.sqrt(variance)
    return {
        "mean": float(mean),
        "sd": sd,
        "median": median,
        "p10": p10,
        "p90": p90,
        "min": wide.min(),
        "max": wide.max(),
    }


@given(st.lists(MASKS, min_size=1, max_size=3), VALUES, hnp.arrays(np.bool_, SHAPE), st.permutations(range(SHAPE[0])))
def test_statistics_are_those_of_the_valid_voxels(
    masks: list[NDArray[np.bool_]], values: NDArray[Any], valid: NDArray[np.bool_], order: list[int]
) -> None:
    found = collected(masks, values, valid, order)
    for k, mask in enumerate(masks):
        usable = mask & valid & np.isfinite(values)
        told = {name: getattr(found, name)[k] for name in STATISTICS}
        if not usable.any():
            assert found.reason[k] == "no_valid_values" and np.isnan(list(told.values())).all()
            continue
        assert found.reason[k] is None
        expected = truth(values[usable])
        size = max(abs(expected["min"]), abs(expected["max"]))
        for name in STATISTICS:
            assert told[name] == pytest.approx(expected[name], rel=1e-12, abs=1e-13 * size), name


@given(st.lists(MASKS, min_size=1, max_size=3), VALUES, st.permutations(range(SHAPE[0])), st.data())
def test_neither_the_order_of_slices_nor_the_batch_nor_the_crop_changes_a_bit(
    masks: list[NDArray[np.bool_]], values: NDArray[Any], order: list[int], data: st.DataObject
) -> None:
    valid = np.ones(SHAPE, bool)
    together = collected(masks, values, valid, order)
    for k, mask in enumerate(masks):
        alone = ValueAccumulator(*batch([to_runs(mask)]), values.dtype)
        for z in data.draw(st.permutations(alone.slices)):
            y0, x0, y1, x1 = alone.extent(z)
            assert mask[z, y0:y1, x0:x1].sum() == mask[z].sum()
            alone.add(z, values[z, y0:y1, x0:x1], valid[z, y0:y1, x0:x1], (y0, x0))
        found = alone.finish()
        for field in fields(found):
            a, b = getattr(found, field.name)[:1], getattr(together, field.name)[k : k + 1]
            assert a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes(), field.name


def test_integer_statistics_are_exact_where_doubles_are_not() -> None:
    side = 300
    values = np.full((1, side, side), np.iinfo(np.int32).max, np.int32)
    values[0, 0, 0] -= 1
    found = collected([np.ones(values.shape, bool)], values, np.ones(values.shape, bool))
    n = side * side
    assert found.sd[0] == math.sqrt(n - 1) / n
    assert found.mean[0] == float(Fraction(n * (2**31 - 1) - 1, n))


def test_sums_of_many_small_and_few_large_floats_lose_nothing() -> None:
    values = np.full((1, 100, 100), 0.1, np.float32)
    values[0, 0, 0], values[0, 0, 1] = 1e30, -1e30
    found = collected([np.ones(values.shape, bool)], values, np.ones(values.shape, bool))
    assert found.mean[0] == pytest.approx(float(np.float32(0.1)) * 9998 / 10000, rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_finite_number_is_left_out(bad: float) -> None:
    values = np.array([[[1, bad, 3]], [[bad, bad, bad]]], np.float32)
    masks = [np.indices(values.shape)[0] == z for z in range(2)]
    found = collected(masks, values, np.ones(values.shape, bool))
    assert (found.mean[0], found.min[0], found.max[0]) == (2, 1, 3)
    assert found.reason.tolist() == [None, "no_valid_values"]


def test_zeros_of_both_signs_come_out_as_zero() -> None:
    zeros = np.array([[[-0.0, 0.0]], [[0.0, -0.0]]], np.float32)
    found = collected([zeros == 0], zeros, zeros == 0)
    assert not any(np.signbit(getattr(found, name)[0]) for name in STATISTICS)
    assert not any(np.signbit(getattr(collected([zeros == 0], -zeros, zeros == 0), name)[0]) for name in STATISTICS)


def test_the_deviation_is_that_of_a_population() -> None:
    values = np.array([[[1, 3]]], np.int16)
    assert collected([np.ones((1, 1, 2), bool)], values, np.ones((1, 1, 2), bool)).sd.tolist() == [1.0]


def test_a_slice_that_never_came_leaves_its_masks_without_statistics() -> None:
    masks = [np.zeros((3, 2, 2), bool) for _ in range(3)]
    masks[0][0], masks[1][:2], masks[2][2] = True, True, True
    found = collected(masks, np.ones((3, 2, 2), np.int16), np.ones((3, 2, 2), bool), [0, 2])
    assert found.reason.tolist() == [None, "values_unreadable", None]
    assert np.isnan(found.mean).tolist() == np.isnan(found.max).tolist() == [False, True, False]


def one_run() -> tuple[Runs, NDArray[np.int64]]:
    return batch([np.array([[1, 2, 3, 5]], np.int32)])


@pytest.mark.parametrize(
    ("z", "shape", "at", "dtype", "message"),
    [
        (0, (9, 9), (0, 0), np.int16, "holds no mask"),
        (1, (4, 9), (0, 0), np.int16, "is less"),
        (1, (9, 2), (0, 0), np.int16, "is less"),
        (1, (9, 9), (4, 0), np.int16, "is less"),
        (1, (9, 9), (0, 3), np.int16, "is less"),
        (1, (9, 9), (0, 0), np.float32, "expected int16 values"),
    ],
)
def test_a_plane_that_does_not_fit_is_refused(
    z: int, shape: tuple[int, int], at: tuple[int, int], dtype: Any, message: str
) -> None:
    accumulator = ValueAccumulator(*one_run(), np.int16)
    with pytest.raises(ValueError, match=message):
        accumulator.add(z, np.zeros(shape, dtype), np.ones(shape, bool), at)
    accumulator.add(1, np.zeros((2, 1), np.int16), np.ones((2, 1), bool), (3, 2))
    with pytest.raises(ValueError, match="added before"):
        accumulator.add(1, np.zeros((9, 9), np.int16), np.ones((9, 9), bool))
    assert accumulator.finish().mean.tolist() == [0]


def test_no_masks_have_no_values() -> None:
    found = ValueAccumulator(*batch([]), np.int16)
    assert found.slices == [] and len(found.finish().mean) == 0
