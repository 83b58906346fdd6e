"""Real raster files for tests, and what independent counting says about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from schemas.boxes import Box
from schemas.sources import Source
from segworkers.readers.base import PixelBlock
from segworkers.readers.geotiff import RasterReader

NORTH_UP = Affine(0.5, 0.0, 500_000.0, 0.0, -0.5, 5_000_000.0)


def write_raster(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    """Write (bands, y, x) with 16-pixel tiles in UTM 32 N unless told otherwise.

    `bands`, `colours`, `mask`, `scales` with `offsets` are set on the file; the rest goes to rasterio.
    """
    count, height, width = pixels.shape
    after = {key: options.pop(key) for key in ("bands", "colours", "mask", "scales", "offsets") if key in options}
    profile: dict[str, Any] = {"driver": "GTiff", "crs": "EPSG:32632", "transform": NORTH_UP}
    if options.get("driver", "GTiff") == "GTiff":
        profile |= {"tiled": True, "blockxsize": 16, "blockysize": 16}
    profile |= options
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **shape, **profile) as file:
        if "colours" in after:  # before the pixels: afterwards GeoTIFF keeps some of them outside the file
            file.colorinterp = after["colours"]
        file.write(pixels)
        if "bands" in after:
            file.descriptions = after["bands"]
        if "scales" in after:
            file.scales, file.offsets = after["scales"], after["offsets"]
        if "mask" in after:
            file.write_mask(after["mask"])
    return path


def noise(bands: int = 3, height: int = 70, width: int = 90, dtype: str = "uint8") -> NDArray[Any]:
    """Reproducible pixels over the whole range of an integer type; 0..1000 for floats."""
    random = np.random.default_rng(7)
    if np.dtype(dtype).kind == "f":
        return (random.random((bands, height, width)) * 1000).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, (bands, height, width), dtype=dtype, endpoint=True)


def read_all(path: Path | str, bands: tuple[int, ...] | None = None) -> tuple[Source, PixelBlock]:
    """The source and the whole of it, all bands unless told otherwise."""
    reader = RasterReader()
    source = reader.describe(str(path))
    wanted = tuple(range(len(source.bands))) if bands is None else bands
    return source, reader.read(source, Box.of_shape(source.grid.shape), wanted)


def codes(source: Source) -> set[str]:
    """The first words of the warnings."""
    return {line.split(":")[0] for line in source.warnings}
