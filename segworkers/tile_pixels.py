"""Reading what a work tile needs: the pixels that its windows see, and where the pixels it answers for are valid.

Mostly that is one box. Where windows are laid around a region they see no more than that, and a tile's core may lie
elsewhere: then both are read side by side, some planes at a time, so that no slice need be decoded twice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from schemas.discretion import one_line
from schemas.errors import InputError
from segworkers.model_pixels import planes_at_once, read_on_model_grid
from segworkers.plans import SourcePlan
from segworkers.readers.base import PixelBlock, Reader
from segworkers.tiling import WorkTile

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TilePixels:
    """What was read for a work tile, on the model's grid."""

    block: PixelBlock | None
    """The pixels of `tile.seen`; None where its windows see nothing."""
    valid: NDArray[np.bool_]
    """(z, y, x) of the core's shape."""
    failed: dict[Zyx, InputError] = field(default_factory=dict[Zyx, InputError])
    """Windows of which something could not be read."""


def read_tile(reader: Reader, plan: SourcePlan, tile: WorkTile) -> TilePixels:
    """Everything at once; after a failure window by window, so that one bad block costs only those that need it."""
    try:
        return _read_whole(reader, plan, tile) if tile.seen == tile.read else _read_apart(reader, plan, tile)
    except Exception as error:  # noqa: BLE001 - each window is tried alone below
        _log.debug("%s, tile %s: %s", plan.source.uri, tile.name, error)
        return _read_by_window(reader, plan, tile)


def _read_whole(reader: Reader, plan: SourcePlan, tile: WorkTile) -> TilePixels:
    block = read_on_model_grid(reader, plan.source, plan.grid, tile.read, plan.bands)
    return TilePixels(block, block.valid[tile.core.within(tile.read.start)])


def _read_apart(reader: Reader, plan: SourcePlan, tile: WorkTile) -> TilePixels:
    """The planes in order, of each what windows see and what is in the core."""
    valid = np.zeros(tile.core.shape, bool)
    block = _nothing(plan, tile)
    step = planes_at_once(plan.grid)
    for z in range(tile.read.start[0], tile.read.stop[0], step):
        planes = Box((z, *tile.read.start[1:]), (z + step, *tile.read.stop[1:]))
        seen, core = tile.seen & planes if tile.seen else None, tile.core & planes
        if seen is not None and block is not None:
            part = read_on_model_grid(reader, plan.source, plan.grid, seen, plan.bands)
            place = seen.within(block.box.start)
            block.pixels[(slice(None), *place)], block.valid[place] = part.pixels, part.valid
        if core is not None:
            part = read_on_model_grid(reader, plan.source, plan.grid, core, plan.bands)
            valid[core.within(tile.core.start)] = part.valid
    return TilePixels(block, valid)


def _read_by_window(reader: Reader, plan: SourcePlan, tile: WorkTile) -> TilePixels:
    lattice = plan.tiles.lattice
    failed: dict[Zyx, InputError] = {}
    block = _nothing(plan, tile)
    for index in lattice.indices(tile.shown_start, tile.shown_stop):
        box = lattice.window_box(index).grow(plan.tiles.context) & lattice.visible
        if block is None or box is None or not lattice.sees(index):
            continue
        part = _try(reader, plan, box)
        if isinstance(part, InputError):
            failed[index] = part
            continue
        place = box.within(block.box.start)
        if block.pixels.dtype != part.pixels.dtype:
            block = PixelBlock(block.pixels.astype(part.pixels.dtype), block.valid, block.box)
        block.pixels[(slice(None), *place)], block.valid[place] = part.pixels, part.valid
    if tile.seen == tile.read and block is not None:
        return TilePixels(block, block.valid[tile.core.within(tile.read.start)], failed)
    valid = np.zeros(tile.core.shape, bool)
    for index in lattice.indices(tile.start, tile.stop):
        cell = lattice.cell_box(index)
        part = _try(reader, plan, cell)
        if isinstance(part, InputError):
            failed.setdefault(index, part)
        else:
            valid[cell.within(tile.core.start)] = part.valid
    return TilePixels(block, valid, failed)


def _nothing(plan: SourcePlan, tile: WorkTile) -> PixelBlock | None:
    """What the windows see before anything is read."""
    if tile.seen is None:
        return None
    pixels: NDArray[Any] = np.zeros((len(plan.bands), *tile.seen.shape), np.dtype(plan.source.dtype))
    return PixelBlock(pixels, np.zeros(tile.seen.shape, bool), tile.seen)


def _try(reader: Reader, plan: SourcePlan, box: Box) -> PixelBlock | InputError:
    try:
        return read_on_model_grid(reader, plan.source, plan.grid, box, plan.bands)
    except InputError as error:
        return error
    except Exception as error:  # noqa: BLE001 - recorded as the window's failure
        return InputError("read_failed", one_line(error), "--resume tries the tile again.")
