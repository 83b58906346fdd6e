"""Places as open files: versions, object storage, and what is told where there is none."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.boxes import Box
from schemas.errors import InputError
from segworkers.dicom import opening
from segworkers.dicom.opening import opened
from segworkers.dicom.places import FileState, Places
from tests.dicom_files import Layout, Pixels, ct_series, save, stored_of
from tests.dicom_stacks import open_files

UNPLANNED = FileState(0, "")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a bucket `archive` on an S3 server on loopback."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="archive")
        yield client
    finally:
        server.stop()


@pytest.mark.parametrize("whole", [0, 8 << 20])
def test_objects_and_zips_of_objects_read_like_files(s3, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "WHOLE_BYTES", whole)
    slices = ct_series(Layout(shape=(3, 16, 20)), pixels=Pixels(bits=16, signed=True))
    files = save(slices, tmp_path / "in").files
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
            s3.upload_file(str(file), "archive", f"a b/{file.name}")
    s3.upload_file(str(tmp_path / "all.zip"), "archive", "all.zip")
    want = np.stack([stored_of(one)[0] - 1024 for one in slices])
    for prefix in ("s3://archive/a b/", "s3://archive/all.zip!"):
        reader, source = open_files([f"{prefix}{file.name}" for file in files], slices, tmp_path)
        np.testing.assert_array_equal(reader.read(source, Box.of_shape(source.grid.shape), (0,)).pixels[0], want)
    s3.put_object(Bucket="archive", Key=f"a b/{files[1].name}", Body=b"other")
    reader, source = open_files([f"s3://archive/a b/{file.name}" for file in files[:1]], slices[:1], tmp_path)
    s3.put_object(Bucket="archive", Key=f"a b/{files[0].name}", Body=files[1].read_bytes())
    with pytest.raises(InputError) as caught:
        reader.read(source, Box.of_shape(source.grid.shape), (0,))
    assert caught.value.reason == "changed"
    s3.delete_object(Bucket="archive", Key=f"a b/{files[0].name}")
    with pytest.raises(InputError) as caught:
        reader.read(source, Box.of_shape(source.grid.shape), (0,))
    assert caught.value.reason == "missing_file"


def test_the_version_is_that_of_the_open_file(tmp_path: Path):
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    planned = Places().state(str(file))
    with opened(Places(), str(file), planned) as handle:
        assert handle.read() == b"12345"
    with opened(Places(), str(file), UNPLANNED) as handle:
        assert handle.read() == b"12345"
    with pytest.raises(InputError) as caught, opened(Places(), str(file), FileState(6, planned.stamp)):
        pass
    assert caught.value.reason == "changed"


@pytest.mark.parametrize(
    ("name", "reason"), [("none", "missing_file"), ("folder", "read_failed"), ("none.zip!a", "missing_file")]
)
def test_places_that_cannot_be_opened_are_not_named(name, reason, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught, opened(Places(), str(tmp_path / name), UNPLANNED):
        pass
    assert caught.value.reason == reason
    assert str(tmp_path) not in str(caught.value)


def test_errors_while_reading_are_told_without_names(tmp_path):
    file = tmp_path / "ZZPHI"
    file.write_bytes(b"1")
    with pytest.raises(InputError) as caught, opened(Places(), str(file), UNPLANNED):
        raise OSError(5, "Input/output error", str(file))
    assert caught.value.reason == "read_failed"
    assert "ZZPHI" not in str(caught.value) and caught.value.__suppress_context__
