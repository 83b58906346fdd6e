from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs import plan_report, stages
from jobs.cli import app, main
from jobs.config import JobSpec
from jobs.engines.base import EngineError
from jobs.events import Events
from jobs.render import gigabytes, summary_lines
from schemas.errors import StoreError
from tests.jobs.published import change
from tests.runs import ROOT, environment

HEAVY = ("ray", "torch", "rasterio", "numpy", "pyarrow", "duckdb", "pydantic", "rich", "yaml", "shapely", "numba")
SUMMARY = {
    "out": "/my runs/out",
    "sources": 3,
    "failed_inputs": 0,
    "objects": 1234,
    "counts": {"car": 1200, "lorry": 34},
    "tiles": 9,
    "tiles_resumed": 2,
    "pixels": 5_000_000,
    "pixels_failed": 0,
    "seconds": 2.5,
    "generation": "abc",
    "seam": "no seam: as many objects near windows' borders as elsewhere",
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last run was asked for, with `changes` to its summary to be set by the test."""
    seen: dict[str, Any] = {"changes": {}}

    def run(spec: JobSpec, *, events: Events, resume: bool = False) -> stages.RunSummary:
        seen.update(spec=spec, resume=resume)
        events.warning("a warning")
        if isinstance(seen["changes"], BaseException):
            raise seen["changes"]
        return stages.RunSummary(**(SUMMARY | seen["changes"]))

    monkeypatch.setattr(stages, "run", run)
    return seen


SEGMENT = ["segment", "a.tif", "b.tif", "--model", "threshold", "-o", "out"]


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment(), **(pipes | options))


def test_options_of_segment_become_the_spec(ran: dict[str, Any]):
    more = [
        "--set",
        "tiling.tile=512",
        "--set",
        "model.options.value=3",
        "--engine",
        "inline",
        "--address",
        "x",
        "--resume",
    ]
    assert main([*SEGMENT, *more]) == 0
    spec = ran["spec"]
    assert [Path(uri).name for uri in spec.inputs] == ["a.tif", "b.tif"]
    assert (spec.model.reference, spec.model.options) == ("threshold", {"value": 3})
    assert (spec.tiling.tile, spec.engine.kind, spec.engine.address) == (512, "inline", "x")
    assert Path(spec.output.path).name == "out" and ran["resume"] is True


def test_options_of_segment_win_over_set(ran: dict[str, Any]):
    sets = ["output.path=elsewhere", "model=other", "model.options.value=3", "inputs=[c.tif]", "engine.kind=ray"]
    assert main([*SEGMENT, *(part for each in sets for part in ("--set", each)), "--engine", "inline"]) == 0
    spec = ran["spec"]
    assert Path(spec.output.path).name == "out" and spec.engine.kind == "inline"
    assert (spec.model.reference, spec.model.options) == ("threshold", {"value": 3})
    assert [Path(uri).name for uri in spec.inputs] == ["a.tif", "b.tif"]


def test_run_reads_the_spec_file_and_options_override_it(ran: dict[str, Any], tmp_path: Path):
    path = tmp_path / "job.yaml"
    path.write_text("inputs: [a.tif]\nmodel: threshold\noutput: {path: out}\nengine: {kind: ray}\n")
    assert main(["run", str(path), "--engine", "inline"]) == 0
    assert ran["spec"].engine.kind == "inline" and ran["spec"].inputs == [str(tmp_path / "a.tif")]
    assert ran["resume"] is False


def test_results_go_to_stdout_and_the_rest_to_stderr(ran: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    main(SEGMENT)
    out, err = capsys.readouterr()
    assert out.startswith("1,234 objects in 3 sources\n") and "warning" not in out
    assert err == "warning: a warning\n"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"failed_inputs": 1}, 3),
        ({"pixels_failed": 1}, 3),
        (StoreError("torn"), 1),
        (RuntimeError("boom"), 1),
        (EngineError("no cluster"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_exit_code_says_how_a_run_ended(ran: dict[str, Any], changes: Any, code: int):
    ran["changes"] = changes
    assert main(SEGMENT) == code


def test_an_unexpected_error_is_one_line_and_a_traceback_on_demand(
    ran: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    ran["changes"] = RuntimeError("two\nlines")
    main(SEGMENT)
    assert capsys.readouterr().err.splitlines()[-1] == "error: RuntimeError: two lines (traceback with --debug)"
    for arguments in (["--debug", *SEGMENT], [*SEGMENT, "--debug"]):
        assert main(arguments) == 1
        assert "Traceback" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on(ran: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    ran["changes"] = KeyboardInterrupt()
    main(SEGMENT)
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment"],
        ["segment", "a.tif", "--model", "threshold"],
        [*SEGMENT, "--engine", "dask"],
        [*SEGMENT, "--set", "tiling.tilee=1"],
        [*SEGMENT, "--no-such-option"],
        ["no-such-command"],
        ["run", "no-such-file.yaml"],
        ["plan", "a.tif"],
        ["plan", "job.yaml", "--model", "threshold"],
        ["preview", "out", "--max-side", "3"],
    ],
)
def test_bad_usage_is_exit_code_2_and_a_message(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err and not out and "Traceback" not in err


def test_a_summary_says_counts_place_and_how_to_query():
    lines = summary_lines(stages.RunSummary(**SUMMARY))
    text = "\n".join(lines)
    assert lines[0] == "1,234 objects in 3 sources"
    for part in ("1,200  car", "34  lorry", "9 tiles (2 from an earlier run)", "2.0 Mpx/s", "/my runs/out/tables/abc"):
        assert part in text
    assert "segworkers query '/my runs/out' \"SELECT" in text and "failed" not in text


def test_a_summary_of_an_incomplete_run_is_a_lower_bound_and_points_to_failures():
    lines = summary_lines(stages.RunSummary(**(SUMMARY | {"failed_inputs": 2, "pixels_failed": 7, "seconds": 0.0})))
    assert lines[0].startswith("at least 1,234 objects")
    assert any("failed: 2 inputs, 7 pixels" in line for line in lines)
    assert any("FROM failures" in line for line in lines)


def test_schema_prints_json_and_validate_prints_the_whole_spec(tmp_path: Path):
    runner = CliRunner()
    assert json.loads(runner.invoke(app, ["schema"]).stdout)["properties"]["inputs"]["type"] == "array"
    path = tmp_path / "job.yaml"
    path.write_text("inputs: [a.tif]\nmodel: threshold\noutput: {path: out}\n")
    done = runner.invoke(app, ["validate", str(path), "--set", "tiling.tile=7"])
    assert done.exit_code == 0 and "tile: 7" in done.stdout and "memory: 2GB" in done.stdout


def test_validate_reports_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "job.yaml"
    path.write_text("inputs: []\nmodle: threshold\noutput: {path: out}\n")
    assert main(["validate", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("nopemodel", "'nopemodel' is not known"),
        ("{reference: threshold, options: {abvoe: true}}", "abvoe"),
        ("{reference: threshold, window: 1024, overlap: 600}", "overlap"),
        ("{reference: threshold, blend: gaussian}", "model.blend"),
    ],
)
def test_validate_looks_at_the_model(model: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "job.yaml"
    path.write_text(f"inputs: [absent.tif]\nmodel: {model}\noutput: {{path: out}}\n")
    assert main(["validate", str(path)]) == 2
    said = capsys.readouterr()
    assert told in said.err and not said.out


def test_plan_shows_sources_sizes_warnings_and_skipped_inputs(published: Path, capsys: pytest.CaptureFixture[str]):
    folder = published.parent
    assert main(["plan", str(folder / "*.tif"), str(folder / "gone.tif"), "--model", "threshold"]) == 3
    out = capsys.readouterr().out
    for part in ("field.tif", "no where.tif", "120 x 140", "uint8", "2 sources, 2 tiles", "memory per worker"):
        assert part in out
    assert "warning: " in out and "skipped: " in out and "gone.tif" in out and "not_found" in out


def test_plan_ends_as_the_run_would(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0 no raster")
    field = str(published.parent / "field.tif")
    for inputs, code in (([field], 0), ([field, field], 0), ([field, str(bad)], 3), ([str(bad)], 3), (["gone.tif"], 2)):
        ran = ["segment", *inputs, "--model", "threshold", "-o", str(tmp_path / f"out{len(inputs)}{code}")]
        assert main(["plan", *inputs, "--model", "threshold"]) == code
        assert main([*ran, "--engine", "inline"]) == code
    assert "gone.tif: no such file" in capsys.readouterr().out


def test_plan_as_json_has_the_same_figures(published: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", str(published.parent / "field.tif"), "--model", "threshold", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["tiles"] == 1 and body["pixels"] == 120 * 140 and body["model"]["name"] == "threshold"
    assert body["sources"][0]["height"] == 120 and body["read_bytes"] > 0


def test_plan_takes_a_spec_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "job.yaml"
    path.write_text("inputs: [a.tif]\nmodel: m\noutput: {path: out}\n")
    seen: list[JobSpec] = []

    def plan(spec: JobSpec) -> plan_report.PlanReport:
        seen.append(spec)
        raise StoreError("enough")

    monkeypatch.setattr(plan_report, "plan", plan)
    assert main(["plan", str(path), "--set", "tiling.tile=9"]) == 1
    assert seen[0].tiling.tile == 9 and seen[0].inputs == [str(tmp_path / "a.tif")]


def test_a_finished_run_is_queried_verified_and_previewed(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["query", str(published), "SELECT count(*) AS n FROM instances", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "n\n4\n"
    assert main(["verify", str(published), "--all"]) == 0
    assert "everything agrees" in capsys.readouterr().out
    picture = tmp_path / "p.png"
    assert main(["preview", str(published), "field.tif", "--box", "0,0,50,50", "-o", str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}\n" and picture.stat().st_size


def test_a_run_that_does_not_verify_is_exit_code_1_with_every_problem(broken: Path, capsys: pytest.CaptureFixture[str]):
    change(broken, "failures", list.clear)
    assert main(["verify", str(broken)]) == 1
    out, err = capsys.readouterr()
    assert "FAILED  failures" in out and "NOT verified" in out and "ok      files" in out
    assert "has no row in failures" in err


@pytest.mark.parametrize("query", ["DROP TABLE images", "SELEC 1", "SELECT nope FROM images"])
def test_a_bad_query_is_exit_code_2(published: Path, query: str, capsys: pytest.CaptureFixture[str]):
    assert main(["query", str(published), query]) == 2
    assert capsys.readouterr().err


def test_a_folder_without_results_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for arguments in (["query", str(tmp_path), "SELECT 1"], ["verify", str(tmp_path)], ["preview", str(tmp_path)]):
        assert main(arguments) == 1
        assert "holds no published results" in capsys.readouterr().err


def test_demo_and_submit_pass_their_options_and_exit_codes_on(monkeypatch: pytest.MonkeyPatch):
    calls: list[Any] = []
    fake_demo = SimpleNamespace(run_demo=lambda output, engine: calls.append((output, engine)) or 0)
    fake_submit = SimpleNamespace(
        ENTRYPOINT="x", submit=lambda job, address, **options: calls.append((job, address, options)) or 3
    )
    monkeypatch.setitem(sys.modules, "jobs.demo", fake_demo)
    monkeypatch.setitem(sys.modules, "jobs.submit", fake_submit)
    assert main(["demo", "-o", "here", "--engine", "inline"]) == 0
    assert main(["submit", "job.yaml", "--address", "http://h:8265", "--no-wait", "--submission-id", "s"]) == 3
    assert calls[0] == (Path("here"), "inline")
    assert calls[1][:2] == (Path("job.yaml"), "http://h:8265")
    assert calls[1][2]["wait"] is False and calls[1][2]["submission_id"] == "s"


def test_small_sizes_are_written_in_megabytes():
    assert [gigabytes(count) for count in (0, 2_500_000, 3_400_000_000)] == ["0.0 MB", "2.5 MB", "3.4 GB"]


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "jobs", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported and not imported & set(HEAVY)
    assert "segment" in done.stdout


def test_exit_codes_leave_the_process(published: Path):
    for arguments, code in (
        (["query", published, "SELECT 1"], 0),
        (["query", published.parent, "SELECT 1"], 1),
        (["query", published, "DROP VIEW images"], 2),
        (["nope"], 2),
    ):
        process = start(*arguments)
        process.communicate(timeout=60)
        assert process.returncode == code


def test_a_reader_that_goes_away_causes_no_traceback(published: Path):
    process = start("query", published, "SELECT * FROM range(2000000)", "--format", "csv")
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "range\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1


SLOW_MODEL = """
import sys
import time


class Slow:
    kind = "dense"
    window = (1, 64, 64)
    overlap = (0, 0, 0)
    classes = ("object",)

    def __init__(self, device):
        self.device = device

    def predict(self, windows):
        print("predicting", file=sys.__stdout__, flush=True)
        time.sleep(60)
"""


def test_ctrl_c_ends_a_run_with_130_and_a_hint(published: Path, tmp_path: Path):
    (tmp_path / "slow.py").write_text(SLOW_MODEL)
    model, source = f"python:{tmp_path / 'slow.py'}:Slow", published.parent / "field.tif"
    process = start("segment", source, "--model", model, "-o", tmp_path / "out", "--engine", "inline")
    assert process.stdout is not None
    assert process.stdout.readline() == "predicting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in err and "Traceback" not in err
