"""Cutting a source into work tiles that fit into a worker's memory: squares of rasters, slabs of volumes.

A slice of a volume is decoded as a whole, so tiles of volumes are as wide as the volume where memory allows, and no
thicker than memory allows; only where not even one step of windows across the whole plane fits is the plane cut too.
"""

from __future__ import annotations

from math import prod

import numpy as np

from schemas.boxes import Zyx, zyx
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.model_pixels import planes_at_once
from segworkers.tiling import TilePlan, group_for, margin_of, slab_for

WORKER_BASE_BYTES = 500_000_000
"""What a worker process needs before it holds a pixel: interpreter, libraries, GDAL's cache, model buffers."""

BLOCKS_IN_FLIGHT = 6
"""Work tiles' pixels that a worker holds at once: read, segmented and encoded, in each of two calls."""

ENCODING_BYTES = 32
"""Per pixel of a work tile: class maps, labels, their transpose and runs while a tile is encoded."""

_SUM_BYTES = 8  # of a float64 while pixels are resampled

SLICES_SHARE = 4
"""The part of a worker's memory beyond its base, 1 in so many, that keeps decoded slices for the next work tile."""

LEAST_SLICES_BYTES = 64 << 20
"""What is kept of decoded slices even in little memory."""


def slices_bytes(memory_bytes: int) -> int:
    """What a worker with this memory keeps of decoded slices."""
    return max(LEAST_SLICES_BYTES, _beyond_base(memory_bytes) // SLICES_SHARE)


def tile_plan(
    source: Source,
    grid: ModelGrid,
    lattice: Lattice,
    bands: tuple[int, ...],
    manifest: ModelManifest,
    side: int,
    memory_bytes: int,
) -> TilePlan:
    """The work tiles of a source: about `side` pixels a side, in `memory_bytes` of a worker."""
    margin, budget = margin_of(manifest), _beyond_base(memory_bytes)
    if source.volume is None:
        pixels = budget // raster_bytes_per_pixel(source, grid, bands, manifest)
        group = group_for(lattice, manifest.batch, side**2, margin, max(pixels, 1))
    else:
        budget -= budget // SLICES_SHARE

        def fits(group: Zyx) -> bool:
            tiles = TilePlan(lattice, group, (1, 1, 1), margin, manifest.context)
            return volume_bytes(tiles, source, grid, manifest) <= budget

        group = _with_voxels(slab_for(lattice, manifest.batch, side, fits), lattice, manifest.batch, grid)
    block = zyx(
        [1, *(max(1, b * m // n) for b, m, n in zip(source.block, grid.shape[1:], grid.native[1:], strict=True))]
    )
    # Strips as wide as the image would make every work tile read whole rows it does not need.
    block = zyx([1, min(block[1], manifest.window[1]), min(block[2], manifest.window[2])])
    return TilePlan(lattice, group, block, margin, manifest.context)


def raster_bytes_per_pixel(source: Source, grid: ModelGrid, bands: tuple[int, ...], manifest: ModelManifest) -> int:
    """Memory that a pixel of what a work tile of a raster reads costs a worker."""
    reduction = prod(grid.native) / prod(grid.shape)
    stored = len(bands) * np.dtype(source.dtype).itemsize + 1
    reading = 0 if grid.is_native else stored * reduction
    return int(np.ceil(BLOCKS_IN_FLIGHT * stored + reading + _blending_bytes(manifest) + ENCODING_BYTES))


def volume_bytes(tiles: TilePlan, source: Source, grid: ModelGrid, manifest: ModelManifest) -> int:
    """Memory that the largest work tiles of a volume cost a worker, decoded slices aside."""
    lattice = tiles.lattice
    core = seen = 1
    for axis, (group, margin, context) in enumerate(zip(tiles.group, tiles.margin, tiles.context, strict=True)):
        stride, overlap = lattice.stride[axis], lattice.overlap[axis]
        core *= min(group * stride + overlap, lattice.extent[axis])
        shown = (group + 2 * margin) * stride + overlap + 2 * context
        seen *= min(shown, lattice.visible.shape[axis])
    item = np.dtype(source.dtype).itemsize
    codes = 0 if lattice.region is None else item
    total = BLOCKS_IN_FLIGHT * (seen * (item + codes + 1) + core) + ENCODING_BYTES * core
    if not grid.is_native:
        at_once = min(max(core, seen), planes_at_once(grid) * prod(grid.shape[1:]))
        reduction = prod(grid.native) / prod(grid.shape)
        total += int(at_once * (reduction * (item + 1) + 2 * _SUM_BYTES + item + 1))
    return total + _blending_bytes(manifest) * seen


def _beyond_base(memory_bytes: int) -> int:
    return max(memory_bytes - WORKER_BASE_BYTES, 0)


def _blending_bytes(manifest: ModelManifest) -> int:
    """Of a pixel: float32 sums of classes, background and weights, of some rows of cells at a time, in two calls."""
    return 0 if manifest.blend == "none" else 4 * (len(manifest.classes) + 2)


def _with_voxels(group: Zyx, lattice: Lattice, batch: Zyx, grid: ModelGrid) -> Zyx:
    """The group, larger where a tile would else hold the centre of no native voxel."""
    sides = list(group)
    for axis, step in enumerate(batch):
        edges = grid.native_edges(axis, lattice.cell_edges(axis))
        while (np.diff(np.append(edges[: -1 : sides[axis]], edges[-1])) == 0).any():
            sides[axis] += step
    return zyx(sides)
