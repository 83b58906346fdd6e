"""A perfect model that says part by part: of every window the connected components of truth ∩ window, object by object.

8-connected ones, or, of objects that hang together by sides of pixels, 4-connected ones.

In a plane the merge gives the components of the whole image, pixel for pixel, for every tiling with an overlap of a
pixel or more, however often an object leaves a window and comes back, and also where objects touch.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Zyx, zyx
from segworkers.lattice import Lattice
from tests import worlds
from tests.answers import lattice_in_plane, perfect, tessellation
from tests.merges import Case, Mask, mask, merged
from tests.pipeline import paint, same_partition

nightly = settings.default.max_examples > 100
many = settings(max_examples=200 if nightly else 8)
seeds = st.integers(0, 2**32 - 1)
groups = st.tuples(st.just(1), st.integers(1, 3), st.integers(1, 3))
CORNERS, SIDES = np.ones((3, 3, 3), np.int64), ndimage.generate_binary_structure(3, 1).astype(np.int64)


def in_parts(case: Case, structure: NDArray[np.int64]) -> Case:
    """The same, each mask as its components."""
    said = {index: [part for whole in masks for part in _parts(whole, structure)] for index, masks in case.said.items()}
    return Case(case.lattice, said, case.valid)


def _parts(whole: Mask, structure: NDArray[np.int64]) -> list[Mask]:
    numbers, _ = ndimage.label(whole.bits, structure)
    found = enumerate(ndimage.find_objects(numbers), start=1)
    return [
        Mask(zyx([a + s.start for a, s in zip(whole.start, place, strict=True)]), numbers[place] == k, whole.label)
        for k, place in found
    ]


def check(
    lattice: Lattice, truth: NDArray[np.int64], group: Zyx, seed: int, structure: NDArray[np.int64] = CORNERS
) -> None:
    """truth: objects that hang together, of which some may touch."""
    found = merged(in_parts(perfect(lattice, [truth]), structure), group, seed=seed, tiles_per_task=3).objects
    assert len(found.label) == len(np.unique(truth[truth > 0]))
    assert found.masks.pixel_counts(len(found.label)).sum() == np.count_nonzero(truth), "a pixel has two objects"
    assert same_partition(paint(found, lattice.extent), truth)


@many
@given(
    seed=seeds,
    world=st.sampled_from(worlds.ALL),
    one_class_map=st.booleans(),
    window=st.tuples(st.integers(24, 80), st.integers(24, 80)),
    share=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    group=groups,
)
def test_rivers_that_leave_a_window_and_come_back(
    seed: int, world: worlds.World, one_class_map: bool, window: tuple[int, int], share: tuple[float, float], group: Zyx
) -> None:
    """Objects that touch are several, or one, as for a model that labels a class map."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(30, 150, 2))
    valid = rng.random((height, width)) > (0.01 if rng.random() < 0.5 else 0)
    truth = worlds.connected(world(rng, 150)[:height, :width] * valid)[None]
    if one_class_map:
        truth = ndimage.label(truth, CORNERS)[0].astype(np.int64)
    overlap = [max(1, int(w * s)) for w, s in zip(window, share, strict=True)]
    check(Lattice((1, *window), zyx([0, *overlap]), truth.shape), truth, group, seed)


@many
@given(seed=seeds, density=st.sampled_from([0.3, 0.5, 0.7]), corners=st.booleans(), group=groups)
def test_mazes_in_windows_of_a_few_pixels(seed: int, density: float, corners: bool, group: Zyx) -> None:
    """Components of random pixels wind through dozens of windows, and holes of one hold others."""
    rng = np.random.default_rng(seed)
    drawn = lattice_in_plane(rng)
    overlap = zyx([min(max(o, 1), w // 2) if w > 1 else 0 for o, w in zip(drawn.overlap, drawn.window, strict=True)])
    lattice = Lattice(drawn.window, overlap, drawn.extent)
    structure = CORNERS if corners else SIDES
    truth, _ = ndimage.label(tessellation(rng, lattice.extent, density), structure)
    check(lattice, truth.astype(np.int64), group, seed, structure)


@many
@given(
    seed=seeds,
    pitch=st.integers(3, 9),
    arms=st.integers(1, 4),
    share=st.floats(0, 0.5),
    window=st.integers(16, 64),
    group=groups,
)
def test_spirals_a_few_pixels_apart(seed: int, pitch: int, arms: int, share: float, window: int, group: Zyx) -> None:
    """Arms of several objects lie side by side, and each is in many pieces in each window."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(40, 110, 2))
    (cy, cx), (y, x) = rng.uniform(0, 40, 2), np.mgrid[:height, :width]
    turn = (np.hypot(y - cy, x - cx) / (pitch * arms) - np.arctan2(y - cy, x - cx) / (2 * np.pi)) % 1 * arms
    spirals = np.where(turn % 1 < rng.choice([0.2, 0.4]), 0, turn.astype(np.int64) + 1)
    truth = worlds.connected(spirals)[None]
    overlap = max(1, int(window * share))
    check(Lattice((1, window, window), (0, overlap, overlap), truth.shape), truth, group, seed)


def test_what_is_the_same_in_the_other_window_was_not_missed_there() -> None:
    """Thin arms of two objects end up a row apart in the strip, and neither is linked: no near miss."""
    truth = np.zeros(LATTICE.extent, np.int64)
    truth[0, 2:21, 50:90] = truth[0, 2:42, 80:84] = truth[0, 40, 50:84] = 1
    truth[0, 50:61, 10:62] = truth[0, 42:61, 10:14] = truth[0, 42, 10:61] = 2
    for group in ((1, 1, 2), (1, 1, 1)):
        check(LATTICE, truth, group, 0)


LATTICE = Lattice((1, 64, 64), (0, 16, 16), (1, 64, 112))
"""Two windows side by side: columns 0 to 63 and 48 to 111."""


def test_two_that_touch_in_one_window_are_two_though_the_other_one_says_one() -> None:
    """Legs of what the right window says as one, told from glued neighbours by whether they touch."""
    left, right = (0, 0, 0), (0, 0, 1)
    legs = [mask((10, 40, 20, 64)), mask((30, 40, 40, 64))]
    whole = mask((10, 48, 20, 90), (30, 48, 40, 90), (10, 80, 40, 90))
    assert len(merged(Case(LATTICE, {left: legs, right: [whole]}), (1, 1, 1)).objects) == 1
    beside = [mask((10, 10, 20, 64)), mask((20, 10, 30, 64))]
    glued = mask((10, 48, 30, 90))
    assert len(merged(Case(LATTICE, {left: beside, right: [glued]}), (1, 1, 1)).objects) == 2


@pytest.mark.parametrize("missing", [0, 1])
def test_legs_side_by_side_are_parts_only_where_the_windows_agree_to_the_last_pixel(missing: int) -> None:
    left, right = (0, 0, 0), (0, 0, 1)
    legs = [mask((10, 20, 20, 64)), mask((22, 20, 32, 64 - missing), (22, 20, 31, 64))]
    whole = mask((10, 48, 20, 90), (22, 48, 32, 90), (10, 80, 32, 90))
    assert len(merged(Case(LATTICE, {left: legs, right: [whole]}), (1, 1, 1)).objects) == 1 + missing
