"""Real CT and MR scans as DICOM, end to end: `python -m benchmarks.real_scans ARCHIVE [--liver]`.

ARCHIVE is pyradiomics-3.0.1.tar.gz, its sources (BSD-3-Clause) with two chest CTs and two brain MRs as NRRD.
They are written as DICOM series in several transfer syntaxes, each is segmented by a threshold, and the tables must be
the same byte for byte. With --liver the two networks of `liver-lesions` run on `lung2`, which shows the liver, on Ray,
and the SEG and SR objects are read back.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import gzip
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import highdicom
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from jobs.results import open_results
from tests.dicom_files import Layout, Pixels, ct_series, save
from tests.dicom_variants import in_transfer_syntax

SCANS = {"lung1": ("CT", 150), "lung2": ("CT", 150), "brain1": ("MR", 700), "brain2": ("MR", 700)}
"""Modality, and a level that gives hundreds of objects."""

SYNTAXES = ("explicit", "deflated", "rle", "jpeg_ls", "jpeg_2000", "jpeg_lossless")


def read_series(archive: Path, name: str) -> list[Dataset]:
    """One scan as a classic series; slices ascend along the normal of rows and columns."""
    with tarfile.open(archive) as opened:
        member = opened.extractfile(f"pyradiomics-3.0.1/data/{name}_image.nrrd")
        assert member is not None
        head, _, body = member.read().partition(b"\n\n")
    fields = dict(re.findall(r"^([a-z ]+): (.*)$", head.decode(), re.MULTILINE))
    assert (fields["type"], fields["encoding"]) == ("short", "gzip")
    x, y, z = map(int, fields["sizes"].split())
    values = np.frombuffer(gzip.decompress(body), "<i2").reshape(z, y, x)
    origin, *steps = (np.array(each.split(","), float) for each in re.findall(r"\(([^)]*)\)", _ordered(fields)))
    along, down, up = steps
    middle = origin + along * (x - 1) / 2 + down * (y - 1) / 2 + up * (z - 1) / 2
    across = np.cross(along, down)
    if across @ up < 0:  # the stored slices descend along the normal
        values = values[::-1]
    sizes = [float(np.linalg.norm(step)) for step in (up, down, along)]
    cosines = (*(along / sizes[2]), *(down / sizes[1]))
    layout = Layout(
        shape=(z, y, x), spacing=(sizes[0], sizes[1], sizes[2]), iop=cosines, middle=(middle[0], middle[1], middle[2])
    )
    modality = SCANS[name][0]
    sop_class = CTImageStorage if modality == "CT" else MRImageStorage
    stored = Pixels(intercept=0, bits=16, signed=True)
    return ct_series(layout, values.astype(float), pixels=stored, sop_class=sop_class, patient=name, modality=modality)


def _ordered(fields: dict[str, str]) -> str:
    return f"{fields['space origin']} {fields['space directions']}"


def segment(folder: Path, out: Path, crosswalk: Path, arguments: Sequence[str]) -> float:
    """Run a job; seconds."""
    command = [sys.executable, "-m", "jobs", "segment", str(folder), "-o", str(out), *arguments]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--set", f"dicom.crosswalk={crosswalk}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return time.perf_counter() - began


def checksums(out: Path) -> tuple[str, ...]:
    """Of the files of `instances`."""
    return tuple(entry.sha256 for entry in open_results(out).tables["instances"])


def compare_syntaxes(archive: Path, folder: Path) -> None:
    """The same scans in every transfer syntax give the same tables."""
    print(f"\n{'scan':8} {'slices':>6} {'objects':>8}  files of `instances` in {len(SYNTAXES)} transfer syntaxes")
    for name, (_, level) in SCANS.items():
        slices = read_series(archive, name)
        told = ["--model", "threshold", "--set", f"model.options.value={level}", "--engine", "inline"]
        told += ["--set", "output.min_pixels=20"]
        found: dict[str, tuple[str, ...]] = {}
        for syntax in SYNTAXES:
            save(in_transfer_syntax(slices, syntax), folder / name / syntax)
            segment(folder / name / syntax, folder / f"{name}-{syntax}", folder / "crosswalk", told)
            found[syntax] = checksums(folder / f"{name}-{syntax}")
        (count,) = open_results(folder / f"{name}-explicit").sql("SELECT count(*) AS n FROM instances").to_pylist()
        same = len(set(found.values())) == 1
        print(f"{name:8} {len(slices):6} {count['n']:8}  {'identical' if same else f'DIFFERENT: {found}'}", flush=True)


def run_liver(archive: Path, folder: Path) -> None:
    """Both networks on a real CT, on Ray, with SEG and SR read back."""
    save(read_series(archive, "lung2"), folder / "liver-ct")
    told = ["--model", "liver-lesions", "--set", "output.seg=binary", "--set", "output.sr=true"]
    told += ["--set", "output.nifti=true", "--set", "output.montages=true", "--set", "engine.threads=2"]
    seconds = segment(
        folder / "liver-ct", folder / "liver", folder / "crosswalk", [*told, "--set", "tiling.memory=6GB"]
    )
    rows = open_results(folder / "liver").sql(
        "SELECT volume_mm3, long_axis_mm, short_axis_mm, value_mean, centroid_z_mm FROM instances ORDER BY 1 DESC"
    )
    print(f"\nliver-lesions on lung2 (no known lesions; untouched scan), Ray, {seconds:.0f} s: {rows.num_rows} objects")
    for row in rows.to_pylist()[:12]:
        print("  " + ", ".join(f"{name} {value:.1f}" for name, value in row.items() if value is not None))
    (seg,) = folder.glob("liver/dicom/*/*-seg.dcm")
    (report,) = folder.glob("liver/dicom/*/*-report.dcm")
    segments = highdicom.seg.segread(seg).number_of_segments
    groups = len(highdicom.sr.srread(report).content.get_volumetric_roi_measurement_groups())
    print(f"SEG: {segments} segments; SR: {groups} measurement groups; both read back by highdicom")


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--liver", action="store_true", help="only the liver networks, minutes on a CPU")
    chosen = parser.parse_args()
    packages = " ".join(f"{name} {version(name)}" for name in ("pydicom", "highdicom", "torch", "numpy"))
    print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, {packages}")
    with tempfile.TemporaryDirectory() as scratch:
        (run_liver if chosen.liver else compare_syntaxes)(chosen.archive, Path(scratch))


if __name__ == "__main__":
    main()
