"""Tiled GeoTIFFs: whole or absent, and what was written is what is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from schemas.boxes import Box
from segworkers.rasters import write_tiled_geotiff


def test_an_array_comes_back_with_its_georeference(tmp_path: Path) -> None:
    pixels = np.arange(3 * 70 * 90, dtype=np.int32).reshape(3, 70, 90)
    path = tmp_path / "a.tif"
    wkt = rasterio.CRS.from_epsg(32617).to_wkt()
    write_tiled_geotiff(
        path, pixels, affine=(0.5, 0, 100, 0, -0.5, 900), crs_wkt=wkt, nodata=-1, band_names=["a", "b", "c"], tile=32
    )
    with rasterio.open(path) as found:
        assert np.array_equal(found.read(), pixels)
        assert found.crs.to_epsg() == 32617
        assert found.transform[:6] == (0.5, 0, 100, 0, -0.5, 900)
        assert (found.nodata, found.descriptions) == (-1, ("a", "b", "c"))
        assert found.profile["compress"] == "deflate"
        assert found.block_shapes == [(32, 32)] * 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_blocks_in_any_order_make_the_same_raster_as_the_whole(tmp_path: Path, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (50, 80)).astype(dtype)
    boxes = [Box((0, y, x), (1, min(y + 32, 50), min(x + 32, 80))) for y in (0, 32) for x in (0, 32, 64)]
    blocks = [(box, pixels[box.within((0, 0, 0))[1:]]) for box in reversed(boxes)]
    write_tiled_geotiff(tmp_path / "a.tif", blocks, shape=(1, 50, 80), dtype=dtype, tile=32, overviews="nearest")
    with rasterio.open(tmp_path / "a.tif") as found:
        assert found.dtypes == (dtype,)
        assert np.array_equal(found.read(1), pixels)
        assert found.overviews(1) == [2, 4]


def test_overviews_of_ids_hold_only_ids_and_those_of_intensities_means(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64), np.uint32)
    pixels[:, ::2] = 1000
    for kind, values in (("nearest", {0, 1000}), ("average", {500})):
        write_tiled_geotiff(tmp_path / "a.tif", pixels, tile=32, overviews=kind)
        with rasterio.open(tmp_path / "a.tif") as found:
            assert set(np.unique(found.read(1, out_shape=(32, 32)))) <= values


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def blocks() -> object:
        yield Box((0, 0, 0), (1, 16, 16)), np.ones((16, 16), np.uint8)
        raise RuntimeError("the source went away")

    path = tmp_path / "a.tif"
    write_tiled_geotiff(path, np.zeros((16, 16), np.uint8), tile=16)
    before: NDArray[np.uint8] = np.frombuffer(path.read_bytes(), np.uint8)
    with pytest.raises(RuntimeError, match="went away"):
        write_tiled_geotiff(path, blocks(), shape=(1, 16, 16), dtype="uint8", tile=16)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    assert np.array_equal(np.frombuffer(path.read_bytes(), np.uint8), before)


def test_blocks_without_a_shape_or_outside_are_refused(tmp_path: Path) -> None:
    block = (Box((0, 0, 8), (1, 16, 24)), np.ones((16, 16), np.uint8))
    with pytest.raises(ValueError, match="shape"):
        write_tiled_geotiff(tmp_path / "a.tif", [block])
    with pytest.raises(ValueError, match="outside"):
        write_tiled_geotiff(tmp_path / "a.tif", [block], shape=(1, 16, 16), dtype="uint8")
