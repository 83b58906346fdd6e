"""The command line: arguments in, exit code out. What a command does lives in the module it imports when it runs.

Exit codes: 0 done · 1 error · 2 bad usage or spec · 3 finished, but some inputs or pixels failed · 130 interrupted.
Results go to stdout, progress and messages to stderr.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.arguments import (
    BAD_USAGE,
    DONE,
    ERROR,
    INCOMPLETE,
    INTERRUPTED,
    Address,
    AsJson,
    Engine,
    EngineKind,
    Inputs,
    Model,
    Resume,
    Set,
    SpecFile,
)
from jobs.engines.base import EngineError
from jobs.model_commands import evaluate, models, train
from jobs.run_commands import identify, preview, query, verify
from schemas.discretion import one_line, traceback_text
from schemas.errors import SegworkersError, SpecError

if TYPE_CHECKING:
    from jobs.config import JobSpec

_INTERRUPTED_HINT = "interrupted; the same command goes on where it stopped: `train` as it is, runs with --resume"

app = typer.Typer(
    name="segworkers",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn archives of huge images into tables of objects: tile, segment on Ray, stitch, measure, query.",
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may also follow the command.")] = False,
) -> None:
    """Options of every command."""


@app.command()
def segment(
    inputs: Inputs,
    model: Model,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="Run folder; created if absent.", show_default=False)
    ],
    sets: Set = None,
    engine: Engine = None,
    address: Address = None,
    resume: Resume = False,
) -> None:
    """Segment rasters and publish tables of the objects."""
    _run(_spec(None, sets, engine, address, inputs=inputs, model=model, output=output), resume)


@app.command()
def run(
    job: SpecFile, sets: Set = None, engine: Engine = None, address: Address = None, resume: Resume = False
) -> None:
    """Segment what a spec file says."""
    _run(_spec(job, sets, engine, address), resume)


def _run(spec: JobSpec, resume: bool) -> None:
    from jobs import stages
    from jobs.events import open_progress
    from jobs.render import summary_lines

    # What a model prints is no result.
    with open_progress() as events, contextlib.redirect_stdout(sys.stderr):
        summary = stages.run(spec, events=events, resume=resume)
    print("\n".join(summary_lines(summary)))
    failed = summary.failed_inputs or summary.pixels_failed or summary.failed_outputs
    raise typer.Exit(INCOMPLETE if failed else DONE)


def _spec(
    job: Path | None,
    sets: Sequence[str] | None,
    engine: EngineKind | None = None,
    address: str | None = None,
    **values: Any,
) -> JobSpec:
    """The spec file or the values of options, with overrides."""
    from jobs.loading import load_spec

    chosen: dict[tuple[str, ...], Any] = {("engine", "kind"): engine.value if engine else None}
    chosen[("engine", "address")] = address
    body: dict[str, Any] | None = None
    if job is None:
        body = {"inputs": values["inputs"], "model": values["model"], "output": {"path": values.get("scratch")}}
        # These options win over --set as well; where there is no such option, as in `plan`, a --set stays.
        chosen |= {("inputs",): values["inputs"], ("model", "reference"): values["model"]}
        chosen[("output", "path")] = values.get("output")
    return load_spec(job, values=body, overrides=sets or (), options=chosen)


@app.command()
def schema() -> None:
    """Print the JSON schema of spec files."""
    import json

    from jobs.config import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command()
def validate(job: SpecFile, sets: Set = None) -> None:
    """Check a spec file, then its model, and print it with all defaults; no input is read, no weights are fetched.

    Every problem of the file is reported at once.
    """
    from jobs.planning import check_model

    spec = _spec(job, sets)
    check_model(spec)
    print(spec.to_yaml(), end="")


@app.command()
def plan(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...|JOB.YAML", help="Rasters, or one spec file.", show_default=False)
    ],
    model: Annotated[str | None, typer.Option("--model", help="As for `segment`; not with a spec file.")] = None,
    sets: Set = None,
    as_json: AsJson = False,
) -> None:
    """Read headers only and show what a run would do: tiles, bytes to read, memory, warnings, skipped inputs.

    The exit code is what the inputs would give a run: 2 where there are none, 3 where some cannot be used.
    """
    from jobs import plan_report
    from jobs.render import plan_json, print_plan
    from jobs.stages import LEFT_OUT, NOTHING_THERE

    is_spec = len(inputs) == 1 and inputs[0].lower().endswith((".yaml", ".yml"))
    if is_spec == (model is not None):
        raise SpecError("plan takes one spec file, or inputs and --model")
    # Planning writes no run folder; a crosswalk, where there is DICOM, goes where the spec's run will look for it.
    with tempfile.TemporaryDirectory(prefix="segworkers-plan-") as scratch:
        values: dict[str, Any] = {"inputs": inputs, "model": model, "scratch": f"{scratch}/out"}
        spec = _spec(Path(inputs[0]), sets) if is_spec else _spec(None, sets, **values)
        report = plan_report.plan(spec)
    if as_json:
        print(plan_json(report))
    else:
        print_plan(report, sys.stdout)
    reasons = {each.reason for each in report.skipped}
    nothing = not report.sources and reasons <= set(NOTHING_THERE)
    raise typer.Exit(BAD_USAGE if nothing else INCOMPLETE if reasons - set(LEFT_OUT) else DONE)


for _command in (query, verify, models, train, evaluate, preview, identify):
    app.command()(_command)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the demo's runs.")] = Path(
        "demo-out"
    ),
    engine: Annotated[EngineKind, typer.Option("--engine", help="Where work runs.")] = EngineKind.ray,
) -> None:
    """Fetch real aerial and microscopy images, segment them, and query the result."""
    from jobs.demo import run_demo

    raise typer.Exit(run_demo(output, engine.value))


@app.command()
def submit(
    job: SpecFile,
    address: Annotated[str, typer.Option("--address", help="Dashboard of the cluster, such as http://127.0.0.1:8265.")],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and return at once.")] = False,
    submission_id: Annotated[
        str | None, typer.Option("--submission-id", help="Name of the job on the cluster.")
    ] = None,
    resume: Resume = False,
) -> None:
    """Run a spec file on a Ray cluster, follow its log, and exit with its exit code."""
    from jobs.submit import ENTRYPOINT
    from jobs.submit import submit as submit_job

    entrypoint = f"{ENTRYPOINT} --resume" if resume else ENTRYPOINT
    raise typer.Exit(submit_job(job, address, wait=not no_wait, submission_id=submission_id, entrypoint=entrypoint))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code and raises nothing."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    for name in ("jobs", "segworkers"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        app([argument for argument in given if argument != "--debug"], prog_name="segworkers")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what typer makes of a KeyboardInterrupt
            _say(_INTERRUPTED_HINT, debug)
        return end.code if isinstance(end.code, int) else DONE if end.code is None else ERROR
    except KeyboardInterrupt:
        _say(_INTERRUPTED_HINT, debug)
        return INTERRUPTED
    except SpecError as error:
        _say(str(error), debug)
        return BAD_USAGE
    except (SegworkersError, EngineError) as error:
        _say(f"error: {error}", debug)
        return ERROR
    except Exception as error:  # noqa: BLE001 (the last resort: one line instead of a traceback)
        _say(f"error: {one_line(error, 10_000)} (traceback with --debug)", debug)
        return ERROR
    return DONE


def _say(message: str, debug: bool) -> None:
    if debug and (error := sys.exception()) is not None:
        sys.stderr.write(traceback_text(error))
    print(message, file=sys.stderr)
