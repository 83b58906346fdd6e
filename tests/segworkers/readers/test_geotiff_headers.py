"""What describe says about a file: place, layout, warnings, and reasons for refusal."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.testing import assert_array_equal
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling
from rasterio.rpc import RPC
from rasterio.transform import Affine

from schemas.boxes import Box
from schemas.errors import InputError
from segworkers.readers.geotiff import RasterReader
from tests.segworkers.readers.rasters import NORTH_UP, codes, noise, read_all, write_raster


def test_an_ordinary_file_gives_its_facts_and_no_warnings(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(3))
    source, _ = read_all(path)
    assert source.uri == str(path) and source.warnings == ()
    assert source.grid.shape == (1, 70, 90) and source.block == (16, 16)
    assert source.grid.affine == tuple(NORTH_UP)[:6]
    assert CRS.from_user_input(source.grid.crs_wkt) == CRS.from_epsg(32632)
    assert source.grid.is_measurable and source.grid.is_north_up
    stat = path.stat()
    assert source.fingerprint == f"{stat.st_size}-{stat.st_mtime_ns}"


def test_no_crs_is_said_and_none_is_made_up(tmp_path: Path) -> None:
    bare, _ = read_all(write_raster(tmp_path / "a.tif", noise(1), crs=None, transform=None))
    assert (bare.grid.georeference, bare.grid.crs_wkt, codes(bare)) == ("none", None, {"no_crs"})
    local, _ = read_all(write_raster(tmp_path / "b.tif", noise(1), crs=None))
    assert (local.grid.georeference, local.grid.is_measurable, codes(local)) == ("affine", False, {"no_crs"})
    lost, _ = read_all(write_raster(tmp_path / "c.tif", noise(1), transform=None))
    assert (lost.grid.georeference, lost.grid.is_measurable, codes(lost)) == ("none", False, {"no_transform"})


@pytest.mark.parametrize(
    ("affine", "code"),
    [
        (NORTH_UP @ Affine.rotation(30), "rotated"),
        (NORTH_UP @ Affine.shear(10), "rotated"),
        (Affine(0.5, 0, 5e5, 0, 0.5, 5e6), "south_up"),
        (Affine(-0.5, 0, 5e5, 0, -0.5, 5e6), "mirrored"),
    ],
)
def test_grids_that_are_not_north_up_keep_their_transform_and_are_named(
    tmp_path: Path, affine: Affine, code: str
) -> None:
    source, block = read_all(write_raster(tmp_path / "a.tif", noise(1), transform=affine))
    assert codes(source) == {code} and not source.grid.is_north_up and source.grid.is_measurable
    assert source.grid.affine == pytest.approx(tuple(affine)[:6], abs=1e-9)
    assert_array_equal(block.pixels[:, 0], noise(1))


def test_pixel_is_point_is_shifted_to_the_corner(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1))
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    assert read_all(path)[0].grid.affine == tuple(NORTH_UP)[:6]


def test_degrees_are_named(tmp_path: Path) -> None:
    geographic = Affine(1e-5, 0, 8.0, 0, -1e-5, 47.0)
    source, _ = read_all(write_raster(tmp_path / "a.tif", noise(1), crs="EPSG:4326", transform=geographic))
    assert codes(source) == {"geographic"} and source.grid.is_measurable


@pytest.mark.parametrize("epsg", [32601, 32660, 32701, 32760])
def test_grids_at_the_antimeridian_stay_on_their_own_plane(tmp_path: Path, epsg: int) -> None:
    affine = Affine(10, 0, 829_000 if epsg % 100 == 60 else 166_000, 0, -10, 500_000)
    source, _ = read_all(write_raster(tmp_path / "a.tif", noise(1), crs=f"EPSG:{epsg}", transform=affine))
    assert source.grid.affine == tuple(affine)[:6]
    assert CRS.from_user_input(source.grid.crs_wkt) == CRS.from_epsg(epsg)


def test_control_points_alone_leave_results_in_pixels(tmp_path: Path) -> None:
    points = [GroundControlPoint(r, c, 8 + c * 1e-4, 47 - r * 1e-4) for r in (0, 70) for c in (0, 90)]
    path = write_raster(tmp_path / "a.tif", noise(1), crs="EPSG:4326", transform=None, gcps=points)
    source, block = read_all(path)
    assert (source.grid.georeference, source.grid.is_measurable) == ("gcps", False)
    assert "gcps" in codes(source) and "4 ground control points" in " ".join(source.warnings)
    assert_array_equal(block.pixels[:, 0], noise(1))


def test_a_camera_model_alone_leaves_results_in_pixels(tmp_path: Path) -> None:
    numbers = {
        f"{axis}_{part}": v
        for axis in ("line", "samp", "lat", "long", "height")
        for part, v in (("off", 1.0), ("scale", 9.0))
    }
    one = [1.0] + [0.0] * 19
    terms = {f"{axis}_{part}_coeff": one for axis in ("line", "samp") for part in ("num", "den")}
    path = write_raster(tmp_path / "a.tif", noise(1), crs=None, transform=None)
    with rasterio.open(path, "r+") as file:
        file.rpcs = RPC(**numbers, **terms)
    source, _ = read_all(path)
    assert (source.grid.georeference, codes(source)) == ("rpcs", {"rpcs"})


def test_strips_are_named_where_the_image_is_large(tmp_path: Path) -> None:
    options: dict[str, Any] = {"tiled": False, "blockxsize": None, "blockysize": 1}
    large, _ = read_all(write_raster(tmp_path / "a.tif", np.zeros((1, 1100, 1100), np.uint8), **options))
    small, _ = read_all(write_raster(tmp_path / "b.tif", noise(1), **options))
    assert (large.block, codes(large)) == ((1, 1100), {"untiled"})
    assert (small.block, codes(small)) == ((1, 90), set())


def test_missing_overviews_are_named_where_the_image_is_large(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "width": 9000, "height": 40, "count": 1, "dtype": "uint8", "tiled": True}
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", **profile, crs="EPSG:32632", transform=NORTH_UP):
        pass
    assert codes(read_all(path)[0]) == {"no_overviews"}
    with rasterio.open(path, "r+") as file:
        file.build_overviews([4], Resampling.nearest)
    assert codes(read_all(path)[0]) == set()


def test_values_that_need_care_are_named(tmp_path: Path) -> None:
    scaled = write_raster(tmp_path / "a.tif", noise(1, dtype="uint16"), scales=(1e-4,), offsets=(-0.1,))
    assert codes(read_all(scaled)[0]) == {"scale_offset"}
    zero = write_raster(tmp_path / "b.tif", noise(1), nodata=0)
    assert codes(read_all(zero)[0]) == {"nodata_zero"}
    lossy = write_raster(tmp_path / "c.tif", noise(1), nodata=255, compress="jpeg")
    assert codes(read_all(lossy)[0]) == {"jpeg_nodata"}
    masked = write_raster(tmp_path / "d.tif", noise(1), nodata=0, compress="jpeg", mask=np.full((70, 90), 255, "uint8"))
    assert codes(read_all(masked)[0]) == set()
    indexed = write_raster(tmp_path / "e.tif", noise(1) % 4, photometric="palette", colours=[ColorInterp.palette])
    with rasterio.open(indexed, "r+") as file:
        file.write_colormap(1, {n: (n, n, n, 255) for n in range(4)})
    source, block = read_all(indexed)
    assert codes(source) == {"palette"}
    assert_array_equal(block.pixels[:, 0], noise(1) % 4)


def test_later_pages_are_named(tmp_path: Path) -> None:
    from PIL import Image

    pages = [Image.fromarray(noise(1)[0] // n) for n in (1, 2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    source, block = read_all(tmp_path / "a.tif")
    assert "pages" in codes(source)
    assert_array_equal(block.pixels[0, 0], noise(1)[0])
    second, other = read_all(f"GTIFF_DIR:2:{tmp_path / 'a.tif'}")
    assert_array_equal(other.pixels[0, 0], noise(1)[0] // 2)
    assert second.fingerprint == source.fingerprint and second.source_id != source.source_id


def refused(uri: str | Path) -> InputError:
    with pytest.raises(InputError) as caught:
        RasterReader().describe(str(uri))
    assert caught.value.hint and caught.value.message
    return caught.value


def test_reasons_of_refusal_are_stable_codes(tmp_path: Path) -> None:
    good = write_raster(tmp_path / "good.tif", noise(1)).read_bytes()
    contents = {
        "zero.tif": b"",
        "short.tif": good[:30],
        "short.png": b"\x89PNG\r\n\x1a\n\0",
        "notes.tif": b"hello " * 9,
    }
    contents |= {"photo.sid": b"msid" * 9, "photo.ecw": b"ecw" * 9}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    reasons = {name: refused(tmp_path / name).reason for name in [*contents, "missing.tif"]}
    assert reasons == {
        "zero.tif": "unreadable",
        "short.tif": "unreadable",
        "short.png": "unreadable",
        "notes.tif": "unsupported_format",
        "photo.sid": "unsupported_format",
        "photo.ecw": "unsupported_format",
        "missing.tif": "not_found",
    }
    assert "MrSID" in refused(tmp_path / "photo.sid").message and "GeoTIFF" in refused(tmp_path / "photo.sid").hint
    assert "0 bytes" in refused(tmp_path / "zero.tif").message
    assert "folder" in refused(tmp_path).message
    assert refused("gs://bucket/a.tif").reason == "unsupported_format"


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_pixels_are_refused(tmp_path: Path, dtype: str) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((1, 8, 8), dtype))
    assert refused(path).reason == "unsupported_dtype"


def test_a_container_names_the_datasets_to_choose_from(tmp_path: Path) -> None:
    from scipy.io import netcdf_file

    with netcdf_file(tmp_path / "a.nc", "w") as file:
        file.createDimension("y", 4)
        file.createDimension("x", 6)
        for name in ("red", "nir"):
            file.createVariable(name, "i2", ("y", "x"))[:] = np.arange(24).reshape(4, 6)
    error = refused(tmp_path / "a.nc")
    assert error.reason == "subdatasets" and "2 datasets" in error.message
    name = next(part for part in error.hint.replace(",", " ").split() if part.endswith(":nir"))
    source, block = read_all(name)
    assert source.grid.shape == (1, 4, 6) and block.pixels.size == 24


def test_a_reader_travels_without_its_open_files(tmp_path: Path) -> None:
    reader = RasterReader(max_open=2)
    source = reader.describe(str(write_raster(tmp_path / "a.tif", noise(1))))
    box = Box.of_shape(source.grid.shape)
    reader.read(source, box, (0,))
    copy = pickle.loads(pickle.dumps((reader, source)))
    assert_array_equal(copy[0].read(copy[1], box, (0,)).pixels[:, 0], noise(1))


def test_relative_paths_and_file_urls_become_one_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_raster(tmp_path / "a b.tif", noise(1))
    monkeypatch.chdir(tmp_path)
    names = ["a b.tif", "./a b.tif", str(path), path.as_uri()]
    assert {RasterReader().describe(name).uri for name in names} == {str(path)}


def test_nan_nodata_survives_as_nan(tmp_path: Path) -> None:
    source, _ = read_all(write_raster(tmp_path / "a.tif", noise(1, dtype="float32"), nodata=math.nan))
    assert source.nodata is not None and math.isnan(source.nodata)
