"""Other people's readers find what was written: dcmqi, with which 3D Slicer opens segmentations and reports.

`benchmarks/viewers.py` asks OHIF's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from schemas.boxes import Box
from schemas.masks import to_array
from segworkers.dicom.report import write_sr
from segworkers.dicom.segmentation import write_seg
from tests.dicom_files import CORONAL, OBLIQUE, Layout
from tests.dicom_outputs import bitmaps, lesions, options, series

SHAPE = (7, 24, 28)
LAYOUTS = {
    "axial": Layout(shape=SHAPE, spacing=(2.5, 0.5, 0.8)),
    "coronal": Layout(shape=SHAPE, iop=CORONAL),
    "oblique": Layout(shape=SHAPE, iop=OBLIQUE),
}
MEASURED = {"volume_mm3": 812.5, "long_axis_mm": 12.25, "value_unit": "HU", "value_mean": -3.5}


def tool(name: str) -> str:
    """A program of the package dcmqi, beside this interpreter or on the path; skips the test where there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip("dcmqi is not installed")
    return found


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("mode", ["research", "clinical"])
def test_3d_slicers_reader_finds_every_voxel_where_it_is(name: str, mode: str, tmp_path: Path) -> None:
    program, layout = tool("segimage2itkimage"), LAYOUTS[name]
    given = series(tmp_path / "in", layout)
    found = lesions(bitmaps(SHAPE))
    (seg,) = write_seg(given.stack, given.facts, found, options(mode=mode), tmp_path)
    asked = [program, "--inputDICOM", str(seg), "--outputDirectory", str(tmp_path), "-t", "nii"]
    subprocess.run(asked, check=True, capture_output=True)
    for number, lesion in enumerate(found, 1):
        image = nib.load(tmp_path / f"{number}.nii.gz")
        voxels = np.argwhere(np.asanyarray(image.dataobj))
        lps = nib.affines.apply_affine(image.affine, voxels) * (-1, -1, 1)
        mask = to_array(lesion.runs, Box.of_shape(SHAPE))
        expected = given.facts.geometry.positions(np.argwhere(mask))
        assert len(lps) == mask.sum()
        apart = np.linalg.norm(lps[:, None] - expected[None], axis=2)
        assert max(apart.min(axis=0).max(), apart.min(axis=1).max()) < 0.02, "each where the other is"
    labels = json.loads((tmp_path / "meta.json").read_text())["segmentAttributes"]
    assert [each["labelID"] for one in labels for each in one] == [1, 2, 3]


def test_voxels_of_a_sheared_stack_are_all_there(tmp_path: Path) -> None:
    program = tool("segimage2itkimage")
    given = series(tmp_path / "in", Layout(shape=SHAPE, tilt_deg=13.5))
    found = lesions(bitmaps(SHAPE))
    (seg,) = write_seg(given.stack, given.facts, found, options(), tmp_path)
    asked = [program, "--inputDICOM", str(seg), "--outputDirectory", str(tmp_path), "-t", "nii"]
    subprocess.run(asked, check=True, capture_output=True)
    for number, lesion in enumerate(found, 1):
        assert np.count_nonzero(nib.load(tmp_path / f"{number}.nii.gz").dataobj) == lesion.voxel_count


def test_3d_slicers_reader_finds_every_measurement(tmp_path: Path) -> None:
    program = tool("tid1500reader")
    given = series(tmp_path / "in", LAYOUTS["axial"])
    found, chosen = lesions(bitmaps(SHAPE), **MEASURED), options()
    segmentations = write_seg(given.stack, given.facts, found, chosen, tmp_path)
    (report,) = write_sr(given.stack, given.facts, found, segmentations, chosen, tmp_path)
    told = tmp_path / "told.json"
    subprocess.run(
        [program, "--inputDICOM", str(report), "--outputMetadata", str(told)], check=True, capture_output=True
    )
    groups = json.loads(told.read_text())["Measurements"]
    assert [group["ReferencedSegment"] for group in groups] == [1, 2, 3]
    assert [group["TrackingIdentifier"] for group in groups] == [lesion.instance_id for lesion in found]
    for group in groups:
        values = {item["quantity"]["CodeValue"]: float(item["value"]) for item in group["measurementItems"]}
        assert values == {"118565006": 812.5, "103339001": 12.25, "112031": -3.5}
