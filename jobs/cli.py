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
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.engines.base import EngineError
from schemas.discretion import one_line, traceback_text
from schemas.errors import SegworkersError, SpecError

if TYPE_CHECKING:
    from jobs.config import JobSpec

DONE, ERROR, BAD_USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
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


class EngineKind(StrEnum):
    """Values of --engine."""

    ray = "ray"
    inline = "inline"


class ModelAction(StrEnum):
    """What `models` does."""

    list = "list"
    show = "show"
    fetch = "fetch"
    verify = "verify"
    export = "export"
    import_ = "import"
    join_ = "join"


class QueryFormat(StrEnum):
    """Values of --format."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...", help="Files, folders, globs, manifests or URLs of rasters or DICOM.", show_default=False
    ),
]
SpecFile = Annotated[Path, typer.Argument(metavar="JOB.YAML", help="Spec of the job; see `segworkers schema`.")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="Run folder of a finished run.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="A model's name, path of a bundle, python:path/to/file.py:Class or python:package.module:Class.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the spec, such as tiling.tile=2048; repeatable."),
]
Engine = Annotated[
    EngineKind | None, typer.Option("--engine", help="Where work runs; ray unless the spec says otherwise.")
]
Address = Annotated[str | None, typer.Option("--address", help="Running Ray cluster to use instead of a private one.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an earlier run in the same run folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


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

    body = None if job else {"inputs": values["inputs"], "model": values["model"], "output": {"path": values["output"]}}
    chosen = {("engine", "kind"): engine.value if engine else None, ("engine", "address"): address}
    return load_spec(job, values=body, overrides=sets or (), options=chosen)


@app.command()
def schema() -> None:
    """Print the JSON schema of spec files."""
    import json

    from jobs.config import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command()
def validate(job: SpecFile, sets: Set = None) -> None:
    """Check a spec file and print it with all defaults; every problem is reported at once."""
    print(_spec(job, sets).to_yaml(), end="")


@app.command()
def plan(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...|JOB.YAML", help="Rasters, or one spec file.", show_default=False)
    ],
    model: Annotated[str | None, typer.Option("--model", help="As for `segment`; not with a spec file.")] = None,
    sets: Set = None,
    as_json: AsJson = False,
) -> None:
    """Read headers only and show what a run would do: tiles, bytes to read, memory, warnings, skipped inputs."""
    from jobs import plan_report
    from jobs.render import plan_json, print_plan

    is_spec = len(inputs) == 1 and inputs[0].lower().endswith((".yaml", ".yml"))
    if is_spec == (model is not None):
        raise SpecError("plan takes one spec file, or inputs and --model")
    # Planning writes no run folder; a crosswalk, where there is DICOM, goes where the spec's run will look for it.
    with tempfile.TemporaryDirectory(prefix="segworkers-plan-") as scratch:
        values: dict[str, Any] = {"inputs": inputs, "model": model, "output": f"{scratch}/out"}
        spec = _spec(Path(inputs[0]), sets) if is_spec else _spec(None, sets, **values)
        report = plan_report.plan(spec)
    if as_json:
        print(plan_json(report))
    else:
        print_plan(report, sys.stdout)


@app.command()
def query(
    out: Out,
    sql: Annotated[
        str,
        typer.Argument(
            metavar="SQL",
            help="One SELECT over instances, images, series, seams, tiles, failures, classes, per_series, per_study.",
        ),
    ],
    format: Annotated[
        QueryFormat | None, typer.Option("--format", help="Default: by the suffix of FILE, else table.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="Rows at most.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="File to write instead of stdout.")
    ] = None,
) -> None:
    """Query the tables of a run with SQL (DuckDB, read-only)."""
    from jobs.query import run_query
    from jobs.results import open_results

    run_query(open_results(out), sql, format=format.value if format else None, limit=limit, output=output)


@app.command()
def verify(
    out: Out,
    everything: Annotated[bool, typer.Option("--all", help="Decode every mask instead of a sample.")] = False,
    doubtful: Annotated[
        bool, typer.Option("--doubtful", help="List doubtful merges, the weakest first; the checks go to stderr.")
    ] = False,
    below: Annotated[
        float | None,
        typer.Option(
            "--below", min=0, max=1, help="With --doubtful: overlap (IoU) under which a link is weak; default 0.5."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="With --doubtful: merges at most.")] = None,
    format: Annotated[
        QueryFormat | None,
        typer.Option("--format", help="With --doubtful; default: by the suffix of FILE, else table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="With --doubtful: file instead of stdout.")
    ] = None,
) -> None:
    """Check that files, checksums, ledger, counts and masks of a run agree; exit code 1 where they do not.

    Doubtful merges leave the exit code as it is.
    """
    from jobs.doubtful import WEAK, doubtful_sql
    from jobs.query import check_target, run_query
    from jobs.render import verify_lines
    from jobs.results import open_results
    from jobs.verify import verify as verify_run

    given = {"--below": below, "--limit": limit, "--format": format, "--output": output}
    alone = [name for name, value in given.items() if value is not None]
    if alone and not doubtful:
        them = "it" if len(alone) == 1 else "them"
        raise SpecError(f"verify: {', '.join(alone)} only with --doubtful: add --doubtful, or leave {them} out")
    # Before the checks, which may take long.
    chosen = check_target(format.value if format else None, output)
    threshold = WEAK if below is None else below
    report = verify_run(out, everything=everything, below=threshold)
    print("\n".join(verify_lines(report)), file=sys.stderr if doubtful else sys.stdout)
    report.raise_if_bad()
    if doubtful:
        run_query(open_results(out), doubtful_sql(threshold), format=chosen, limit=limit, output=output)


@app.command()
def models(
    action: Annotated[ModelAction, typer.Argument(help="What to do with models.")] = ModelAction.list,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A model of the list, or the path of a bundle; none for `list`."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="BUNDLE", help="Folder for a new bundle.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", help="With `export`: onnx, torchscript or torch-export.")
    ] = None,
    second: Annotated[str | None, typer.Option("--with", metavar="NAME", help="With `join`: the dense model.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With `import` and `join`: a choice; repeatable."),
    ] = None,
) -> None:
    """List the models that come along, show a model's card, fetch its weights, or verify that it is as it says.

    `verify` hashes the weights again, loads the network and asks it once; exit code 1 where something is wrong. Without
    a name: all models whose weights are here. `export` writes a model's network for another runtime, `import` a bundle
    of the MONAI bundle in the folder NAME, `join` one of a detector and a dense model that looks into its boxes.
    """
    if action in (ModelAction.export, ModelAction.import_, ModelAction.join_):
        from jobs.exchange import exchange_text

        print(exchange_text(action.value, name, output, target, second, sets or ()))
        return
    from jobs.models import model_text

    print(model_text(action.value, name))


@app.command()
def train(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder with images and annotations (COCO, GeoJSON, label rasters).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="BUNDLE", help="Folder for the trained model.")],
    family: Annotated[
        str | None, typer.Option("--family", help="star-unet, maskrcnn or unet; with --from that model's.")
    ] = None,
    truth: Annotated[
        list[Path] | None, typer.Option("--truth", help="Annotations that lie elsewhere; repeatable.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="A,B", help="Default: those that the annotations name.")
    ] = None,
    class_field: Annotated[str | None, typer.Option("--class-field", help="Field of GeoJSON with the class.")] = None,
    bands: Annotated[str | None, typer.Option("--bands", metavar="I,J", help="0-based [all but alpha].")] = None,
    normalise: Annotated[
        str | None, typer.Option("--normalise", help="unit for 8-bit images, else percentile; or zscore, otsu.")
    ] = None,
    window: Annotated[int | None, typer.Option("--window", min=32, help="Pixels of the model's sides [512].")] = None,
    size: Annotated[str, typer.Option("--size", help="Of the network: tiny, small or usual.")] = "usual",
    start: Annotated[
        str | None, typer.Option("--from", metavar="BUNDLE", help="Train this model on, instead of a new one.")
    ] = None,
    validation: Annotated[
        str, typer.Option("--validation", metavar="SHARE|FOLDER", help="Share of the images, or a folder like DATA.")
    ] = "0.2",
    steps: Annotated[int, typer.Option("--steps", min=1)] = 1500,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Crops in a step; default: the family's.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Default: the family's.")] = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Of each process; default: the cores, at most 8.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes, with Ray Train; GPUs if any.")] = 1,
    address: Address = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the model; default: that of BUNDLE.")] = None,
) -> None:
    """Train a network on annotated images; BUNDLE is then a model that `segment` runs.

    Interrupted, the same command goes on from its last validation. What was measured is in the model's card:
    `segworkers models show BUNDLE`.
    """
    from jobs.train import train_bundle
    from jobs.training.spec import parse_spec

    spec = parse_spec(
        data=data,
        output=output,
        family=family,
        truth=tuple(truth or ()),
        classes=classes,
        class_field=class_field,
        bands=bands,
        normalise=normalise,
        window=window,
        size=size,
        start=start,
        validation=validation,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        threads=threads,
        workers=workers,
        name=name,
    )
    print(train_bundle(spec, lambda line: print(line, file=sys.stderr, flush=True), address))


@app.command()
def preview(
    out: Out,
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="source_id, URI or file name; default: the first.")
    ] = None,
    box: Annotated[
        str | None, typer.Option("--box", metavar="Y0,X0,Y1,X1", help="Part to show, in pixels of the source.")
    ] = None,
    max_side: Annotated[int, typer.Option("--max-side", min=16, help="Longest side of the picture in pixels.")] = 1600,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PNG", help="Default: SOURCE.preview.png here.")
    ] = None,
) -> None:
    """Write a picture of one source with its objects drawn over it."""
    from jobs import bootstrap
    from jobs.preview import preview as write_preview
    from jobs.results import open_results

    made = write_preview(open_results(out), bootstrap.reader(), source, box=box, max_side=max_side, path=output)
    print(made.path)


@app.command()
def evaluate(
    out: Out,
    truth: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRUTH...",
            help="COCO JSON, GeoJSON, GeoPackage, label rasters, DICOM segmentations, folders of them, or a CSV with "
            "the columns source and truth.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for tables and a page; created.")
    ] = None,
    iou: Annotated[
        list[float] | None, typer.Option("--iou", help="Least IoU of a match; repeatable. Default: 0.5, 0.7, 0.8, 0.9.")
    ] = None,
    boxes: Annotated[bool, typer.Option("--boxes", help="Compare boxes instead of masks.")] = False,
    ignore: Annotated[
        list[Path] | None,
        typer.Option("--ignore", metavar="FILE", help="Regions where nothing counts, in the formats of TRUTH."),
    ] = None,
    within: Annotated[
        list[Path] | None,
        typer.Option("--within", metavar="FILE", help="What was annotated; outside of it nothing counts."),
    ] = None,
    class_field: Annotated[
        str | None,
        typer.Option(
            "--class-field", metavar="FIELD", help="Field of vector files with the class; else label or class."
        ),
    ] = None,
    class_map: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="TRUTH=RUN", help="A class of the truth and its name in the run; repeatable."),
    ] = None,
    any_class: Annotated[bool, typer.Option("--any-class", help="Compare objects whatever their class.")] = False,
    components: Annotated[
        bool, typer.Option("--components", help="Each connected piece of the truth is an object of its own.")
    ] = False,
    sizes: Annotated[
        str | None, typer.Option("--sizes", metavar="PX,PX", help="Borders between sizes in pixels; default 1024,9216.")
    ] = None,
    crosswalk: Annotated[
        Path | None, typer.Option("--crosswalk", metavar="FOLDER", help="Crosswalk of a DICOM run; default beside OUT.")
    ] = None,
) -> None:
    """Compare a run with ground truth: counts, precision, recall, F1, AP, panoptic quality, with intervals.

    Exit code 3 where truth or images have no counterpart, or objects lie in what failed: these are not counted.
    """
    from jobs.evaluate import options_of, run_evaluate

    options = options_of(
        iou=iou,
        sizes=sizes,
        class_map=class_map or (),
        boxes=boxes,
        any_class=any_class,
        ignore=ignore or (),
        within=within or (),
        class_field=class_field,
        components=components,
        crosswalk=crosswalk,
    )
    made, lines = run_evaluate(out, truth, options, output)
    print("\n".join(lines))
    raise typer.Exit(DONE if made.is_complete else INCOMPLETE)


@app.command()
def identify(
    pseudonyms: Annotated[
        list[str],
        typer.Argument(metavar="PSEUDONYM...", help="As tables and messages have them, or UIDs 2.25.… of objects."),
    ],
    crosswalk: Annotated[Path, typer.Option("--crosswalk", metavar="FOLDER", help="Crosswalk of the run.")],
) -> None:
    """Print the originals of pseudonyms, for those who may read the crosswalk: pseudonym, kind and original, by tabs.

    What is printed identifies patients. Exit code 1 where a pseudonym is of another crosswalk.
    """
    from jobs.identify import identify as look_up

    for line in look_up(pseudonyms, crosswalk):
        print(line)


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
