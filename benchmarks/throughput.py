"""What the job costs over the bare work: read, threshold, label, in one process without tiles.

    python benchmarks/throughput.py [SIDE]

Prints, for one raster on this machine in one run: a bare loop that only reads; a bare script that reads all of it,
labels it in memory with cc3d and counts; and the whole job (inline engine: tiles, merge, measures, tables). Ratios are
what to look at: absolute times depend on the machine.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cc3d
import numpy as np
import rasterio
from rasterio.windows import Window
from scipy import ndimage

from jobs.events import NullEvents
from jobs.loading import load_spec
from jobs.results import open_results
from jobs.stages import run
from segworkers.rasters import write_tiled_geotiff

LEVEL = 140


def make_raster(path: Path, side: int) -> None:
    """A smooth random field, 8 bit, tiled, deflate: about 240 blobs in every million pixels above LEVEL."""
    rng = np.random.default_rng(0)
    block = ndimage.gaussian_filter(rng.standard_normal((2048, 2048)), 8, mode="wrap")
    block = ((block - block.min()) / np.ptp(block) * 255).astype(np.uint8)
    repeats = -(-side // 2048)
    affine = (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_000_000.0)
    with rasterio.Env():
        wkt = rasterio.CRS.from_epsg(32633).to_wkt()
    write_tiled_geotiff(path, np.tile(block, (repeats, repeats))[:side, :side], affine=affine, crs_wkt=wkt)


def timed(name: str, work: Callable[[], object], side: int) -> float:
    """Run once, print the time."""
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    print(f"{name:<44} {seconds:7.2f} s  {side * side / 1e6 / seconds:8.1f} Mpx/s  {result}")
    return seconds


def read_only(path: Path) -> str:
    """Every pixel once, in windows of 4096."""
    with rasterio.open(path) as file:
        for y in range(0, file.height, 4096):
            for x in range(0, file.width, 4096):
                file.read(1, window=Window(x, y, min(4096, file.width - x), min(4096, file.height - y)))
    return ""


def label_in_memory(path: Path) -> str:
    """The whole raster as one array: what the job must agree with."""
    with rasterio.open(path) as file:
        _, count = cc3d.connected_components(file.read(1) > LEVEL, connectivity=8, return_N=True)
    return f"{count:,} objects"


def whole_job(path: Path, out: Path) -> str:
    """Tables included."""
    spec = load_spec(
        values={
            "inputs": [str(path)],
            "model": {"reference": "threshold", "options": {"value": LEVEL}},
            "output": {"path": str(out)},
            "engine": {"kind": "inline"},
        }
    )
    return f"{run(spec, events=NullEvents()).objects:,} objects"


def main(side: int) -> None:
    """Print the table."""
    machine = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    print(f"{machine}, raster {side} x {side} uint8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raster.tif"
        make_raster(path, side)
        whole_job(path, Path(folder) / "warm-up")  # compiled code comes from the cache afterwards
        timed("rasterio, read only", lambda: read_only(path), side)
        bare = timed("rasterio + cc3d on the whole array", lambda: label_in_memory(path), side)
        out = Path(folder) / "out"
        job = timed("segworkers, inline, to verified tables", lambda: whole_job(path, out), side)
        tiles = open_results(str(out)).sql("SELECT sum(read_s), sum(predict_s), sum(encode_s) FROM tiles").to_pylist()
        print(f"job / bare script: {job / bare:.2f}; seconds by stage (they overlap): {tiles[0]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8192)
