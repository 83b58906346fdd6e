"""Windows cut from a block of pixels: batches of constant shape, in lattice order, padded by reflection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from segworkers.lattice import Lattice
from segworkers.tiling import WorkTile


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Windows that the model is shown at once."""

    indices: tuple[Zyx, ...]
    """Lattice index of each window; fewer than slots where the lattice ends."""
    slots: tuple[int, ...]
    """Where in the batch each of them sits; the other slots are zeros."""
    size: int
    """Slots of the batch: the same for every batch of a model."""


def batches(tile: WorkTile, lattice: Lattice, batch: Zyx) -> Iterator[Batch]:
    """The windows that the tile shows to the model, in groups of the lattice, `batch` windows (z, y, x) each.

    A group is a fixed part of the lattice, so which windows share a batch never depends on the work tile.
    """
    size = batch[0] * batch[1] * batch[2]
    first = zyx([a // b for a, b in zip(tile.shown_start, batch, strict=True)])
    last = zyx([-(-a // b) for a, b in zip(tile.shown_stop, batch, strict=True)])
    for group in lattice.indices(first, last):
        start = zyx([g * b for g, b in zip(group, batch, strict=True)])
        stop = zyx([a + b for a, b in zip(start, batch, strict=True)])
        indices, slots = list[Zyx](), list[int]()
        for slot, index in enumerate(lattice.indices(start, stop)):
            if all(i < n for i, n in zip(index, tile.shown_stop, strict=True)):
                indices.append(index)
                slots.append(slot)
        yield Batch(tuple(indices), tuple(slots), size)


def cut_windows(
    pixels: NDArray[Any],
    valid: NDArray[np.bool_],
    origin: Zyx,
    lattice: Lattice,
    batch: Batch,
    context: Zyx = (0, 0, 0),
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The windows of a batch with `context` pixels more on every side, and where their pixels are real.

    pixels: (channels, z, y, x) with voxel (0, 0, 0) at `origin`, covering the windows' part of what the lattice lets
    them see (`Lattice.visible`: the image or a region), which each of them meets; valid: (z, y, x). Returns (size,
    channels, z, y, x) and (size, z, y, x). Pixels past that mirror the window's own, invalid ones and empty slots are
    0.
    """
    shape = zyx([w + 2 * c for w, c in zip(lattice.window, context, strict=True)])
    windows = np.zeros((batch.size, pixels.shape[0], *shape), pixels.dtype)
    real = np.zeros((batch.size, *shape), bool)
    for index, slot in zip(batch.indices, batch.slots, strict=True):
        whole = lattice.window_box(index).grow(context)
        box = whole & lattice.visible
        assert box is not None, "every window that is asked sees something"
        inside = box.within(origin)
        seen = valid[inside]
        values = np.where(seen, pixels[(slice(None), *inside)], np.zeros((), pixels.dtype))
        if box.shape != shape:
            before = (b - w for b, w in zip(box.start, whole.start, strict=True))
            values = values[:, *np.ix_(*map(_mirror, box.shape, shape, before))]
        windows[slot] = values
        real[slot][box.within(whole.start)] = seen
    return windows, real


def _mirror(real: int, size: int, before: int) -> NDArray[np.int64]:
    """(size,) which of the `real` pixels stands at each place, `before` places ahead of the first: 2 1 0 1 2 3 2 1 …"""
    period = max(2 * real - 2, 1)
    place = (np.arange(size) - before) % period
    return np.minimum(place, period - place) if real > 1 else np.zeros(size, np.int64)


def crop_to_cell(index: Zyx, lattice: Lattice) -> tuple[tuple[slice, slice, slice], Box]:
    """Slices of a window's array that are its cell, and the cell."""
    cell = lattice.cell_box(index)
    return cell.within(lattice.window_box(index).start), cell
