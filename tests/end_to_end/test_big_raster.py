"""A raster too large for memory is counted exactly, in bounded memory, whatever the engine and the work tiles."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.results import open_results
from tests import runs
from tests.end_to_end.big_raster import Contents, write_big_raster
from tests.jobs.engines.processes import descendants

_log = logging.getLogger(__name__)

SIDE = 20_000
MEMORY_LIMIT = 2_000_000_000
TILES = (1024, 2048, 4096)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "threshold": ("threshold", {"value": 0.5}),
    "oracle": (runs.user_model("Oracle"), {"side": 1024, "overlap": 64, "classes": 1}),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """What a run cost."""

    seconds: float
    peak_bytes: dict[str, int]
    """The largest process of each kind."""


def watch(command: list[str], log: Path) -> Watched:
    """Run a command that must succeed, and note how large its processes became."""
    began, peak = time.monotonic(), dict[str, int]()
    with log.open("w") as file:
        process = subprocess.Popen(command, env=runs.environment(), stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            for pid in {process.pid, *descendants(process.pid)}:
                name, size = high_water(pid)
                peak[name] = max(peak.get(name, 0), size)
            time.sleep(0.2)
    assert process.returncode == 0, log.read_text()[-3000:]
    return Watched(time.monotonic() - began, peak)


def high_water(pid: int) -> tuple[str, int]:
    """Name of a process and the most memory that it ever held, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return "", 0
    status = dict(line.split(":", 1) for line in lines)
    return status["Name"].strip(), int(status.get("VmHWM", "0 kB").split()[0]) * 1024


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Contents]:
    path = tmp_path_factory.mktemp("big") / "big.tif"
    return path, write_big_raster(path, SIDE)


def assert_exact(out: Path, contents: Contents) -> None:
    results = open_results(out)
    query = "SELECT object_count, pixels, pixels_done + pixels_empty AS valid FROM images"
    assert results.sql(query).to_pylist() == [{"object_count": contents.objects, "pixels": SIDE**2, "valid": SIDE**2}]
    query = """SELECT count(*) AS n, count(DISTINCT instance_id) AS ids, sum(pixel_count)::BIGINT AS pixels
        FROM instances"""
    expected = {"n": contents.objects, "ids": contents.objects, "pixels": contents.pixels}
    assert results.sql(query).to_pylist() == [expected]
    query = "SELECT y_min, y_max, x_min, x_max FROM instances WHERE y_max - y_min > 40 ORDER BY y_min"
    boxes = [(row["y_min"], row["y_max"], row["x_min"], row["x_max"]) for row in results.sql(query).to_pylist()]
    assert boxes == sorted((a, b, a, b) for a, b in contents.frames.values())


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", MODELS)
def test_a_big_raster_is_counted_exactly_in_little_memory(
    model: str, big: tuple[Path, Contents], tmp_path: Path
) -> None:
    path, contents = big
    digests: set[str] = set()
    for engine in ("inline", "ray"):
        for tile in TILES:
            out = tmp_path / f"{engine}-{tile}"
            sets: dict[str, Any] = {"engine__kind": engine, "tiling__tile": tile, "model__device": "cpu"}
            cost = watch(runs.command([path], out, *MODELS[model], **sets), tmp_path / "log.txt")
            _log.info("%s %s %s: %.0f s, %s", model, engine, tile, cost.seconds, cost.peak_bytes)
            assert max(cost.peak_bytes.values()) <= MEMORY_LIMIT
            assert_exact(out, contents)
            digests.add(hashlib.sha256(repr(runs.files(out)).encode()).hexdigest())
    assert len(digests) == 1
