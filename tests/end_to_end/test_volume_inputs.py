"""Ways to name DICOM inputs, what a study shows of series that were refused, and outputs asked for anew."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from jobs.cli import main
from jobs.results import open_results
from tests.dicom_files import Made, ct_series, save
from tests.dicom_variants import make

THRESHOLD = ["--model", "threshold", "--set", "model.options.value=0", "--engine", "inline"]


def segment(inputs: Path | str, out: Path, *more: str) -> int:
    return main(["segment", str(inputs), "-o", str(out), *THRESHOLD, *more])


@pytest.fixture
def series(tmp_path: Path) -> Made:
    slices = ct_series()
    return save(slices, tmp_path / "archive", [f"{k}.dcm" for k in range(len(slices))])


@pytest.mark.parametrize("kind", ["manifest", "pattern", "folder", "file"])
def test_every_way_to_name_files_gives_the_volume_and_no_failure(kind: str, series: Made, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, series.files)))
    inputs = {"manifest": listed, "pattern": f"{series.folder}/*.dcm", "folder": series.folder, "file": series.files[0]}
    code = segment(inputs[kind], tmp_path / "out")
    results = open_results(tmp_path / "out")
    if kind == "file":  # one slice is no volume, and that is said
        assert code == 3
        assert [row["reason"] for row in results.table("failures").to_pylist()] == ["single_slice"]
        return
    assert code == 0
    assert results.table("failures").num_rows == 0
    assert results.table("instances").num_rows == 1


def test_a_study_says_that_one_of_its_series_was_refused(tmp_path: Path) -> None:
    make("truncated_file", tmp_path / "archive")
    assert segment(tmp_path / "archive", tmp_path / "out") == 3
    (study,) = open_results(tmp_path / "out").sql("FROM per_study").to_pylist()
    assert (study["series_count"], study["series_rejected"]) == (1, 1)
    assert study["is_lower_bound"] and study["object_count"] is None


def patient_names(out: Path) -> set[str]:
    """In the SEG and SR objects that the live generation lists."""
    listed = json.loads((out / "current.json").read_text())["outputs"]
    return {str(pydicom.dcmread(out / entry["path"]).PatientName) for entry in listed if entry["path"].endswith(".dcm")}


def test_objects_of_another_mode_are_made_anew_on_resume(series: Made, tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", ["--set", "output.seg=binary", "--set", "output.sr=true"]
    assert segment(series.folder, out, *wanted, "--set", "dicom.mode=clinical") == 0
    assert patient_names(out) == {"Muster^Erika"}
    assert segment(series.folder, out, *wanted, "--resume") == 0
    research = patient_names(out)
    assert len(research) == 1 and "Muster" not in str(research)
