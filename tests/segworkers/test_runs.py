"""Batches of runs against dense arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.boxes import Box, zyx
from segworkers.lattice import Lattice
from segworkers.runs import RunTable, bounding_boxes, concatenate, label_runs, pixels_in_boxes
from segworkers.splitting import cells_touched, split_at_cells

SHAPE = (2, 13, 11)


def images() -> st.SearchStrategy[NDArray[np.int64]]:
    """Label images of SHAPE with up to four labels."""
    return st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).integers(0, 5, SHAPE))


def painted(table: RunTable, mask: int) -> NDArray[np.bool_]:
    """One mask as a dense array."""
    image = np.zeros(SHAPE, int)
    for (z, x, y0, y1), owner in zip(table.runs, table.owner, strict=True):
        if owner == mask:
            image[z, y0:y1, x] += 1
    assert image.max(initial=0) <= 1, "runs of one mask overlap"
    return image > 0


@given(images())
def test_runs_of_labels_paint_the_labels(image: NDArray[np.int64]) -> None:
    table = label_runs(image, (0, 0, 0))
    assert all((painted(table, label - 1) == (image == label)).all() for label in range(1, 5))
    assert (table.pixel_counts(4) == np.bincount(image.ravel(), minlength=5)[1:]).all()


@given(images())
def test_a_canonical_table_is_sorted_joined_and_stays_so(image: NDArray[np.int64]) -> None:
    table = label_runs(image, (0, 0, 0))
    halves = concatenate([table.clip(Box((0, 0, 0), (2, 6, 11))), table.clip(Box((0, 6, 0), (2, 13, 11)))])
    joined = halves.canonical()
    assert (joined.runs == table.runs).all()
    assert (joined.owner == table.owner).all()
    assert (joined.canonical().runs == joined.runs).all()


@given(images(), st.integers(0, 2**32 - 1))
def test_shuffled_runs_of_masks_become_canonical(image: NDArray[np.int64], seed: int) -> None:
    table = label_runs(image, (0, 0, 0))
    pixels = table.take(np.repeat(np.arange(len(table)), table.lengths))
    begins = np.cumsum(table.lengths) - table.lengths
    step = np.arange(len(pixels)) - np.repeat(begins, table.lengths)
    pixels.runs[:, 2] += step.astype(np.int32)
    pixels.runs[:, 3] = pixels.runs[:, 2] + 1
    order = np.random.default_rng(seed).permutation(len(pixels))
    again = pixels.take(order).canonical()
    assert (again.runs == table.runs).all()
    assert (again.owner == table.owner).all()


@given(images(), st.permutations(range(4)), st.integers(0, 4))
def test_gathered_masks_are_the_masks(image: NDArray[np.int64], order: list[int], count: int) -> None:
    table = label_runs(image, (0, 0, 0))
    some = table.gather(np.array(order[:count], np.int64), table.extents(4))
    for new, old in enumerate(order[:count]):
        assert (painted(some, new) == (image == old + 1)).all()
    assert set(some.owner) <= set(range(count))


@given(images(), st.integers(3, 7), st.integers(0, 3))
def test_splitting_at_cells_keeps_every_pixel_in_its_own_cell(
    image: NDArray[np.int64], window: int, overlap: int
) -> None:
    lattice = Lattice((1, window, window), (0, min(overlap, window // 2), min(overlap, window // 2)), SHAPE)
    table = label_runs(image, (0, 0, 0))
    pieces, cell = split_at_cells(table, lattice)
    for (z, x, y0, y1), c in zip(pieces.runs, cell, strict=True):
        box = lattice.cell_box(zyx(lattice.indices_of(np.array([c]))[0].tolist()))
        assert Box((int(z), int(y0), int(x)), (int(z) + 1, int(y1), int(x) + 1)) in box
    assert (pieces.canonical().runs == table.runs).all()
    expected = [
        sum(
            (image[lattice.cell_box(i).within((0, 0, 0))] == k).any() for i in lattice.indices((0, 0, 0), lattice.shape)
        )
        for k in range(1, 5)
    ]
    assert (cells_touched(table, 4, lattice) == expected).all()


@given(images())
def test_boxes_and_pixels_in_boxes_are_those_of_the_dense_masks(image: NDArray[np.int64]) -> None:
    table = label_runs(image, (0, 0, 0))
    present = np.flatnonzero(np.bincount(image.ravel(), minlength=5)[1:])
    extents = table.extents(4)
    boxes = extents.boxes
    assert (boxes == bounding_boxes(table, 4)).all()
    assert (extents.pixels == np.bincount(image.ravel(), minlength=5)[1:]).all()
    for mask in present:
        where = np.argwhere(image == mask + 1)
        assert (boxes[mask] == [*where.min(axis=0), *(where.max(axis=0) + 1)]).all()
    cut = np.array([[0, 3, 2, 1, 9, 8]] * len(present))
    inside = pixels_in_boxes(table, extents, present, cut)
    assert (inside == [(image[0:1, 3:9, 2:8] == mask + 1).sum() for mask in present]).all()
