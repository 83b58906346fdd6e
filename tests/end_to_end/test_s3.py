"""Inputs and run folder on an object store: the same tables as on a disk, and the same way back after a crash."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from jobs.results import open_results
from jobs.verify import verify
from tests import runs, worlds
from tests.jobs.engines.processes import eventually
from tests.segworkers.readers.rasters import write_raster

MODEL = runs.user_model("Oracle")
SETS: dict[str, Any] = {"tiling__tile": 100, "engine__chunk_tiles": 2}
NAMED = {"source_id", "source_uri", "instance_id"}
"""Columns that follow from where the image lies."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A bucket of its own on loopback, and the environment that leads to it.

    The server is another process: GDAL may wait for it while it holds this one's interpreter lock.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            patch.setenv(name, "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ALLOW_HTTP", "true")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        assert eventually(lambda: answers(port), 60)
        client = boto3.client("s3")
        client.create_bucket(Bucket="archive")
        yield client
    server.kill()
    server.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster and, beside it in `out`, what a run on the disk says of it."""
    folder = tmp_path_factory.mktemp("local")
    image = worlds.touching_cells(np.random.default_rng(2), 400).astype(np.uint16)
    path = write_raster(folder / "a.tif", image[None], blockxsize=64, blockysize=64, compress="deflate")
    runs.run([path], folder / "out", MODEL, {"pause": 0.02}, **SETS)
    return path


@pytest.fixture(scope="module")
def uri(bucket: Any, local: Path) -> str:
    bucket.upload_file(str(local), "archive", "scenes/a.tif")
    return "s3://archive/scenes/a.tif"


@pytest.fixture(scope="module")
def finished(uri: str) -> str:
    """An undisturbed run in the bucket."""
    out = "s3://archive/runs/one"
    assert runs.run([uri], out, MODEL, {"pause": 0.02}, output__masks="labels", **SETS).out == out
    return out


def keys(bucket: Any, prefix: str) -> dict[str, str]:
    """Objects below a prefix and when they were written."""
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket="archive", Prefix=prefix)
    return {item["Key"]: str(item["LastModified"]) for page in pages for item in page.get("Contents", ())}


def comparable(out: str | Path, name: str) -> list[dict[str, Any]]:
    rows = [{key: value for key, value in row.items() if key not in NAMED} for row in runs.rows(out, name)]
    return sorted(rows, key=lambda row: (row["y_min"], row["x_min"], row["mask_rle"])) if name == "instances" else rows


def assert_same_as_local(out: str, local: Path) -> None:
    verify(out, everything=True).raise_if_bad()
    assert comparable(out, "images") == comparable(local.parent / "out", "images")
    mine, theirs = comparable(out, "instances"), comparable(local.parent / "out", "instances")
    for row in (*mine, *theirs):
        row.pop("mask_value")  # ties along the Hilbert curve fall to the identity
    assert mine == theirs


def test_a_run_from_a_bucket_to_a_bucket_gives_the_tables_of_a_run_on_a_disk(
    finished: str, local: Path, bucket: Any
) -> None:
    assert_same_as_local(finished, local)
    results = open_results(finished)
    (mask,) = results.masks
    assert f"runs/one/{mask.path}" in keys(bucket, "runs/one/masks/")
    counted = results.sql("SELECT count(*) AS n FROM instances")["n"].to_pylist()
    assert counted == [row["object_count"] for row in runs.rows(finished, "images")]


def test_a_folder_of_a_bucket_is_an_input(uri: str, tmp_path: Path) -> None:
    summary = runs.run(["s3://archive/scenes/"], tmp_path / "out", MODEL, **SETS)
    assert summary.objects == len(runs.rows(tmp_path / "out", "instances")) > 0


@pytest.mark.long
def test_a_killed_run_in_a_bucket_is_resumed(uri: str, finished: str, bucket: Any) -> None:
    out = "s3://archive/runs/two"
    command = runs.command([uri], out, MODEL, {"pause": 0.02}, **SETS)
    process = subprocess.Popen(command, env=runs.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(keys(bucket, "runs/two/ledger/")) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    committed = keys(bucket, "runs/two/shards/")
    summary = runs.run([uri], out, MODEL, {"pause": 0.02}, resume=True, **SETS)
    assert 6 <= summary.tiles_resumed <= len(committed) < summary.tiles
    assert committed.items() <= keys(bucket, "runs/two/shards/").items()
    verify(out, everything=True).raise_if_bad()
    assert runs.files(out) == runs.files(finished)


def test_a_missing_object_is_a_failed_input_and_the_others_go_on(uri: str, bucket: Any) -> None:
    out = "s3://archive/runs/three"
    summary = runs.run([uri, "s3://archive/scenes/absent.tif"], out, MODEL, **SETS)
    assert (summary.sources, summary.failed_inputs) == (1, 1)
    (told,) = runs.rows(out, "failures")
    assert (told["source_uri"], told["reason"]) == ("s3://archive/scenes/absent.tif", "not_found")
