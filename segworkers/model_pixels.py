"""Pixels on the model's grid: as stored where that is the source's own, else reduced by area-weighted means."""

from __future__ import annotations

from schemas.boxes import Box
from schemas.sources import Source
from segworkers.model_grid import ModelGrid
from segworkers.readers.base import PixelBlock, Reader
from segworkers.resampling import native_box_for, reduce_block


def read_on_model_grid(reader: Reader, source: Source, grid: ModelGrid, box: Box, bands: tuple[int, ...]) -> PixelBlock:
    """The pixels of `box` (model grid). Any two reads agree bit for bit where their boxes overlap.

    Raises InputError as the reader does.
    """
    if grid.is_native:
        return reader.read(source, box, bands)
    block = reader.read(source, native_box_for(box, grid.native, grid.shape), bands)
    return reduce_block(block, box, grid.native, grid.shape)
