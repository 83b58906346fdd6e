"""Whether other people's readers find in a SEG and an SR what was written: OHIF's segmentation adapter and dcmjs.

    python -m benchmarks.viewers

Writes a series and `clinical` objects of overlapping and separate lesions, installs the readers (see
`benchmarks/viewers/package.json`; node, npm and a package registry are needed) in a temporary folder, and compares
every segment's voxels, slice by slice, and every measurement. `@cornerstonejs/adapters` is the code with which OHIF
opens a segmentation; its reader of label maps is younger and needs a browser, so binary objects are looked at.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from segworkers.dicom.lesions import Lesion
from segworkers.dicom.report import write_sr
from segworkers.dicom.segmentation import write_seg
from tests.dicom_files import CORONAL, OBLIQUE, Layout
from tests.dicom_outputs import Series, bitmaps, lesions, options, series

HERE = Path(__file__).parent / "viewers"
SHAPE = (9, 40, 48)
LAYOUTS = {
    "axial": Layout(shape=SHAPE),
    "coronal": Layout(shape=SHAPE, iop=CORONAL),
    "oblique": Layout(shape=SHAPE, iop=OBLIQUE),
    "tilted": Layout(shape=SHAPE, tilt_deg=13.5),
    "uneven steps": Layout(shape=SHAPE, at=(0, 1, 2, 3.5, 4, 6, 7, 8.5, 9)),
}
MEASURED = {"volume_mm3": 812.5, "long_axis_mm": 12.25, "short_axis_mm": 8.125, "max_diameter_mm": 14.75}


def install(folder: Path) -> None:
    """The readers, at pinned versions; no package runs a script of its own."""
    shutil.copytree(HERE, folder, dirs_exist_ok=True)
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm not found: install node")
    subprocess.run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)


def written(folder: Path, layout: Layout) -> tuple[Series, list[Lesion], Path, Path]:
    """A series, its lesions, and the two objects."""
    given = series(folder / "in", layout)
    found = lesions(bitmaps(layout.shape), **MEASURED)
    chosen = options(mode="clinical")
    (seg,) = write_seg(given.stack, given.facts, found, chosen, folder)
    (report,) = write_sr(given.stack, given.facts, found, [seg], chosen, folder)
    return given, found, seg, report


def as_read(folder: Path, given: Series, seg: Path, report: Path) -> dict[str, Any]:
    """What the readers say."""
    node = shutil.which("node")
    assert node is not None
    images = [each.place for each in given.stack.slices]
    asked = [node, str(folder / "read.mjs"), str(seg), str(report), *images]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=folder)
    return json.loads(done.stdout.splitlines()[-1])


def expected(found: list[Lesion]) -> dict[str, dict[str, int]]:
    """Voxels of each segment in each slice."""
    made: dict[str, dict[str, int]] = {}
    for number, lesion in enumerate(found, 1):
        slices, places = np.unique(lesion.runs[:, 0], return_inverse=True)
        voxels = np.bincount(places, lesion.runs[:, 3] - lesion.runs[:, 2])
        made[str(number)] = {str(z): int(count) for z, count in zip(slices, voxels, strict=True)}
    return made


def main() -> None:
    """Print a line for each kind of series; exit code 1 where something differs."""
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        reader = Path(scratch) / "readers"
        install(reader)
        for name, layout in LAYOUTS.items():
            given, found, seg, report = written(Path(scratch) / name, layout)
            told, wanted = as_read(reader, given, seg, report), expected(found)
            voxels = sum(sum(each.values()) for each in wanted.values())
            numbers = [value for _, value in told["values"]]
            agrees = told["counts"] == wanted and sorted(numbers) == sorted([*MEASURED.values()] * len(found))
            wrong += not agrees
            print(
                f"{name:14} {len(told['segments'])} segments, {voxels:,} voxels, {len(numbers)} measurements: "
                f"{'as written' if agrees else f'DIFFERS: {told} for {wanted}'}"
            )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
