"""Polygons bound exactly the pixels of their mask: against GDAL's tracer, and by their laws."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.features import shapes
from shapely.geometry import shape

from schemas.masks import NO_RUNS, to_runs
from segworkers.polygons import polygons
from tests.mask_strategies import BitmapArray, batch, filled_bitmaps


def traced(bitmap: NDArray[np.bool_]) -> shapely.Geometry:
    """Our polygon of one bitmap (y, x)."""
    return polygons(*batch([to_runs(bitmap[None])]))[0]


def gdal(bitmap: NDArray[np.bool_]) -> list[shapely.Geometry]:
    """GDAL's polygons of the 4-connected parts."""
    found = shapes(bitmap.astype(np.uint8), mask=bitmap, connectivity=4)
    return [shapely.normalize(shape(geometry)) for geometry, _ in found]


def as_bitmap(drawing: str) -> NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in row] for row in drawing.split()])


def parts_of(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    return [shapely.normalize(part) for part in shapely.get_parts(geometry)]


@pytest.mark.parametrize("density", [0.05, 0.4, 0.6, 0.8, 0.97])
def test_polygons_are_gdals(density: float) -> None:
    rng = np.random.default_rng(int(100 * density))
    for _ in range(8):
        bitmap = rng.random((23, 31)) < density
        ours, theirs = parts_of(traced(bitmap)), gdal(bitmap)
        assert len(ours) == len(theirs)
        matched = {(*part.bounds, part.area): part for part in theirs}
        assert all(part.equals(matched[(*part.bounds, part.area)]) for part in ours)


@given(filled_bitmaps(max_side=12))
def test_area_is_the_pixel_count_and_the_result_is_valid(bitmap: BitmapArray) -> None:
    geometry = traced(bitmap[0])
    assert shapely.is_valid(geometry), shapely.is_valid_reason(geometry)
    assert geometry.area == bitmap.sum()


@given(filled_bitmaps(max_side=10))
def test_a_pixel_is_inside_exactly_where_its_centre_is(bitmap: BitmapArray) -> None:
    y, x = np.mgrid[: bitmap.shape[1], : bitmap.shape[2]] + 0.5
    assert np.array_equal(shapely.contains_xy(traced(bitmap[0]), x, y), bitmap[0])


@given(filled_bitmaps(max_side=10))
def test_vertices_are_corners_only_and_shells_run_one_way(bitmap: BitmapArray) -> None:
    for part in shapely.get_parts(traced(bitmap[0])):
        assert part.exterior.is_ccw and not any(hole.is_ccw for hole in part.interiors)
        for ring in (part.exterior, *part.interiors):
            steps = np.diff(np.array(ring.coords), axis=0)
            horizontal = steps[:, 1] == 0
            assert (horizontal != np.roll(horizontal, 1)).all()


@given(st.lists(filled_bitmaps(max_side=6), max_size=6))
def test_a_batch_is_its_masks_one_by_one(bitmaps: list[BitmapArray]) -> None:
    together = polygons(*batch([to_runs(bitmap) for bitmap in bitmaps]))
    assert len(together) == len(bitmaps)
    for geometry, bitmap in zip(together, bitmaps, strict=True):
        assert shapely.equals_exact(geometry, traced(bitmap[0]), 0)


def test_pixels_that_touch_at_a_corner_are_two_parts() -> None:
    assert [part.area for part in parts_of(traced(as_bitmap("#. .#")))] == [1.0, 1.0]


def test_a_hole_may_hold_another_part() -> None:
    ring = as_bitmap("##### #...# #.#.# #...# #####")
    assert sorted(len(part.interiors) for part in shapely.get_parts(traced(ring))) == [0, 1]


@pytest.mark.parametrize(
    ("drawing", "holes"),
    [
        ("##. #.# ###", 1),  # the hole meets the outside at a corner
        ("#### #.## ##.# ####", 2),  # two holes meet at a corner
        ("##### #.#.# ##.## #.#.# #####", 5),
        ("###. #.## ##.# ####", 2),
    ],
)
def test_rings_that_would_touch_themselves_are_cut(drawing: str, holes: int) -> None:
    bitmap = as_bitmap(drawing)
    geometry = traced(bitmap)
    assert geometry.geom_type == "Polygon" and geometry.is_valid
    assert len(geometry.interiors) == holes and geometry.area == bitmap.sum()


def test_a_mask_over_several_slices_or_without_pixels_has_no_polygon() -> None:
    volume, flat = to_runs(np.ones((2, 2, 2), np.bool_)), to_runs(np.ones((1, 2, 3), np.bool_), (7, 0, 0))
    made = polygons(*batch([volume, flat, NO_RUNS]))
    assert made[0] is None and made[2] is None and made[1].bounds == (0, 0, 3, 2)
    assert polygons(*batch([])).shape == (0,)


def test_memory_follows_the_runs_not_the_box() -> None:
    step = np.arange(5_000) * 400_000  # a bitmap of the box would hold 4e18 pixels
    runs = np.stack([np.zeros(5_000), step, step, step + 1], axis=1).astype(np.int32)
    assert polygons(*batch([runs]))[0].area == 5_000
