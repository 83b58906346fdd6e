from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from highdicom.sr import Comprehensive3DSR, srread
from pydicom import dcmread

import segworkers.dicom.report as module
from segworkers.dicom.report import quantity, write_sr
from segworkers.dicom.segmentation import tracking_uid, write_seg
from segworkers.dicom.terms import class_terms
from tests.dicom_files import SENTINEL, UID_ROOT, Layout
from tests.dicom_outputs import PSEUDONYMS, Series, bitmaps, lesions, options, series

LAYOUT = Layout(shape=(6, 12, 14))
MEASURED: dict[str, Any] = {
    "volume_mm3": [1234.5678901234567, 10.25, 7.0],
    "long_axis_mm": [12.25, None, 3.5],
    "short_axis_mm": [8.125, None, None],
    "max_diameter_mm": [14.75, 2.5, None],
    "value_unit": "HU",
    "value_mean": [55.125, -3.5, None],
    "value_sd": [4.25, 0.0, None],
    "value_median": [54.0, -4.0, None],
    "value_min": [-10.0, -9.0, None],
    "value_max": [99.0, 3.0, None],
}
CODES = {
    "volume_mm3": ("118565006", None, "mm3"),
    "long_axis_mm": ("103339001", None, "mm"),
    "short_axis_mm": ("103340004", None, "mm"),
    "max_diameter_mm": ("81827009", "56851009", "mm"),
    "value_mean": ("112031", "373098007", "[hnsf'U]"),
    "value_sd": ("112031", "386136009", "[hnsf'U]"),
    "value_median": ("112031", "373099004", "[hnsf'U]"),
    "value_min": ("112031", "255605001", "[hnsf'U]"),
    "value_max": ("112031", "56851009", "[hnsf'U]"),
}


def written(tmp_path: Path, columns: dict[str, Any] | None = None, **changes: Any) -> tuple[Series, list[Path], list]:
    given = series(tmp_path / "in", LAYOUT, word=SENTINEL)
    found = lesions(bitmaps(LAYOUT.shape), **(columns if columns is not None else MEASURED))
    chosen = options(**changes)
    segmentations = write_seg(given.stack, given.facts, found, chosen, tmp_path)
    return given, write_sr(given.stack, given.facts, found, segmentations, chosen, tmp_path), found


def groups_of(path: Path) -> list[Any]:
    report = srread(path)
    assert isinstance(report, Comprehensive3DSR)
    return report.content.get_volumetric_roi_measurement_groups()


def numbers(group: Any) -> dict[tuple[str, str | None, str], float]:
    return {
        (each.name.value, each.derivation.value if each.derivation else None, each.unit.value): each.value
        for each in group.get_measurements()
    }


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_measurements_are_read_back_equal_and_nulls_are_left_out(kind: str, tmp_path: Path) -> None:
    _, (path,), found = written(tmp_path, segmentation=kind)
    groups = groups_of(path)
    assert len(groups) == len(found)
    for k, group in enumerate(groups):
        expected = {CODES[name]: MEASURED[name][k] for name in CODES if MEASURED[name][k] is not None}
        assert numbers(group) == pytest.approx(expected, rel=1e-9)
    assert [len(numbers(group)) for group in groups] == [9, 7, 2]  # 0 is a value, null is none


def test_diameters_say_how_they_are_measured_and_claim_no_mesh(tmp_path: Path) -> None:
    _, (path,), _ = written(tmp_path)
    found = groups_of(path)[0].get_measurements()
    methods = {each.name.value: each.method and each.method.value for each in found}
    assert {code for code, method in methods.items() if method == "VOXEL_CENTRES"} == {
        "103339001",
        "103340004",
        "81827009",
    }
    assert b"IBSI" not in path.read_bytes()


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_groups_name_their_segment(kind: str, tmp_path: Path) -> None:
    given, (path,), found = written(tmp_path, segmentation=kind)
    seg = dcmread(next(tmp_path.glob("*-seg.dcm")))
    for number, (group, lesion) in enumerate(zip(groups_of(path), found, strict=True), 1):
        segment = group.referenced_segment
        assert segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber == number
        assert segment.source_series_for_segmentation.value == PSEUDONYMS.uid("series", given.stack.series_uid)
        assert (group.tracking_identifier, group.tracking_uid) == (lesion.instance_id, tracking_uid(lesion))
        assert (group.finding_category.value, group.finding_type.value) == ("49755003", "52988006")
    report = dcmread(path)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == report.StudyInstanceUID == seg.StudyInstanceUID
    (referenced,) = study.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == seg.SeriesInstanceUID
    assert referenced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == seg.SOPInstanceUID
    assert report.SeriesInstanceUID != seg.SeriesInstanceUID


def test_the_report_says_that_a_machine_made_it(tmp_path: Path) -> None:
    liver = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
    _, (path,), _ = written(tmp_path, terms=class_terms({"liver_lesion": {"sites": [liver]}}))
    report = srread(path)
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    (context,) = report.content.get_observer_contexts()
    assert context.observer_type.value == "121007"  # device
    assert context.observer_identifying_attributes.name == "segworkers"
    assert report.content[0].ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert [site.value.value for site in groups_of(path)[0].finding_sites] == ["10200004"]


def test_research_reports_hold_nothing_of_the_source_and_clinical_ones_belong_to_the_patient(tmp_path: Path) -> None:
    given, (path,), _ = written(tmp_path)
    data = path.read_bytes()
    assert SENTINEL.encode() not in data and UID_ROOT.encode() not in data and b"20210305" not in data
    assert dcmread(path).PatientID == given.facts.subject_id
    assert dcmread(path).PatientIdentityRemoved == "YES"
    given, (path,), _ = written(tmp_path, mode="clinical")
    assert dcmread(path).PatientName == given.datasets[0].PatientName
    assert dcmread(path).StudyInstanceUID == given.stack.study_uid
    assert groups_of(path)[0].referenced_segment.source_series_for_segmentation.value == given.stack.series_uid


def test_the_same_run_writes_the_same_bytes(tmp_path: Path) -> None:
    _, (path,), _ = written(tmp_path / "a")
    _, (again,), _ = written(tmp_path / "b")
    assert path.read_bytes() == again.read_bytes()


def test_reports_are_cut_and_no_lesion_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUPS", 2)
    _, paths, found = written(tmp_path)
    assert [path.name[33:] for path in paths] == ["report.dcm", "report-2.dcm"]
    named = [group.tracking_identifier for path in paths for group in groups_of(path)]
    assert named == [lesion.instance_id for lesion in found]
    given = series(tmp_path / "none", LAYOUT)
    assert write_sr(given.stack, given.facts, [], [], options(), tmp_path) == []


def test_becquerels_are_reported_as_suv_only_where_the_factor_is_known(tmp_path: Path) -> None:
    facts = series(tmp_path, LAYOUT, modality="PT", unit="BQML").facts
    known = series(tmp_path, LAYOUT, modality="PT", unit="BQML", suv_factor=0.00025).facts
    plain, suv = quantity("BQML", facts), quantity("BQML", known)
    assert plain is not None and suv is not None
    assert (plain.unit.value, plain.factor) == ("Bq/ml", 1.0)
    assert (suv.name.value, suv.unit.value, suv.factor) == ("126401", "g/ml{SUVbw}", 0.00025)


def test_suv_values_are_scaled_in_the_report(tmp_path: Path) -> None:
    given = series(tmp_path / "in", LAYOUT, modality="PT", unit="BQML", suv_factor=0.0005)
    found = lesions(bitmaps(LAYOUT.shape, 1), value_unit="BQML", value_max=8000.0)
    segmentations = write_seg(given.stack, given.facts, found, options(), tmp_path)
    (path,) = write_sr(given.stack, given.facts, found, segmentations, options(), tmp_path)
    assert numbers(groups_of(path)[0]) == {("126401", "56851009", "g/ml{SUVbw}"): 4.0}


def test_values_of_an_unknown_quantity_are_left_out(tmp_path: Path) -> None:
    facts = series(tmp_path, LAYOUT).facts
    assert quantity(None, facts) is None
    assert quantity("US", facts) is None
    _, (path,), _ = written(tmp_path / "b", MEASURED | {"value_unit": None})
    assert [len(numbers(group)) for group in groups_of(path)] == [4, 2, 2]
