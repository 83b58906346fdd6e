"""The verdict on seams, right about worlds of points: what a perfect merge gives, and what broken ones do to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.boxes import Box
from segworkers.seam_test import SeamVerdict, Stratum, seam_verdict
from segworkers.seams import SeamFrame
from tests.segworkers.test_seams import frame

Points = NDArray[np.float64]


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
WIDE = {overlap: frame(1536, 128, overlap) for overlap in (16, 24, 32, 40, 48, 56, 60, 64)}
"""Overlaps of up to half a window."""


def as_stratum(seams: SeamFrame, points: Points) -> Stratum:
    side = seams.grid.shape[1]
    pixels = seams.count_pixels(Box.of_shape(seams.grid.shape), np.ones((1, side, side), bool))
    centroids = np.c_[np.full(len(points), 0.5), points]
    bins, blocks = seams.bins_of(centroids), seams.blocks_of(centroids)
    size = int(np.prod(seams.blocks))
    counts = [np.bincount(blocks[bins < k], minlength=size) for k in (seams.near, len(seams.bins))]
    near, objects = (each.reshape(seams.blocks) for each in counts)
    return Stratum(sum(pixels[: seams.near]) / sum(pixels[:-1]), near, objects, seams.has_single)


@pytest.mark.parametrize("count", [*(pytest.param(n, marks=pytest.mark.slow) for n in (150, 1500)), 6000])
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


@pytest.mark.parametrize("name", WORLDS)
def test_a_perfect_merge_raises_fewer_than_5_false_alarms_in_100_at_any_overlap(name: str) -> None:
    found = [
        (overlap, seam_verdict([as_stratum(seams, WORLDS[name](np.random.default_rng(seed), 1536, 6000))]).verdict)
        for overlap, seams in WIDE.items()
        for seed in range(12)
    ]
    assert sum("near borders" in verdict for _, verdict in found) < 0.05 * len(found)
    assert {verdict for overlap, verdict in found if overlap == 64} <= {"cannot tell", "lack near borders"}
    assert all(verdict != "cannot tell" for overlap, verdict in found if overlap < 64)


def views(seams: SeamFrame, points: Points, size: float = 0.0, rim: float = 0.0) -> NDArray[np.bool_]:
    """(n, windows) whether a window holds a square of `size` around a point, `rim` away from borders in the image."""
    lattice, held = seams.lattice, list[NDArray[np.bool_]]()
    for axis in (1, 2):
        starts = np.arange(lattice.shape[axis]) * lattice.stride[axis]
        low = np.where(starts == 0, -np.inf, starts + rim)
        high = np.where(starts == starts[-1], np.inf, starts + lattice.window[axis] - rim)
        at = points[:, axis - 1][:, None]
        held.append((at - size / 2 >= low) & (at + size / 2 <= high))
    return (held[0][:, :, None] & held[1][:, None, :]).reshape(len(points), -1)


def small_squares(seed: int) -> Points:
    """One in each field of 14 x 14 pixels, anywhere in it that keeps it apart from the others."""
    rng = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid(*[np.arange(109) * 14.0] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    return corners + rng.uniform(3, 11, corners.shape)


@pytest.mark.parametrize("overlap", WIDE)
def test_windows_that_do_not_agree_on_classes_are_an_excess_however_wide_the_overlap(overlap: int) -> None:
    """Each window says one of two classes, at random: an object is counted once for each class that is said of it."""
    seams = WIDE[overlap]
    for seed in range(5):
        points = small_squares(seed)
        held = views(seams, points)
        says: NDArray[np.bool_] = np.random.default_rng(seed).permutation(held.shape[1]) % 2 == 1
        counted = held[:, ~says].any(axis=1).astype(int) + held[:, says].any(axis=1)
        found = seam_verdict([as_stratum(seams, np.repeat(points, counted, axis=0))])
        assert found.verdict == ("excess near borders" if overlap < 64 else "cannot tell"), found


@pytest.mark.parametrize("overlap", WIDE)
@pytest.mark.parametrize("rim", [24, 36])
def test_a_model_blind_at_its_windows_rim_is_a_lack_however_wide_the_overlap(overlap: int, rim: int) -> None:
    """Squares of 4 pixels that reach into the rim are dropped; nothing is lost where the overlap is two rims wide."""
    seams = WIDE[overlap]
    for seed in range(5):
        points = small_squares(seed)
        kept = points[views(seams, points, 4, rim).any(axis=1)]
        found = seam_verdict([as_stratum(seams, kept)])
        if overlap < 2 * rim + 4:
            assert found.verdict == "lack near borders", (len(kept) / len(points), found)
        else:
            assert len(kept) == len(points) and found.verdict in ("flat", "cannot tell"), found


def test_half_overlaps_do_not_speak_for_sources_that_have_something_to_compare_with() -> None:
    tells, silent = (as_stratum(WIDE[overlap], small_squares(0)) for overlap in (32, 64))
    assert seam_verdict([tells, silent]) == seam_verdict([tells])
    assert seam_verdict([silent]).verdict == "cannot tell"


def test_a_wide_interval_is_not_called_flat() -> None:
    """A density half as high again could hide in it."""
    near, objects = np.full((1, 4, 4), 6), np.full((1, 4, 4), 12)
    found = seam_verdict([Stratum(0.5, near, objects)])
    assert found.low is not None and found.high is not None
    assert 1.5 < found.high / found.low < 2 and found.verdict == "too few objects"
    assert seam_verdict([Stratum(0.5, 4 * near, 4 * objects)]).verdict == "flat"


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
