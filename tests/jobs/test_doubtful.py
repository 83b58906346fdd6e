"""`segworkers verify --doubtful`: which merges are doubtful, in which order, and in which formats."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.bootstrap import reader
from jobs.cli import main
from jobs.doubtful import count_doubtful, doubtful_line, doubtful_sql
from jobs.report import write_report
from jobs.results import open_results
from tests import runs, worlds
from tests.jobs.published import Rows, change
from tests.segworkers.readers.rasters import write_raster


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an instance model whose objects are then given evidence of every kind."""
    folder = tmp_path_factory.mktemp("doubt")
    truth = worlds.cars(np.random.default_rng(3), 200).astype(np.uint16)
    path = write_raster(folder / "cars.tif", truth[None], crs=None, transform=None)
    out = folder / "out"
    runs.run([path], out, runs.user_model("Oracle"))
    evidence: list[dict[str, Any]] = [
        {"assembled": True, "n_views": 2, "min_link_overlap": 0.3},
        {"assembled": True, "n_views": 1, "min_link_overlap": None},
        {"assembled": True, "n_views": 2, "min_link_overlap": 0.45},
        {"assembled": False, "n_views": 2, "min_link_overlap": 0.01},
        {"assembled": True, "n_views": 3, "min_link_overlap": 0.9, "is_complete": False},
    ]

    def weaken(rows: Rows) -> None:
        for row in rows:
            row.update(assembled=False, n_views=1, min_link_overlap=None)
        for row, changes in zip(rows, evidence, strict=False):
            row.update(changes)

    change(out, "instances", weaken)
    change(out, "images", lambda rows: [row.update(is_lower_bound=True) for row in rows])
    return out


def reasons(out: Path, below: float = 0.5) -> list[tuple[str, float | None]]:
    rows = open_results(out).sql(doubtful_sql(below)).to_pylist()
    return [(row["reason"], row["min_link_overlap"]) for row in rows]


def test_the_weakest_come_first_each_with_its_reason(merged: Path) -> None:
    assert reasons(merged) == [
        ("no partner", None),
        ("weak link", 0.3),
        ("weak link", 0.45),
        ("incomplete", 0.9),
    ]
    assert count_doubtful(open_results(merged)) == {"incomplete": 1, "no partner": 1, "weak link": 2}


def test_the_edge_of_a_volume_is_no_doubt_but_what_failed_there_is(merged: Path, tmp_path: Path) -> None:
    """Objects of volumes are incomplete at the border as well; those of images only where something failed."""
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    incomplete: dict[str, Any] = {"assembled": True, "n_views": 3, "is_complete": False, "min_link_overlap": None}

    def at_the_edge(rows: Rows) -> None:
        for row in rows:
            row.update(assembled=False, is_complete=True, touches_border=True, voxel_count=row["pixel_count"])
        rows[0].update(incomplete)
        rows[1].update(incomplete, touches_border=False)
        rows[2].update(incomplete, voxel_count=None)
        rows[3].update(incomplete, assembled=False, touches_border=False)

    def listed() -> set[str]:
        return {row["instance_id"] for row in open_results(out).sql(doubtful_sql()).to_pylist()}

    change(out, "instances", at_the_edge)
    first, second, third, *_ = open_results(out).table("instances").to_pylist()
    assert listed() == {second["instance_id"], third["instance_id"]}
    failed: dict[str, Any] = {
        name: first[name] for name in ("source_id", "source_uri", "z_min", "y_min", "z_max", "y_max")
    }
    failed |= {"x_min": first["x_max"], "x_max": first["x_max"] + 5, "scope": "tile", "tile": "0-0-0"}
    change(out, "failures", lambda rows: rows.append(failed | {"reason": "x", "message": "x", "hint": None}))
    assert listed() == {row["instance_id"] for row in (first, second, third)}


def test_the_threshold_decides_about_links_only(merged: Path) -> None:
    assert reasons(merged, 0.4) == [("no partner", None), ("weak link", 0.3), ("incomplete", 0.9)]
    assert reasons(merged, 0.0) == [("no partner", None), ("incomplete", 0.9)]
    assert reasons(merged, 1.0)[-1] == ("weak link", 0.9)


def test_an_object_that_a_window_saw_whole_needs_no_link(merged: Path) -> None:
    """A rim that another window's edge cut off overlaps little with the object, and changes nothing."""
    whole = [row for row in runs.rows(merged, "instances") if not row["assembled"]]
    assert min(row["min_link_overlap"] for row in whole if row["n_views"] > 1) == 0.01
    listed = {row["instance_id"] for row in open_results(merged).sql(doubtful_sql(1.0)).to_pylist()}
    assert listed and listed.isdisjoint(row["instance_id"] for row in whole)


def test_objects_of_dense_models_have_no_partners_to_miss(merged: Path, published: Path) -> None:
    """Components that windows without overlap cut are joined pixel by pixel."""
    assert {row["model_kind"] for row in runs.rows(published, "images")} == {"dense"}
    assert any(row["assembled"] for row in runs.rows(published, "instances"))
    assert reasons(published, 1.0) == []
    assert "no partner" in dict(reasons(merged))


def test_a_perfect_model_leaves_no_doubt(tmp_path: Path) -> None:
    truth = worlds.cars(np.random.default_rng(3), 300).astype(np.uint16)
    path = write_raster(tmp_path / "cars.tif", truth[None], crs=None, transform=None)
    runs.run([path], tmp_path / "out", runs.user_model("Oracle"))
    assert reasons(tmp_path / "out") == []


def test_the_command_lists_them_for_people_and_machines(
    merged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    change(out, "instances", lambda rows: [row.update(is_complete=True) for row in rows])
    assert main(["verify", str(out), "--doubtful", "--below", "0.4", "--format", "json"]) == 0
    text, err = capsys.readouterr()
    (first, second) = json.loads(text)
    assert (first["reason"], second["min_link_overlap"]) == ("no partner", 0.3)
    assert first["x_min"] < first["x_max"] and first["source_uri"].endswith("cars.tif")
    assert "2 doubtful merges (overlap below 0.4): 1 no partner, 1 weak link" in err
    target = tmp_path / "doubt.csv"
    assert main(["verify", str(out), "--doubtful", "--limit", "2", "-o", str(target)]) == 0
    assert capsys.readouterr().out == "" and len(target.read_text().splitlines()) == 3


def test_doubt_does_not_change_the_exit_code_and_is_counted_in_any_case(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(broken, "instances", lambda rows: [row.update(assembled=True, min_link_overlap=0.1) for row in rows])
    assert main(["verify", str(broken)]) == 0
    out = capsys.readouterr().out
    assert "4 doubtful merges (overlap below 0.5): 4 weak link" in out
    assert "too few objects to tell whether there is a seam" in out
    assert main(["verify", str(broken), "--doubtful"]) == 0
    assert "weak link" in capsys.readouterr().out
    change(broken, "instances", lambda rows: rows.pop())
    assert main(["verify", str(broken), "--doubtful"]) == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["-o", "e.csv"], "--output only with"),
        (["--format", "csv"], "--format only with"),
        (["--limit", "0"], "--limit only with"),
        (["--below", "0.5", "-o", "e.csv"], "--below, --output only with"),
        (["--doubtful", "--format", "parquet"], "-o FILE.parquet"),
        (["--doubtful", "-o", "no/e.csv"], "no/e.csv: cannot be written: No such file"),
        (["--doubtful", "-o", "."], "cannot be written: Is a directory"),
        (["--doubtful", "-o", "e.xls"], ".csv, .json"),
    ],
)
def test_options_that_lead_nowhere_are_refused_before_any_check(
    published: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", str(published), *options]) == 2
    out, err = capsys.readouterr()
    assert named in err and out == "" and "ok" not in err.split()
    assert list(tmp_path.iterdir()) == []


def test_the_report_tells_verdict_and_doubt(merged: Path, published: Path, tmp_path: Path) -> None:
    page = write_report(open_results(published), reader(), tmp_path, title="t").read_text()
    assert "too few objects to tell whether there is a seam" in page and "0 doubtful merges" in page
    assert doubtful_line(count_doubtful(open_results(merged))) == (
        "4 doubtful merges (overlap below 0.5): 1 incomplete, 1 no partner, 2 weak link"
    )
