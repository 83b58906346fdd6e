"""Laws of measuring in patient space: counting, brute force, merging, moving, turning and scaling."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.masks import to_runs
from schemas.volumes import VolumeGeometry
from segworkers.runs import RunTable, concatenate
from segworkers.volume_measures import VolumeMeasurements, measure_in_patient
from tests.mask_strategies import BitmapArray, batch, filled_bitmaps
from tests.volume_geometries import (
    Floats,
    brute_axes,
    brute_max_diameter,
    geometries,
    rotations,
    turned,
)

SHAPE = (9, 10, 11)
MASKS = filled_bitmaps(max_depth=5, max_side=6)
NUMBERS = ("voxel_count", "volume_mm3", "centroid_lps_mm", "bbox", "max_diameter_mm", "surface_mm2")


def whole(bitmap: BitmapArray, origin: tuple[int, int, int] = (1, 2, 3)) -> NDArray[np.bool_]:
    """The bitmap somewhere in a volume of `SHAPE`."""
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(o, o + n) for o, n in zip(origin, bitmap.shape, strict=True))] = bitmap
    return mask


def measured(mask: NDArray[np.bool_], volume: VolumeGeometry) -> VolumeMeasurements:
    return measure_in_patient(*batch([to_runs(mask)]), volume)


def same(a: VolumeMeasurements, b: VolumeMeasurements) -> None:
    """Equal to the last bit."""
    assert a.plane == b.plane
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for field in fields(a.axes):
        np.testing.assert_array_equal(getattr(a.axes, field.name), getattr(b.axes, field.name), err_msg=field.name)


@given(MASKS, geometries())
def test_measuring_is_counting_on_the_whole_mask(bitmap: BitmapArray, volume: VolumeGeometry) -> None:
    mask = whole(bitmap)
    found = measured(mask, volume)
    z, _, _ = at = np.argwhere(mask).T
    weights = volume.thicknesses_mm()[z]
    area = float(np.linalg.norm(np.cross(volume.row_step, volume.column_step)))
    assert found.voxel_count[0] == mask.sum()
    assert found.volume_mm3[0] == pytest.approx(float(weights.sum()) * area, rel=1e-12)
    mean = np.average(volume.positions(at.T), axis=0, weights=weights)
    assert found.centroid_lps_mm[0] == pytest.approx(mean, rel=1e-12, abs=1e-9)
    assert found.bbox[0].tolist() == [*at.min(axis=1), *at.max(axis=1) + 1]


@given(MASKS, geometries())
def test_diameters_are_those_of_brute_force(bitmap: BitmapArray, volume: VolumeGeometry) -> None:
    mask = whole(bitmap)
    found = measured(mask, volume)
    long, short, slices = brute_axes(mask, volume)
    assert np.nan_to_num(found.axes.long_mm[0]) == pytest.approx(long, rel=1e-9)
    assert np.nan_to_num(found.axes.short_mm[0]) == pytest.approx(short, rel=1e-7, abs=1e-7)
    assert found.axes.slice[0] in (slices or {-1})
    assert np.nan_to_num(found.max_diameter_mm[0]) == pytest.approx(brute_max_diameter(mask, volume), rel=1e-9)
    if slices:
        ends = found.axes.long_ends[0]
        assert all(mask[tuple(end)] for end in ends.astype(int).tolist())
        assert np.linalg.norm(np.diff(volume.positions(ends), axis=0)) == pytest.approx(long, rel=1e-9)


@given(st.lists(MASKS, min_size=1, max_size=4), geometries(), st.randoms(use_true_random=False))
def test_pieces_of_masks_merged_in_any_order_measure_the_same(
    bitmaps: list[BitmapArray], volume: VolumeGeometry, random: object
) -> None:
    rng = np.random.default_rng(getattr(random, "randrange")(2**32))  # noqa: B009 - hypothesis types it as object
    masks = [whole(bitmap) for bitmap in bitmaps]
    cut = [int(n) for n in rng.integers(1, SHAPE)]
    pieces: list[RunTable] = []
    for owner, mask in enumerate(masks):
        for corner in np.ndindex(2, 2, 2):
            part = mask.copy()
            for axis, side in enumerate(corner):
                away = slice(None, cut[axis]) if side else slice(cut[axis], None)
                part[(slice(None),) * axis + (away,)] = False
            runs = to_runs(part)
            pieces.append(RunTable(runs, np.full(len(runs), owner)))
    shuffled = concatenate([pieces[k] for k in rng.permutation(len(pieces))])
    merged = shuffled.take(rng.permutation(len(shuffled))).canonical()
    at_once = measure_in_patient(*batch([to_runs(mask) for mask in masks]), volume)
    same(measure_in_patient(merged.runs, merged.offsets(len(masks)), volume), at_once)


@given(st.lists(MASKS, min_size=2, max_size=4), geometries())
def test_a_mask_measures_the_same_alone_and_in_a_batch(bitmaps: list[BitmapArray], volume: VolumeGeometry) -> None:
    masks = [whole(bitmap) for bitmap in bitmaps]
    together = measure_in_patient(*batch([to_runs(mask) for mask in masks]), volume)
    for k, mask in enumerate(masks):
        alone = measured(mask, volume)
        for name in NUMBERS:
            assert np.array_equal(getattr(alone, name)[0], getattr(together, name)[k], equal_nan=True), name
        assert np.array_equal(alone.axes.long_mm[0], together.axes.long_mm[k], equal_nan=True)
        assert np.array_equal(alone.axes.short_ends[0], together.axes.short_ends[k], equal_nan=True)


SIZES = ("volume_mm3", "surface_mm2", "max_diameter_mm")


@given(MASKS, geometries(), rotations(), st.tuples(*[st.floats(-500, 500)] * 3))
def test_turning_and_moving_the_patient_changes_no_size_and_moves_the_centroid(
    bitmap: BitmapArray, volume: VolumeGeometry, rotation: Floats, shift: tuple[float, float, float]
) -> None:
    mask, by = whole(bitmap), np.array(shift)
    before, after = measured(mask, volume), measured(mask, turned(volume, rotation, by))
    for name in SIZES:
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-9, nan_ok=True), name
    assert after.axes.long_mm == pytest.approx(before.axes.long_mm, rel=1e-9, nan_ok=True)
    assert after.axes.short_mm == pytest.approx(before.axes.short_mm, rel=1e-7, nan_ok=True)
    assert after.axes.slice[0] == before.axes.slice[0]
    assert np.array_equal(after.axes.long_ends, before.axes.long_ends, equal_nan=True)
    assert after.centroid_lps_mm[0] == pytest.approx(rotation @ before.centroid_lps_mm[0] + by, rel=1e-9, abs=1e-8)


@given(MASKS, geometries(), st.tuples(*[st.integers(0, 4)] * 3))
def test_moving_a_mask_in_a_regular_volume_changes_no_size_and_moves_the_centroid_by_the_steps(
    bitmap: BitmapArray, volume: VolumeGeometry, by: tuple[int, int, int]
) -> None:
    volume = replace(volume, slice_origins=())
    before, after = measured(whole(bitmap, (0, 0, 0)), volume), measured(whole(bitmap, by), volume)
    for name in SIZES:
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-9, nan_ok=True), name
    assert after.axes.short_mm == pytest.approx(before.axes.short_mm, rel=1e-7, nan_ok=True)
    moved = before.centroid_lps_mm[0] + volume.steps() @ np.array(by)
    assert after.centroid_lps_mm[0] == pytest.approx(moved, rel=1e-9, abs=1e-8)


@given(MASKS, geometries(), st.floats(0.1, 10))
def test_sizes_scale_with_the_patient(bitmap: BitmapArray, volume: VolumeGeometry, scale: float) -> None:
    mask = whole(bitmap)
    before, after = measured(mask, volume), measured(mask, turned(volume, np.eye(3) * scale))
    assert after.volume_mm3 == pytest.approx(before.volume_mm3 * scale**3, rel=1e-9)
    assert after.surface_mm2 == pytest.approx(before.surface_mm2 * scale**2, rel=1e-9)
    assert after.max_diameter_mm == pytest.approx(before.max_diameter_mm * scale, rel=1e-9, nan_ok=True)
    assert after.axes.long_mm == pytest.approx(before.axes.long_mm * scale, rel=1e-9, nan_ok=True)
    assert after.axes.short_mm == pytest.approx(before.axes.short_mm * scale, rel=1e-7, nan_ok=True)


@given(MASKS, geometries())
def test_no_mask_is_longer_in_a_slice_than_in_space_or_wider_than_long(
    bitmap: BitmapArray, volume: VolumeGeometry
) -> None:
    found = measured(whole(bitmap), volume)
    long = found.axes.long_mm[0]
    assert not long > found.max_diameter_mm[0] * (1 + 1e-9)
    assert not found.axes.short_mm[0] > long * (1 + 1e-9)
