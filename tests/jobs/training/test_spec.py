"""What the command line says becomes a job; what is wrong is said at once."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.training.data import split_groups
from jobs.training.spec import TrainSpec, command, parse_spec, thread_count, validation_share
from jobs.training.together import _placed
from schemas.errors import SpecError
from segworkers.segmenters.bundles import open_bundle
from tests.model_bundles import logistic

GIVEN = {"data": Path("/somewhere/private/plates"), "output": Path("out"), "family": "unet", "truth": ()}


def test_all_problems_are_reported_at_once():
    with pytest.raises(SpecError) as caught:
        parse_spec(**GIVEN, classes=",", bands="red", normalise="log", size="huge", learning_rate=3.0)
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        *("--classes", "--bands", "--normalise", "--size", "--learning-rate"),
    ]


def test_a_spec_of_the_command_line():
    spec = parse_spec(**GIVEN, classes="a,b", bands="2,0", normalise=None, size="tiny", steps=7)
    assert (spec.classes, spec.bands, spec.normalise, spec.size, spec.steps) == (("a", "b"), (2, 0), None, "tiny", 7)


@pytest.mark.parametrize("bands", ["-1", "0,-2", "", "1,"])
def test_bands_are_numbered_from_0(bands):
    with pytest.raises(SpecError, match="--bands: expected 0-based indices such as 0,1,2, found"):
        parse_spec(**GIVEN, classes=None, bands=bands, normalise=None, size="tiny")


def test_processes_of_a_team_find_everything_from_any_folder(tmp_path, monkeypatch):
    logistic(tmp_path / "cells")
    (tmp_path / "held").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = TrainSpec(
        data=Path("plates"),
        output=Path("out"),
        family=None,
        truth=(Path("t.json"),),
        validation="held",
        start="./cells",
    )
    placed = _placed(spec, open_bundle("./cells"))
    assert [placed.data, placed.output, *placed.truth] == [tmp_path / name for name in ("plates", "out", "t.json")]
    assert [placed.validation, placed.start] == [str(tmp_path / name) for name in ("held", "cells")]
    shipped = _placed(replace(spec, start="nuclei", validation="0.2"), open_bundle("nuclei"))
    assert (shipped.start, shipped.validation) == ("nuclei", "0.2")
    assert _placed(replace(spec, start=None), None).start is None


def test_the_recorded_command_names_no_folders():
    spec = TrainSpec(**GIVEN, start="/secret/place/bundle", validation="/secret/place/held", classes=("a b", "c"))
    words = shlex.split(command(spec))
    assert words[:3] == ["segworkers", "train", "plates"] and "a b,c" in words
    assert "bundle" in words and "held" in words and not any("secret" in word for word in words)


def test_threads_are_those_of_the_machine_unless_given():
    assert thread_count(TrainSpec(**GIVEN, threads=3)) == 3
    assert thread_count(TrainSpec(**GIVEN, workers=2)) == 1
    assert 1 <= thread_count(TrainSpec(**GIVEN)) <= 8


@pytest.mark.parametrize("text", ["0", "1", "-0.2", "2"])
def test_shares_outside_are_refused(text):
    with pytest.raises(SpecError, match="between 0 and 1"):
        validation_share(text)


@given(st.integers(2, 40), st.floats(0.01, 0.99), st.integers(0, 5))
def test_some_images_are_trained_on_and_some_validated_on(count, share, seed):
    chosen = split_groups(range(count), share, seed)
    assert 1 <= len(chosen) < count and chosen == split_groups(range(count), share, seed)
    assert chosen <= set(range(count))
    assert abs(len(chosen) - share * count) <= 1
