"""Ground frames against PROJ and geodesics, on grids of every kind."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from schemas.grids import PixelGrid
from segworkers.georeferencing import GroundFrame, Unmeasurable, ground_frame
from tests.grids import GRIDS, SIDE, grid_of

GEOD = Geod(ellps="WGS84")


def frame_of(grid: PixelGrid) -> GroundFrame:
    """The frame of a grid that has one."""
    frame = ground_frame(grid)
    assert isinstance(frame, GroundFrame), frame
    return frame


def square(x: float, y: float, side: float) -> NDArray[np.float64]:
    """Corners of a pixel square, with points along its sides."""
    t = np.arange(0, 1, 1 / 64)
    edges = [(t, 0 * t), (1 + 0 * t, t), (1 - t, 1 + 0 * t), (0 * t, 1 - t)]
    return np.concatenate([np.stack([x + side * a, y + side * b], axis=1) for a, b in edges])


@pytest.fixture(params=GRIDS, ids=str)
def grid(request: pytest.FixtureRequest) -> PixelGrid:
    return GRIDS[request.param]


def test_positions_are_projs(grid: PixelGrid) -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, SIDE, (50, 2))
    a, b, c, d, e, f = grid.affine
    crs = CRS.from_wkt(grid.crs_wkt or "").to_2d()
    expected = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(
        a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f
    )
    lonlat = frame_of(grid).to_lonlat(xy)
    assert np.abs((lonlat[:, 0] - expected[0] + 180) % 360 - 180).max() < 1e-9
    assert np.abs(lonlat[:, 1] - expected[1]).max() < 1e-9
    assert np.abs(lonlat[:, 0]).max() <= 180


def test_pixel_areas_are_geodesic(grid: PixelGrid) -> None:
    frame = frame_of(grid)
    for x, y in ((10.0, 20.0), (350.0, 130.0), (199.0, 380.0)):
        area, _ = GEOD.polygon_area_perimeter(*frame.to_lonlat(square(x, y, 16)).T)
        assert frame.cell_areas_m2([y, y + 16], [x, x + 16])[0, 0] == pytest.approx(abs(area), rel=1e-6)


def test_equal_area_coordinates_have_equal_areas(grid: PixelGrid) -> None:
    frame = frame_of(grid)
    x, y = frame.to_equal_area(square(40, 300, 64)).T
    area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    assert frame.cell_areas_m2([300, 364], [40, 104])[0, 0] == pytest.approx(area, rel=1e-6)


def test_cells_add_up(grid: PixelGrid) -> None:
    frame = frame_of(grid)
    fine = frame.cell_areas_m2(np.arange(0, 401, 80), [0, 100, 250, 400])
    assert fine.shape == (5, 3)
    assert fine.sum() == pytest.approx(frame.cell_areas_m2([0, 400], [0, 400])[0, 0], rel=1e-8)


def test_the_jacobian_gives_geodesic_lengths_and_directions(grid: PixelGrid) -> None:
    frame = frame_of(grid)
    points = np.array([[50.5, 60.5], [300.0, 250.0]])
    steps = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, -2.0]])
    for point, jacobian in zip(points, frame.local_scale(points), strict=True):
        for step in steps:
            (lon0, lat0), (lon1, lat1) = frame.to_lonlat([point - step / 2, point + step / 2])
            azimuth, _, distance = GEOD.inv(lon0, lat0, lon1, lat1)
            east, north = jacobian @ step
            assert np.hypot(east, north) == pytest.approx(distance, rel=2e-5)
            # The azimuth is taken half a step before the point, where meridians converge it differs a little.
            tolerance = 1e-3 + abs(lon1 - lon0 if abs(lon1 - lon0) < 180 else 0)
            assert abs((np.degrees(np.arctan2(east, north)) - azimuth + 180) % 360 - 180) < tolerance


def test_the_tangent_plane_agrees_with_the_jacobian_nearby(grid: PixelGrid) -> None:
    frame = frame_of(grid)
    origins = np.array([[100.0, 100.0], [30.0, 380.0]])
    owner = np.array([0, 0, 1])
    steps = np.array([[2.0, 1.0], [-1.0, 3.0], [0.5, 0.5]])
    plane = frame.to_tangent_plane(origins[owner] + steps, origins, owner)
    expected = np.einsum("nij,nj->ni", frame.local_scale(origins)[owner], steps)
    assert np.linalg.norm(plane - expected, axis=1) == pytest.approx(
        0, abs=2e-3 * np.linalg.norm(expected, axis=1).max()
    )


def test_web_mercator_is_four_times_too_large_at_60_north() -> None:
    frame = frame_of(GRIDS["web mercator at 60 north"])
    # The Mercator factor 1 / cos² on the sphere; the ellipsoid changes it in the third digit.
    assert 0.6 * 0.6 / frame.pixel_area_m2([[0, 0]])[0] == pytest.approx(3.99, abs=0.02)


def test_the_whole_earth_in_one_grid_has_the_earths_area() -> None:
    world = PixelGrid(
        shape=(1, 180, 360), affine=(1, 0, -180, 0, -1, 90), crs_wkt=CRS(4326).to_wkt(), georeference="affine"
    )
    cells = frame_of(world).cell_areas_m2(np.arange(181), np.arange(361))
    assert cells.sum() == pytest.approx(510_065_621_724_089, rel=1e-9)
    assert np.ptp(cells, axis=1) == pytest.approx(0, abs=1e-3 * 1e4)


def test_a_polar_pixel_has_finite_sizes() -> None:
    frame = frame_of(GRIDS["polar stereographic at the pole"])
    pole = np.array([[SIDE / 2, SIDE / 2]])
    assert frame.to_lonlat(pole)[0, 1] == pytest.approx(90)
    scale = frame.local_scale(pole)[0]
    assert abs(np.linalg.det(scale)) == pytest.approx(frame.pixel_area_m2(pole)[0], rel=1e-9)


def test_positions_beyond_the_pole_or_off_the_disk_are_nan() -> None:
    globe = PixelGrid(shape=(1, 40, 40), affine=(1, 0, 0, 0, -1, 95), crs_wkt=CRS(4326).to_wkt(), georeference="affine")
    lonlat = frame_of(globe).to_lonlat([[0, 0], [0, 5], [0, 10]])
    assert np.isnan(lonlat[0]).all() and lonlat[1:].tolist() == [[0, 90], [0, 85]]
    disk = grid_of("+proj=geos +h=35785831 +lon_0=0 +sweep=y", (28_000, 0, -5_600_000, 0, -28_000, 5_600_000))
    seen = np.isfinite(frame_of(disk).to_lonlat([[1, 1], [200, 200], [399, 200]])).all(axis=1)
    assert seen.tolist() == [False, True, False]


def test_longitudes_count_from_minus_180_whatever_the_grid_says() -> None:
    pacific = grid_of("EPSG:4326", (0.1, 0, 170, 0, -0.1, 20))
    assert frame_of(pacific).to_lonlat([[0, 0], [100, 0], [300, 0]])[:, 0] == pytest.approx([170, 180, -160])


@pytest.mark.parametrize(
    ("crs", "reason"),
    [
        (None, "no_georeference"),
        ('LOCAL_CS["arbitrary",UNIT["metre",1]]', "crs_not_horizontal"),
        ('ENGCRS["site",EDATUM["e"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
         "crs_not_horizontal"),
        (CRS(5703).to_wkt(), "crs_not_horizontal"),
        (CRS(4978).to_wkt(), "crs_not_horizontal"),
        ("", "crs_unreadable"),
        ("not a coordinate system", "crs_unreadable"),
        ('PROJCS["torn', "crs_unreadable"),
        (CRS("ESRI:104905").to_wkt(), "crs_not_transformable"),  # Mars
    ],
)  # fmt: skip
def test_a_crs_without_a_ground_is_a_reason_not_a_crash(crs: str | None, reason: str) -> None:
    frame = ground_frame(PixelGrid(shape=(1, 9, 9), crs_wkt=crs, georeference="affine"))
    assert isinstance(frame, Unmeasurable)
    assert frame.reason == reason and len(frame.message) > 20


@pytest.mark.parametrize("georeference", ["none", "gcps", "rpcs"])
def test_only_an_affine_can_be_measured(georeference: str) -> None:
    frame = ground_frame(PixelGrid(shape=(1, 9, 9), crs_wkt=CRS(32633).to_wkt(), georeference=georeference))  # type: ignore[arg-type]
    assert isinstance(frame, Unmeasurable) and frame.reason == "no_georeference"


def test_an_image_wholly_off_the_earth_is_a_reason() -> None:
    space = grid_of("+proj=geos +h=35785831 +lon_0=0 +sweep=y", (1, 0, 9e6, 0, -1, 9e6))
    frame = ground_frame(space)
    assert isinstance(frame, Unmeasurable) and frame.reason == "outside_crs"


def test_threads_share_a_frame() -> None:
    frame = frame_of(GRIDS["another datum"])
    xy = np.random.default_rng(0).uniform(0, SIDE, (20_000, 2))
    expected = frame.to_lonlat(xy)
    results: list[bool] = []

    def check() -> None:
        results.extend(np.array_equal(frame.to_lonlat(xy), expected) for _ in range(3))

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 12
