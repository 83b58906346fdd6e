"""A small archive of label rasters (pixel value = object) of every awkward kind, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from tests import worlds
from tests.segworkers.readers.rasters import write_raster

HOLE = 65_535
"""The nodata value."""


def write_archive(folder: Path, seed: int = 5) -> dict[str, NDArray[Any]]:
    """Files by name, and their pixels (y, x)."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    holed = worlds.touching_cells(rng, 330)[:, :290].astype(np.uint16)
    holed[60:150, 100:170] = HOLE
    holed[rng.random(holed.shape) < 0.001] = HOLE
    images: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        "cells_utm_holes": (holed, {"nodata": HOLE, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}),
        "cars_nowhere": (worlds.cars(rng, 257).astype(np.uint16), {"crs": None, "transform": None}),
        "rings_degrees": (
            worlds.rings(rng, 200).astype(np.uint16),
            {"crs": "EPSG:4326", "transform": Affine(5e-6, 0, 11.5, 0, -5e-6, 48.1), "tiled": False},
        ),
        "rivers_rotated": (
            worlds.rivers(rng, 240)[:180].astype(np.uint16),
            {"transform": Affine(0.4, 0.3, 400_000, 0.3, -0.4, 5_800_000)},
        ),
        "tiny": (worlds.specks(rng, 30)[:21].astype(np.uint16), {}),
        "nothing": (np.zeros((90, 70), np.uint16), {}),
    }
    for name, (pixels, options) in images.items():
        write_raster(folder / f"{name}.tif", pixels[None], **options)
    return {name: pixels for name, (pixels, _) in images.items()}
