"""Workers that die in mid-run: unnoticed in the tables, unless a tile kills whoever touches it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from tests import runs, worlds
from tests.jobs.engines.processes import host_processes
from tests.segworkers.readers.rasters import write_raster

if TYPE_CHECKING:
    from jobs.engines.cluster import RayEngine

pytestmark = pytest.mark.cluster

SIDE, TILE, POISON = 500, 100, 60_000
RAY: dict[str, Any] = {
    "engine__kind": "ray", "engine__address": "auto", "engine__gpus_per_worker": 0, "engine__workers": 2,
    "engine__chunk_tiles": 4, "tiling__tile": TILE,
}  # fmt: skip


@pytest.fixture(scope="module")
def truth() -> NDArray[np.uint16]:
    return worlds.touching_cells(np.random.default_rng(8), SIDE).astype(np.uint16)


def write(path: Path, truth: NDArray[np.uint16], poison: tuple[int, int] | None) -> Path:
    image = truth.copy()
    if poison is not None:
        image[poison] = POISON
    return write_raster(path, image[None])


def when(moment: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    def wait() -> None:
        while not moment():
            time.sleep(0.002)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_workers_killed_from_outside_go_unnoticed(
    truth: NDArray[np.uint16], tmp_path: Path, ray_engine: RayEngine
) -> None:
    path = write(tmp_path / "a.tif", truth, None)
    model = runs.user_model("Oracle"), {"pause": 0.01}
    runs.run([path], tmp_path / "inline", *model, tiling__tile=TILE)
    out = tmp_path / "ray"
    killed: list[int] = []

    def kill_all() -> None:
        for pid in host_processes(os.getpid()):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killers = [when(lambda n=n: len(list(out.glob("shards/*/*.zip"))) >= n, kill_all) for n in (3, 12)]
    assert runs.segment([path], out, *model, **RAY) == 0
    for killer in killers:
        killer.join(timeout=10)
    assert len(killed) >= 2
    assert runs.files(out) == runs.files(tmp_path / "inline")


@pytest.mark.long
def test_a_worker_that_dies_once_of_a_window_goes_unnoticed(
    truth: NDArray[np.uint16], tmp_path: Path, ray_engine: RayEngine
) -> None:
    path = write(tmp_path / "a.tif", truth, (250, 250))
    died = tmp_path / "died"
    model = runs.user_model("Fragile"), {"how": "exit once", "marker": str(died)}
    died.mkdir()  # as if it had died before: it stays alive
    runs.run([path], tmp_path / "inline", *model, tiling__tile=TILE)
    died.rmdir()
    assert runs.segment([path], tmp_path / "ray", *model, **RAY) == 0
    assert died.is_file()
    assert runs.files(tmp_path / "ray") == runs.files(tmp_path / "inline")


@pytest.mark.long
def test_a_tile_that_kills_whoever_touches_it_fails_alone(
    truth: NDArray[np.uint16], tmp_path: Path, ray_engine: RayEngine
) -> None:
    path = write(tmp_path / "a.tif", truth, (160, 310))
    out = tmp_path / "out"
    assert runs.segment([path], out, runs.user_model("Fragile"), {"how": "exit"}, **RAY) == 3
    tiles = runs.rows(out, "tiles")
    failed = [tile for tile in tiles if tile["status"] != "done"]
    assert {(tile["status"], tile["reason"]) for tile in failed} == {("failed", "process_died")}
    poison = [t for t in tiles if t["y_min"] <= 160 < t["y_max"] and t["x_min"] <= 310 < t["x_max"]]
    assert poison[0] in failed
    assert len(failed) <= 4  # whose windows see the pixel
    lost = np.zeros(truth.shape, bool)
    for tile in failed:
        lost[tile["y_min"] : tile["y_max"], tile["x_min"] : tile["x_max"]] = True
        assert tile["pixels_failed"] == tile["pixels"]
    rows = runs.rows(out, "instances")
    whole = [runs.mask_of(row, truth.shape) for row in rows if row["is_complete"]]
    numbers = {int(truth[mask][0]) for mask in whole}
    assert all((mask == (truth == truth[mask][0])).all() for mask in whole)
    near = binary_dilation(lost, np.ones((3, 3)))
    assert numbers == set(np.unique(truth).tolist()) - set(np.unique(truth[near]).tolist()) - {0}
    told = runs.rows(out, "failures")
    assert {row["reason"] for row in told} == {"process_died"}
    assert all(row["message"] and row["hint"] for row in told)
