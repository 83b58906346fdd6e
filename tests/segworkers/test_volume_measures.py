"""Measurements in patient space equal what is known of simple bodies, and brute force over voxel centres."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import marching_cubes, mesh_surface_area

from schemas.boxes import Zyx
from schemas.masks import NO_RUNS, to_runs
from schemas.volumes import VolumeGeometry
from segworkers.volume_measures import VolumeMeasurements, measure_in_patient
from tests.mask_strategies import batch
from tests.volume_geometries import brute_max_diameter, ellipsoid, geometry, turned

UNIT = geometry()


def measured(mask: NDArray[np.bool_], volume: VolumeGeometry, origin: Zyx = (0, 0, 0)) -> VolumeMeasurements:
    return measure_in_patient(*batch([to_runs(mask, origin)]), volume)


def quarter_turn() -> NDArray[np.float64]:
    """Axial slices become coronal ones."""
    return np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def test_one_voxel_has_a_volume_and_a_place_but_no_diameter() -> None:
    found = measured(np.ones((1, 1, 1), bool), geometry(spacing=(2.5, 0.5, 0.8)), (3, 4, 5))
    assert found.voxel_count.tolist() == [1] and found.volume_mm3 == pytest.approx(1.0)
    assert found.bbox.tolist() == [[3, 4, 5, 4, 5, 6]]
    assert found.centroid_lps_mm[0] == pytest.approx([-120 + 5 * 0.8, -80 + 4 * 0.5, 40 + 3 * 2.5])
    assert np.isnan([found.axes.long_mm, found.axes.short_mm, found.max_diameter_mm]).all()
    assert found.axes.slice.tolist() == [-1]
    assert np.isnan(found.axes.long_ends).all() and np.isnan(found.axes.short_ends).all()


def test_a_row_has_a_long_axis_but_no_short_one() -> None:
    found = measured(np.ones((1, 1, 4), bool), geometry(spacing=(2.5, 0.5, 0.8)), (3, 4, 5))
    assert found.axes.long_mm == pytest.approx(3 * 0.8) and np.isnan(found.axes.short_mm).all()
    assert found.axes.long_ends[0].tolist() == [[3, 4, 5], [3, 4, 8]] and np.isnan(found.axes.short_ends).all()
    assert found.max_diameter_mm == pytest.approx(3 * 0.8)


def test_a_slanted_row_is_one_voxel_wide_whatever_rounding_does() -> None:
    mask = np.zeros((1, 7, 21), bool)
    mask[0, np.arange(7), np.arange(7) * 3] = True
    for tenths in range(1, 10):
        assert np.isnan(measured(mask, geometry(spacing=(1, 0.1 * tenths, 0.7)), (0, 0, 0)).axes.short_mm).all()


def test_a_column_through_slices_has_only_a_diameter_in_3d() -> None:
    found = measured(np.ones((5, 1, 1), bool), geometry(spacing=(2.5, 0.5, 0.8), tilt_deg=30), (3, 4, 5))
    assert np.isnan(found.axes.long_mm).all()
    assert found.max_diameter_mm == pytest.approx(4 * 2.5)


def test_axes_of_a_diamond_are_its_diagonals_and_lie_in_the_slice_where_it_is_largest() -> None:
    y, x = np.indices((9, 13))
    large, small = (np.abs(y - 4) / (4 * s) + np.abs(x - 6) / (6 * s) <= 1 for s in (1, 0.5))
    mask = np.stack([small, large, small])
    found = measured(mask, geometry(spacing=(3, 1.5, 0.75)), (2, 0, 0))
    # 12 columns of 0.75 mm along x, 8 rows of 1.5 mm along y: the column is the longer diagonal.
    assert found.axes.long_mm == pytest.approx(12.0) and found.axes.short_mm == pytest.approx(9.0)
    assert found.axes.slice.tolist() == [3]
    assert found.axes.long_ends[0].tolist() == [[3, 0, 6], [3, 8, 6]]
    assert sorted(found.axes.short_ends[0].tolist()) == pytest.approx(np.array([[3, 4, 0], [3, 4, 12]]))


def test_of_equally_long_axes_the_one_with_the_longest_short_axis_is_taken() -> None:
    bar, square = np.zeros((2, 3, 26), bool)
    bar[1, :] = True  # 25 mm long, a line
    y, x = np.indices((26, 26))
    disc = (np.abs(y - 13) + np.abs(x - 12.5) <= 12.5) & (y > 0)  # its row 13 is as long
    masks = np.zeros((2, 26, 26), bool)
    masks[0, :3], masks[1] = bar + square, disc
    found = measured(masks, geometry((20, 40, 40)))
    assert found.axes.long_mm == pytest.approx(25.0)
    assert found.axes.slice.tolist() == [1] and found.axes.short_mm[0] == pytest.approx(24.0)


def test_the_short_line_is_as_long_as_the_short_axis_and_stands_across_the_long_one() -> None:
    rng = np.random.default_rng(5)
    volume = turned(geometry((5, 24, 28), (2, 0.8, 0.6)), np.linalg.qr(rng.normal(size=(3, 3)))[0])
    axes = measure_in_patient(*batch([to_runs(rng.random((1, 9, 12)) < 0.2, (k % 5, k, k)) for k in range(15)]), volume)
    for k in range(15):
        (a, b), (c, d) = (volume.positions(ends[k]) for ends in (axes.axes.long_ends, axes.axes.short_ends))
        assert np.linalg.norm(b - a) == pytest.approx(axes.axes.long_mm[k])
        assert np.linalg.norm(d - c) == pytest.approx(axes.axes.short_mm[k])
        assert (b - a) @ (d - c) == pytest.approx(0, abs=1e-9)
        assert (c - a) @ volume.normal == pytest.approx(0, abs=1e-9)


def test_the_short_line_lies_midway_between_what_bounds_the_mask_on_either_side() -> None:
    # Along x from 0 to 10; above, row 4 reaches from x = 2 to 4, below, row 0 has x = 8.
    mask = np.zeros((1, 5, 11), bool)
    mask[0, 2], mask[0, 4, 2:5], mask[0, 0, 8] = True, True, True
    axes = measured(mask, UNIT, (7, 0, 0)).axes
    assert (axes.long_mm[0], axes.short_mm[0]) == (10, 4)
    assert sorted(axes.short_ends[0].tolist()) == pytest.approx(np.array([[7, 0, 5.5], [7, 4, 5.5]]))


def test_the_largest_diameter_is_found_in_scattered_voxels() -> None:
    rng = np.random.default_rng(4)
    masks = [rng.random((9, 12, 14)) < share for share in np.geomspace(0.002, 0.1, 150)]
    masks = [mask for mask in masks if mask.sum() > 1]
    for volume in (geometry(spacing=(1.5, 1, 1)), geometry(spacing=(0.2, 1, 0.5), tilt_deg=25)):
        found = measure_in_patient(*batch([to_runs(mask) for mask in masks]), volume).max_diameter_mm
        assert found == pytest.approx([brute_max_diameter(mask, volume) for mask in masks], rel=1e-12)


@pytest.mark.parametrize("diameter_mm", [10.0, 20.0, 35.0])
def test_a_disc_measures_its_diameter_between_centres(diameter_mm: float) -> None:
    y, x = np.indices((64, 64)) * 0.7
    rng = np.random.default_rng(0)
    for middle in 22 + rng.random((5, 2)):
        mask = np.hypot(y - middle[0], x - middle[1]) <= diameter_mm / 2
        axes = measured(mask[None], geometry((3, 64, 64), (2.5, 0.7, 0.7))).axes
        assert diameter_mm - 0.7 < axes.long_mm[0] <= diameter_mm
        assert diameter_mm - 1.0 < axes.short_mm[0] <= axes.long_mm[0] + 1e-9


@pytest.mark.parametrize("tilt", [0.0, 13.5, 20.0, 30.0])
def test_an_ellipsoid_in_a_tilted_stack_keeps_volume_place_and_size(tilt: float) -> None:
    volume = turned(geometry((60, 70, 64), (1.1, 0.8, 0.9), tilt_deg=tilt), quarter_turn())
    middle, radii = volume.positions(np.array([[29.3, 35.2, 31.8]]))[0], np.array([19.0, 11.0, 14.0])
    found = measured(ellipsoid(volume, middle, radii), volume)
    truth = 4 / 3 * np.pi * float(np.prod(radii))
    assert found.volume_mm3[0] == pytest.approx(truth, rel=0.005)
    assert found.centroid_lps_mm[0] == pytest.approx(middle, abs=0.05)
    assert found.max_diameter_mm[0] == pytest.approx(37.5, abs=0.5)
    assert found.volume_mm3[0] == found.voxel_count[0] * volume.voxel_volume_mm3
    # The product of the spacings as they are often taken is what a tilted voxel is not.
    of_norms = found.voxel_count[0] * 1.1 * 0.8 * 0.9
    assert of_norms / truth == pytest.approx(1 / np.cos(np.radians(tilt)), rel=0.005)


def test_slices_at_unequal_steps_are_integrated_as_trapezoids() -> None:
    volume = geometry((5, 8, 8), (1, 0.5, 2.0), places=(0.0, 1.0, 2.0, 5.0, 8.0), gaps=(2,))
    found = measured(np.ones((3, 1, 2), bool), volume, (1, 4, 4))
    thickness = [1.0, 2.0, 3.0]
    assert found.volume_mm3[0] == pytest.approx(sum(thickness) * 2)
    weighted = (1 * 1.0 + 2 * 2.0 + 3 * 5.0) / 6
    assert found.centroid_lps_mm[0] == pytest.approx([-120 + 4.5 * 2.0, -80 + 4 * 0.5, 40 + weighted])


@pytest.mark.parametrize("step", [0.3, 1.0])
def test_an_ellipsoid_in_uneven_slices_keeps_volume_and_place(step: float) -> None:
    ways = np.random.default_rng(3).uniform(step, 2 * step, 119)
    places = tuple(np.cumsum([0.0, *ways]).tolist())
    volume = geometry((120, 60, 60), (1, 0.8, 0.8), places=places)
    middle, radii = np.array([-120 + 24.0, -80 + 24.0, 40 + places[60] + 0.1]), np.array([15.0, 17.0, 12.0])
    found = measured(ellipsoid(volume, middle, radii), volume)
    assert found.volume_mm3[0] == pytest.approx(4 / 3 * np.pi * float(np.prod(radii)), rel=0.01)
    assert found.centroid_lps_mm[0] == pytest.approx(middle, abs=0.1)


def test_surface_is_that_of_the_marching_cubes_mesh_in_a_sheared_stack() -> None:
    rng = np.random.default_rng(1)
    volume = turned(geometry((30, 30, 30), (2.5, 0.5, 0.8), tilt_deg=20), np.linalg.qr(rng.normal(size=(3, 3)))[0])
    for density in (0.05, 0.4, 0.9):
        mask = rng.random((7, 8, 9)) < density
        vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5)
        truth = mesh_surface_area(volume.positions(vertices), faces)
        assert measured(mask, volume, (3, 4, 5)).surface_mm2[0] == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize(("first", "depth"), [(0, 4), (1, 2), (0, 1), (3, 1)])
def test_surface_follows_the_steps_between_slices_and_beyond_the_ends_goes_on_as_the_last(
    first: int, depth: int
) -> None:
    volume = geometry((4, 8, 8), (1, 0.5, 2.0), places=(0.0, 1.0, 4.0, 5.5))
    mask = np.random.default_rng(2).random((depth, 3, 4)) < 0.7
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5)
    vertices[:, 0] = np.interp(vertices[:, 0] + first, range(6), [-1.0, 0.0, 1.0, 4.0, 5.5, 7.0])
    truth = mesh_surface_area(vertices * [1, 0.5, 2.0], faces)
    assert measured(mask, volume, (first, 2, 2)).surface_mm2[0] == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize(("radius", "excess"), [(3, 0.05), (5, 0.08), (15, 0.09), (30, 0.09)])
def test_the_surface_of_a_voxelised_sphere_is_too_large_by_what_is_documented(radius: int, excess: float) -> None:
    side = 2 * radius + 5
    volume = geometry((side, side, side))
    for shift in np.random.default_rng(radius).random((4, 3)):
        middle = volume.positions((radius + 2 + shift)[None])[0]
        found = measured(ellipsoid(volume, middle, np.full(3, float(radius))), volume)
        assert found.surface_mm2[0] / (4 * np.pi * radius**2) - 1 == pytest.approx(excess, abs=0.1 / radius + 0.005)


def test_a_long_thin_rod_across_the_volume_measures_its_diagonal() -> None:
    volume = geometry((40, 40, 40), (2, 1, 1))
    mask = np.zeros((40, 40, 40), bool)
    mask[np.arange(40), np.arange(40), np.arange(40)] = True
    assert measured(mask, volume).max_diameter_mm[0] == pytest.approx(39 * np.sqrt(6))


def test_an_empty_mask_and_one_beyond_the_volume_are_refused() -> None:
    with pytest.raises(ValueError, match="mask 1 of the batch is empty"):
        measure_in_patient(*batch([to_runs(np.ones((1, 1, 1), bool)), NO_RUNS]), UNIT)
    with pytest.raises(ValueError, match="outside a volume of shape"):
        measured(np.ones((2, 1, 1), bool), UNIT, (19, 0, 0))


def test_no_masks_have_no_measurements() -> None:
    found = measure_in_patient(*batch([]), UNIT)
    assert len(found.voxel_count) == len(found.volume_mm3) == len(found.surface_mm2) == len(found.axes.long_mm) == 0
    assert found.centroid_lps_mm.shape == (0, 3) and found.bbox.shape == (0, 6)
