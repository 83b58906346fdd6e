from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.identify import plain
from schemas.errors import SpecError
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.stack import Slice, Stack


@pytest.fixture
def crosswalk(tmp_path: Path) -> Crosswalk:
    made = Crosswalk.open(str(tmp_path / "crosswalk"))
    names = made.pseudonyms()
    made.add_names([("subject", names.of("subject", "MRN 7"), "MRN 7"), ("input", names.of("input", "/a"), "/a")])
    made.put(
        Stack(
            series_id="a" * 32,
            study_uid="2.999.1",
            series_uid="2.999.2",
            frame_of_reference_uid="2.999.3",
            transfer_syntaxes=(),
            rows=1,
            columns=1,
            bits_stored=12,
            signed=False,
            dtype="int16",
            padding=None,
            slices=(Slice(place="/a/1", frame=0, uid="2.999.4"),),
        ),
        "f",
    )
    return made


def test_names_are_told_in_the_order_asked_for(crosswalk: Crosswalk, capsys: pytest.CaptureFixture[str]) -> None:
    names = crosswalk.pseudonyms()
    subject, given = names.of("subject", "MRN 7"), f"input:{names.of('input', '/a')}"
    assert main(["identify", given, subject, "--crosswalk", crosswalk.folder]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{given}\tinput\t/a", f"{subject}\tsubject\tMRN 7"]


@pytest.mark.parametrize(
    ("kind", "original"),
    [("study", "2.999.1"), ("series", "2.999.2"), ("frame_of_reference", "2.999.3"), ("instance", "2.999.4")],
)
@pytest.mark.parametrize("form", ["of", "uid"])
def test_uids_of_research_objects_lead_back(
    crosswalk: Crosswalk, capsys: pytest.CaptureFixture[str], kind: str, original: str, form: str
) -> None:
    asked = getattr(crosswalk.pseudonyms(), form)(kind, original)
    assert main(["identify", asked, "--crosswalk", crosswalk.folder]) == 0
    assert capsys.readouterr().out == f"{asked}\t{kind}\t{original}\n"


def test_what_is_not_known_is_an_error_and_nothing_is_told(
    crosswalk: Crosswalk, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = crosswalk.pseudonyms().of("subject", "MRN 7")
    assert main(["identify", subject, "0" * 32, "--crosswalk", crosswalk.folder]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{'0' * 32}: not known to this crosswalk" in said.err


def test_looking_up_makes_no_crosswalk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identify", "0" * 32, "--crosswalk", str(tmp_path / "none")]) == 1
    assert "expected a crosswalk" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "abc", "dicom:abc", "2.25.", f"2.25.{1 << 128}", "/" + "0" * 32, "0" * 33])
def test_what_is_no_pseudonym_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="expected 32 hexadecimal digits"):
        plain(text)


def test_a_damaged_file_of_names_is_told_without_its_content(
    crosswalk: Crosswalk, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(crosswalk.folder) / "names" / "0.jsonl").write_text(json.dumps({"original": "MRN 7"}) + "\n")
    assert main(["identify", "0" * 32, "--crosswalk", crosswalk.folder, "--debug"]) == 1
    assert "MRN" not in capsys.readouterr().err
