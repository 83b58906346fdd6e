"""Measurements equal counting on the bitmap, and geodesy on the ground."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Geod

from schemas.boxes import Zyx
from schemas.grids import PixelGrid
from schemas.masks import NO_RUNS, bbox, canonical, to_runs
from segworkers.georeferencing import GroundFrame, ground_frame
from segworkers.ground_areas import GroundAreas
from segworkers.measures import GroundMeasurements, Measurements, measure
from segworkers.polygons import polygons
from tests.grids import GRIDS, SIDE, grid_of
from tests.mask_strategies import BitmapArray, batch, filled_bitmaps, origins

GEOD = Geod(ellps="WGS84")
GEOD_NOISE_M2 = 2e-4  # what geodesic areas of small polygons with many edges are good for


def frame_of(grid: PixelGrid) -> GroundFrame:
    frame = ground_frame(grid)
    assert isinstance(frame, GroundFrame), frame
    return frame


def on_ground(grid: PixelGrid, *bitmaps: NDArray[np.bool_]) -> GroundMeasurements:
    """Measurements in metres of bitmaps (y, x)."""
    runs, offsets = batch([to_runs(bitmap[None]) for bitmap in bitmaps])
    ground = measure(runs, offsets, grid.shape, GroundAreas.of(frame_of(grid))).ground
    assert ground is not None
    return ground


def bar(grid: PixelGrid, length: float, width: float, azimuth: float, middle: tuple[float, float]) -> NDArray[np.bool_]:
    """Pixels of a rectangle that is `length` by `width` metres on the ground and points to `azimuth`."""
    frame = frame_of(grid)
    y, x = np.mgrid[: grid.shape[1], : grid.shape[2]] + 0.5
    lon, lat = frame.to_lonlat(np.stack([x.ravel(), y.ravel()], axis=1)).T
    (lon0, lat0) = frame.to_lonlat([middle])[0]
    direction, _, distance = GEOD.inv(np.full_like(lon, lon0), np.full_like(lat, lat0), lon, lat)
    along = distance * np.cos(np.radians(direction - azimuth))
    across = distance * np.sin(np.radians(direction - azimuth))
    return ((np.abs(along) < length / 2) & (np.abs(across) < width / 2)).reshape(y.shape)


@given(st.lists(st.tuples(filled_bitmaps(max_depth=3), origins()), min_size=1, max_size=4))
def test_measuring_runs_is_counting_on_the_bitmap(masks: list[tuple[BitmapArray, Zyx]]) -> None:
    found = measure(*batch([to_runs(bitmap, origin) for bitmap, origin in masks]), (10, 80_000, 80_000))
    for index, (bitmap, origin) in enumerate(masks):
        voxels = np.argwhere(bitmap) + origin
        assert found.pixel_count[index] == len(voxels)
        assert found.centroid_px[index] == pytest.approx(voxels.mean(axis=0) + 0.5, rel=1e-14)
        assert found.bbox[index].tolist() == [*voxels.min(axis=0), *voxels.max(axis=0) + 1]


@given(filled_bitmaps(max_depth=2, max_side=4))
def test_a_mask_touches_the_border_where_a_pixel_does(bitmap: BitmapArray) -> None:
    edge = np.ones_like(bitmap)
    edge[slice(1, -1) if bitmap.shape[0] > 1 else slice(None), 1:-1, 1:-1] = False
    found = measure(*batch([to_runs(bitmap)]), bitmap.shape)
    assert found.touches_border.tolist() == [bool((bitmap & edge).any())]


def test_lengths_in_pixels_follow_the_pixel_edges() -> None:
    pixel, car = np.ones((1, 1, 1), np.bool_), np.ones((1, 20, 10), np.bool_)
    found = measure(*batch([to_runs(pixel), to_runs(car)]), (1, 99, 99))
    assert found.length_px.tolist() == [1, 20] and found.width_px.tolist() == [1, 10]
    assert found.ground is None


@given(
    st.lists(st.tuples(filled_bitmaps(max_depth=2), origins()), min_size=1, max_size=3),
    st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)),
)
def test_micrometres_are_those_of_the_outline_on_pixels_of_any_shape(
    masks: list[tuple[BitmapArray, Zyx]], um: tuple[float, float]
) -> None:
    runs, offsets = batch([to_runs(bitmap, origin) for bitmap, origin in masks])
    measured = measure(runs, offsets, (10, 80_000, 80_000), pixel_um=um)
    found = measured.micrometres
    assert found is not None
    for index, (bitmap, _) in enumerate(masks):
        y, x = measured.centroid_px[index, 1:]
        assert (found.centroid_y_um[index], found.centroid_x_um[index]) == pytest.approx((y * um[0], x * um[1]))
        if len(np.unique(np.argwhere(bitmap)[:, 0])) > 1:
            assert np.isnan([found.area_um2[index], found.length_um[index], found.width_um[index]]).all()
            continue
        corners = np.argwhere(bitmap.any(axis=0))[:, None] + [[0, 0], [0, 1], [1, 0], [1, 1]]
        outline = shapely.MultiPoint((corners.reshape(-1, 2) * um)[:, ::-1]).convex_hull
        assert found.area_um2[index] == pytest.approx(bitmap.sum() * um[0] * um[1])
        ring = shapely.get_coordinates(shapely.oriented_envelope(outline))
        sides = np.hypot(*np.diff(ring[:3], axis=0).T)
        assert found.length_um[index] * found.width_um[index] == pytest.approx(sides.prod(), rel=1e-6)
        assert found.length_um[index] >= found.width_um[index]


def test_square_pixels_of_one_micrometre_measure_as_many_micrometres_as_pixels() -> None:
    bitmap = np.tri(9, 14, 3, dtype=np.bool_)
    found = measure(*batch([to_runs(bitmap[None])]), (1, 99, 99), pixel_um=(1.0, 1.0))
    assert found.micrometres is not None and found.ground is None
    assert found.micrometres.length_um.tolist() == found.length_px.tolist()
    assert found.micrometres.width_um.tolist() == found.width_px.tolist()
    assert found.micrometres.area_um2.tolist() == found.pixel_count.tolist()
    assert measure(*batch([to_runs(bitmap[None])]), (1, 99, 99)).micrometres is None


def test_sums_are_exact_far_from_the_origin() -> None:
    side = 2_000_000
    runs = np.array([[0, x, side, side + 1_000_000] for x in range(side, side + 3)], np.int32)
    found = measure(runs, np.array([0, 3]), (1, 2 * side, 2 * side))
    assert found.centroid_px.tolist() == [[0.5, 2_500_000.0, 2_000_001.5]]


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="mask 1 of the batch is empty"):
        measure(*batch([to_runs(np.ones((1, 1, 1), np.bool_)), NO_RUNS]), (1, 9, 9))


def test_an_empty_batch_has_no_measurements() -> None:
    found = measure(*batch([]), (1, SIDE, SIDE), GroundAreas.of(frame_of(GRIDS["utm"])))
    assert isinstance(found, Measurements) and len(found.pixel_count) == 0
    assert found.ground is not None and len(found.ground.area_m2) == 0


@pytest.mark.parametrize("name", GRIDS)
def test_area_is_the_geodesic_area_of_the_pixel_edges(name: str) -> None:
    grid = GRIDS[name]
    rng = np.random.default_rng(3)
    bitmap = np.zeros((SIDE, SIDE), np.bool_)
    bitmap[90:110, 250:270] = rng.random((20, 20)) < 0.7
    area = on_ground(grid, bitmap).area_m2[0]
    rings = shapely.get_rings(shapely.get_parts(shapely.segmentize(polygons(*batch([to_runs(bitmap[None])])), 0.5)))
    xy, owner = shapely.get_coordinates(rings, return_index=True)
    lonlat = frame_of(grid).to_lonlat(xy)
    expected = 0.0
    for index, ring in enumerate(rings):
        ring_area, _ = GEOD.polygon_area_perimeter(*lonlat[owner == index].T)
        expected += abs(ring_area) * (1 if ring.is_ccw else -1)  # the winding in pixels tells shells from holes
    assert area == pytest.approx(expected, rel=1e-6, abs=GEOD_NOISE_M2)
    x, y = frame_of(grid).to_equal_area(xy).T
    follows = owner[1:] == owner[:-1]
    planar = abs(np.sum((x[:-1] * y[1:] - x[1:] * y[:-1])[follows])) / 2
    assert area == pytest.approx(planar, rel=1e-7)


@pytest.mark.parametrize("name", GRIDS)
def test_areas_add_up_and_agree_with_cells(name: str) -> None:
    grid = GRIDS[name]
    half = np.arange(SIDE)[:, None] + np.arange(SIDE) < 500
    whole, first, second = on_ground(grid, np.ones_like(half), half, ~half).area_m2
    assert first + second == pytest.approx(whole, rel=1e-12)
    assert whole == pytest.approx(frame_of(grid).cell_areas_m2([0, SIDE], [0, SIDE])[0, 0], rel=2e-9)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("azimuth", [0.0, 30.0, 90.0, 150.0])
def test_lengths_and_angles_are_those_on_the_ground(name: str, azimuth: float) -> None:
    grid = GRIDS[name]
    scale = np.linalg.norm(frame_of(grid).local_scale([[150, 250]])[0], axis=0).max()  # metres in a pixel's longer side
    found = on_ground(grid, bar(grid, 80 * scale, 20 * scale, azimuth, (150, 250)))
    # The pixel edges reach up to a pixel's diagonal beyond the pixel middles, on both sides.
    assert 78.5 * scale < found.length_m[0] < 82.5 * scale
    assert 18.5 * scale < found.width_m[0] < 22.5 * scale
    assert abs((found.angle_deg[0] - azimuth + 90) % 180 - 90) < 1.5
    assert 0 <= found.angle_deg[0] < 180


def test_degrees_that_are_half_as_long_eastward_do_not_shorten_anything() -> None:
    grid = GRIDS["degrees at 60 north"]
    wide, tall = np.zeros((2, SIDE, SIDE), np.bool_)
    wide[200:204, 100:300] = tall[100:300, 200:204] = True
    found = on_ground(grid, wide, tall)
    east = GEOD.inv(10, 59.998, 10.002, 59.998)[2]
    north = GEOD.inv(10, 59.997, 10, 59.999)[2]
    assert found.length_m == pytest.approx([east, north], rel=1e-5)
    assert found.angle_deg == pytest.approx([90, 0], abs=0.01)


def test_centroids_lie_where_the_pixels_are() -> None:
    for grid in GRIDS.values():
        bitmap = np.zeros((SIDE, SIDE), np.bool_)
        bitmap[100:103, 7:18] = True
        found = on_ground(grid, bitmap)
        assert [found.centroid_lon[0], found.centroid_lat[0]] == frame_of(grid).to_lonlat([[12.5, 101.5]])[0].tolist()


def test_an_object_as_long_as_a_country_is_measured_along_the_ground() -> None:
    grid = PixelGrid(
        shape=(1, 2000, 2000), affine=(0.002, 0, 10, 0, -0.002, 62), crs_wkt=CRS(4326).to_wkt(), georeference="affine"
    )
    steps = np.arange(1500)
    river = canonical(np.stack([0 * steps, steps + 200, steps + 200, steps + 203], axis=1).astype(np.int32))
    ground = measure(river, np.array([0, len(river)]), grid.shape, GroundAreas.of(frame_of(grid))).ground
    assert ground is not None
    frame = frame_of(grid)
    ends = frame.to_lonlat([[200, 200], [1700, 1702]])
    assert ground.length_m[0] == pytest.approx(GEOD.inv(*ends[0], *ends[1])[2], rel=1e-3)
    assert bbox(river) is not None


def test_areas_at_the_limb_of_a_satellites_disk_are_known_on_earth_and_null_off_it() -> None:
    grid = grid_of("+proj=geos +h=35785831 +lon_0=0 +sweep=y", (28_000, 0, -5_600_000, 0, -28_000, 5_600_000))
    limb, middle, space = np.zeros((3, SIDE, SIDE), np.bool_)
    limb[198:202, 12:14] = middle[198:202, 200:203] = space[0:3, 0:3] = True
    area = on_ground(grid, limb, middle, space).area_m2
    cells = frame_of(grid).cell_areas_m2([198, 202], [12, 14, 200, 203])
    assert area[0] == pytest.approx(cells[0, 0], rel=1e-2)
    assert area[1] == pytest.approx(cells[0, 2], rel=1e-8)
    assert np.isnan(area[2])


def test_a_volume_in_a_georeferenced_source_has_no_area() -> None:
    grid = grid_of("EPSG:32633", (1, 0, 400_000, 0, -1, 5_800_000))
    found = measure(*batch([to_runs(np.ones((2, 3, 3), np.bool_))]), (4, SIDE, SIDE), GroundAreas.of(frame_of(grid)))
    assert found.ground is not None and np.isnan(found.ground.area_m2).all() and np.isnan(found.ground.length_m).all()
    assert np.isnan(found.length_px).all() and found.pixel_count.tolist() == [18]
