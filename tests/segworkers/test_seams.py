"""Seam profiles: distances, bins, exact pixel counts; and the verdict, right about worlds with and without a seam."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.seam_test import SeamVerdict, Stratum, seam_verdict
from segworkers.seam_totals import ObjectSizes
from segworkers.seams import SeamFrame

Points = NDArray[np.float64]


def frame(side: int, window: int, overlap: int, native: int | None = None) -> SeamFrame:
    shape = (1, side, side)
    grid = ModelGrid((1, native or side, native or side), shape)
    return SeamFrame(grid, Lattice((1, window, window), (0, overlap, overlap), shape))


def borders(lattice: Lattice, axis: int) -> list[int]:
    """Brute force: every place inside the image where a window begins or ends."""
    starts = [i * lattice.stride[axis] for i in range(lattice.shape[axis])]
    ends = [start + lattice.window[axis] for start in starts]
    return [border for border in {*starts, *ends} if 0 < border < lattice.extent[axis]]


@given(
    extent=st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40)),
    window=st.tuples(st.integers(1, 4), st.integers(4, 16), st.integers(4, 16)),
    overlap=st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(0, 8)),
)
def test_every_pixel_has_the_bin_of_its_distance_to_the_nearest_border(extent: Zyx, window: Zyx, overlap: Zyx) -> None:
    lattice = Lattice(window, tuple(min(o, w // 2) for o, w in zip(overlap, window, strict=True)), extent)  # type: ignore[arg-type]
    seams = SeamFrame(ModelGrid(extent, extent), lattice)
    pixels = np.argwhere(np.ones(extent, bool))
    found = seams.bins_of((pixels + 0.5).astype(np.float64))
    ends = [*seams.bins[1:], seams.reach + 1]
    for pixel, k in zip(pixels[::7].tolist(), found[::7].tolist(), strict=True):
        gaps = [
            b - 1 - p if b > p else p - b
            for axis, p in enumerate(pixel)
            if axis in seams.axes
            for b in borders(lattice, axis)
        ]
        if k < len(seams.bins):
            assert seams.bins[k] <= min(gaps) < ends[k]
    assert seams.has_seams == any(borders(lattice, axis) for axis in range(3))
    assert 0 <= seams.near <= len(seams.bins)


@given(
    seed=st.integers(0, 2**32 - 1),
    side=st.integers(1, 60),
    window=st.integers(4, 20),
    overlap=st.integers(0, 10),
    scale=st.sampled_from([1.0, 1.3, 2.0, 3.7]),
    valid=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_pixels_are_counted_where_objects_of_one_pixel_would_be(
    seed: int, side: int, window: int, overlap: int, scale: float, valid: float
) -> None:
    """On the source's own grid, in any split into boxes: the two halves of a density are measured with one ruler."""
    native = max(side, round(side * scale))
    seams = frame(side, window, min(overlap, window // 2), native)
    rng = np.random.default_rng(seed)
    mask = rng.random((1, side, side)) < valid
    cut = int(rng.integers(0, side + 1))
    spans = [(0, cut), (cut, side)]
    boxes = [Box((0, 0, a), (1, side, b)) for a, b in spans if a < b]
    parts = [seams.count_pixels(box, mask[box.within((0, 0, 0))]) for box in boxes]
    counted = np.sum(parts, axis=0)
    edges = [seams.grid.native_edges(axis, np.arange(side + 1)) for axis in (1, 2)]
    wide = np.repeat(np.repeat(mask[0], np.diff(edges[0]), 0), np.diff(edges[1]), 1)
    centres = np.c_[np.zeros(wide.sum()), np.argwhere(wide)] + 0.5
    assert counted.tolist() == np.bincount(seams.bins_of(centres), minlength=seams.size).tolist()


def test_the_compared_part_is_whole_periods_around_shared_strips() -> None:
    seams = frame(1000, 256, 64)
    assert seams.bins == (0, 1, 2, 4, 8, 16, 32) and seams.reach == 63
    assert seams.bins[seams.near - 1] == 16, "half of the overlap is near"
    along_x = np.c_[np.zeros(1000), np.full(1000, 416.0), np.arange(1000)] + 0.5
    inside = np.flatnonzero(seams.bins_of(along_x) < len(seams.bins))
    assert (inside[0], len(inside)) == (192 + 32 - 96, 4 * 192) and seams.blocks == (1, 4, 4)


def test_a_narrow_strip_is_compared_along_its_length_alone() -> None:
    """Across it two windows meet, but not for a whole period: there is nothing to compare with."""
    shape = (1, 150, 5000)
    seams = SeamFrame(ModelGrid(shape, shape), Lattice((1, 128, 128), (0, 32, 32), shape))
    assert seams.has_seams and seams.axes == (2,)
    pixels = seams.count_pixels(Box.of_shape(shape), np.ones(shape, bool))
    assert sum(pixels[:-1]) > 0.9 * sum(pixels)
    shape = (1, 150, 140)
    seams = SeamFrame(ModelGrid(shape, shape), Lattice((1, 128, 128), (0, 32, 32), shape))
    assert seams.has_seams and seams.bins == () and seams.blocks == (1, 1, 1)
    assert seams.count_pixels(Box.of_shape(shape), np.ones(shape, bool)) == (150 * 140,)
    assert seams.bins_of(np.full((1, 3), 0.5)).tolist() == [0] and seams.blocks_of(np.full((1, 3), 0.5)).tolist() == [0]


def test_a_source_within_one_window_has_no_seams() -> None:
    seams = frame(100, 128, 16)
    assert not seams.has_seams and seams.bins == () and seams.size == 1
    assert seams.count_pixels(Box.of_shape((1, 100, 100)), np.ones((1, 100, 100), bool)) == (10_000,)
    assert seams.bins_of(np.full((2, 3), 0.5)).tolist() == [0, 0]
    assert seam_verdict([]) == SeamVerdict(verdict="no borders")


# Worlds of points: what a perfect merge gives, and what broken ones do to it.


def scattered(rng: np.random.Generator, side: int, count: int) -> Points:
    return rng.random((count, 2)) * side


def denser_in_a_corner(rng: np.random.Generator, side: int, count: int) -> Points:
    return np.sqrt(rng.random((count, 2))) * side


def clusters(size: int, spread: float) -> Callable[[np.random.Generator, int, int], Points]:
    def world(rng: np.random.Generator, side: int, count: int) -> Points:
        centres = rng.random((max(1, count // size), 2)) * side
        members = np.repeat(centres, rng.poisson(size, len(centres)), axis=0)
        points = members + rng.normal(0, spread, members.shape)
        return points[((points >= 0) & (points < side)).all(axis=1)]

    return world


WORLDS = {
    "scattered": scattered,
    "corner": denser_in_a_corner,
    "villages": clusters(10, 10.0),
    "parks": clusters(50, 60.0),
    "towns": clusters(100, 250.0),
}
FRAMES = [frame(2000, 256, 32), frame(2000, 256, 64), frame(3000, 512, 128), frame(2500, 512, 0)]


def as_stratum(seams: SeamFrame, points: Points) -> Stratum:
    side = seams.grid.shape[1]
    pixels = seams.count_pixels(Box.of_shape(seams.grid.shape), np.ones((1, side, side), bool))
    centroids = np.c_[np.full(len(points), 0.5), points]
    bins, blocks = seams.bins_of(centroids), seams.blocks_of(centroids)
    size = int(np.prod(seams.blocks))
    counts = [np.bincount(blocks[bins < k], minlength=size) for k in (seams.near, len(seams.bins))]
    near, objects = (each.reshape(seams.blocks) for each in counts)
    return Stratum(sum(pixels[: seams.near]) / sum(pixels[:-1]), near, objects)


@pytest.mark.parametrize("count", [150, 1500, 6000])
@pytest.mark.parametrize("name", WORLDS)
def test_a_perfect_merge_raises_fewer_than_5_false_alarms_in_100(name: str, count: int) -> None:
    verdicts: list[str] = []
    for seed in range(25):
        for seams in FRAMES:
            points = WORLDS[name](np.random.default_rng(seed), seams.grid.shape[1], count)
            verdicts.append(seam_verdict([as_stratum(seams, points)]).verdict)
    alarms = sum("near borders" in verdict for verdict in verdicts)
    assert alarms < 0.05 * len(verdicts)
    if name == "scattered" and count == 6000:
        assert verdicts.count("flat") > 0.95 * len(verdicts)


def test_a_perfect_merge_of_many_small_sources_is_flat() -> None:
    """No source has enough objects by itself, all together do."""
    seams, flat = frame(700, 256, 64), 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        strata = [as_stratum(seams, scattered(rng, 700, int(rng.integers(5, 200)))) for _ in range(40)]
        assert seam_verdict(strata[:1]).verdict in ("too few objects", "flat")
        flat += seam_verdict(strata).verdict == "flat"
    assert flat >= 19


def shared(seams: SeamFrame, points: Points) -> NDArray[np.bool_]:
    """Whether two windows see a point."""
    lattice = seams.lattice
    inside = np.zeros(len(points), bool)
    for axis in (1, 2):
        offset = points[:, axis - 1] % lattice.stride[axis]
        inside |= (offset < lattice.overlap[axis]) & (points[:, axis - 1] >= lattice.stride[axis])
    return inside


@pytest.mark.parametrize("name", ["scattered", "corner", "towns"])
@pytest.mark.parametrize("seams", FRAMES[:3], ids=lambda seams: f"{seams.lattice.window[1]}-{seams.lattice.overlap[1]}")
def test_objects_that_are_counted_twice_in_shared_strips_are_an_excess(name: str, seams: SeamFrame) -> None:
    for seed in range(10):
        points = WORLDS[name](np.random.default_rng(seed), seams.grid.shape[1], 6000)
        twice = np.concatenate((points, points[shared(seams, points)]))
        found = seam_verdict([as_stratum(seams, twice)])
        assert found.verdict == "excess near borders" and found.low is not None and found.low > 1.05


def seen_whole(seams: SeamFrame, points: Points, size: int) -> NDArray[np.bool_]:
    """Whether some window holds a square of `size` pixels around a point."""
    lattice = seams.lattice
    whole = np.ones(len(points), bool)
    for axis in (1, 2):
        low, high = points[:, axis - 1] - size / 2, points[:, axis - 1] + size / 2
        starts = np.arange(lattice.shape[axis])[:, None] * lattice.stride[axis]
        fits = (low > starts) | (starts == 0)
        fits &= (high < starts + lattice.window[axis]) | (starts == starts[-1])
        whole &= fits.any(axis=0)
    return whole


@pytest.mark.parametrize("name", ["scattered", "corner", "towns"])
@pytest.mark.parametrize("seams", FRAMES, ids=lambda seams: f"{seams.lattice.window[1]}-{seams.lattice.overlap[1]}")
def test_objects_dropped_at_borders_are_a_lack(name: str, seams: SeamFrame) -> None:
    """Objects a little longer than the overlap, where each window drops what it cuts."""
    for seed in range(10):
        points = WORLDS[name](np.random.default_rng(seed), seams.grid.shape[1], 30_000)
        kept = points[seen_whole(seams, points, seams.lattice.overlap[1] + 30)]
        found = seam_verdict([as_stratum(seams, kept)])
        assert found.verdict == "lack near borders" and found.high is not None and found.high < 1


def test_no_object_near_any_border_is_a_lack_and_a_handful_is_too_few() -> None:
    seams = FRAMES[0]
    points = scattered(np.random.default_rng(0), 2000, 3000)
    far = points[seams.bins_of(np.c_[np.zeros(len(points)), points]) >= seams.near]
    assert seam_verdict([as_stratum(seams, far)]).verdict == "lack near borders"
    assert seam_verdict([as_stratum(seams, points[:20])]).verdict == "too few objects"
    assert seam_verdict([as_stratum(seams, points[:0])]) == SeamVerdict(verdict="too few objects")


def test_the_ratio_is_that_of_the_densities() -> None:
    near, objects = np.full((1, 4, 4), 30), np.full((1, 4, 4), 50)
    found = seam_verdict([Stratum(0.5, near, objects)])
    assert found.ratio == pytest.approx((30 / 0.5) / (20 / 0.5))
    assert found.low is not None and found.high is not None and found.low < 1.5 < found.high


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200))
def test_95_percent_of_the_objects_are_no_longer_than_the_typical_size(lengths: list[int]) -> None:
    sizes = ObjectSizes()
    for length in lengths:
        sizes.add(ObjectSizes({length: 1}))
    typical = sizes.typical
    assert typical is not None
    assert 100 * sum(length <= typical for length in lengths) >= 95 * len(lengths)
    assert 100 * sum(length < typical for length in lengths) < 95 * len(lengths)
