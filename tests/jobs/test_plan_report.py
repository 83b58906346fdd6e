"""What `plan` says of models that look for an organ first: upper bounds, and that they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import plan_report
from jobs.cli import main
from jobs.planning import prepare
from segworkers.segmenters.two_stage import Prior
from tests.runs import ROOT
from tests.volume_truth import ellipsoids

SHAPE = (14, 60, 50)


def two_stages(monkeypatch: pytest.MonkeyPatch, window: tuple[int, int, int], overlap: tuple[int, int, int]) -> None:
    def prepared(spec: Any) -> Any:
        found = prepare(spec)
        manifest = replace(found.manifest, kind="dense", window=window, overlap=overlap)
        prior = Prior(reference="tiny-organ", manifest=manifest, region="whole")
        return replace(found, model=replace(found.model, prior=prior), manifest=manifest)

    monkeypatch.setattr(plan_report, "prepare", prepared)


def test_windows_around_an_organ_are_told_as_upper_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ellipsoids(SHAPE, 3, seed=3).save(tmp_path / "archive")
    model = f"python:{ROOT}/tests/user_models/gossip.py:Gossip"
    command = ["plan", str(tmp_path / "archive"), "--model", model, "--set", f"dicom.crosswalk={tmp_path / 'c'}"]
    assert main([*command, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["around_organ"] is None
    two_stages(monkeypatch, (4, 16, 16), (0, 0, 0))
    assert main([*command, "--json"]) == 0
    staged = json.loads(capsys.readouterr().out)
    assert staged["around_organ"] == "tiny-organ" and staged["windows"] == 4 * 4 * 4
    assert staged["read_bytes"] >= 2 * plain["read_bytes"], "the first stage reads the volume too"
    two_stages(monkeypatch, (4, 16, 16), (0, 8, 8))
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "tiny-organ finds the organ of each volume first, and windows are then laid around it" in said
    assert f"about {staged['tiles']} tiles, at most {4 * 8 * 7} windows" in said and "MB to read" in said


def test_models_of_one_stage_are_told_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ellipsoids(SHAPE, 3, seed=3).save(tmp_path / "archive")
    model = f"python:{ROOT}/tests/user_models/gossip.py:Gossip"
    sets = ["--set", f"dicom.crosswalk={tmp_path / 'c'}"]
    assert main(["plan", str(tmp_path / "archive"), "--model", model, *sets]) == 0
    said = capsys.readouterr().out
    assert "at most" not in said and "about" not in said and "two stages" not in said
