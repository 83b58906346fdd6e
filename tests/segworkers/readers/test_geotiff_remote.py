"""Reading over http and s3, from servers on loopback."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from rasterio.enums import Resampling

from schemas.boxes import Box
from schemas.errors import InputError
from segworkers.readers.geotiff import RasterReader
from segworkers.readers.locations import locate, redact
from tests.segworkers.readers.rasters import noise, read_all, write_raster
from tests.segworkers.readers.servers import Site, serve

BOX = Box((0, 30, 40), (1, 60, 80))


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as running:
        yield running


@pytest.fixture
def cog(tmp_path: Path) -> bytes:
    """700 by 900 noise with overviews: too large to arrive with the header."""
    pixels = noise(3, 700, 900)
    return write_raster(tmp_path / "a.tif", pixels, driver="COG", overview_resampling=Resampling.nearest).read_bytes()


def test_http_reads_ranges_and_the_same_pixels(site: Site, cog: bytes, tmp_path: Path) -> None:
    site.files["x/a.tif"] = cog
    remote, block = read_all(f"{site.url}/x/a.tif")
    local, same = read_all(tmp_path / "a.tif")
    assert_array_equal(block.pixels, same.pixels)
    assert remote.uri == f"{site.url}/x/a.tif" and remote.fingerprint.startswith("etag ")
    assert (remote.grid, remote.bands, remote.warnings) == (local.grid, local.bands, local.warnings)


def test_an_object_replaced_behind_its_url_is_noticed_and_never_read_from_a_cache(
    site: Site, cog: bytes, tmp_path: Path
) -> None:
    site.files["a.tif"] = cog
    reader = RasterReader()
    url = f"{site.url}/a.tif"
    source = reader.describe(url)
    site.files["a.tif"] = write_raster(tmp_path / "b.tif", noise(3, 700, 900) // 2, driver="COG").read_bytes()
    with pytest.raises(InputError) as caught:
        reader.read(source, BOX, (0,))
    assert caught.value.reason == "changed"
    block = reader.read(reader.describe(url), BOX, (0,))
    assert_array_equal(block.pixels[0, 0], noise(3, 700, 900)[0, 30:60, 40:80] // 2)


@pytest.mark.parametrize("name", ["gone.tif", "gone"])
def test_a_missing_url_is_not_found(site: Site, name: str) -> None:
    with pytest.raises(InputError) as caught:
        RasterReader().describe(f"{site.url}/{name}")
    assert caught.value.reason == "not_found"


def test_a_server_without_ranges_is_named_as_the_reason(site: Site, cog: bytes) -> None:
    site.files["a.tif"] = cog
    site.ranges = False
    with pytest.raises(InputError) as caught:
        RasterReader().describe(f"{site.url}/a.tif")
    assert caught.value.reason == "no_range_requests"


def test_nobody_at_the_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segworkers.readers.remote.time.sleep", lambda _: None)  # pyright: ignore[reportUnknownLambdaType,reportUnknownArgumentType]
    monkeypatch.setattr("segworkers.readers.geotiff._GDAL_OPTIONS", {"GDAL_HTTP_MAX_RETRY": "0"})
    with pytest.raises(InputError) as caught:
        RasterReader().describe("http://127.0.0.1:9/a.tif?sig=secret")
    assert caught.value.reason == "unreachable" and "secret" not in str(caught.value)


def test_signatures_open_files_and_are_shown_nowhere(site: Site, cog: bytes, caplog: pytest.LogCaptureFixture) -> None:
    site.files["a.tif"] = cog
    site.secret = "v=3&X-Amz-Signature=s3cr3t"
    reader = RasterReader()
    url = f"{site.url}/a.tif?{site.secret}"
    source = reader.describe(url)
    assert source.uri == f"{site.url}/a.tif?v=3"
    travelled: RasterReader = pickle.loads(pickle.dumps(reader))
    for opened in (reader, travelled, RasterReader(secrets=reader.secrets)):
        assert_array_equal(opened.read(source, BOX, (0,)).pixels[0, 0], noise(3, 700, 900)[0, 30:60, 40:80])
    assert "s3cr3t" not in repr(source) + repr(locate(url))
    site.secret = "another"
    with caplog.at_level(logging.WARNING), pytest.raises(InputError) as caught:
        RasterReader().describe(url)
    assert caught.value.reason == "access_denied" and "s3cr3t" not in f"{caught.value} {caught.value.__cause__}"
    site.secret = None
    site.files["a.tif"] = cog[: len(cog) // 2]
    half = reader.describe(url)
    with pytest.raises(InputError) as caught:
        reader.read(half, Box((0, 0, 0), half.grid.shape), (0, 1, 2))
    assert caught.value.reason == "read_failed" and "s3cr3t" not in str(caught.value)


def test_passwords_do_not_enter_the_uri() -> None:
    location = locate("HTTPS://me:p%40ss@host/a.tif?b=1")
    assert location.uri == "https://host/a.tif?b=1" and "p%40ss" in location.gdal_name
    assert redact("cannot open '/vsicurl/https://me:pw@host/a.tif?sig=x', a.tif?sig=x, band 1") == (
        "cannot open '/vsicurl/https://host/a.tif', a.tif, band 1"
    )
    azure = locate("https://host/a.tif?sv=2020&sp=r&sig=abc&page=2")
    assert azure.uri == "https://host/a.tif?page=2"
    assert locate("https://host/a.tif?sv=2020&page=2").uri == "https://host/a.tif?sv=2020&page=2"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 service on loopback that holds the bucket `archive`; the environment points at it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_S3_ENDPOINT", f"{host}:{port}")
        patch.setenv("AWS_HTTPS", "NO")
        patch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="archive")
        yield client
    server.stop()


@pytest.mark.parametrize("gdal_names", [True, False])
def test_s3_objects_read_like_files(
    s3: Any, cog: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gdal_names: bool
) -> None:
    if not gdal_names:  # the AWS tools' own variable will do
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.meta.endpoint_url)
        for name in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"):
            monkeypatch.delenv(name)
    s3.put_object(Bucket="archive", Key="dir/a b.tif", Body=cog)
    remote, block = read_all("s3://archive/dir/a b.tif")
    _, same = read_all(tmp_path / "a.tif")
    assert_array_equal(block.pixels, same.pixels)
    assert remote.uri == "s3://archive/dir/a b.tif" and remote.fingerprint.startswith("etag ")


def test_s3_tells_missing_from_replaced(s3: Any, cog: bytes) -> None:
    with pytest.raises(InputError) as caught:
        RasterReader().describe("s3://archive/none.tif")
    assert caught.value.reason == "not_found"
    with pytest.raises(InputError) as caught:
        RasterReader().describe("s3://nobucket/none.tif")
    assert caught.value.reason == "not_found"
    s3.put_object(Bucket="archive", Key="c.tif", Body=cog)
    reader = RasterReader()
    source = reader.describe("s3://archive/c.tif")
    s3.put_object(Bucket="archive", Key="c.tif", Body=cog + b"\0")
    with pytest.raises(InputError) as caught:
        reader.read(source, BOX, (0,))
    assert caught.value.reason == "changed"
    s3.put_object(Bucket="archive", Key="text.tif", Body=b"no raster" * 9)
    with pytest.raises(InputError) as caught:
        reader.describe("s3://archive/text.tif")
    assert caught.value.reason == "unsupported_format"


def test_a_thumbnail_over_http_fetches_overviews_only(site: Site, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 4096, 4096), dtype=np.uint8)
    site.files["a.tif"] = write_raster(tmp_path / "a.tif", pixels, driver="COG", compress="none").read_bytes()
    reader = RasterReader()
    source = reader.describe(f"{site.url}/a.tif")
    site.requests.clear()
    assert reader.thumbnail(source, (0,), 256).pixels.shape == (1, 1, 256, 256)
    assert len(site.requests) < 12
