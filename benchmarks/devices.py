"""Each kind of model on the CPU and on each CUDA device, side by side in one run.

    python -m benchmarks.devices [MODEL ...] [--times 2] [--threads 1]

Whole jobs in this process (inline engine: tiles, model, merge, tables) on the small inputs of `tests/gpu/models.py`,
rasters repeated `--times` times along both sides; a job on the input as it is comes first, to warm up. Printed:

    windows/s  windows divided by the seconds in the model, from windows in this process's memory to answers in it, so
               that nothing of the device is left running when the clock stops
    ratio      that of the device divided by that of the CPU
    waits      share of a whole job's seconds in which nothing runs on the GPU (torch's profiler, in a run of its own)
    tables     whether the objects are those of the CPU (`tests/devices.py`)

Without a GPU only the CPU's column is there.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from schemas.errors import SpecError
from tests import runs
from tests.devices import compare
from tests.gpu.models import JOBS, Job


@dataclass(frozen=True, slots=True)
class Timed:
    """A finished job."""

    out: Path
    wall_s: float
    windows: int
    predict_s: float

    @property
    def rate(self) -> float:
        """Windows in a second of the model."""
        return self.windows / max(self.predict_s, 1e-9)


def header(threads: int) -> Iterable[str]:
    """The machine, as far as it matters."""
    yield (
        f"{platform.machine()}, {platform.system()}, {os.cpu_count()} CPUs, {threads} used, "
        f"Python {platform.python_version()}, torch {torch.__version__}, built for CUDA {torch.version.cuda}"
    )
    if not torch.cuda.is_available():
        yield "torch sees no CUDA device here: only the CPU is measured"
        return
    yield f"cuDNN {torch.backends.cudnn.version()}, driver {_driver()}"
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}: {facts.name}, {facts.total_memory / 2**30:.0f} GiB"


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown (no nvidia-smi)"


def repeated(job: Job, times: int) -> Job:
    """The job on its raster `times` times along both sides; volumes stay as they are."""
    if job.inputs.suffix != ".tif" or times == 1:
        return job
    target = job.inputs.with_name("large.tif")
    with rasterio.open(job.inputs) as file:
        pixels, profile = np.tile(file.read(), (1, times, times)), file.profile
    profile.update(height=pixels.shape[1], width=pixels.shape[2])
    with rasterio.open(target, "w", **profile) as file:
        file.write(pixels)
    return replace(job, inputs=target)


def run(job: Job, out: Path, device: str, threads: int) -> Timed:
    """One whole job; device: `cpu` or `cuda:N`."""
    kind, _, index = device.partition(":")
    if index:
        torch.cuda.set_device(int(index))  # what a job calls `cuda`
    began = time.perf_counter()
    sets: dict[str, Any] = {**job.sets, "model__device": kind, "engine__threads": threads}
    runs.run([job.inputs], out, job.model, **sets)
    wall = time.perf_counter() - began
    tiles = runs.rows(out, "tiles")
    return Timed(out, wall, sum(row["windows"] for row in tiles), sum(row["predict_s"] for row in tiles))


def waiting(job: Job, out: Path, device: str, threads: int) -> float:
    """Share of a job's wall time in which no kernel and no copy runs on the GPU."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        timed = run(job, out, device, threads)
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type == DeviceType.CUDA
    ]
    return 1 - covered(spans) / 1e6 / timed.wall_s


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """How much of the line the spans (start, end) cover together, in their own unit."""
    total, last = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, last))
        last = max(last, end)
    return total


def row(name: str, folder: Path, devices: list[str], times: int, threads: int) -> str:
    """One model on all devices."""
    with pytest.MonkeyPatch.context() as patch:
        small = JOBS[name](folder, patch)
        large = repeated(small, times)
        run(small, folder / "warm-up", "cpu", threads)
        base = run(large, folder / "cpu", "cpu", threads)
        text = f"{base.windows:7d} {base.rate:9.2f}"
        for device in devices:
            if not small.in_torch and device != "cuda:0":
                continue  # onnxruntime takes the number of a device, a job gives none
            place = folder / device.replace(":", "-")
            run(small, place / "warm-up", device, threads)
            timed = run(large, place / "out", device, threads)
            idle = waiting(large, place / "profiled", device, threads)
            agreement = compare(base.out, timed.out, large.allowed)
            text += f" | {device} {timed.rate:9.2f} ratio {timed.rate / base.rate:6.2f} waits {idle:4.0%} {agreement}"
            text += "".join(f"\n    {problem}" for problem in agreement.problems[:5])
    return text


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[*JOBS, []], help="By default all.")
    parser.add_argument("--times", type=int, default=2, help="How often rasters are repeated along a side.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the model.")
    options = parser.parse_args()
    print(*header(options.threads), sep="\n")
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    print(f"{'model':<16} windows  cpu windows/s")
    for name in options.models or JOBS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(f"{name:<16} {row(name, Path(folder), devices, options.times, options.threads)}", flush=True)
            except (pytest.skip.Exception, SpecError) as reason:
                print(f"{name:<16} left out: {reason}", flush=True)


if __name__ == "__main__":
    main()
