"""The parts of a source that are compared at once."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.boxes import Box, Zyx

SIDE = 4096
"""Rows and columns of a block at most."""
VOXELS = 1 << 24
"""Pixels of a block at most, unless one plane of it has more."""


def blocks_of(shape: Zyx) -> Iterator[Box]:
    """Boxes that partition a source of `shape` (z, y, x), in raster order."""
    depth, height, width = shape
    rows, columns = min(SIDE, height), min(SIDE, width)
    planes = max(1, VOXELS // (rows * columns))
    for z in range(0, depth, planes):
        for y in range(0, height, rows):
            for x in range(0, width, columns):
                yield Box((z, y, x), (min(z + planes, depth), min(y + rows, height), min(x + columns, width)))
