"""Memory and time of one long CT: `python -m benchmarks.volume_memory ARCHIVE [--model liver-lesions] [--slices 1000]`.

ARCHIVE is pyradiomics-3.0.1.tar.gz, its sources (BSD-3-Clause). Its scan `lung2` (512 x 512, 5 mm) is interpolated to
slices of 1 mm and prolonged at its upper end, forwards and backwards through its upper third, so that there is one
liver in a scan of 512 x 512 x 1000. It is written as a DICOM series and segmented by one worker on Ray; the largest
resident memory of any worker and of the driver are printed. Linux only.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import itertools
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage

from benchmarks.real_scans import read_series
from benchmarks.support.process_tree import Watch
from jobs.results import open_results
from tests.dicom_files import Layout, Pixels, ct_series, save

STEP_MM = 5.0
"""Between slices of `lung2`; those that are written are 1 mm apart."""


def prolonged(values: NDArray[np.int16], slices: int) -> NDArray[np.int16]:
    """(z, y, x), 5 mm from slice to slice, to `slices` of them 1 mm apart; the first is the lowest."""
    places = np.arange((len(values) - 1) * STEP_MM + 1) / STEP_MM
    below = np.minimum(places.astype(int), len(values) - 2)
    share = (places - below)[:, None, None].astype(np.float32)
    fine = np.rint(values[below] * (1 - share) + values[below + 1] * share).astype(np.int16)
    upper = range(2 * len(fine) // 3, len(fine))
    there_and_back = itertools.cycle([*reversed(upper), *upper])
    return fine[[*range(len(fine)), *itertools.islice(there_and_back, max(0, slices - len(fine)))][:slices]]


def write_long_series(archive: Path, slices: int, folder: Path) -> None:
    """The DICOM series, a file a slice."""
    short = read_series(archive, "lung2")
    values = prolonged(np.stack([one.pixel_array.astype(np.int16) for one in short]), slices)
    spacing = (1.0, float(short[0].PixelSpacing[0]), float(short[0].PixelSpacing[1]))
    layout = Layout(shape=(slices, *values.shape[1:]), spacing=spacing)
    stored = Pixels(intercept=0, bits=16, signed=True)
    save(ct_series(layout, values, pixels=stored, sop_class=CTImageStorage, patient="long", modality="CT"), folder)  # pyright: ignore[reportArgumentType]


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", default="liver-lesions")
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--set", action="append", default=[], help="A key of the spec and its value, as the job takes.")
    chosen = parser.parse_args()
    packages = " ".join(f"{name} {version(name)}" for name in ("pydicom", "torch", "numpy", "ray"))
    print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, {packages}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_long_series(chosen.archive, chosen.slices, folder / "ct")
        command = [sys.executable, "-m", "jobs", "segment", str(folder / "ct"), "--model", chosen.model]
        command += ["-o", str(folder / "out"), "--engine", "ray"]
        for setting in ("engine.workers=1", f"dicom.crosswalk={folder / 'crosswalk'}", *chosen.set):
            command += ["--set", setting]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            watch = Watch(process.pid)
            watch.start()
            told, _ = process.communicate()
        usage = watch.stop()
        assert process.returncode == 0, told
        (row,) = open_results(folder / "out").sql("SELECT count(*) AS n FROM instances").to_pylist()
    driver = max(megabytes for each in usage.values() for megabytes in each.driver_mb)
    worker = max(each.worker_mb for each in usage.values())
    seconds = time.perf_counter() - began
    print(f"{chosen.model}, 512 x 512 x {chosen.slices}: {row['n']:,} objects, {seconds:.0f} s")
    print(f"largest resident memory: worker {worker:,.0f} MB, driver {driver:,.0f} MB")


if __name__ == "__main__":
    main()
