"""The catalog: what the arguments of a run expand to, and what is left out with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog import describe_all, find_inputs
from segworkers.readers.geotiff import RasterReader
from tests.segworkers.readers.rasters import noise, write_raster
from tests.segworkers.readers.servers import serve


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """a.tif, B.TIFF, sub/c.png, sub/deep/d.jp2 among files that are not images."""
    names = ["a.tif", "B.TIFF", "sub/c.png", "sub/deep/d.jp2"]
    others = ["a.tif.ovr", "a.tif.msk", "a.tif.aux.xml", "a.tfw", "notes.txt", ".hidden.tif", "sub/t.csv"]
    others += [".trash/x.tif"]
    for name in names + others:
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "archive"


def under(folder: Path, *names: str) -> list[str]:
    return sorted(str(folder / name) for name in names)


def test_a_folder_gives_the_images_in_it_and_below(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = under(archive, "a.tif", "B.TIFF", "sub/c.png", "sub/deep/d.jp2")
    assert find_inputs([str(archive)]) == (everything, [])
    monkeypatch.chdir(archive)
    assert find_inputs(["."])[0] == everything
    assert find_inputs([archive.as_uri()])[0] == everything


def test_globs_stay_in_their_folder_unless_doubled(archive: Path) -> None:
    assert find_inputs([f"{archive}/*.tif"])[0] == under(archive, "a.tif")
    assert find_inputs([f"{archive}/**/*.[pj]*"])[0] == under(archive, "sub/c.png", "sub/deep/d.jp2")
    assert find_inputs([f"{archive}/a*"])[0] == under(archive, "a.tif")
    assert find_inputs([f"{archive}/**"])[0] == under(archive, "a.tif", "B.TIFF", "sub/c.png", "sub/deep/d.jp2")
    odd = archive / "x[1].tif"
    odd.write_bytes(b"")
    assert find_inputs([str(odd)])[0] == [str(odd)]


def test_a_named_file_counts_whatever_its_ending(archive: Path) -> None:
    names = under(archive, ".hidden.tif", "a.tfw")
    assert find_inputs(names) == (names, [])


def test_nothing_bad_raises_and_each_has_a_reason(archive: Path) -> None:
    (archive / "empty").mkdir()
    wrong = [f"{archive}/none.tif", f"{archive}/*.jpg", f"{archive}/empty", "ftp://host/a.tif", f"{archive}/none.txt"]
    found, skipped = find_inputs([*wrong, str(archive / "a.tif")])
    assert found == under(archive, "a.tif")
    assert {skip.uri: skip.reason for skip in skipped} == {
        f"{archive}/none.tif": "not_found",
        f"{archive}/none.txt": "not_found",
        f"{archive}/*.jpg": "no_match",
        f"{archive}/empty": "no_match",
        "ftp://host/a.tif": "unsupported_format",
    }
    assert all(skip.message and skip.hint for skip in skipped)


def test_a_file_named_twice_is_taken_once_and_reported(archive: Path) -> None:
    found, skipped = find_inputs([str(archive / "a.tif"), f"{archive}/sub/../a.tif", f"{archive}/*.tif"])
    assert found == under(archive, "a.tif")
    assert [(skip.uri, skip.reason) for skip in skipped] == [(str(archive / "a.tif"), "duplicate")] * 2


def test_the_order_of_arguments_does_not_matter(archive: Path) -> None:
    names = [str(archive / "sub"), f"{archive}/*.tif", str(archive / "B.TIFF"), str(archive / "gone")]
    assert find_inputs(names) == find_inputs(names[::-1])


def test_links_are_followed_but_not_in_circles(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "e.tif").write_bytes(b"")
    (archive / "link").symlink_to(tmp_path / "disk")
    (archive / "sub" / "loop").symlink_to(archive)
    found, skipped = find_inputs([str(archive)])
    assert str(archive / "link" / "e.tif") in found and len(found) == 5 and not skipped


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_name_that_is_not_text_is_reported(archive: Path) -> None:
    Path(os.fsdecode(os.fsencode(archive) + b"/\xff.tif")).write_bytes(b"")
    found, skipped = find_inputs([str(archive)])
    assert len(found) == 4 and [skip.reason for skip in skipped] == ["bad_name"]
    skipped[0].uri.encode()


def manifests(archive: Path) -> dict[str, Path]:
    """The same list, a.tif and an absolute path and one missing, in every format."""
    entries = ["a.tif", str(archive / "sub" / "c.png"), "gone.tif"]
    text = archive / "list.txt"
    text.write_text("\n".join(["# images", "", *entries]) + "\n")
    named = archive / "named.csv"
    rows = "".join(f'{n},"{entry}"\n' for n, entry in enumerate(entries))
    named.write_text(f"\ufeffid,uri\n{rows}", encoding="utf-8")
    path = archive / "path.csv"
    path.write_text("Path,id\n" + "".join(f"{entry},1\n" for entry in entries))
    bare = archive / "bare.csv"
    bare.write_text("".join(f"{entry},1\n" for entry in entries))
    table = archive / "list.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "path": [*entries, None]}), table)
    return {"txt": text, "csv": named, "path": path, "bare": bare, "parquet": table}


@pytest.mark.parametrize("kind", ["txt", "csv", "path", "bare", "parquet"])
def test_manifests_list_inputs_relative_to_themselves(
    archive: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    found, skipped = find_inputs([str(manifests(archive)[kind])])
    assert found == under(archive, "a.tif", "sub/c.png")
    assert [(skip.uri, skip.reason) for skip in skipped] == [(str(archive / "gone.tif"), "not_found")]


def test_manifests_do_not_nest_and_damaged_ones_are_reported(archive: Path) -> None:
    (archive / "outer.txt").write_text("inner.txt\na.tif\n")
    (archive / "inner.txt").write_text("B.TIFF\n")
    (archive / "bad.parquet").write_bytes(b"PAR1 no")
    (archive / "bad.csv").write_bytes(b"\xff\xfe\xfa")
    names = [str(archive / name) for name in ("outer.txt", "bad.parquet", "bad.csv")]
    found, skipped = find_inputs(names)
    assert found == under(archive, "a.tif")
    assert sorted(skip.reason for skip in skipped) == ["nested_manifest", "unreadable", "unreadable"]


def test_web_addresses_pass_and_their_manifests_are_fetched() -> None:
    with serve() as site:
        site.files["lists/all.txt"] = b"../x/a.tif\nb.tif\nhttps://other/c.tif?sig=abc\nhttps://other/c.tif?sig=def\n"
        found, skipped = find_inputs([f"{site.url}/lists/all.txt", f"{site.url}/none.txt?token=abc"])
        assert found == [f"{site.url}/lists/b.tif", f"{site.url}/x/a.tif", "https://other/c.tif?sig=abc"]
        assert {(skip.uri, skip.reason) for skip in skipped} == {
            ("https://other/c.tif", "duplicate"),
            (f"{site.url}/none.txt", "not_found"),
        }


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """s3://scans with a.tif, x/b.tif, x/y/c.tif, x/y/n.txt, x/.h/d.tif and a manifest."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client: Any = boto3.client("s3")
        client.create_bucket(Bucket="scans")
        for key in ("a.tif", "x/b.tif", "x/y/c.tif", "x/y/n.txt", "x/.h/d.tif"):
            client.put_object(Bucket="scans", Key=key, Body=b"?")
        client.put_object(Bucket="scans", Key="x/list.csv", Body=b"uri\nb.tif\ns3://scans/a.tif\n")
        yield "s3://scans"
    server.stop()


def test_buckets_list_like_folders(bucket: str) -> None:
    everything = [f"{bucket}/a.tif", f"{bucket}/x/b.tif", f"{bucket}/x/y/c.tif"]
    assert find_inputs([bucket]) == (everything, [])
    assert find_inputs([f"{bucket}/x"])[0] == find_inputs([f"{bucket}/x/"])[0] == everything[1:]
    assert find_inputs([f"{bucket}/*.tif"])[0] == everything[:1]
    assert find_inputs([f"{bucket}/x/*/*.tif"])[0] == everything[2:]
    assert find_inputs([f"{bucket}/**/*.tif"])[0] == everything
    assert find_inputs([f"{bucket}/x/list.csv"])[0] == everything[:2]
    assert [skip.reason for skip in find_inputs([f"{bucket}/*.png", f"{bucket}/none/", "s3://gone/x/"])[1]] == [
        "not_found",
        "no_match",
        "no_match",
    ]
    assert find_inputs([f"{bucket}/not-there.tif"])[0] == [f"{bucket}/not-there.tif"]  # shows when it is opened


def test_headers_keep_their_order_and_bad_ones_are_skipped(tmp_path: Path) -> None:
    paths = [str(write_raster(tmp_path / f"{n}.tif", noise(1, 8 + n, 8))) for n in range(12)]
    Path(paths[3]).write_bytes(b"")
    sources, skipped = describe_all(RasterReader(), paths, threads=4)
    assert [source.uri for source in sources] == paths[:3] + paths[4:]
    assert [source.grid.shape[1] for source in sources] == [8, 9, 10, *range(12, 20)]
    assert [(skip.uri, skip.reason) for skip in skipped] == [(paths[3], "unreadable")]


def test_the_catalog_does_not_need_rasterio() -> None:
    code = "import sys, jobs.catalog; sys.exit('rasterio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_masks_of_an_earlier_run_in_a_bucket_are_no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["s3://b/a/1.tif", "s3://b/a/out/masks/g/1-labels.tif", "s3://b/a/out/run.json", "s3://b/a/outer/2.tif"]
    monkeypatch.setattr("jobs.catalog.s3_list", lambda uri: iter(names))
    assert find_inputs(["s3://b/a/"])[0] == ["s3://b/a/1.tif", "s3://b/a/outer/2.tif"]


def test_images_that_a_run_folder_hides_are_explained(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "sub" / "run.json").write_text("{}")
    assert find_inputs([str(archive)]) == (under(archive, "a.tif", "B.TIFF"), [])
    (skip,) = find_inputs([str(archive / "sub")])[1]
    assert skip.reason == "no_match" and f"{archive / 'sub'} holds a run (run.json)" in skip.message
    assert f"{archive / 'sub'}/*.tif" in skip.hint
    assert find_inputs([f"{archive}/sub/*.png"])[0] == under(archive, "sub/c.png"), "what the hint advises"
    monkeypatch.setattr("jobs.catalog.s3_list", lambda uri: iter(["s3://b/out/1.tif", "s3://b/out/run.json"]))
    (skip,) = find_inputs(["s3://b/out/"])[1]
    assert "s3://b/out holds a run (run.json)" in skip.message
