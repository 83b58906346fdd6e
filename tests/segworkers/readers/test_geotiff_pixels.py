"""Pixels and validity, on real files made for every way a raster can be awkward."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from rasterio.enums import ColorInterp, Resampling
from rasterio.env import get_gdal_config
from rasterio.windows import Window

from schemas.boxes import Box
from schemas.errors import InputError
from segworkers.readers.geotiff import RasterReader
from tests.segworkers.readers.rasters import codes, noise, read_all, write_raster

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_real_dtype_is_read_as_stored(tmp_path: Path, dtype: str) -> None:
    pixels = noise(2, dtype=dtype)
    source, block = read_all(write_raster(tmp_path / "a.tif", pixels))
    assert (source.dtype, block.pixels.dtype) == (dtype, np.dtype(dtype))
    assert source.bytes_per_pixel == 2 * np.dtype(dtype).itemsize
    assert_array_equal(block.pixels[:, 0], pixels)
    assert block.valid.all() and block.valid.shape == (1, 70, 90)


def test_one_bit_pixels_are_0_and_1_and_named_so(tmp_path: Path) -> None:
    pixels = noise(1) & 1
    source, block = read_all(write_raster(tmp_path / "a.tif", pixels, nbits=1))
    assert (source.dtype, "nbits" in codes(source)) == ("uint8", True)
    assert_array_equal(block.pixels[:, 0], pixels)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uint16, four bands, nodata 0 with holes, and overviews that lie."""
    pixels = noise(4, dtype="uint16")
    pixels[:, 20:40, 30:60] = 0
    pixels[1, 25, 35] = 9
    path = write_raster(tmp_path_factory.mktemp("scene") / "a.tif", pixels, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    return path


@given(data=st.data())
def test_any_box_of_any_bands_is_the_same_part_of_the_whole(scene: Path, data: st.DataObject) -> None:
    with rasterio.open(scene) as file:
        whole, mask = file.read(), file.dataset_mask() != 0
    y0, x0 = data.draw(st.integers(0, 69)), data.draw(st.integers(0, 89))
    y1, x1 = data.draw(st.integers(y0 + 1, 70)), data.draw(st.integers(x0 + 1, 90))
    bands = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple))
    reader = RasterReader()
    box = Box((0, y0, x0), (1, y1, x1))
    block = reader.read(reader.describe(str(scene)), box, bands)
    assert block.box == box
    assert_array_equal(block.pixels[:, 0], whole[list(bands), y0:y1, x0:x1])
    assert_array_equal(block.valid[0], mask[y0:y1, x0:x1])


def test_a_box_outside_the_image_is_refused(scene: Path) -> None:
    reader = RasterReader()
    with pytest.raises(ValueError, match="inside the image"):
        reader.read(reader.describe(str(scene)), Box((0, 0, 0), (1, 71, 90)), (0,))


def test_a_pixel_is_nodata_only_where_all_bands_are(tmp_path: Path) -> None:
    pixels = np.full((3, 8, 8), 5, np.int16)
    pixels[:, 0, 0] = -9999
    pixels[0, 1, 1] = -9999
    source, block = read_all(write_raster(tmp_path / "a.tif", pixels, nodata=-9999), bands=(0,))
    assert source.nodata == -9999
    assert np.argwhere(~block.valid[0]).tolist() == [[0, 0]]


def test_nan_nodata_and_stray_nan_are_invalid(tmp_path: Path) -> None:
    pixels = noise(2, 8, 8, "float32")
    pixels[:, 0, 0] = np.nan
    pixels[1, 2, 2] = np.nan
    source, block = read_all(write_raster(tmp_path / "a.tif", pixels, nodata=np.nan))
    assert source.nodata is not None and np.isnan(source.nodata)
    assert np.argwhere(~block.valid[0]).tolist() == [[0, 0], [2, 2]]
    _, plain = read_all(write_raster(tmp_path / "b.tif", pixels))
    assert np.argwhere(~plain.valid[0]).tolist() == [[0, 0], [2, 2]]
    _, first = read_all(tmp_path / "b.tif", bands=(0,))
    assert np.argwhere(~first.valid[0]).tolist() == [[0, 0]]


def test_nodata_may_differ_from_band_to_band(tmp_path: Path) -> None:
    pixels = np.full((2, 4, 4), 7, np.uint8)
    pixels[:, 0, 0] = (1, 2)
    pixels[:, 1, 1] = (2, 1)
    write_raster(tmp_path / "a.tif", pixels)
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{n}"><NoDataValue>{n}</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>{n}</SourceBand>'
        f"</SimpleSource></VRTRasterBand>"
        for n in (1, 2)
    )
    vrt = tmp_path / "a.vrt"
    vrt.write_text(f'<VRTDataset rasterXSize="4" rasterYSize="4">{bands}</VRTDataset>')
    source, block = read_all(vrt)
    assert "nodata_per_band" in codes(source)
    assert np.argwhere(~block.valid[0]).tolist() == [[0, 0]]


def test_black_without_nodata_is_a_value_like_any_other(tmp_path: Path) -> None:
    source, block = read_all(write_raster(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8)))
    assert source.nodata is None and block.valid.all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "colours",
    [
        ("gray", "alpha"),
        ("red", "green", "blue", "alpha"),
        ("alpha", "red", "green", "blue"),
        ("red", "green", "blue", "nir", "alpha"),
    ],
)
def test_alpha_is_found_by_its_name_at_any_position(tmp_path: Path, colours: tuple[str, ...], dtype: str) -> None:
    pixels = noise(len(colours), 16, 16, dtype)
    alpha = colours.index("alpha")
    pixels[alpha] = 0
    pixels[alpha, 3:9, 2:5] = 1
    interpretation = [ColorInterp[name] for name in colours]
    path = write_raster(tmp_path / "a.tif", pixels, colours=interpretation, nodata=7 if dtype == "uint16" else None)
    source, block = read_all(path)
    assert (source.alpha_band, "alpha" in codes(source)) == (alpha, True)
    assert "alpha" not in source.colour_bands and len(source.colour_bands) == len(colours) - 1
    assert_array_equal(block.valid[0], pixels[alpha] > 0)


def test_a_fourth_band_that_is_near_infrared_stays_a_band(tmp_path: Path) -> None:
    pixels = noise(4, 16, 16)
    pixels[3] = 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
    path = write_raster(tmp_path / "a.tif", pixels, colours=colours, bands=("r", "g", "b", "nir"))
    source, block = read_all(path)
    assert (source.alpha_band, source.colour_bands) == (None, ("r", "g", "b", "nir"))
    assert block.valid.all()


@pytest.mark.parametrize("driver", ["inside", "beside"])
def test_a_mask_band_decides_and_nodata_does_not(tmp_path: Path, driver: str) -> None:
    pixels = noise(3, 32, 32)
    mask = np.zeros((32, 32), np.uint8)
    mask[4:20, 10:31] = 255
    path = tmp_path / "a.tif"
    if driver == "inside":
        write_raster(path, pixels, mask=mask, nodata=1)
    else:
        write_raster(path, pixels)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
            file.write_mask(mask)
        assert (tmp_path / "a.tif.msk").exists()
    _, block = read_all(path)
    assert_array_equal(block.valid[0], mask > 0)


def test_names_choose_bands_whatever_their_order(tmp_path: Path) -> None:
    pixels = noise(3)
    path = write_raster(tmp_path / "a.tif", pixels, bands=("nir", "red", "green"))
    source, _ = read_all(path)
    assert source.bands == ("nir", "red", "green")
    wanted = tuple(source.bands.index(name) for name in ("red", "green", "nir"))
    _, block = read_all(path, wanted)
    assert_array_equal(block.pixels[:, 0], pixels[[1, 2, 0]])


def test_unnamed_and_repeated_names_become_unique(tmp_path: Path) -> None:
    plain = write_raster(tmp_path / "a.tif", noise(5, dtype="uint16"))
    assert read_all(plain)[0].bands == ("gray", "band_2", "band_3", "band_4", "band_5")
    assert read_all(write_raster(tmp_path / "b.tif", noise(3)))[0].bands == ("red", "green", "blue")
    same = write_raster(tmp_path / "c.tif", noise(3), bands=("x", "x", "x_2"))
    assert read_all(same)[0].bands == ("x", "x_2", "x_2_2")


@pytest.mark.parametrize(
    "layout",
    [
        {"interleave": "band"},
        {"interleave": "pixel"},
        {"tiled": False, "blockysize": 4},
        {"compress": "deflate", "predictor": 2},
        {"bigtiff": "YES"},
        {"driver": "PNG"},
        {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"},
        {"driver": "VRT"},
    ],
    ids=str,
)
def test_layouts_and_formats_read_alike(tmp_path: Path, layout: dict[str, object]) -> None:
    pixels = noise(3, 40, 50)
    if layout.get("driver") == "VRT":
        from rasterio.shutil import copy

        write_raster(tmp_path / "a.tif", pixels)
        path = tmp_path / "a.vrt"
        copy(tmp_path / "a.tif", path, driver="VRT")
    else:
        if layout.get("driver"):
            layout = layout | {"crs": None, "transform": None}
        path = write_raster(tmp_path / "a.img", pixels, **layout)
    _, block = read_all(path)
    assert_array_equal(block.pixels[:, 0], pixels)


def test_jpeg_pixels_keep_the_stored_order_and_say_so(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(np.moveaxis(noise(3, 24, 48), 0, -1))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    (tmp_path / "a.jgw").write_text("0.5\n0\n0\n-0.5\n1000.25\n1999.75\n")
    source, block = read_all(tmp_path / "a.jpg")
    assert source.grid.shape == (1, 24, 48)
    assert source.grid.affine == (0.5, 0.0, 1000.0, 0.0, -0.5, 2000.0)
    assert "exif_orientation" in codes(source)
    with rasterio.open(tmp_path / "a.jpg") as file:
        assert_array_equal(block.pixels[:, 0], file.read())


def test_bands_of_different_types_share_one(tmp_path: Path) -> None:
    pixels = noise(1, 8, 8, "uint16")
    write_raster(tmp_path / "a.tif", pixels)
    band = (
        '<VRTRasterBand dataType="{}" band="{}"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource></VRTRasterBand>'
    )
    vrt = tmp_path / "a.vrt"
    bands = band.format("UInt16", 1) + band.format("Float32", 2)
    vrt.write_text(f'<VRTDataset rasterXSize="8" rasterYSize="8">{bands}</VRTDataset>')
    source, block = read_all(vrt)
    assert (source.dtype, block.pixels.dtype, "mixed_dtypes" in codes(source)) == ("float32", np.float32, True)
    assert_array_equal(block.pixels[:, 0], np.stack([pixels[0], pixels[0]]).astype("float32"))


def test_blocks_beyond_4_gib_are_found(tmp_path: Path) -> None:
    side, path = 66_000, tmp_path / "big.tif"
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8", "tiled": True}
    profile |= {"blockxsize": 4_096, "blockysize": 4_096, "BIGTIFF": "YES", "SPARSE_OK": True}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.full((1, 4, 4), 3, np.uint8), window=Window(0, 0, 4, 4))
    with open(path, "r+b") as raw:  # a hole in the file: what is written next lies beyond 4 GiB
        raw.truncate(5 << 30)
    with rasterio.open(path, "r+") as file:
        file.write(np.full((1, 4, 4), 9, np.uint8), window=Window(side - 4, side - 4, 4, 4))
    assert path.stat().st_size > 5 << 30 and os.stat(path).st_blocks * 512 < 1 << 30
    reader = RasterReader(cache_mb=64)
    source = reader.describe(str(path))
    block = reader.read(source, Box((0, side - 5, side - 6), (1, side, side)), (0,))
    assert_array_equal(block.pixels[0, 0, 1:, 2:], 9)
    assert block.pixels.sum() == 9 * 16
    assert source.block == (4_096, 4_096)


def test_threads_read_the_same_pixels(scene: Path) -> None:
    reader = RasterReader(max_open=1)
    source = reader.describe(str(scene))
    boxes = [Box((0, y, x), (1, y + 20, x + 30)) for y in range(0, 50, 5) for x in range(0, 60, 7)] * 3
    alone = [reader.read(source, box, (2, 0)) for box in boxes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda box: reader.read(source, box, (2, 0)), boxes))
    for a, b in zip(alone, together, strict=True):
        assert_array_equal(a.pixels, b.pixels)
        assert_array_equal(a.valid, b.valid)


def test_open_files_stay_bounded_and_evicted_ones_open_again(tmp_path: Path) -> None:
    reader = RasterReader(max_open=3)
    paths = [write_raster(tmp_path / f"{n}.tif", np.full((1, 8, 8), n, np.uint8)) for n in range(8)]
    sources = [reader.describe(str(path)) for path in paths]
    before = len(os.listdir("/proc/self/fd"))
    for source, value in [(s, n) for _ in range(2) for n, s in enumerate(sources)]:
        assert (reader.read(source, Box.of_shape((1, 8, 8)), (0,)).pixels == value).all()
    assert len(os.listdir("/proc/self/fd")) - before <= 3


def test_the_block_cache_is_bounded_for_the_process(scene: Path) -> None:
    for megabytes in (64, 256):
        reader = RasterReader(cache_mb=megabytes)
        reader.read(reader.describe(str(scene)), Box.of_shape((1, 8, 8)), (0,))
        with rasterio.Env():
            assert get_gdal_config("GDAL_CACHEMAX") == megabytes << 20


def test_a_thumbnail_shows_the_whole_image_from_its_overviews(scene: Path) -> None:
    reader = RasterReader()
    source = reader.describe(str(scene))
    assert source.overviews == (2, 4)
    small = reader.thumbnail(source, (0, 1), 45)
    assert small.box == Box.of_shape((1, 35, 45))
    with rasterio.open(scene, overview_level=0) as overview:
        assert_array_equal(small.pixels[:, 0], overview.read([1, 2]))
        assert_array_equal(small.valid[0], overview.read().any(axis=0))
    assert not small.valid.all()
    whole = reader.thumbnail(source, (3,), 1000)
    assert_array_equal(whole.pixels, reader.read(source, Box.of_shape(source.grid.shape), (3,)).pixels)


def damage(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def test_a_damaged_block_fails_its_reads_and_no_others(tmp_path: Path) -> None:
    pixels = noise(1, 64, 64)
    path = write_raster(tmp_path / "a.tif", pixels, compress="lzw")
    raw = bytearray(path.read_bytes())
    start = len(raw) * 2 // 3
    raw[start : start + 60] = b"\xff" * 60
    path.write_bytes(raw)
    reader = RasterReader()
    source = reader.describe(str(path))
    outcomes: list[bool] = []
    for y in range(0, 64, 16):
        for x in range(0, 64, 16):
            box = Box((0, y, x), (1, y + 16, x + 16))
            try:
                block = reader.read(source, box, (0,))
            except InputError as error:
                assert error.reason == "read_failed" and str(box.start) in error.message  # noqa: PT017 - either may come
                outcomes.append(False)
            else:
                assert_array_equal(block.pixels[0, 0], pixels[0, y : y + 16, x : x + 16])
                outcomes.append(True)
    assert 1 <= outcomes.count(False) <= 2


@pytest.mark.parametrize(
    "options",
    [{"driver": "COG"}, {"driver": "PNG"}, {"driver": "JPEG"}, {"driver": "JP2OpenJPEG"}],
    ids=lambda options: str(options["driver"]),
)
def test_a_truncated_file_never_passes_as_pixels(tmp_path: Path, options: dict[str, str]) -> None:
    path = write_raster(tmp_path / "a.img", noise(3, 600, 600), **options)
    damage(path, 0.6)
    reader = RasterReader()
    try:
        source = reader.describe(str(path))
    except InputError as error:
        assert error.reason == "unreadable"  # noqa: PT017 - some damage shows in the header already
        return
    with pytest.raises(InputError) as caught:
        reader.read(source, Box.of_shape(source.grid.shape), (0, 1, 2))
    assert caught.value.reason == "read_failed"
    assert caught.value.message.count(str(path)) == 1
    assert "processed" not in caught.value.hint, "whether the rest is depends on what was read, and for what"


def test_a_jpeg_damaged_in_the_middle_is_not_filled_up_silently(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.jpg", noise(3, 300, 300), driver="JPEG", crs=None, transform=None)
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(raw)
    reader = RasterReader()
    source = reader.describe(str(path))
    with pytest.raises(InputError) as caught:
        reader.read(source, Box.of_shape(source.grid.shape), (0, 1, 2))
    assert caught.value.reason == "read_failed"


def test_a_mosaic_that_loses_a_part_is_noticed(tmp_path: Path) -> None:
    from rasterio.shutil import copy

    write_raster(tmp_path / "a.tif", noise(1))
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    reader = RasterReader()
    source = reader.describe(str(tmp_path / "a.vrt"))
    box = Box.of_shape(source.grid.shape)
    reader.read(source, box, (0,))
    (tmp_path / "a.tif").unlink()
    with pytest.raises(InputError) as caught:
        reader.read(source, box, (0,))
    assert caught.value.reason == "changed"
    with pytest.raises(InputError) as caught:
        reader.describe(str(tmp_path / "a.vrt"))
    assert caught.value.reason == "unreadable" and "a.tif" in caught.value.message


@pytest.mark.parametrize("opened", [False, True])
def test_a_file_replaced_during_a_run_is_noticed(tmp_path: Path, opened: bool) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1))
    reader = RasterReader()
    source = reader.describe(str(path))
    box = Box.of_shape(source.grid.shape)
    if opened:
        reader.read(source, box, (0,))
    write_raster(tmp_path / "b.tif", noise(1) // 2)
    os.replace(tmp_path / "b.tif", path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError) as caught:
        reader.read(source, box, (0,))
    assert caught.value.reason == "changed"
    again = reader.describe(str(path))
    assert again.source_id == source.source_id and again.fingerprint != source.fingerprint
    assert_array_equal(reader.read(again, box, (0,)).pixels[:, 0], noise(1) // 2)
