"""Windows cut from a block of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from segworkers.lattice import Lattice
from segworkers.tiling import TilePlan
from segworkers.windows import batches, cut_windows


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (6, [0, 1, 2, 3, 4, 5]),
        (4, [0, 1, 2, 3, 2, 1]),
        (2, [0, 1, 0, 1, 0, 1]),
        (1, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_what_lies_past_the_edge_mirrors_the_windows_own_pixels(real: int, expected: list[int]) -> None:
    pixels = np.arange(real, dtype=np.uint8).reshape(1, 1, 1, real)
    lattice = Lattice((1, 1, 6), (0, 0, 0), (1, 1, real))
    batch = next(batches(TilePlan(lattice, (1, 1, 1), (1, 1, 1)).tile((0, 0, 0)), lattice, (1, 1, 1)))
    windows, valid = cut_windows(pixels, np.ones((1, 1, real), bool), (0, 0, 0), lattice, batch)
    assert windows[0, 0, 0, 0].tolist() == expected
    assert valid[0, 0, 0].tolist() == [k < real for k in range(6)]


def test_invalid_pixels_reach_the_model_as_zero() -> None:
    pixels = np.array([[[[np.nan, 5.0]]]], np.float32)
    lattice = Lattice((1, 1, 2), (0, 0, 0), (1, 1, 2))
    batch = next(batches(TilePlan(lattice, (1, 1, 1), (1, 1, 1)).tile((0, 0, 0)), lattice, (1, 1, 1)))
    windows, valid = cut_windows(pixels, np.array([[[False, True]]]), (0, 0, 0), lattice, batch)
    assert windows[0, 0, 0, 0].tolist() == [0.0, 5.0]
    assert valid[0, 0, 0].tolist() == [False, True]


def test_batches_have_one_shape_and_the_same_windows_whatever_the_tile() -> None:
    lattice = Lattice((1, 8, 8), (0, 2, 2), (1, 40, 52))
    seen = []
    for group in ((1, 2, 3), (1, 4, 6), (1, 8, 9)):
        plan = TilePlan(lattice, group, (1, 1, 1))
        seen.append(sorted((b.indices, b.slots, b.size) for tile in plan for b in batches(tile, lattice, (1, 2, 3))))
    assert seen[0] == seen[1] == seen[2]
    assert {size for _, _, size in seen[0]} == {6}


def test_context_is_the_images_own_pixels_and_mirrors_past_its_edges() -> None:
    pixels = np.arange(8, dtype=np.uint8).reshape(1, 1, 1, 8)
    lattice = Lattice((1, 1, 3), (0, 0, 0), (1, 1, 8))
    plan = TilePlan(lattice, (1, 1, 3), (1, 1, 1), context=(0, 0, 2))
    tile = plan.tile((0, 0, 0))
    seen, real = [], []
    for batch in batches(tile, lattice, (1, 1, 1)):
        windows, valid = cut_windows(pixels, np.ones((1, 1, 8), bool), (0, 0, 0), lattice, batch, plan.context)
        seen.append(windows[0, 0, 0, 0].tolist())
        real.append(valid[0, 0, 0].tolist())
    assert seen == [[2, 1, 0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 6, 5, 4]]
    assert real[0] == [False, False, True, True, True, True, True]
    assert real[2] == [True, True, True, True, False, False, False]


def test_a_tile_reads_the_context_of_its_windows() -> None:
    lattice = Lattice((1, 4, 4), (0, 0, 0), (1, 16, 16))
    plan = TilePlan(lattice, (1, 2, 2), (1, 1, 1), context=(0, 3, 1))
    assert plan.tile((0, 0, 0)).read.stop == (1, 11, 9)
    assert plan.tile((0, 1, 1)).read.start == (0, 5, 7)
