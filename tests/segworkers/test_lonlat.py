"""Polygons on the map: orientation, antimeridian, poles, and what cannot be placed."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod

from schemas.grids import PixelGrid
from schemas.masks import to_runs
from segworkers.georeferencing import GroundFrame, ground_frame
from segworkers.ground_areas import GroundAreas
from segworkers.lonlat import MAX_EDGE_PX, lonlat_bounds, lonlat_polygons
from segworkers.polygons import polygons
from tests.grids import GRIDS, SIDE, grid_of
from tests.mask_strategies import batch

GEOD = Geod(ellps="WGS84")
GEOD_NOISE_M2 = 2e-4  # what geodesic areas of small polygons with many edges are good for


def frame_of(grid: PixelGrid) -> GroundFrame:
    frame = ground_frame(grid)
    assert isinstance(frame, GroundFrame), frame
    return frame


def on_map(grid: PixelGrid, *bitmaps: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Map polygons of bitmaps (y, x)."""
    return lonlat_polygons(frame_of(grid), polygons(*batch([to_runs(bitmap[None]) for bitmap in bitmaps])))


def disc(radius: float, y: float = SIDE / 2, x: float = SIDE / 2) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.hypot(rows - y, columns - x) < radius


RING = disc(150) & ~disc(100)


def geodesic_area(geometry: shapely.Geometry) -> float:
    area, _ = GEOD.geometry_area_perimeter(shapely.orient_polygons(geometry))
    return area


@pytest.mark.parametrize("name", GRIDS)
def test_polygons_are_valid_counterclockwise_and_keep_their_area(name: str) -> None:
    grid = GRIDS[name]
    made = on_map(grid, RING, disc(3, 20, 30))
    assert shapely.is_valid(made).all()
    for part in shapely.get_parts(made):
        assert part.exterior.is_ccw and not any(hole.is_ccw for hole in part.interiors)
    areas = GroundAreas.of(frame_of(grid)).mask_areas(*batch([to_runs(RING[None]), to_runs(disc(3, 20, 30)[None])]))
    if name != "polar stereographic at the pole":  # a geodesic along the cut at 180 leaves the pole out
        assert geodesic_area(made[0]) == pytest.approx(areas[0], rel=1e-6)
    assert geodesic_area(made[1]) == pytest.approx(areas[1], rel=1e-6, abs=GEOD_NOISE_M2)


@pytest.mark.parametrize("name", ["utm 60 across the antimeridian", "degrees across the antimeridian"])
def test_polygons_across_the_antimeridian_are_split_there(name: str) -> None:
    made = on_map(GRIDS[name], RING, disc(5, 200, 10), disc(5, 200, 390))
    across, west_of_it, east_of_it = made
    assert across.geom_type == "MultiPolygon"
    for part in across.geoms:
        assert part.bounds[2] - part.bounds[0] < 1
    assert {part.bounds[0] == -180 or part.bounds[2] == 180 for part in across.geoms} == {True}
    assert west_of_it.bounds[0] > 179 and east_of_it.bounds[2] < -179
    bounds = lonlat_bounds(made)
    assert bounds[0, 0] > 179 and bounds[0, 2] < -179 and bounds[0, 1] < bounds[0, 3]
    assert (bounds[1:, 0] < bounds[1:, 2]).all()


def test_a_polygon_that_ends_at_the_antimeridian_stays_whole() -> None:
    grid = grid_of("EPSG:4326", (0.1, 0, 179, 0, -0.1, 0))
    left, right = np.zeros((2, SIDE, SIDE), np.bool_)
    left[:5, 2:10] = right[:5, 10:20] = True  # column 10 begins at 180
    made = on_map(grid, left, right)
    assert [geometry.geom_type for geometry in made] == ["Polygon", "Polygon"]
    assert made[0].bounds == pytest.approx((179.2, -0.5, 180, 0)) and made[1].bounds == pytest.approx(
        (-180, -0.5, -179, 0)
    )
    assert lonlat_bounds(made) == pytest.approx(np.array([made[0].bounds, made[1].bounds]))


def test_a_grid_that_counts_to_360_is_folded() -> None:
    grid = PixelGrid(
        shape=(1, 18, 36), affine=(10, 0, 0, 0, -10, 90), crs_wkt=CRS(4326).to_wkt(), georeference="affine"
    )
    bitmap = np.zeros((18, 36), np.bool_)
    bitmap[5:7, 15:25] = True
    across = on_map(grid, bitmap)[0]
    assert across.area == pytest.approx(20 * 100)
    assert lonlat_bounds(np.array([across])) == pytest.approx(np.array([[150, 20, -110, 40]]))


def test_the_whole_world_is_one_rectangle() -> None:
    grid = PixelGrid(
        shape=(1, 18, 36), affine=(10, 0, -180, 0, -10, 90), crs_wkt=CRS(4326).to_wkt(), georeference="affine"
    )
    world = on_map(grid, np.ones((18, 36), np.bool_))
    assert world[0].area == pytest.approx(360 * 180)
    assert lonlat_bounds(world).tolist() == [[-180, -90, 180, 90]]


def test_a_polygon_around_a_pole_reaches_it() -> None:
    cap, ring = on_map(GRIDS["polar stereographic at the pole"], disc(150), RING)
    assert cap.bounds == pytest.approx((-180, cap.bounds[1], 180, 90))
    assert shapely.contains_xy(cap, [-170, -10, 80, 179], 89.99).all()
    assert not shapely.contains_xy(ring, [-170, -10, 80, 179], 89.99).any()
    assert ring.bounds[0] == -180 and ring.bounds[2] == 180 and ring.is_valid


def test_long_edges_bend_with_the_grid() -> None:
    grid = GRIDS["polar stereographic at the pole"]
    bar = np.zeros((SIDE, SIDE), np.bool_)
    bar[300:310, 20:380] = True
    made = on_map(grid, bar)[0]
    assert shapely.get_num_coordinates(made) == 5 + 2 * int(360 // MAX_EDGE_PX)


def test_what_cannot_be_placed_is_none_and_none_stays_none() -> None:
    grid = grid_of("+proj=geos +h=35785831 +lon_0=0 +sweep=y", (28_000, 0, -5_600_000, 0, -28_000, 5_600_000))
    made = polygons(*batch([to_runs(disc(9)[None]), to_runs(disc(9, 10, 10)[None])]))
    placed = lonlat_polygons(frame_of(grid), np.array([made[0], made[1], None]))
    assert placed[0].area > 0 and placed[1] is None and placed[2] is None
    assert np.isfinite(lonlat_bounds(placed)).all(axis=1).tolist() == [True, False, False]
    assert len(lonlat_polygons(frame_of(grid), np.empty(0, object))) == 0
