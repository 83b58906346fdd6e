"""docs/evaluate.md names every column of the tables of an evaluation, and its commands are understood."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from jobs.cli import app
from jobs.evaluation.tables import METRICS, OBJECTS, STATES
from segworkers.evaluation.intervals import LEAST_UNITS, RESAMPLES
from segworkers.evaluation.summary import NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text()


def test_every_column_is_on_the_page() -> None:
    metrics, objects = PAGE.partition("## Files")[2].split("`objects.parquet` has")
    figures = {f"{name}{end}" for name in NAMES for end in ("_low", "_high")}
    assert set(METRICS.names) - figures <= set(re.findall(r"`(\w+)`", metrics))
    assert set(OBJECTS.names) <= set(re.findall(r"`(\w+)`", objects))
    assert all(f"`{state}`" in objects for states in STATES.values() for state in states)
    assert set(NAMES) <= set(re.findall(r"`(\w+)`", PAGE.partition("## What counts")[2].partition("## Intervals")[0]))


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    text = PAGE.partition("## Intervals")[2]
    assert f"{RESAMPLES:,} **bootstrap** resamples" in text and f"fewer than {LEAST_UNITS} of them" in text


def test_options_on_the_page_exist() -> None:
    known = set(re.findall(r"--[a-z-]+", CliRunner().invoke(app, ["evaluate", "--help"]).stdout))
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= known
