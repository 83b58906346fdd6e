"""Damaged copies of GeoTIFFs, and which blocks of them cannot be read any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import rasterio

from schemas.boxes import Box


def spoil_blocks(path: Path, blocks: Iterable[tuple[int, int]]) -> list[Box]:
    """Overwrite the bytes of compressed tiles (row, column); the pixels they hold."""
    places = {at: (offset, size, box) for at, offset, size, box in _blocks(path)}
    with path.open("r+b") as file:
        for at in blocks:
            offset, size, _ = places[at]
            file.seek(offset)
            file.write(b"\xff" * size)
    return [places[at][2] for at in blocks]


def truncate(path: Path, keep: float) -> list[Box]:
    """Cut the file to a share of its bytes; the pixels of the blocks that are no longer whole."""
    blocks = list(_blocks(path))
    size = int(path.stat().st_size * keep)
    with path.open("r+b") as file:
        file.truncate(size)
    return [box for _, offset, length, box in blocks if offset + length > size]


def _blocks(path: Path) -> Iterator[tuple[tuple[int, int], int, int, Box]]:
    """((row, column), offset in the file, bytes, pixels) of each block of the first band."""
    with rasterio.open(path) as file:
        for (row, column), window in file.block_windows(1):
            offset, size = (
                int(file.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
            )
            y, x = int(window.row_off), int(window.col_off)
            yield (row, column), offset, size, Box((0, y, x), (1, y + int(window.height), x + int(window.width)))
