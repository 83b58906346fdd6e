"""Law 4: a perfect model, which says of every window truth ∩ window, object by object, gives the truth exactly.

Exactly means every pixel of every object and nothing else. It holds where each object hangs together within the
windows: its parts lie no farther apart than windows overlap, so that every gap is seen whole by one window.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.seams import ours
from benchmarks.seams.cases import World
from benchmarks.seams.noise import say
from benchmarks.seams.worlds import PLANE, SPACE
from schemas.boxes import Zyx, zyx
from segworkers.lattice import Lattice
from tests import worlds
from tests.answers import lattice_in_plane, lattice_in_space, perfect, tessellation
from tests.merges import CLASSES, Case, merged
from tests.pipeline import same_partition

nightly = settings.default.max_examples > 100
many = settings(max_examples=200 if nightly else 6)
some = settings(max_examples=40 if nightly else 2)
seeds = st.integers(0, 2**32 - 1)
groups = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))


def check(lattice: Lattice, layers: list[NDArray[np.int64]], group: Zyx, seed: int, valid: NDArray[np.bool_]) -> None:
    """The objects of each class are those of its layer, pixel for pixel; what is said of nodata is nothing to them."""
    said = perfect(lattice, [np.where(valid, layer, layer.max()) for layer in layers])
    found = merged(Case(lattice, said.said, valid), group, seed=seed, tiles_per_task=3).objects
    for label, layer in enumerate(layers):
        truth, image = layer * valid, np.zeros(lattice.extent, np.int64)
        wanted = (found.label == label)[found.masks.owner]
        for (z, x, y0, y1), owner in zip(found.masks.runs[wanted], found.masks.owner[wanted], strict=True):
            assert not image[z, y0:y1, x].any(), "two objects of one class share a pixel"
            image[z, y0:y1, x] = owner + 1
        assert int((found.label == label).sum()) == len(np.unique(truth[truth > 0]))
        assert same_partition(image, truth)


def hanging_together(layer: NDArray[np.int64], valid: NDArray[np.bool_], reach: int) -> NDArray[np.int64]:
    """Objects anew: pixels of one value at most `reach` apart, from pixel to pixel, in every axis."""
    found = np.zeros_like(layer)
    for value in np.unique(layer[layer > 0]):
        bits = (layer == value) & valid
        # Boxes of 2 r + 1 pixels around two pixels touch where these are at most 2 r + 1 apart.
        box = np.ones([(reach - 1) // 2 * 2 + 1 if n > 1 else 1 for n in bits.shape])
        swollen = ndimage.binary_dilation(bits, box)
        pieces, _ = ndimage.label(swollen, np.ones((3, 3, 3)))
        found[bits] = pieces[bits] + found.max()
    return found


def holes(rng: np.random.Generator, extent: Zyx) -> NDArray[np.bool_]:
    """Pixels that are real: all, or not."""
    valid = np.ones(extent, bool)
    if rng.random() < 0.5:
        valid &= rng.random(extent) > 0.01
        y, x = (int(rng.integers(0, n)) for n in extent[1:])
        valid[:, y : y + 20, x : x + 9] = False
    return valid


@many
@given(
    seed=seeds,
    kinds=st.lists(st.sampled_from(worlds.ALL), min_size=1, max_size=CLASSES),
    window=st.tuples(st.integers(24, 128), st.integers(24, 128)),
    share=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    group=groups,
)
def test_objects_of_classes_that_lie_over_each_other(
    seed: int, kinds: list[worlds.World], window: tuple[int, int], share: tuple[float, float], group: Zyx
) -> None:
    """Thin lines, rings in rings, tessellations and specks; overlaps from 2 pixels to half a window; nodata."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 150, 2))
    overlap = [max(2, int(w * s)) for w, s in zip(window, share, strict=True)]
    valid = holes(rng, (1, height, width))
    layers = [worlds.connected(kind(rng, 150)[:height, :width] * valid[0])[None] for kind in kinds]
    check(Lattice((1, *window), zyx([0, *overlap]), (1, height, width)), layers, group, seed, valid)


@many
@given(seed=seeds, density=st.sampled_from([0.02, 0.1, 0.5, 1.0]), flat=st.booleans(), group=groups)
def test_objects_of_several_parts_in_small_windows(seed: int, density: float, flat: bool, group: Zyx) -> None:
    """Windows of a few pixels in plane and space; parts as far apart as windows overlap."""
    rng = np.random.default_rng(seed)
    drawn = lattice_in_plane(rng) if flat else lattice_in_space(rng)
    overlap = zyx([min(max(o, 2), w // 2) if w > 1 else 0 for o, w in zip(drawn.overlap, drawn.window, strict=True)])
    lattice = Lattice(drawn.window, overlap, drawn.extent)
    valid = holes(rng, lattice.extent)
    reach = min(o for o, w in zip(overlap, lattice.window, strict=True) if w > 1)
    layers = [hanging_together(tessellation(rng, lattice.extent, density), valid, reach) for _ in range(CLASSES)]
    check(lattice, layers, group, seed, valid)


def _score(world: World, window: Zyx, overlap: Zyx, group: Zyx) -> None:
    """The benchmark's own worlds and its own way through the merge, held to more than its bars."""
    outcome = ours.merge(say(world, window, overlap, "perfect", 0), group)
    assert len(outcome.masks) == world.count
    seen = np.zeros(world.count + 1, bool)
    for found, label in zip(outcome.masks, outcome.label, strict=True):
        (number,) = np.unique(world.truth[found.place][found.pixels])
        assert np.count_nonzero(world.truth == number) == found.pixels.sum()
        assert not seen[number]
        assert label == world.label[number]
        seen[number] = True


@some
@pytest.mark.parametrize("name", sorted(SPACE))
@given(seed=seeds, side=st.tuples(st.integers(8, 16), st.integers(24, 48)), share=st.floats(0.1, 0.5), group=groups)
def test_worlds_in_space(name: str, seed: int, side: tuple[int, int], share: float, group: Zyx) -> None:
    window = (side[0], side[1], side[1])
    world = SPACE[name](np.random.default_rng(seed), (24, 72, 72))
    _score(world, window, zyx([max(1, int(w * share)) for w in window]), group)


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@pytest.mark.parametrize("name", sorted(PLANE))
@given(
    seed=seeds,
    window=st.sampled_from([128, 200, 256, 512, 1024]),
    overlap=st.integers(16, 512),
    group=st.integers(1, 4),
)
def test_worlds_of_the_benchmark_on_seeds_that_nobody_chose(
    name: str, seed: int, window: int, overlap: int, group: int
) -> None:
    world = PLANE[name](np.random.default_rng(seed), 1100)
    overlap = min(overlap, window // 2)
    _score(world, (1, window, window), (0, overlap, overlap), (1, group, group))


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@pytest.mark.parametrize("name", sorted(SPACE))
@given(seed=seeds, window=st.integers(32, 128), overlap=st.integers(16, 64), group=st.integers(1, 3))
def test_worlds_in_space_on_seeds_that_nobody_chose(
    name: str, seed: int, window: int, overlap: int, group: int
) -> None:
    world = SPACE[name](np.random.default_rng(seed), (64, 160, 160))
    overlap = min(overlap, window // 2)
    _score(world, (window,) * 3, (overlap,) * 3, (group,) * 3)
