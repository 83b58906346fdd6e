"""Law 1: cells partition the source, cores are unions of cells, and every tile reads all that its windows show."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.runs import RunTable
from segworkers.tiling import TilePlan, WorkTile, group_for
from segworkers.windows import batches
from tests.package_tiling import owners


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    extent = draw(st.tuples(st.integers(1, 7), st.integers(1, 60), st.integers(1, 60)))
    window = draw(st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)))
    overlap = zyx([draw(st.integers(0, side // 2)) for side in window])
    return Lattice(window, overlap, extent)


@st.composite
def around_regions(draw: st.DrawFn) -> Lattice:
    """Lattices laid around a region from either end; half of the axes without overlap."""
    plain = draw(lattices())
    start = [draw(st.integers(0, n - 1)) for n in plain.extent]
    stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, plain.extent, strict=True)]
    overlap = zyx([o * draw(st.booleans()) for o in plain.overlap])
    mirrored = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    return Lattice(plain.window, overlap, plain.extent, Box(zyx(start), zyx(stop)), mirrored)


def all_lattices() -> st.SearchStrategy[Lattice]:
    return lattices() | around_regions()


@st.composite
def plans(draw: st.DrawFn, over: st.SearchStrategy[Lattice] | None = None) -> TilePlan:
    group = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    block = draw(st.tuples(st.just(1), st.integers(1, 33), st.integers(1, 33)))
    return TilePlan(draw(all_lattices() if over is None else over), group, block)


@st.composite
def grids(draw: st.DrawFn) -> ModelGrid:
    native = draw(st.tuples(st.integers(1, 4), st.integers(1, 60), st.integers(1, 60)))
    return ModelGrid(native, zyx([draw(st.integers(1, side)) for side in native]))


def times_covered(boxes: list[Box], shape: Zyx) -> NDArray[np.int64]:
    """How many of the boxes each voxel lies in."""
    count = np.zeros(shape, np.int64)
    for box in boxes:
        assert box in Box.of_shape(shape)
        count[box.within((0, 0, 0))] += 1
    return count


def own_cells(lattice: Lattice, tile: WorkTile) -> list[Box]:
    return [lattice.cell_box(index) for index in lattice.indices(tile.start, tile.stop)]


@given(all_lattices())
def test_cells_partition_the_source(lattice: Lattice) -> None:
    cells = [lattice.cell_box(index) for index in lattice.indices((0, 0, 0), lattice.shape)]
    assert (times_covered(cells, lattice.extent) == 1).all()


@given(all_lattices())
def test_a_pixel_is_in_the_cell_that_its_position_says(lattice: Lattice) -> None:
    for axis in range(3):
        edges = lattice.cell_edges(axis)
        positions = np.arange(lattice.extent[axis])
        cells = lattice.cells_of(axis, positions)
        assert (edges[cells] <= positions).all()
        assert (positions < edges[cells + 1]).all()


@given(all_lattices())
def test_many_windows_at_once_are_each_of_them(lattice: Lattice) -> None:
    every = list(lattice.indices((0, 0, 0), lattice.shape))
    flat = np.array([lattice.flat(index) for index in every])
    windows, cells = [lattice.window_box(index) for index in every], [lattice.cell_box(index) for index in every]
    assert lattice.window_boxes(flat).tolist() == [[*box.start, *box.stop] for box in windows]
    assert lattice.cell_boxes(flat).tolist() == [[*box.start, *box.stop] for box in cells]


@given(all_lattices())
def test_the_last_window_that_starts_at_or_before_a_pixel(lattice: Lattice) -> None:
    for axis in range(3):
        row = lattice.row(axis)
        starts = row.starts(np.arange(row.count))
        assert starts.tolist() == [row.start(i) for i in range(row.count)]
        assert (np.diff(starts) > 0).all()
        assert starts[0] <= 0 and (row.count == 1 or starts[1] > 0)
        positions = np.arange(lattice.extent[axis])
        assert (row.windows_at(positions) == np.searchsorted(starts, positions, "right") - 1).all()


@given(around_regions())
def test_windows_lie_around_a_region_as_the_package_lays_them(lattice: Lattice) -> None:
    assert lattice.region is not None
    for axis in range(3):
        size, overlap = lattice.window[axis], lattice.overlap[axis]
        low, high = lattice.region.start[axis], lattice.region.stop[axis]
        row, positions = lattice.row(axis), np.arange(low, high)
        found = row.starts(lattice.cells_of(axis, positions))
        if lattice.mirrored[axis]:
            found = (low + high - size - found)[::-1]
        if not overlap:
            assert (found - low == owners(high - low, size)).all()
        elif lattice.mirrored[axis]:
            assert (row.start(0) + size - high) % row.stride == 0
        else:
            assert (row.start(0) - low) % row.stride == 0


@given(lattices())
def test_windows_start_at_zero_never_shift_inward_and_the_last_one_is_needed(lattice: Lattice) -> None:
    for axis in range(3):
        n, stride = lattice.shape[axis], lattice.stride[axis]
        window, extent = lattice.window[axis], lattice.extent[axis]
        starts = [lattice.window_box(zyx([k if a == axis else 0 for a in range(3)])).start[axis] for k in range(n)]
        assert starts == [k * stride for k in range(n)]
        assert starts[-1] + window >= extent
        assert n == 1 or starts[-2] + window < extent


@given(all_lattices())
def test_a_pixel_is_half_an_overlap_away_from_the_internal_borders_of_its_cells_window(lattice: Lattice) -> None:
    for index in lattice.indices((0, 0, 0), lattice.shape):
        cell, window = lattice.cell_box(index), lattice.window_box(index)
        assert cell in lattice.real_box(index)
        for axis, (near, far) in enumerate(lattice.internal_borders(index)):
            half = lattice.overlap[axis] // 2
            assert not near or cell.start[axis] - window.start[axis] >= half
            assert not far or window.stop[axis] - cell.stop[axis] >= half


@given(plans())
def test_cores_partition_the_source_and_are_unions_of_their_windows_cells(plan: TilePlan) -> None:
    tiles = list(plan)
    assert len(tiles) == len(plan) == prod(plan.shape)
    assert (times_covered([tile.core for tile in tiles], plan.lattice.extent) == 1).all()
    for tile in tiles:
        cells = own_cells(plan.lattice, tile)
        assert all(cell in tile.core for cell in cells)
        assert sum(cell.volume for cell in cells) == tile.core.volume


@given(plans())
def test_every_window_belongs_to_one_tile_and_lies_in_what_it_reads(plan: TilePlan) -> None:
    seen: list[Zyx] = []
    image = Box.of_shape(plan.lattice.extent)
    for tile in plan:
        assert tile.read in image
        assert tile.core in tile.read
        for index in plan.lattice.indices(tile.start, tile.stop):
            window = plan.lattice.window_box(index) & plan.lattice.visible
            assert plan.lattice.sees(index) == (window is not None)
            assert window is None or (tile.seen is not None and window in tile.seen and tile.seen in tile.read)
            seen.append(index)
    assert sorted(seen) == list(plan.lattice.indices((0, 0, 0), plan.lattice.shape))


@given(plans(lattices()))
def test_tiles_read_whole_storage_blocks_and_no_block_that_their_windows_do_not_meet(plan: TilePlan) -> None:
    for tile in plan:
        windows = [plan.lattice.real_box(index) for index in plan.lattice.indices(tile.start, tile.stop)]
        for axis, block in enumerate(plan.block):
            start, stop = tile.read.start[axis], tile.read.stop[axis]
            assert start % block == 0
            assert stop % block == 0 or stop == plan.lattice.extent[axis]
            assert min(box.start[axis] for box in windows) - start < block
            assert stop - max(box.stop[axis] for box in windows) < block


@given(plans())
def test_equal_input_gives_equal_plans_whose_tiles_can_be_had_in_any_order(plan: TilePlan) -> None:
    copy = pickle.loads(pickle.dumps(plan))
    again = TilePlan(replace(plan.lattice), plan.group, plan.block)
    assert plan == copy == again
    assert [plan.tile(tile.index) for tile in reversed(list(again))] == list(reversed(list(copy)))


@given(lattices(), st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)), st.integers(1, 5000))
def test_batches_never_straddle_tiles_and_do_not_depend_on_them(lattice: Lattice, batch: Zyx, pixels: int) -> None:
    group = group_for(lattice, batch, pixels)
    assert all(g % b == 0 for g, b in zip(group, batch, strict=True))
    whole = TilePlan(lattice, zyx([-(-n // b) * b for n, b in zip(lattice.shape, batch, strict=True)]), (1, 1, 1))
    small = TilePlan(lattice, group, (1, 1, 1))
    expected = [(found.indices, found.slots) for found in batches(whole.tile((0, 0, 0)), lattice, batch)]
    got = [(found.indices, found.slots) for tile in small for found in batches(tile, lattice, batch)]
    assert sorted(got) == sorted(expected)
    shown = [index for indices, _ in got for index in indices]
    assert sorted(shown) == list(lattice.indices((0, 0, 0), lattice.shape))


@given(lattices(), st.integers(1, 5000))
def test_tiles_are_as_large_as_asked_for_or_a_single_window(lattice: Lattice, pixels: int) -> None:
    group = group_for(lattice, (1, 1, 1), pixels)
    size = prod(min(g, n) * s for g, n, s in zip(group, lattice.shape, lattice.stride, strict=True))
    assert size <= pixels or group == (1, 1, 1)


@given(grids(), lattices())
def test_native_boxes_of_the_cells_partition_the_native_grid(grid: ModelGrid, like: Lattice) -> None:
    lattice = Lattice(like.window, like.overlap, grid.shape)
    native = [grid.native_box(lattice.cell_box(index)) for index in lattice.indices((0, 0, 0), lattice.shape)]
    assert (times_covered(native, grid.native) == 1).all()


@given(grids(), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_masks_keep_apart_on_the_native_grid_and_follow_the_pixels_centres(
    grid: ModelGrid, seed: int, masks: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, masks + 1, grid.shape)
    positions = np.argwhere(labels > 0)
    owner = labels[labels > 0].astype(np.int64) - 1
    z, y, x = positions.T
    single = RunTable(np.stack((z, x, y, y + 1), axis=1).astype(np.int32), owner)
    native = grid.to_native(single.canonical())
    painted = np.zeros(grid.native, np.int64)
    for (zz, xx, y0, y1), name in zip(native.runs, native.owner, strict=True):
        assert not painted[zz, y0:y1, xx].any()
        painted[zz, y0:y1, xx] = name + 1
    # Exact in integers: floor((X + 1/2) · model / native).
    at = [(2 * np.arange(n) + 1) * m // (2 * n) for n, m in zip(grid.native, grid.shape, strict=True)]
    assert (painted == labels[np.ix_(*at)]).all()
