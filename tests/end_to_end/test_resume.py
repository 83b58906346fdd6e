"""Law 6: kill the driver anywhere, run the same command with --resume, and get the undisturbed run's tables."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import runs, worlds
from tests.jobs.engines.processes import eventually, host_processes, is_alive
from tests.segworkers.readers.rasters import write_raster

BAD_USAGE = 2
MODEL = runs.user_model("Oracle")
OPTIONS: dict[str, Any] = {"side": 64, "overlap": 16, "pause": 0.004}
SETS: dict[str, Any] = {"tiling__tile": 100, "engine__chunk_tiles": 2}
RAY: dict[str, Any] = {"engine__kind": "ray", "engine__workers": 2, "model__device": "cpu"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(21)
    images = {"cells": worlds.touching_cells(rng, 500), "rivers": worlds.rivers(rng, 260)}
    return [write_raster(folder / f"{name}.tif", image[None].astype(np.uint16)) for name, image in images.items()]


@pytest.fixture(scope="module")
def undisturbed(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    runs.run(inputs, out, MODEL, OPTIONS, **SETS)
    return out


def shards(out: Path) -> dict[Path, tuple[int, int]]:
    """Every committed shard, and what changes when it is written again."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("shards/*/*.zip")}


def written(out: Path) -> dict[Path, int]:
    """When each file was written, but for the pointer, which every run replaces."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "current.json"}


def start(inputs: list[Path], out: Path, *, resume: bool = False, **sets: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        runs.command(inputs, out, MODEL, OPTIONS, resume=resume, **(SETS | sets)),
        env=runs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> int:
    """Wait for a run that must succeed; the tiles it found done."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    found = re.search(r"([\d,]+) tiles \(([\d,]+) from an earlier run\)", output)
    assert found is not None, output
    return int(found[2].replace(",", ""))


def kill_when(process: subprocess.Popen[str], moment: Callable[[], bool], *, must_come: bool = True) -> None:
    """SIGKILL the driver as soon as `moment` has come; nothing that could write may outlive it for long.

    must_come: whether the run may end before this process notices that the moment has come.
    """
    while not moment():
        if process.poll() is not None:
            assert not must_come, f"the run ended before: {process.communicate()[0]}"
        time.sleep(0.001)
    workers = host_processes(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert eventually(lambda: not any(map(is_alive, workers)), 30)


def has(out: Path, pattern: str, count: int = 1) -> Callable[[], bool]:
    return lambda: len(list(out.glob(pattern))) >= count


def assert_same_as(out: Path, undisturbed: Path) -> None:
    assert runs.files(out) == runs.files(undisturbed)
    kept = ("source_id", "tile", "status", "pixels_done", "pixels_empty", "detections")
    told = [[[row[name] for name in kept] for row in runs.rows(each, "tiles")] for each in (out, undisturbed)]
    assert told[0] == told[1]


def moments(out: Path, tiles: int, count: int, seed: int) -> list[Callable[[], bool]]:
    at = sorted(random.Random(seed).sample(range(1, tiles - 2), count))
    return [has(out, "shards/*/*.zip", number) for number in at]


def test_a_driver_killed_again_and_again_loses_and_doubles_nothing(
    inputs: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tiles = len(runs.rows(undisturbed, "tiles"))
    committed: dict[Path, tuple[int, int]] = {}
    late = [has(out, "merge/*/*/groups.arrow"), has(out, "tables/*/*/*.parquet")]
    for number, moment in enumerate([*moments(out, tiles, 2, seed=4), *late]):
        kill_when(start(inputs, out, resume=number > 0), moment, must_come=number < 2)
        now = shards(out)
        assert committed.items() <= now.items(), "a finished tile was computed again"
        committed = now
    assert finish(start(inputs, out, resume=True)) == tiles
    assert shards(out) == committed
    assert_same_as(out, undisturbed)


@pytest.mark.long
@pytest.mark.cluster
def test_a_driver_killed_with_its_cluster_loses_and_doubles_nothing(
    inputs: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tiles = len(runs.rows(undisturbed, "tiles"))
    kill_when(start(inputs, out, **RAY), *moments(out, tiles, 1, seed=5))
    committed = shards(out)
    resumed = finish(start(inputs, out, resume=True, **RAY))
    assert 0 < resumed <= len(committed)
    assert committed.items() <= shards(out).items()
    assert len(shards(out)) == tiles
    assert_same_as(out, undisturbed)


@pytest.mark.long
def test_what_a_crash_left_half_written_does_no_harm(inputs: list[Path], undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kill_when(start(inputs, out), has(out, "shards/*/*.zip", 5))
    whole = next(iter(shards(out)))
    for folder in (whole.parent, out / "ledger", out / "rows", out / "tables"):
        folder.mkdir(exist_ok=True)
        (folder / f".{whole.name}.0123.tmp").write_bytes(whole.read_bytes()[:100])
    left = out / ".scratch" / "left"
    left.mkdir(parents=True)
    (left / "part-0.parquet").write_bytes(b"PAR1")
    assert finish(start(inputs, out, resume=True)) > 0
    assert_same_as(out, undisturbed)


def test_two_drivers_at_once_give_one_correct_result(inputs: list[Path], undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(inputs, out)
    assert eventually((out / "run.json").exists, 60)
    second = start(inputs, out, resume=True)
    finish(first)
    finish(second)
    assert_same_as(out, undisturbed)
    assert len(shards(out)) == len(runs.rows(undisturbed, "tiles"))
    assert len(list(out.glob("tables/*"))) == 1


def test_a_finished_run_changes_nothing_when_it_is_resumed(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    runs.run(inputs, out, MODEL, OPTIONS, **SETS)
    before, pointer = written(out), (out / "current.json").read_bytes()
    summary = runs.run(inputs, out, MODEL, OPTIONS, resume=True, **SETS)
    assert summary.tiles_resumed == summary.tiles
    assert written(out) == before
    assert (out / "current.json").read_bytes() == pointer


def test_a_run_may_be_resumed_with_other_tiles_and_reuses_none(
    inputs: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kill_when(start(inputs, out), has(out, "shards/*/*.zip", 7))
    summary = runs.run(inputs, out, MODEL, OPTIONS, resume=True, tiling__tile=300)
    assert summary.tiles_resumed == 0
    assert runs.files(out) == runs.files(undisturbed)


def test_other_work_in_the_same_folder_is_refused(inputs: list[Path], tmp_path: Path) -> None:
    from jobs.cli import main

    out = tmp_path / "out"
    runs.run(inputs[1:], out, MODEL, OPTIONS, **SETS)
    pointer = (out / "current.json").read_bytes()
    same = runs.command(inputs[1:], out, MODEL, OPTIONS, **SETS)[3:]
    assert main(same) == BAD_USAGE
    for other in (
        runs.command(inputs, out, MODEL, OPTIONS, resume=True),
        runs.command(inputs[1:], out, MODEL, OPTIONS | {"side": 48}, resume=True),
        runs.command(inputs[1:], out, "threshold", {"value": 1}, resume=True),
        runs.command(inputs[1:], out, MODEL, OPTIONS, resume=True, output__min_pixels=5),
    ):
        assert main(other[3:]) == BAD_USAGE
    assert (out / "current.json").read_bytes() == pointer
    assert main([*same, "--resume"]) == 0


def test_a_changed_input_is_worked_on_again_when_a_run_is_resumed(inputs: list[Path], tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "out"
    image = np.zeros((1, 100, 100), np.uint16)
    image[0, 10:20, 10:20] = 1
    write_raster(path, image)
    assert runs.run([path], out, MODEL, OPTIONS).objects == 1
    image[0, 50:60, 10:20] = 2
    write_raster(path, image, compress="deflate")
    summary = runs.run([path], out, MODEL, OPTIONS, resume=True)
    assert (summary.objects, summary.tiles_resumed) == (2, 0)
