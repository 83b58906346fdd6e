"""Hulls and minimum-area rectangles against shapely."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.masks import to_runs
from segworkers.polygons import polygons
from segworkers.rectangles import hulls, rectangles
from tests.mask_strategies import BitmapArray, batch, filled_bitmaps


def rectangle(vertices: list[tuple[float, float]]) -> tuple[float, float, float]:
    sizes = rectangles(np.array(vertices, np.float64), np.array([0, len(vertices)]))
    length, width, angle = (float(values[0]) for values in sizes)
    return length, width, angle


def turned(degrees: float, length: float = 8, width: float = 3) -> NDArray[np.float64]:
    """A rectangle whose long side points `degrees` clockwise from +y."""
    along = np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])
    across = np.array([along[1], -along[0]])
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    return np.array([100 + a * length * along + b * width * across for a, b in corners])


@given(st.lists(filled_bitmaps(max_side=12), min_size=1, max_size=4))
def test_hulls_are_shapelys(bitmaps: list[BitmapArray]) -> None:
    runs, offsets = batch([to_runs(bitmap) for bitmap in bitmaps])
    vertices, ends = hulls(runs, offsets)
    expected = shapely.convex_hull(polygons(runs, offsets))
    for ring, (start, stop) in enumerate(pairwise(ends.tolist())):
        assert {tuple(vertex) for vertex in vertices[start:stop].tolist()} == set(expected[ring].exterior.coords)
        assert stop - start == len(expected[ring].exterior.coords) - 1


@given(st.lists(filled_bitmaps(max_side=12), min_size=1, max_size=4))
def test_rectangles_are_as_small_as_shapelys(bitmaps: list[BitmapArray]) -> None:
    runs, offsets = batch([to_runs(bitmap) for bitmap in bitmaps])
    length, width, _ = rectangles(*hulls(runs, offsets))
    expected = shapely.area(shapely.oriented_envelope(polygons(runs, offsets)))
    assert length * width == pytest.approx(expected, rel=1e-7)
    assert (length >= width).all()


@pytest.mark.parametrize("degrees", [0, 10, 44, 45, 90, 135, 179, 180, 225, 359.9])
def test_the_angle_is_that_of_the_long_side_clockwise_from_north(degrees: float) -> None:
    length, width, angle = rectangle([(x, y) for x, y in turned(degrees).tolist()])
    assert (length, width) == pytest.approx((8, 3))
    assert abs((angle - degrees + 90) % 180 - 90) < 1e-9 and 0 <= angle < 180


def test_rounding_does_not_turn_north_into_south() -> None:
    for jitter in (-1e-13, 0.0, 1e-13):
        assert rectangle([(0, 0), (2, 0), (2 + jitter, 9), (jitter, 9)])[2] == pytest.approx(0, abs=1e-9)


def test_a_square_has_the_smaller_of_its_two_angles() -> None:
    for start in (20, 110, 200, 290):
        corners = turned(start, 5, 5).tolist()
        assert rectangle([(x, y) for x, y in corners])[2] == pytest.approx(20)


def test_a_volume_or_an_unplaced_ring_has_no_rectangle() -> None:
    runs, offsets = batch([to_runs(np.ones((2, 3, 3), np.bool_)), to_runs(np.ones((1, 2, 5), np.bool_))])
    length, width, _ = rectangles(*hulls(runs, offsets))
    assert np.isnan(length[0]) and (length[1], width[1]) == (5, 2)
    assert np.isnan(rectangle([(0, 0), (1, 0), (np.nan, np.nan), (0, 1)])).all()
