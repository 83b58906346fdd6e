"""Segmentations and reports have every attribute that their IODs require at the root, by the tables of PS3.3."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom import dcmread
from pydicom.dataset import Dataset

from segworkers.dicom.report import write_sr
from segworkers.dicom.segmentation import write_seg
from tests.dicom_files import Layout
from tests.dicom_outputs import bitmaps, lesions, options, series

CHECKER = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
"""Of the package dicom3tools."""
EXPECTED = re.compile(
    "Inappropriate example root for UID|non-existent Joint ISO/ITU-T arc"  # of the fixtures: 2.999
    "|Information Object Not found|not monotonically increasing from one|not segmentation"  # label maps are newer
)


def objects(folder: Path, mode: str, kind: str) -> list[Path]:
    layout = Layout(shape=(6, 12, 14), tilt_deg=10.0)
    given = series(folder / "in", layout)
    found = lesions(bitmaps(layout.shape), volume_mm3=5.0, long_axis_mm=3.0, value_unit="HU", value_mean=1.0)
    chosen = options(mode=mode, segmentation=kind)
    paths = write_seg(given.stack, given.facts, found, chosen, folder)
    return paths + write_sr(given.stack, given.facts, found, paths, chosen, folder)


def missing(made: Dataset) -> list[str]:
    """Attributes of mandatory modules, types 1 and 2, that are absent; those of type 1 that are empty too."""
    lacking = []
    for item in get_iod_module_map()[get_sop_class_iod_map()[made.SOPClassUID]]:
        if item["usage"] != "M" or item["key"] == "sr-document-content":  # a choice by type of content item
            continue
        for attribute in get_module_attribute_map()[item["key"]]:
            if attribute["path"] or attribute["type"] not in {"1", "2"}:
                continue
            keyword = str(attribute["keyword"])
            if keyword not in made or (attribute["type"] == "1" and made[keyword].is_empty):
                lacking.append(f"{item['key']}: {keyword}")
    return lacking


@pytest.mark.parametrize("mode", ["research", "clinical"])
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_nothing_that_is_required_is_missing(mode: str, kind: str, tmp_path: Path) -> None:
    for path in objects(tmp_path, mode, kind):
        made = dcmread(path)
        assert missing(made) == []
        made.Modality = ""
        assert "Modality" in str(missing(made))  # the check itself works


@pytest.mark.skipif(CHECKER is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("mode", ["research", "clinical"])
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_dciodvfy_finds_no_error(mode: str, kind: str, tmp_path: Path) -> None:
    assert CHECKER is not None
    for path in objects(tmp_path, mode, kind):
        found = subprocess.run([CHECKER, "-new", str(path)], capture_output=True, text=True, check=False)
        lines = (found.stdout + found.stderr).splitlines()
        assert lines
        assert [line for line in lines if line.startswith("Error") and not EXPECTED.search(line)] == []
