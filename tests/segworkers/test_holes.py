"""Holes of masks, found on runs: examples, and scipy's hole filling as the law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from segworkers.holes import fill_holes, find_holes
from segworkers.model_grid import ModelGrid
from segworkers.runs import RunTable, concatenate, empty_runs, mask_runs
from tests import mask_strategies


def table(*masks: NDArray[np.bool_], origin: tuple[int, int, int] = (0, 0, 0)) -> RunTable:
    """One mask after another, all with their first voxel at `origin`."""
    runs = [mask_runs(mask, origin) for mask in masks]
    return concatenate([RunTable(part, np.full(len(part), k)) for k, part in enumerate(runs)])


def bitmap(found: RunTable, owner: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    image = np.zeros(shape, bool)
    for z, x, y0, y1 in found.runs[found.owner == owner]:
        assert not image[z, y0:y1, x].any()
        image[z, y0:y1, x] = True
    return image


def drawn(*rows: str) -> NDArray[np.bool_]:
    return np.array([[sign == "#" for sign in row] for row in rows])[None]


def same_grid(shape: tuple[int, int, int]) -> ModelGrid:
    return ModelGrid(shape, shape)


def background_structure(connectivity: int, solid: bool) -> NDArray[np.bool_]:
    """The dual neighbourhood as scipy wants it, (3, 3, 3); a plane has no neighbours in z."""
    everything = 3 if connectivity in (4, 6) else 1
    structure: NDArray[Any] = ndimage.generate_binary_structure(3, everything)
    if not solid:
        structure[[0, 2]] = False
    return structure


def scipy_filled(mask: NDArray[np.bool_], connectivity: int, most: int | None) -> NDArray[np.bool_]:
    structure = background_structure(connectivity, mask.shape[0] > 1)
    filled = ndimage.binary_fill_holes(mask, structure)
    if most is None:
        return filled
    labels, count = ndimage.label(filled & ~mask, structure)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    return mask | ((labels > 0) & (sizes[labels] <= most))


RING_THAT_LEAKS_DIAGONALLY = drawn(
    ".##.",
    "#..#",
    "#..#",
    ".##.",
)


@pytest.mark.parametrize(("connectivity", "holes"), [(4, 0), (6, 0), (8, 1), (18, 1), (26, 1)])
def test_background_is_connected_by_the_dual_of_the_mask(connectivity: int, holes: int) -> None:
    found, hole = find_holes(table(RING_THAT_LEAKS_DIAGONALLY), connectivity, solid=False)
    assert int(found.lengths.sum()) == 4 * holes
    assert len(np.unique(hole)) == holes


def test_a_ring_of_one_plane_is_a_tunnel_in_space_and_a_shell_is_closed() -> None:
    shell = np.ones((3, 3, 3), bool)
    shell[1, 1, 1] = False
    ring = shell[1:2]
    grid = same_grid((3, 3, 3))
    assert len(find_holes(table(ring), 26, solid=True)[0]) == 0
    assert len(find_holes(table(ring), 26, solid=False)[0]) == 1
    assert bitmap(fill_holes(table(shell), grid, 26), 0, shell.shape).all()


def test_a_cavity_that_reaches_the_edge_of_the_source_is_open() -> None:
    for turn in range(4):
        bay = np.rot90(drawn("#.#", "#.#", "###")[0], turn)[None]
        assert fill_holes(table(bay), same_grid((1, 3, 3)), 8).runs.tolist() == table(bay).runs.tolist()


def test_holes_inside_what_a_hole_holds_belong_to_the_outer_hole() -> None:
    """A mask of two parts, one inside the hole of the other: everything inside is filled."""
    mask = np.ones((1, 9, 9), bool)
    mask[0, 1:8, 1:8] = False
    mask[0, 3:6, 3:6] = True
    mask[0, 4, 4] = False
    masks, grid = table(mask), same_grid((1, 9, 9))
    found, hole = find_holes(masks, 8, solid=False)
    assert sorted(np.bincount(hole, weights=found.lengths).tolist()) == [1, 40]
    assert bitmap(fill_holes(masks, grid, 8), 0, mask.shape).all()
    assert (
        bitmap(fill_holes(masks, grid, 8, 39), 0, mask.shape) == (mask | (np.indices(mask.shape)[1:] == 4).all(0))
    ).all()


def test_masks_do_not_see_each_other() -> None:
    ring = np.pad(np.zeros((1, 3, 3), bool), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    inner = np.zeros((1, 5, 5), bool)
    inner[0, 2, 2] = True
    found = fill_holes(table(ring, inner, ring), same_grid((1, 5, 5)), 8)
    assert found.pixel_counts(3).tolist() == [25, 1, 25]
    assert bitmap(found, 1, (1, 5, 5)).sum() == 1


def test_sizes_are_those_on_the_sources_own_grid() -> None:
    """One model pixel in the hole is 2 x 3 pixels of the source."""
    ring = table(drawn("###", "#.#", "###"))
    grid = ModelGrid((1, 6, 9), (1, 3, 3))
    assert fill_holes(ring, grid, 8, 5).pixel_counts(1).tolist() == [8]
    assert fill_holes(ring, grid, 8, 6).pixel_counts(1).tolist() == [9]
    assert grid.to_native(fill_holes(ring, grid, 8)).pixel_counts(1).tolist() == [54]


def test_nothing_in_nothing_out() -> None:
    assert len(fill_holes(empty_runs(), same_grid((1, 5, 5)), 8)) == 0


def test_a_ring_far_larger_than_any_bitmap_costs_only_its_runs() -> None:
    """A closed line of 200 000 x 2 000 000 pixels, which has 4 x 10^11 inside."""
    side, height = 200_000, 2_000_000
    x = np.arange(side, dtype=np.int32)
    top = np.stack((0 * x, x, 0 * x, 0 * x + 1), axis=1)
    bottom = top + np.array([0, 0, height - 1, height - 1], np.int32)
    runs = np.stack((top, bottom), axis=1)[1:-1].reshape(-1, 4)
    ends = np.array([[0, 0, 0, height], [0, side - 1, 0, height]], np.int32)
    runs = np.concatenate((ends[:1], runs, ends[1:]))
    found = fill_holes(RunTable(runs, np.zeros(len(runs), np.int64)), same_grid((1, height, side)), 8)
    assert found.pixel_counts(1).tolist() == [side * height]
    assert len(found) == side
    found = fill_holes(RunTable(runs[:-1], np.zeros(len(runs) - 1, np.int64)), same_grid((1, height, side)), 8)
    assert len(found) == len(runs) - 1


def _is_scipys(masks: list[NDArray[np.bool_]], connectivity: int, most: int | None, far: bool) -> None:
    shape = tuple(map(max, zip(*(mask.shape for mask in masks), strict=True)))
    padded = [np.pad(mask, [(0, n - m) for n, m in zip(shape, mask.shape, strict=True)]) for mask in masks]
    origin = (0, 30_000, 7) if far else (0, 0, 0)
    grid = same_grid((shape[0], shape[1] + origin[1], shape[2] + origin[2]))
    found = fill_holes(table(*padded, origin=origin), grid, connectivity, most)
    again = fill_holes(found, grid, connectivity, most)
    assert (again.runs.tolist(), again.owner.tolist()) == (found.runs.tolist(), found.owner.tolist())
    moved = RunTable(found.runs - np.array([0, origin[2], origin[1], origin[1]], np.int32), found.owner)
    assert moved.runs.tolist() == moved.canonical().runs.tolist()
    for k, mask in enumerate(padded):
        assert (bitmap(moved, k, shape) == scipy_filled(mask, connectivity, most)).all()


@given(
    masks=st.lists(mask_strategies.bitmaps(max_side=12), min_size=1, max_size=4),
    connectivity=st.sampled_from([4, 8]),
    most=st.none() | st.integers(1, 12),
    far=st.booleans(),
)
def test_filled_masks_of_any_texture_in_the_plane_are_scipys(
    masks: list[NDArray[np.bool_]], connectivity: int, most: int | None, far: bool
) -> None:
    _is_scipys(masks, connectivity, most, far)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12)),
    density=st.sampled_from([0.5, 0.7, 0.85, 0.95]),
    connectivity=st.sampled_from([4, 8, 6, 18, 26]),
    most=st.none() | st.integers(1, 8),
)
def test_filled_masks_in_space_are_scipys(
    seed: int, shape: tuple[int, int, int], density: float, connectivity: int, most: int | None
) -> None:
    rng = np.random.default_rng(seed)
    masks = [rng.random(shape) < density for _ in range(int(rng.integers(1, 4)))]
    _is_scipys(masks, connectivity, most, far=False)
