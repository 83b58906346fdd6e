"""Objects of volumes in a run: one that cannot be written is a row of `failures`, and the others are written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from jobs.results import open_results
from schemas.errors import StoreError
from segworkers.dicom import outputs
from tests.dicom_files import SENTINEL, Layout, ct_series, save

LAYOUT = Layout(shape=(12, 24, 24))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for k in range(3):
        save(ct_series(LAYOUT, study=str(k)), tmp_path / "in" / str(k))
    return tmp_path / "in"


def segment(archive: Path, out: Path, *, resume: bool = False) -> int:
    asked = [each for name in ("seg=binary", "sr=true", "nifti=true") for each in ("--set", f"output.{name}")]
    model = ["--model", "threshold", "--set", "model.options.value=0", "--engine", "inline"]
    return main(["segment", str(archive), *model, *asked, "-o", str(out), *(["--resume"] if resume else [])])


def rows(out: Path) -> list[dict[str, Any]]:
    return open_results(out).sql("SELECT source_uri, scope, reason, message FROM failures").to_pylist()


def written(out: Path) -> Counter[str]:
    listed = json.loads((out / "current.json").read_text())["outputs"]
    return Counter(Path(each["path"]).name.partition("-")[2] for each in listed)


def test_a_series_that_a_library_stumbles_over_is_a_failure_and_the_rest_goes_on(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, asked = outputs.write_seg, list[str]()

    def stumbling(stack: Any, *rest: Any) -> list[Path]:
        asked.append(stack.series_id)
        if len(asked) == 2:
            raise RuntimeError(f"highdicom was surprised by {SENTINEL}")
        return real(stack, *rest)

    monkeypatch.setattr(outputs, "write_seg", stumbling)
    out = tmp_path / "out"
    assert segment(archive, out) == 3
    (row,) = rows(out)
    assert (row["scope"], row["reason"]) == ("output", "output_failed")
    assert row["source_uri"] == f"dicom:{asked[1]}"
    assert "segmentation cannot be written (RuntimeError)" in row["message"]
    assert written(out) == {"seg.dcm": 2, "report.dcm": 2, "labels.nii.gz": 3}
    said = capsys.readouterr()
    assert "1 objects of volumes" in said.out and SENTINEL not in said.out + said.err
    assert not [path for path in out.rglob("*") if path.is_file() and SENTINEL.encode() in path.read_bytes()]
    assert main(["verify", str(out)]) == 0
    monkeypatch.setattr(outputs, "write_seg", real)
    assert segment(archive, out, resume=True) == 0
    assert rows(out) == []
    assert written(out) == {"seg.dcm": 3, "report.dcm": 3, "labels.nii.gz": 3}


def test_a_report_that_fails_leaves_the_segmentation(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> list[Path]:
        raise MemoryError

    monkeypatch.setattr(outputs, "write_sr", broken)
    assert segment(archive, tmp_path / "out") == 3
    assert written(tmp_path / "out") == {"seg.dcm": 3, "labels.nii.gz": 3}
    assert [row["message"].endswith("report cannot be written (MemoryError).") for row in rows(tmp_path / "out")] == [
        True
    ] * 3


def test_storage_that_fails_ends_the_run(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> list[Path]:
        raise StoreError("the storage is gone")

    monkeypatch.setattr(outputs, "write_seg", gone)
    assert segment(archive, tmp_path / "out") == 1


def test_spacing_that_nifti_cannot_say_is_a_failure_of_that_object_only(tmp_path: Path) -> None:
    places = (0.0, 1.0, 2.0, 3.0, 4.7, 6.4, 8.1, 9.8)
    save(ct_series(Layout(shape=(8, 24, 24), at=places)), tmp_path / "in")
    assert segment(tmp_path / "in", tmp_path / "out") == 3
    assert [(row["scope"], row["reason"]) for row in rows(tmp_path / "out")] == [("output", "nifti_variable_spacing")]
    assert written(tmp_path / "out") == {"seg.dcm": 1, "report.dcm": 1}
