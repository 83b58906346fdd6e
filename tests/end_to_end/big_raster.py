"""A raster too large for memory, exactly known: small shapes everywhere, and frames that cross dozens of tiles.

The image is a grid of cells of 40 pixels; a shape lies at least 4 pixels inside its cell, and the lines of the frames,
4 pixels wide, run between cells: nothing touches anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window

CELL = 40
STRIP = 1000
"""Rows that are made at once; a multiple of CELL."""


@dataclass(frozen=True)
class Contents:
    """What was written."""

    objects: int
    pixels: int
    frames: dict[int, tuple[int, int]]
    """First and last row and column (the frames are square), half-open, by number."""


def write_big_raster(path: Path, side: int, frames: int = 12, seed: int = 0) -> Contents:
    """A uint32 label raster of side x side pixels, in tiles of 512; numbers are given cell by cell, frames first."""
    cells = side // CELL
    step = max(1, cells // (2 * frames + 1))
    corners = {k + 1: ((k + 1) * step * CELL - 2, (cells - (k + 1) * step) * CELL + 2) for k in range(frames)}
    corners = {number: span for number, span in corners.items() if span[1] - span[0] > 2 * CELL}
    rng = np.random.default_rng(seed)
    objects, pixels = len(corners), 0
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint32", "tiled": True}
    profile |= {"blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1, "bigtiff": "if_safer"}
    with rasterio.open(
        path, "w", crs="EPSG:32632", transform=Affine(0.3, 0, 500_000, 0, -0.3, 5_400_000), **profile
    ) as file:
        for top in range(0, side, STRIP):
            image = np.zeros((min(STRIP, side - top), side), np.uint32)
            objects += _shapes(image, rng, objects + 1)
            for number, span in corners.items():
                _frame(image, top, *span, number)
            pixels += int(np.count_nonzero(image))
            file.write(image, 1, window=Window(0, top, side, len(image)))
    return Contents(objects, pixels, corners)


def _shapes(image: NDArray[np.uint32], rng: np.random.Generator, first: int) -> int:
    """A rectangle, an ellipse or an L in three of four cells; how many there are now."""
    inner = CELL - 8
    y, x = np.mgrid[:inner, :inner]
    count = 0
    for top in range(0, len(image) - CELL + 1, CELL):
        for left in range(0, image.shape[1] - CELL + 1, CELL):
            if rng.random() < 0.25:
                continue
            h, w = rng.integers(2, inner + 1, 2)
            kind = rng.integers(0, 3)
            if kind == 0:
                shape = (y < h) & (x < w)
            elif kind == 1:
                shape = ((y - inner / 2) / h) ** 2 + ((x - inner / 2) / w) ** 2 <= 0.25
                shape[inner // 2, inner // 2] = True
            else:
                shape = ((y < h) & (x < 2)) | ((y < 2) & (x < w))
            image[top + 4 : top + 4 + inner, left + 4 : left + 4 + inner][shape] = first + count
            count += 1
    return count


def _frame(image: NDArray[np.uint32], top: int, start: int, stop: int, number: int) -> None:
    """The outline of a square from `start` to `stop` in both axes, 4 pixels wide, as far as it lies in these rows."""
    rows = np.arange(top, top + len(image))
    inside = (rows >= start) & (rows < stop)
    edge = inside & ((rows < start + 4) | (rows >= stop - 4))
    image[edge, start:stop] = number
    image[inside, start : start + 4] = number
    image[inside, stop - 4 : stop] = number
