"""Writing tiled GeoTIFFs: one of the few modules that may import rasterio."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportCallIssue=false, reportArgumentType=false
# rasterio is not typed.

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window

from schemas.boxes import Box
from schemas.grids import Affine2D
from segworkers.whole_files import appearing

Blocks = Iterable[tuple[Box, NDArray[Any]]]
"""Boxes with z = 0..1 on the raster's grid, and their pixels (bands, y, x) or (y, x)."""


def write_tiled_geotiff(
    path: str | os.PathLike[str],
    pixels: NDArray[Any] | Blocks,
    *,
    shape: tuple[int, int, int] | None = None,
    dtype: str | None = None,
    affine: Affine2D | None = None,
    crs_wkt: str | None = None,
    nodata: float | None = None,
    band_names: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    overviews: Literal["none", "average", "nearest"] = "none",
    tile: int = 512,
) -> None:
    """Write a tiled, deflate-compressed GeoTIFF (BigTIFF where it might pass 4 GB), whole or not at all.

    pixels: (bands, y, x) or (y, x); or blocks in any order, together with shape (bands, y, x) and dtype. What no block
    covers is 0. Blocks on the grid of `tile` x `tile` px are compressed once, others as often as they are touched.
    affine: pixel corner (column, row) to world; None and no crs_wkt: a plain raster without a georeference.
    tags: the file's own metadata items.
    overviews: `nearest` for ids and classes, `average` for intensities; each half the size, down to one tile.
    tile: a multiple of 16. Raises ValueError where blocks come without shape and dtype, or lie outside.
    """
    if isinstance(pixels, np.ndarray):
        whole = pixels[None] if pixels.ndim == 2 else pixels
        shape, dtype = (whole.shape[0], whole.shape[1], whole.shape[2]), whole.dtype.name
        pixels = [(Box((0, 0, 0), (1, shape[1], shape[2])), whole)]
    if shape is None or dtype is None:
        raise ValueError("blocks need shape=(bands, y, x) and dtype")
    bands, height, width = shape
    profile: dict[str, Any] = _profile(dtype, tile)
    profile |= {"count": bands, "height": height, "width": width, "nodata": nodata}
    if affine is not None:
        profile["transform"] = Affine(*affine)
    if crs_wkt is not None:
        profile["crs"] = rasterio.CRS.from_wkt(crs_wkt)
    path = Path(path)
    with appearing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(partial, "w", **profile) as target:
            _write_blocks(target, pixels, Box((0, 0, 0), (1, height, width)))
            for number, name in enumerate(band_names, start=1):
                target.set_band_description(number, name)
            target.update_tags(**(tags or {}))
        if overviews != "none":
            _add_overviews(partial, max(height, width), profile, overviews)


def _profile(dtype: str, tile: int) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "dtype": dtype,
        "tiled": True,
        "blockxsize": tile,
        "blockysize": tile,
        "compress": "deflate",
        "predictor": 3 if np.dtype(dtype).kind == "f" else 2,
        "bigtiff": "IF_SAFER",
    }


def _write_blocks(target: Any, blocks: Blocks, extent: Box) -> None:
    for box, pixels in blocks:
        if box not in extent:
            raise ValueError(f"the block {box} lies outside the raster {extent}")
        (_, y, x), (_, height, width) = box.start, box.shape
        target.write(pixels[None] if pixels.ndim == 2 else pixels, window=Window(x, y, width, height))


def _add_overviews(
    path: Path, longest: int, profile: dict[str, Any], resampling: Literal["average", "nearest"]
) -> None:
    tile: int = profile["blockxsize"]
    factors = [2**k for k in range(1, 32) if longest > tile * 2 ** (k - 1)]
    options = {
        "COMPRESS_OVERVIEW": "DEFLATE",
        "PREDICTOR_OVERVIEW": str(profile["predictor"]),
        "GDAL_TIFF_OVR_BLOCKSIZE": str(tile),
    }
    if factors:
        with rasterio.Env(**options), rasterio.open(path, "r+") as target:
            target.build_overviews(factors, getattr(Resampling, resampling))


def write_cloud_optimised(tiled: Path, target: Path) -> None:
    """Copy a tiled GeoTIFF to a cloud-optimised one with overviews by nearest neighbour: ids must not be averaged.

    Works block by block; `target` must not exist yet.
    """
    from rasterio.shutil import copy

    copy(
        tiled,
        target,
        driver="COG",
        COMPRESS="DEFLATE",
        BLOCKSIZE="512",
        BIGTIFF="IF_SAFER",
        OVERVIEWS="AUTO",
        OVERVIEW_RESAMPLING="NEAREST",
        RESAMPLING="NEAREST",
    )
