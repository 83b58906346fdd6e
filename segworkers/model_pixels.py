"""Pixels on the model's grid: as stored where that is the source's own, else reduced by area-weighted means."""

from __future__ import annotations

from math import prod

import numpy as np

from schemas.boxes import Box
from schemas.sources import Source
from segworkers.model_grid import ModelGrid
from segworkers.readers.base import PixelBlock, Reader
from segworkers.resampling import native_box_for, reduce_block

READ_VOXELS = 16_000_000
"""Native voxels of a volume that are held at once, before they are resampled."""


def planes_at_once(grid: ModelGrid) -> int:
    """Planes of the model's grid whose native voxels are about `READ_VOXELS`; at least one."""
    return max(1, READ_VOXELS * grid.shape[0] // prod(grid.native))


def read_on_model_grid(reader: Reader, source: Source, grid: ModelGrid, box: Box, bands: tuple[int, ...]) -> PixelBlock:
    """The pixels of `box` (model grid). Any two reads agree bit for bit where their boxes overlap.

    Raises InputError as the reader does.
    """
    if grid.is_native:
        return reader.read(source, box, bands)
    step = planes_at_once(grid)
    if box.shape[0] <= step:
        return _resampled(reader, source, grid, box, bands)
    whole = PixelBlock(np.empty((len(bands), *box.shape), source.dtype), np.empty(box.shape, bool), box)
    for z in range(box.start[0], box.stop[0], step):
        planes = Box((z, *box.start[1:]), (min(z + step, box.stop[0]), *box.stop[1:]))
        part, place = _resampled(reader, source, grid, planes, bands), planes.within(box.start)
        whole.pixels[(slice(None), *place)], whole.valid[place] = part.pixels, part.valid
    return whole


def _resampled(reader: Reader, source: Source, grid: ModelGrid, box: Box, bands: tuple[int, ...]) -> PixelBlock:
    block = reader.read(source, native_box_for(box, grid.native, grid.shape), bands)
    return reduce_block(block, box, grid.native, grid.shape)
