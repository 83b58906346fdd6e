from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import stages
from jobs.catalog import Skipped
from jobs.cli import main
from jobs.loading import load_spec
from jobs.planning import prepare
from jobs.privacy import (
    BESIDE_DICOM,
    crosswalk_folder,
    public_spec,
    without_names,
    without_neighbours,
    without_repeats,
)
from jobs.submit import stage
from schemas import discretion
from schemas.errors import SpecError
from segworkers.dicom.crosswalk import Crosswalk
from tests.dicom_variants import make

NAME = "Muster_Erika"


@pytest.fixture
def crosswalk(tmp_path: Path) -> Crosswalk:
    return Crosswalk.open(str(tmp_path / "crosswalk"))


def originals(crosswalk: Crosswalk, shown: str) -> list[str]:
    return [original for _, _, original in crosswalk.originals({shown.removeprefix("input:")})]


@pytest.mark.parametrize(
    "reason", ["not_found", "no_match", "access_denied", "nested_manifest", "unreadable", "duplicate"]
)
@pytest.mark.parametrize("uri", [f"/data/{NAME}", f"/data/{NAME}/", f"s3://bucket/{NAME}.png", f"/data/{NAME}/*.tif"])
def test_inputs_that_cannot_be_used_are_shown_by_pseudonyms(crosswalk: Crosswalk, reason: str, uri: str) -> None:
    told = Skipped(uri, reason, f"{uri}: cannot be; see {uri.rstrip('/')} and {NAME}.", f"Look at {uri}.")
    (shown,) = without_names([told], crosswalk)
    assert NAME not in f"{shown.uri} {shown.message} {shown.hint}"
    assert shown.reason == reason
    assert originals(crosswalk, shown.uri) == [uri]


def test_a_message_without_a_name_stays_useful(crosswalk: Crosswalk) -> None:
    told = Skipped(f"/data/{NAME}", "not_found", f"/data/{NAME}: no such file or folder.", "Check the path.")
    (shown,) = without_names([told], crosswalk)
    assert (shown.message, shown.hint) == (f"{shown.uri}: no such file or folder.", "Check the path.")


def test_pictures_among_dicom_files_are_left_out_once_for_each_input() -> None:
    uris = ["/a/p/1.png", "/a/p/q/2.png", "/ab/3.tif", "/c/x1/4.png", "s3://b/k/5.png", "/d/e.zip"]
    kept, skipped = without_neighbours(uris, {"/a/p", "/c/x*", "s3://b/k", "/d/e.zip"})
    assert kept == ["/ab/3.tif", "/d/e.zip"]
    assert [(each.uri, each.reason) for each in skipped] == [
        ("/a/p", BESIDE_DICOM),
        ("/c/x*", BESIDE_DICOM),
        ("s3://b/k", BESIDE_DICOM),
    ]
    assert "(2)" in skipped[0].message


def test_a_raster_that_an_input_of_its_own_names_counts_wherever_it_lies() -> None:
    uris = ["/a/p/1.png", "/a/p/own/2.tif", "/a/p/own/q/3.tif", "/a/p/x/4.tif", "/a/p/y/5.tif"]
    given = ["/a/p", "/a/p/own", "/a/p/x/4.tif", "/a/p/y/*.tif", "/a/p/ow"]
    kept, skipped = without_neighbours(uris, {"/a/p"}, given)
    assert kept == uris[1:]
    assert "(1)" in skipped[0].message
    kept, _ = without_neighbours(uris, {"/a/p", "/a/p/own"}, given)
    assert kept == uris[3:], "slices lie beside it too"


def test_repeats_among_dicom_files_are_not_told() -> None:
    told = [
        Skipped("/a/p/1.tif", "duplicate", ""),
        Skipped("/a/p/2.tif", "unreadable", ""),
        Skipped("/b", "duplicate", ""),
    ]
    assert without_repeats(told, {"/a"}) == told[1:]


def test_tiffs_of_an_own_folder_beneath_dicom_are_segmented_and_other_files_counted(tmp_path: Path) -> None:
    made, _ = make("two_slices", tmp_path / "in")
    (made.folder / "tiffs").mkdir()
    Image.fromarray(np.full((64, 64), 200, np.uint8)).save(made.folder / "tiffs" / "a.tif")
    Image.fromarray(np.full((64, 64), 200, np.uint8)).save(made.folder / "b.tif")
    for name in (f"{NAME}.txt", "README", ".hidden"):
        (made.folder / name).write_text(NAME)
    values = {"inputs": [str(made.folder), str(made.folder / "tiffs")], "model": "threshold"}
    planned = prepare(load_spec(values=values | {"output": {"path": str(tmp_path / "out")}}))
    assert sorted(Path(each.source.uri).name for each in planned.plans if each.source.volume is None) == ["a.tif"]
    assert [each.reason for each in planned.skipped] == ["beside_dicom", "other_files"]
    assert "(1 hidden, 2 neither DICOM nor pictures)" in planned.skipped[1].message
    assert NAME not in str(planned.skipped)


@pytest.mark.parametrize(
    ("out", "crosswalk", "told"),
    [
        ("safe/out", "safe", "the run folder"),
        ("safe/a/b", "safe", "the run folder"),
        ("link/out", "safe", "the run folder"),
        ("run", "run/ids", "is in the run folder"),
        ("run", "run", "is in the run folder"),
        ("link", "safe/ids", "is in the run folder"),
    ],
)
def test_results_and_identities_never_lie_in_each_other(out: str, crosswalk: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "safe").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "safe")
    place = {"output": {"path": str(tmp_path / out)}, "dicom": {"crosswalk": str(tmp_path / crosswalk)}}
    with pytest.raises(SpecError, match=told):
        crosswalk_folder(load_spec(values={"inputs": ["x"], "model": "threshold"} | place))


def test_results_and_identities_may_be_neighbours(tmp_path: Path) -> None:
    place = {"output": {"path": str(tmp_path / "a")}, "dicom": {"crosswalk": str(tmp_path / "a.ids")}}
    spec = load_spec(values={"inputs": ["x"], "model": "threshold"} | place)
    assert crosswalk_folder(spec) == str(tmp_path / "a.ids")


def test_the_written_spec_names_inputs_by_pseudonyms_that_lead_back(crosswalk: Crosswalk) -> None:
    values = {"inputs": ["/data/b", "/data/a", "/data/b"], "model": "threshold", "output": {"path": "/out"}}
    written = public_spec(load_spec(values=values), crosswalk)
    assert [originals(crosswalk, each) for each in written.inputs] == [["/data/b"], ["/data/a"], ["/data/b"]]
    assert written == public_spec(load_spec(values=values), crosswalk), "the same at each resumption"


def test_a_picture_beside_slices_is_no_source_and_no_failure(tmp_path: Path) -> None:
    made, _ = make("two_slices", tmp_path / "in")
    Image.fromarray(np.full((64, 64), 200, np.uint8)).save(made.folder / f"{NAME}.png")
    given = [str(made.folder), "--model", "threshold", "--set", "model.options.value=-50", "--engine", "inline"]
    code = main(["segment", *given, "-o", str(tmp_path / "out")])
    assert code in (0, 3)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert all(each.startswith("input:") for each in run["spec"]["inputs"])
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file() and NAME.encode() in p.read_bytes()]


def test_planning_keeps_no_crosswalk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = make("reversed_normal", tmp_path / "in")
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    monkeypatch.chdir(tmp_path)
    assert main(["plan", str(made.folder), "--model", "threshold", "--set", "model.options.value=0"]) == 0
    assert "dicom:" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "t"]
    assert list((tmp_path / "t").iterdir()) == []


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_bug_beside_patients_is_told_without_its_text(
    debug: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        discretion.begin()
        try:
            raise PermissionError(13, "Permission denied", f"/data/{NAME}/IM1")  # noqa: TRY301
        except PermissionError as error:
            raise RuntimeError(f"cannot go on with {NAME}") from error

    monkeypatch.setattr(stages, "run", fail)
    assert main(["segment", "x", "--model", "threshold", "-o", "out", *debug]) == 1
    said = capsys.readouterr()
    assert NAME not in said.out + said.err
    assert "error: RuntimeError: (text withheld" in said.err
    assert ("PermissionError" in said.err) == bool(debug)


def test_the_crosswalk_is_for_its_owner(tmp_path: Path) -> None:
    made, _ = make("reversed_normal", tmp_path / "in")
    given = [str(made.folder), "--model", "threshold", "--set", "model.options.value=-50", "--engine", "inline"]
    assert main(["segment", *given, "-o", str(tmp_path / "out")]) == 0
    found = tmp_path / "out.crosswalk"
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in [found, *found.rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600)}


@pytest.mark.parametrize(("given", "warned"), [("a.dcm", True), ("export.zip", True), ("a.tif", False)])
def test_submitting_patients_tells_that_the_cluster_keeps_their_paths(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, given: str, warned: bool
) -> None:
    (tmp_path / given).touch()
    (tmp_path / "job.yaml").write_text(f"inputs: [{given}]\nmodel: threshold\noutput: {{path: out}}\n")
    (tmp_path / "staged").mkdir()
    stage(tmp_path / "job.yaml", tmp_path / "staged", [])
    assert ("list them in a manifest" in caplog.text) == warned
