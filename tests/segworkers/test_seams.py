"""Seam profiles: distances, bins, exact pixel counts, typical sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.boxes import Box, Zyx
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.seam_test import SeamVerdict, seam_verdict
from segworkers.seam_totals import ObjectSizes
from segworkers.seams import SeamFrame


def frame(side: int, window: int, overlap: int, native: int | None = None) -> SeamFrame:
    shape = (1, side, side)
    grid = ModelGrid((1, native or side, native or side), shape)
    return SeamFrame(grid, Lattice((1, window, window), (0, overlap, overlap), shape))


def borders(lattice: Lattice, axis: int) -> list[int]:
    """Brute force: every place inside the image where a window begins or ends."""
    starts = [i * lattice.stride[axis] for i in range(lattice.shape[axis])]
    ends = [start + lattice.window[axis] for start in starts]
    return [border for border in {*starts, *ends} if 0 < border < lattice.extent[axis]]


def signed_distance(lattice: Lattice, axis: int, pixel: int) -> int:
    """Brute force: pixels to the nearest border, counted down from -1 where two windows see the pixel."""
    gap = min(b - 1 - pixel if b > pixel else pixel - b for b in borders(lattice, axis))
    starts = [i * lattice.stride[axis] for i in range(lattice.shape[axis])]
    views = sum(start <= pixel < start + lattice.window[axis] for start in starts)
    return -1 - gap if views > 1 else gap


@given(
    extent=st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40)),
    window=st.tuples(st.integers(1, 4), st.integers(4, 16), st.integers(4, 16)),
    overlap=st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(0, 8)),
)
def test_every_pixel_has_the_bin_of_its_distance_to_the_nearest_shared_strip(
    extent: Zyx, window: Zyx, overlap: Zyx
) -> None:
    lattice = Lattice(window, tuple(min(o, w // 2) for o, w in zip(overlap, window, strict=True)), extent)  # type: ignore[arg-type]
    seams = SeamFrame(ModelGrid(extent, extent), lattice)
    pixels = np.argwhere(np.ones(extent, bool))
    found = seams.bins_of((pixels + 0.5).astype(np.float64))
    ends = [*seams.bins[1:], seams.reach + 1]
    for pixel, k in zip(pixels[::7].tolist(), found[::7].tolist(), strict=True):
        if k < len(seams.bins):
            nearest = min(signed_distance(lattice, axis, pixel[axis]) for axis in seams.axes)
            assert seams.bins[k] <= nearest < ends[k]
    assert list(seams.bins) == sorted(set(seams.bins))
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
    assert seams.bins == (-32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32) and seams.reach == 63
    assert seams.bins[seams.near] == 0 and seams.has_single, "what two windows saw is near"
    along_x = np.c_[np.zeros(1000), np.full(1000, 416.0), np.arange(1000)] + 0.5
    inside = np.flatnonzero(seams.bins_of(along_x) < len(seams.bins))
    assert (inside[0], len(inside)) == (192 + 32 - 96, 4 * 192) and seams.blocks == (1, 4, 4)


@pytest.mark.parametrize(
    ("overlap", "far_from"), [(0, 8), (4, 8), (8, 4), (16, 0), (40, 0), (48, 0), (60, 0), (62, -16), (64, -16)]
)
def test_a_shared_strip_is_near_at_any_overlap_and_halved_where_nothing_else_is_left(
    overlap: int, far_from: int
) -> None:
    seams = frame(1536, 128, overlap)
    assert seams.bins[seams.near] == far_from and seams.has_single == (far_from >= 0)


def test_planes_as_windows_of_their_own_leave_the_plane_to_compare() -> None:
    """Every pixel is beside a border along z: that says nothing, so x and y decide."""
    shape = (30, 600, 600)
    seams = SeamFrame(ModelGrid(shape, shape), Lattice((1, 128, 128), (0, 32, 32), shape))
    assert seams.axes == (0, 1, 2) and seams.bins[seams.near :] == (0,) and seams.has_single


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


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200))
def test_95_percent_of_the_objects_are_no_longer_than_the_typical_size(lengths: list[int]) -> None:
    sizes = ObjectSizes()
    for length in lengths:
        sizes.add(ObjectSizes({length: 1}))
    typical = sizes.typical
    assert typical is not None
    assert 100 * sum(length <= typical for length in lengths) >= 95 * len(lengths)
    assert 100 * sum(length < typical for length in lengths) < 95 * len(lengths)
