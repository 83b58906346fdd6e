"""DICOM segmentations as truth of volumes: those that runs write, of either mode and kind, and others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pyarrow.parquet as pq
import pytest
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from jobs.cli import main
from tests.dicom_archives import IDENTITIES
from tests.dicom_files import SENTINEL, Layout, ct_series, save
from tests.leftovers import traces, traces_in
from tests.runs import ROOT, rows, run
from tests.volume_truth import World, ellipsoids

MODEL = f"python:{ROOT / 'tests' / 'user_models' / 'volumes.py'}:Truth"


def evaluated(out: Path, truth: Path, folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["evaluate", str(out), str(truth), "-o", str(folder), *options])
    made = folder / "metrics.json"
    listed = json.loads(made.read_text()) if made.exists() else [{}]
    return code, listed[0]


@pytest.fixture(scope="module")
def world() -> World:
    return ellipsoids((14, 60, 50), 8, seed=3)


@pytest.fixture(scope="module")
def runs_of(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A research and a clinical run over the same series, with one crosswalk for each."""
    folder = tmp_path_factory.mktemp("volumes")
    world.save(folder / "archive")
    return {
        mode: made
        for mode, seg in (("research", "binary"), ("clinical", "labelmap"))
        if run([folder / "archive"], made := folder / mode, MODEL, output__seg=seg, dicom__mode=mode)
    }


def segmentation(out: Path, folder: Path) -> Path:
    """The SEG of a run, by itself in a folder."""
    (path,) = (out / "dicom").rglob("*-seg.dcm")
    folder.mkdir()
    return Path(shutil.copy(path, folder / "truth.dcm"))


@pytest.mark.parametrize("mode", ["research", "clinical"])
def test_the_run_agrees_with_its_own_segmentation_whatever_uids_it_names(
    mode: str, runs_of: dict[str, Path], tmp_path: Path
):
    out = runs_of["research"]
    path = segmentation(runs_of[mode] if mode == "clinical" else out, tmp_path / "t")
    code, row = evaluated(out, path, tmp_path / "made")
    count = len(rows(out, "instances"))
    assert code == 0 and (row["true_count"], row["matched"], row["f1"], row["sq"]) == (count, count, 1, 1)
    assert count > 4


def test_pictures_beside_segmentations_are_no_truth(runs_of: dict[str, Path], tmp_path: Path):
    path = segmentation(runs_of["research"], tmp_path / "t")
    for name in ("abcd-1.png", "abcd.nii.gz"):
        (path.parent / name).write_bytes(b"a picture")
    code, row = evaluated(runs_of["research"], path.parent, tmp_path / "made")
    assert code == 0 and row["f1"] == 1
    assert "1 picture beside segmentations: passed over" in (tmp_path / "made" / "index.html").read_text()
    code, _ = evaluated(runs_of["research"], path, tmp_path / "alone")
    assert code == 0
    (tmp_path / "pictures").mkdir()
    (path.parent / "abcd-1.png").rename(tmp_path / "pictures" / "abcd-1.png")
    assert evaluated(runs_of["research"], tmp_path / "pictures", tmp_path / "no")[0] == 2


def written(archive: Path, masks: np.ndarray, folder: Path, *, named: bool = True, word: str = "Growth") -> Path:
    """A SEG as others write it, on the original images; named: its frames say which image they belong to."""
    images = sorted((dcmread(path) for path in archive.iterdir()), key=lambda each: each.ImagePositionPatient[2])
    described = [
        SegmentDescription(
            segment_number=k,
            segment_label=f"{word} {k}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
        )
        for k in (1, 2)
    ]
    made = hd.seg.Segmentation(
        source_images=images,
        pixel_array=masks,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=3,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
    )
    if not named:
        for frame in made.PerFrameFunctionalGroupsSequence:
            del frame.DerivationImageSequence
    folder.mkdir()
    made.save_as(folder / f"{SENTINEL}.dcm")
    return folder / f"{SENTINEL}.dcm"


@pytest.mark.parametrize("named", [True, False])
def test_segments_of_others_are_put_on_their_slices(
    named: bool, world: World, runs_of: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = runs_of["research"]
    values = world.values
    whole, part = (values == 1), (values == 2)
    part[:, ::2] = False
    assert whole.any() and part.any()
    masks = np.stack([whole, part], axis=-1).astype(np.uint8)
    path = written(out.parent / "archive", masks, tmp_path / "t", named=named)
    assert evaluated(out, path, tmp_path / "a")[0] == 2
    said = capsys.readouterr().err
    assert "(Tumor)" in said and "Growth" not in said, "a class that the run does not have, by its code"
    for name in ("growth", "tumor"):
        assert evaluated(out, path, tmp_path / name, "--class", f"{name}=even")[1]["true_count"] == 2
    code, row = evaluated(out, path, tmp_path / "b", "--any-class", "--iou", "0.9")
    assert code == 0 and (row["true_count"], row["matched"], row["misses"]) == (2, 1, 1)
    table = pq.read_table(tmp_path / "b" / "objects.parquet").to_pylist()
    (match,) = [each for each in table if each["side"] == "truth" and each["state"] == "matched"]
    assert match["iou"] == 1 and match["area_px"] == whole.sum()
    page = (tmp_path / "b" / "index.html").read_text()
    assert page.count("data:image/png") > 1 and SENTINEL not in page
    said = capsys.readouterr()
    assert SENTINEL not in said.out + said.err


def test_phases_of_one_series_have_segmentations_of_their_own(tmp_path: Path):
    layout = Layout(shape=(8, 24, 24))
    for phase, (y, x) in enumerate(((4, 5), (15, 14)), 1):
        values = np.full(layout.shape, -500.0)
        values[2:6, y : y + 5, x : x + 5] = 100
        slices = ct_series(layout, values, name=str(phase))
        for one in slices:
            one.AcquisitionNumber = phase
        save(slices, tmp_path / "phases" / str(phase))
    run([tmp_path / "phases"], tmp_path / "out", "threshold", {"value": 0}, output__seg="binary")
    (tmp_path / "t").mkdir()
    paths = sorted((tmp_path / "out" / "dicom").rglob("*-seg.dcm"))
    assert len(paths) == 2
    for path in paths:
        shutil.copy(path, tmp_path / "t")
    code, row = evaluated(tmp_path / "out", tmp_path / "t", tmp_path / "both")
    assert (code, row["true_count"], row["predicted_count"], row["f1"]) == (0, 2, 2, 1)
    code, row = evaluated(tmp_path / "out", tmp_path / "t" / paths[0].name, tmp_path / "one")
    assert (row["true_count"], row["predicted_count"], row["f1"]) == (1, 1, 1), "the other phase is without truth"
    unnamed = dcmread(paths[0])
    for groups in (*unnamed.PerFrameFunctionalGroupsSequence, *unnamed.SharedFunctionalGroupsSequence):
        if "DerivationImageSequence" in groups:
            del groups.DerivationImageSequence
    unnamed.save_as(tmp_path / "unnamed.dcm")
    assert evaluated(tmp_path / "out", tmp_path / "unnamed.dcm", tmp_path / "none")[0] == 2


def test_pieces_of_a_segment_are_objects_where_asked(world: World, runs_of: dict[str, Path], tmp_path: Path):
    out = runs_of["research"]
    masks = np.stack([world.values > 0, world.values < 0], axis=-1).astype(np.uint8)
    path = written(out.parent / "archive", masks, tmp_path / "t")
    whole = evaluated(out, path, tmp_path / "a", "--any-class")[1]
    pieces = evaluated(out, path, tmp_path / "b", "--any-class", "--components")[1]
    from tests.volume_truth import components

    assert whole["true_count"] == 1 and pieces["true_count"] == components(world.values > 0, 26).max()


def test_segmentations_need_the_crosswalk_and_a_series_of_the_run(
    world: World, runs_of: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = Path(shutil.copytree(runs_of["research"], tmp_path / "out"))
    path = segmentation(runs_of["research"], tmp_path / "t")
    assert evaluated(out, path, tmp_path / "a")[0] == 2
    assert "--crosswalk" in capsys.readouterr().err
    beside = Path(f"{runs_of['research']}.crosswalk")
    assert evaluated(out, path, tmp_path / "b", "--crosswalk", str(beside))[0] == 0
    other = dcmread(path)
    other.ReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.7"
    other.save_as(tmp_path / "t" / "other.dcm")
    assert evaluated(out, tmp_path / "t" / "other.dcm", tmp_path / "c", "--crosswalk", str(beside))[0] == 2
    capsys.readouterr()
    assert evaluated(out, tmp_path / "t", tmp_path / "d", "--crosswalk", str(beside))[0] == 3
    assert "segmentation 1 of 2" in capsys.readouterr().out


def test_reports_beside_segmentations_are_passed_over_and_counted(
    runs_of: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As in a run's own folder of DICOM objects; in a message a file's name could be a patient's."""
    out = runs_of["research"]
    path = segmentation(out, tmp_path / "t")
    report = dcmread(path)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    for name in ("a", "b"):
        report.save_as(tmp_path / "t" / f"{SENTINEL}{name}.dcm")
    code, row = evaluated(out, tmp_path / "t", tmp_path / "made")
    said = capsys.readouterr()
    assert code == 0 and row["matched"] == len(rows(out, "instances"))
    assert "2 DICOM objects that are no segmentations: passed over" in said.out and SENTINEL not in said.out + said.err
    path.unlink()
    assert evaluated(out, tmp_path / "t", tmp_path / "none")[0] == 2
    assert "2 DICOM objects that are no segmentations: passed over" in capsys.readouterr().err
    assert evaluated(out, tmp_path / "t" / f"{SENTINEL}a.dcm", tmp_path / "one")[0] == 2
    said = capsys.readouterr().err
    assert "file 1 of the truth: expected DICOM segmentations" in said and "or the folder" in said
    assert SENTINEL not in said


def told_of(out: Path, truth: Path, folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """All that an evaluation says and writes, after a search for what names patients."""
    main(["evaluate", str(out), str(truth), "-o", str(folder), "--debug", *options])
    said = capsys.readouterr()
    text = said.out + said.err
    assert traces_in(text.encode(), IDENTITIES) == []
    assert not folder.exists() or traces(folder, IDENTITIES) == []
    return text


def test_nothing_that_an_evaluation_says_or_writes_names_a_patient(
    world: World, runs_of: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, folder = runs_of["research"], tmp_path / f"{SENTINEL} truth"
    masks = np.stack([world.values == 1, world.values == 2], axis=-1).astype(np.uint8)
    path = written(out.parent / "archive", masks, folder, word=f"{SENTINEL} of the liver")
    assert "(Tumor)" in told_of(out, path, tmp_path / "a", capsys)
    own = dcmread(segmentation(out, tmp_path / "own"))
    made = dcmread(path)
    made.SegmentSequence[0].SegmentLabel = own.SegmentSequence[0].SegmentLabel
    made.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeValue = f"{SENTINEL}"
    made.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeMeaning = f"{SENTINEL}"
    made.save_as(path)
    said = told_of(out, folder, tmp_path / "b", capsys)
    assert "not in the dictionary) (1)" in said
    assert "not in the dictionary" in (tmp_path / "b" / "index.html").read_text()
    (folder / f"{SENTINEL}.tif").write_bytes(b"no picture")
    (folder / f"{SENTINEL}.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert "2 parts of the truth that no source of the run belongs to: file" in told_of(
        out, folder, tmp_path / "c", capsys
    )
    (folder / "pairs.csv").write_text(f"source,truth\n{SENTINEL},x.dcm\n")
    assert "truth 1 of 1: line 2 names 0 sources" in told_of(out, folder / "pairs.csv", tmp_path / "d", capsys)
    uri = rows(out, "images")[0]["source_uri"]
    (folder / "pairs.csv").write_text(f"source,truth\n{uri},{SENTINEL}.tif\n")
    assert "file 1 of the truth: cannot be read as an image" in told_of(
        out, folder / "pairs.csv", tmp_path / "e", capsys
    )
    for name, content in ((f"{SENTINEL}.json", "{"), (SENTINEL, "text"), (f"{SENTINEL}.gpkg", "no database")):
        (folder / name).write_text(content)
        assert "file 1 of the truth" in told_of(out, folder / name, tmp_path / "f", capsys)
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.save_as(path)
    assert "CT Image Storage" in told_of(out, path, tmp_path / "g", capsys)
    assert "truth 1 of 1: the truth does not exist" in told_of(out, folder / "absent", tmp_path / "h", capsys)
