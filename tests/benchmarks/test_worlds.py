"""The benchmark's worlds keep their laws, and each shows what it is there for."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from benchmarks.seams.canvas import Canvas, Frame, circles
from benchmarks.seams.cases import World
from benchmarks.seams.worlds import PLANE, SMALLEST, SPACE

VOLUME = (40, 120, 120)


@cache
def plane(name: str, side: int = 700, seed: int = 0) -> World:
    return PLANE[name](np.random.default_rng(seed), side)


@cache
def space(name: str, seed: int = 0) -> World:
    return SPACE[name](np.random.default_rng(seed), VOLUME)


def assert_lawful(world: World, shape: tuple[int, int, int]) -> None:
    assert world.truth.shape == shape and world.truth.dtype == np.int32
    assert world.label.dtype == np.int64 and (world.label >= 0).all()
    size = np.bincount(world.truth.reshape(-1), minlength=1)
    assert len(size) == world.count + 1
    assert (size[1:] >= SMALLEST).all()  # none is empty, so ids have no gaps
    for k, place in enumerate(ndimage.find_objects(world.truth), 1):
        assert ndimage.label(world.truth[place] == k, np.ones((3, 3, 3)))[1] == 1


def touching(world: World) -> int:
    """Number of objects with another one right beside them."""
    found = [
        k
        for axis in (1, 2)
        for a, b in [
            (np.take(world.truth, range(n - 1), axis), np.take(world.truth, range(1, n), axis))
            for n in [world.truth.shape[axis]]
        ]
        for k in (a[(a != b) & (a > 0) & (b > 0)], b[(a != b) & (a > 0) & (b > 0)])
    ]
    return len(np.unique(np.concatenate(found)))


@pytest.mark.parametrize("name", PLANE)
@pytest.mark.parametrize("side", [90, 333, 700])
def test_plane_worlds_are_lawful(name: str, side: int) -> None:
    assert_lawful(plane(name, side, side), (1, side, side))


@pytest.mark.parametrize("name", SPACE)
def test_space_worlds_are_lawful(name: str) -> None:
    assert_lawful(space(name), VOLUME)


@pytest.mark.parametrize("name", [*PLANE, *SPACE])
def test_a_world_is_its_seed(name: str) -> None:
    def make(seed: int) -> World:
        rng = np.random.default_rng(seed)
        return PLANE[name](rng, 400) if name in PLANE else SPACE[name](rng, (30, 60, 60))

    one, again, other = make(5), make(5), make(6)
    assert one.name == name
    assert np.array_equal(one.truth, again.truth) and np.array_equal(one.label, again.label)
    assert not np.array_equal(one.truth, other.truth)
    assert one.count > 0


def test_cars_are_car_sized_and_apart() -> None:
    world = plane("sparse_cars")
    assert 300 < np.median(np.bincount(world.truth.reshape(-1))[1:]) < 800
    assert touching(world) < 0.2 * world.count


def test_some_parked_cars_touch_and_some_do_not() -> None:
    world = plane("car_parks")
    assert world.count > 100
    assert 0.2 * world.count < touching(world) < world.count
    assert np.median(np.bincount(world.truth.reshape(-1))[1:]) == pytest.approx(12 * 26, rel=0.02)


def test_row_houses_share_walls() -> None:
    assert touching(plane("row_houses")) > 0.8 * plane("row_houses").count


def test_buildings_have_every_size_and_are_not_all_convex() -> None:
    world = plane("buildings", 1500)
    boxes = ndimage.find_objects(world.truth)
    longest = [max(s.stop - s.start for s in place) for place in boxes]
    assert min(longest) < 120 and max(longest) > 250
    full = np.bincount(world.truth.reshape(-1))[1:]
    assert min(n / np.prod([s.stop - s.start for s in b]) for n, b in zip(full, boxes, strict=True)) < 0.45


def test_lines_are_thin_and_longer_than_many_windows() -> None:
    world = plane("roads_rivers", 1500)
    places = ndimage.find_objects(world.truth)
    assert max(max(s.stop - s.start for s in place) for place in places) > 1000
    assert set(world.label[1:].tolist()) == {0, 1}
    for k in range(1, world.count + 1):
        y, x = (slice(max(0, s.start - 1), s.stop + 1) for s in places[k - 1][1:])
        depth = ndimage.distance_transform_edt(np.pad(world.truth[0, y, x] == k, 1))
        assert depth.max() < 14  # half of 14, and more where a line meets itself


def test_cells_leave_no_background() -> None:
    for world in (plane("cells"), space("cells3d")):
        assert (world.truth == 0).mean() < 1e-3
    assert np.sqrt(np.median(np.bincount(plane("cells").truth.reshape(-1))[1:])) == pytest.approx(26, abs=2)


def test_nested_objects_lie_in_holes_of_another_class() -> None:
    world = plane("nested", 1500)
    assert set(world.label[1:].tolist()) == {0, 1, 2, 3}
    inside: set[tuple[int, int]] = set()
    for k, place in enumerate(ndimage.find_objects(world.truth), 1):
        mask = world.truth[place][0] == k
        holes = ndimage.binary_fill_holes(mask) & ~mask
        inside |= {(int(world.label[k]), int(world.label[o])) for o in np.unique(world.truth[place][0][holes]) if o}
    assert inside >= {(0, 1), (1, 0), (2, 3)}


def test_the_mixed_world_has_every_class() -> None:
    assert set(plane("mixed", 1500).label[1:].tolist()) == {0, 1, 2, 3}


def test_vessels_are_thin_and_longer_than_windows() -> None:
    world = space("vessels")
    assert max(max(s.stop - s.start for s in place) for place in ndimage.find_objects(world.truth)) > 80
    assert ndimage.distance_transform_edt(world.truth > 0).max() < 12
    assert set(world.label[1:].tolist()) == {0, 1}


def test_blobs_have_many_sizes_and_some_touch() -> None:
    world = space("blobs3d")
    size = np.bincount(world.truth.reshape(-1))[1:]
    assert size.max() > 30 * np.median(size) or size.max() > 5000
    assert 0 < touching(world) < world.count


@given(st.integers(0, 2**32), st.integers(60, 900), st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None)
def test_circles_never_meet(seed: int, side: int, cover: float) -> None:
    found = circles(np.random.default_rng(seed), side, (20, 200), cover)
    assert found
    for i, (y, x, r) in enumerate(found):
        assert 0 <= y <= side and 0 <= x <= side and r <= 200
        assert all(np.hypot(y - b, x - a) > r + q for b, a, q in found[:i])


@given(st.floats(0, np.pi), st.integers(1, 12), st.integers(2, 15))
@settings(max_examples=30, deadline=None)
def test_rectangles_that_share_a_side_leave_no_gap(angle: float, count: int, width: int) -> None:
    apart, whole, frame = Canvas((1, 120, 120)), Canvas((1, 120, 120)), Frame(60.2, 59.7, angle)
    for k in range(count):
        assert apart.rects(frame, [(width * k - 50, width * (k + 1) - 50, -20, 20)], 0) or width * k - 50 >= 60
    whole.rects(frame, [(-50, width * count - 50, -20, 20)], 0)
    assert np.array_equal(apart.ids > 0, whole.ids > 0)


def test_what_is_painted_first_stays_and_pieces_become_objects() -> None:
    canvas, frame = Canvas((1, 40, 40)), Frame(20, 20, 0)
    canvas.rects(frame, [(-2, 3, -20, 20)], 1)
    assert not canvas.rects(frame, [(-20, 20, -3, 3)], 2)  # not all of it is free
    assert canvas.rects(frame, [(-20, 20, -3, 3)], 2, room=0.5)
    world = canvas.finish("cross")
    assert sorted(world.label[1:].tolist()) == [1, 2, 2]
    assert np.bincount(world.truth.reshape(-1))[1:].tolist().count(40 * 5) == 1
