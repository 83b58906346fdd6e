"""Merging at scale: one source with many touching objects, on two Ray workers. Linux only.

    python -m benchmarks.scale [--objects 100000 1000000] [--kind instance|dense] [--skip-segment] [--folder DIR]

The raster is a real GeoTIFF: a periodic pattern of irregular cells of about 30 x 30 px, each with a value its
neighbours do not have. `instance` runs a perfect instance model (windows of 1024 px, overlap 64, so that one cell in
five is seen by several windows); `dense` the built-in threshold on the same cells, a pixel apart. The job is
`segworkers segment` in a process of its own, everything that it starts is watched.

--skip-segment leaves out what takes longest and is not the question: shards are made by moving those of nine work tiles
(`benchmarks.support.periodic_shards`), and `segworkers segment --resume` does the rest, all of it real.

Compare CPU seconds an object, which other work on the machine does not change. `driver grows` is how far the driver's
resident memory rises above what it was when the first tile was sent; where the job is small, the driver does the
merge itself, and all libraries it loads for that count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from benchmarks.seams.records import Record, scale_of, write_records
from benchmarks.support.periodic_shards import commit_shards
from benchmarks.support.process_tree import Usage, Watch
from jobs.loading import load_spec
from jobs.results import open_results
from schemas.boxes import Box
from segworkers.rasters import write_tiled_geotiff

PITCH = 30
"""Pixels from one cell to the next."""

PATTERN = 8
"""Cells along a side of the pattern, whose 240 px divide the distance of windows."""

MODELS = {"instance": f"python:{Path(__file__).parent / 'models' / 'cells.py'}:Cells", "dense": "threshold"}


@dataclass(frozen=True, slots=True)
class Run:
    """What one job took."""

    objects: int
    open: int
    """Views or fragments that neighbouring tiles had to settle."""
    stages: dict[str, Usage]
    steps: dict[str, float]
    """Seconds of link, resolve and rows within `merge`, by the times of their files."""

    def record(self) -> Record:
        """For docs/benchmarks/seams.md: merging and publishing."""
        cpu_s = sum(self.stages[name].cpu_s for name in ("merge", "publish"))
        return scale_of(self.objects, cpu_s, round(1e6 * self._growth()))

    def _growth(self) -> float:
        after = [mb for name in ("segment", "merge", "publish") for mb in self.stages[name].driver_mb]
        return max(after) - after[0]

    def row(self, kind: str) -> dict[str, Any]:
        """One line of the table."""
        merge, publish = self.stages["merge"], self.stages["publish"]
        micro = 1e6 / self.objects
        return {
            "kind": kind,
            "objects": self.objects,
            "open": self.open,
            **{f"{name} s": round(usage.seconds, 1) for name, usage in self.stages.items()},
            **{f"{name} s": round(seconds, 1) for name, seconds in self.steps.items()},
            "segment us/object": round(self.stages["segment"].cpu_s * micro, 1),
            "merge us/object": round(merge.cpu_s * micro, 1),
            "publish us/object": round(publish.cpu_s * micro, 1),
            "driver grows MB": round(self._growth()),
            **{f"{name} worker MB": round(usage.worker_mb) for name, usage in self.stages.items() if name != "catalog"},
        }


def pattern() -> NDArray[np.uint8]:
    """(y, x) one period: irregular touching cells, each of its own value."""
    side = PITCH * PATTERN
    rng = np.random.default_rng(0)
    grid = (np.stack(np.mgrid[:PATTERN, :PATTERN], axis=-1).reshape(-1, 2) + 0.5) * PITCH
    centres = grid + rng.uniform(-6, 6, grid.shape)
    pixels = np.stack(np.mgrid[:side, :side], axis=-1).reshape(-1, 2) + 0.5
    nearest = KDTree(centres, boxsize=side).query(pixels)[1]
    return (np.asarray(nearest).reshape(side, side) + 100).astype(np.uint8)


def apart(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same cells without the pixels that touch the next one below or to the right, diagonals included."""
    same = np.ones(cells.shape, bool)
    for shift in ((1, 0), (0, 1), (1, 1), (1, -1)):
        same &= np.roll(cells, shift, (0, 1)) == cells
    return np.where(same, cells, 0).astype(np.uint8)


def write_raster(path: Path, objects: int, kind: str, enlarged: int = 1) -> None:
    """A raster of about `objects` cells, or a part of it with each pixel enlarged to a square."""
    side = round(objects**0.5) * PITCH
    period = pattern() if kind == "instance" else apart(pattern())
    period = period.repeat(enlarged, 0).repeat(enlarged, 1)
    write_periodic(path, period, side)


def write_periodic(path: Path, period: NDArray[np.uint8], side: int) -> None:
    """A square raster that repeats one period (y, x)."""
    strip = np.tile(period, (1, -(-side // len(period))))[:, :side]

    def strips() -> Iterator[tuple[Box, NDArray[np.uint8]]]:
        for y in range(0, side, 512):
            rows = np.arange(y, min(y + 512, side)) % len(period)
            yield Box((0, y, 0), (1, y + len(rows), side)), strip[rows]

    write_tiled_geotiff(path, strips(), shape=(1, side, side), dtype="uint8")


def job_settings(kind: str, workers: int) -> list[str]:
    """Keys of the spec beside inputs, model and output."""
    level = ["model.options.value=50"] if kind == "dense" else []
    return [f"engine.workers={workers}", *level]


def make_shards(raster: Path, out: Path, objects: int) -> None:
    """A run folder in which all that remains is to merge; the raster itself stays empty."""
    side = round(objects**0.5) * PITCH
    write_tiled_geotiff(raster, [], shape=(1, side, side), dtype="uint8")
    values = {"inputs": [str(raster)], "model": {"reference": MODELS["instance"]}, "output": {"path": str(out)}}
    commit_shards(load_spec(values=values), pattern())


def run_job(raster: Path, out: Path, kind: str, workers: int) -> Run:
    """`segworkers segment`, watched; goes on where there are shards already."""
    command = [sys.executable, "-m", "jobs", "segment", str(raster), "--model", MODELS[kind], "-o", str(out)]
    for setting in job_settings(kind, workers):
        command += ["--set", setting]
    if out.exists():
        command.append("--resume")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        watch = Watch(process.pid)
        watch.start()
        assert process.stderr is not None, "asked for a pipe"
        told: list[str] = []
        began = time.time()
        for line in process.stderr:
            told.append(line)
            if line.rstrip().endswith(" ..."):
                watch.enter(line.split()[0])
                began = time.time() if line.startswith("merge") else began
    stages = watch.stop()
    if process.returncode:
        raise RuntimeError("".join(told[-20:]))
    stages.pop("", None)
    found = open_results(str(out)).sql("SELECT object_count FROM images").to_pylist()[0]["object_count"]
    return Run(found, _open_parts(out), stages, _steps(out, began))


def _open_parts(out: Path) -> int:
    receipts = [json.loads(line) for file in (out / "ledger").iterdir() for line in file.read_text().splitlines()]
    return sum(receipt["open"] for receipt in receipts)


def _steps(out: Path, began: float) -> dict[str, float]:
    """Seconds of each step, from the times at which its last file was finished."""
    steps: dict[str, float] = {}
    for name, files in (("link", "merge/*/*/links-*"), ("resolve", "merge/*/*/groups*"), ("rows", "rows/*.json")):
        last = max((file.stat().st_mtime for file in out.glob(files)), default=began)
        steps[name], began = last - began, last
    return steps


def main() -> None:
    """Print the table, one line a job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kind", nargs="+", choices=sorted(MODELS), default=["instance"])
    parser.add_argument("--skip-segment", action="store_true", help="Only for instances.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="Where the raster and the run go meanwhile.")
    parser.add_argument("--json", type=Path, default=None, help="Also write the table there.")
    parser.add_argument("--records", type=Path, default=None, help="Add instances there, for `benchmarks.seams page`.")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{os.cpu_count()} cores, {options.workers} workers", flush=True)
    for kind in options.kind:
        for objects in options.objects:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                raster = Path(folder) / "cells.tif"
                if options.skip_segment:
                    make_shards(raster, Path(folder) / "out", objects)
                else:
                    write_raster(raster, objects, kind)
                done = run_job(raster, Path(folder) / "out", kind, options.workers)
            rows.append(done.row(kind))
            if options.records is not None and kind == "instance":
                write_records(options.records, [done.record()], append=True)
            print("  ".join(f"{name}: {value:,}" if name != "kind" else value for name, value in rows[-1].items()))
            sys.stdout.flush()
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
