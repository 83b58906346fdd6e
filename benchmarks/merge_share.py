"""How much of a Mask R-CNN job the merge is: `python -m benchmarks.merge_share [--device cuda] [--windows 3]`.

A real Mask R-CNN (torchvision, ResNet-50-FPN, random weights) sees every window, and computes and pastes its masks;
then a perfect answer, about 120 touching objects in each window of 1024 px, takes the place of its meaningless one.
The whole job runs in this process. Counted as merge is CPU time of

    compare    in the worker: duplicates, comparing and linking views, finishing what no other tile can have seen
    link       across work tiles, and deciding which open parts are one object
    gather     putting whole objects together before they are measured

and not: turning masks into runs, writing shards, measuring, tables. What the worker does runs beside the network, so
the merge's share of wall time is at most what is printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import scale
from benchmarks.models.network_and_truth import NetworkAndTruth
from jobs.events import NullEvents
from jobs.loading import load_spec
from jobs.results import open_results
from jobs.stages import run
from segworkers import encoding, merging, rows, worker

MODEL = "python:benchmarks.models.network_and_truth:NetworkAndTruth"

SCALE = 3
"""Times that the cells of `benchmarks.scale` are enlarged: 90 px from one to the next."""


class Clock:
    """CPU seconds of the calling threads inside wrapped functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, name: str, began: float) -> None:
        """Count the time since `began` as `name`."""
        self.seconds[name] = self.seconds.get(name, 0.0) + time.thread_time() - began

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*args: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return call(*args, **named)
            finally:
                self.add(name, began)

        return timed

    def wrap_iterator(self, name: str, call: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """The same generator function, timed while it works."""

        def timed(*args: Any) -> Iterator[Any]:
            found = call(*args)
            while True:
                began = time.thread_time()
                item = next(found, None)
                self.add(name, began)
                if item is None:
                    return
                yield item

        return timed


def watch(clock: Clock) -> None:
    """Time the functions that merge, wherever they are called from."""
    encoding.views_of = clock.wrap("to runs", encoding.views_of)
    worker.encode_instances = clock.wrap("encode", worker.encode_instances)
    merging.MergeWorker.__call__ = clock.wrap("link", merging.MergeWorker.__call__)
    rows.gather = clock.wrap_iterator("gather", rows.gather)


def job(raster: Path, out: Path, device: str) -> tuple[float, float]:
    """Wall and CPU seconds of a whole job."""
    values = {
        "inputs": [str(raster)],
        "model": {"reference": MODEL, "device": device},
        "output": {"path": str(out)},
        "engine": {"kind": "inline"},
    }
    wall, cpu = time.perf_counter(), time.process_time()
    run(load_spec(values=values), events=NullEvents())
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--windows", type=int, default=3, help="Windows along a side of the raster.")
    options = parser.parse_args()
    clock = Clock()
    side = 1024 + (options.windows - 1) * (1024 - NetworkAndTruth.overlap[1])
    with tempfile.TemporaryDirectory() as folder:
        small, raster = Path(folder) / "small.tif", Path(folder) / "cells.tif"
        scale.write_raster(small, 1024, "instance", enlarged=SCALE)
        job(small, Path(folder) / "warm-up", options.device)  # compiled code comes from the cache afterwards
        scale.write_raster(raster, round((side / scale.PITCH) ** 2), "instance", enlarged=SCALE)
        NetworkAndTruth.detections = 0
        watch(clock)
        wall, cpu = job(raster, Path(folder) / "out", options.device)
        told = open_results(str(Path(folder) / "out")).sql(
            "SELECT sum(windows) windows, sum(detections) detections, sum(predict_s) predict_s FROM tiles"
        )
        windows, detections, predict_s = map(float, told.to_pylist()[0].values())
    spent = {name: clock.seconds.get(name, 0.0) for name in ("link", "gather")}
    spent = {"compare": clock.seconds["encode"] - clock.seconds["to runs"], **spent}
    merge = sum(spent.values())
    print(
        f"{options.device}: {windows:.0f} windows, {detections / windows:.0f} objects a window; the network computed "
        f"{NetworkAndTruth.detections / windows:.0f} masks a window (random weights; its answers are not used)"
    )
    print(f"wall {wall:.1f} s, of which predict {predict_s:.1f} s ({predict_s / windows:.3f} s a window)")
    print(f"masks to runs {clock.seconds['to runs']:.2f} s (not merge)")
    print("  ".join(f"{name} {seconds:.3f} s" for name, seconds in spent.items()))
    print(
        f"merge {merge:.3f} s = {100 * merge / wall:.2f} % of wall, {100 * merge / cpu:.2f} % of the job's CPU seconds "
        f"({cpu:.0f} s); {1e3 * merge / windows:.2f} ms a window, "
        f"{1e6 * merge / detections:.1f} us a detection"
    )


if __name__ == "__main__":
    main()
