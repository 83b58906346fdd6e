"""`segworkers evaluate`: compare a run with ground truth, write the tables and the page, and say what was found."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs import bootstrap
from jobs.evaluation.evaluating import SIZES, THRESHOLDS, EvaluateOptions, Evaluation, evaluate
from jobs.evaluation.images import Images
from jobs.evaluation.page import headline, warnings, write_page
from jobs.evaluation.pictures import draw
from jobs.evaluation.tables import write_metrics
from jobs.results import Results, open_results
from jobs.truth.opening import TruthOptions
from schemas.errors import SpecError


def options_of(
    *,
    iou: Sequence[float] | None,
    sizes: str | None,
    class_map: Sequence[str],
    boxes: bool,
    any_class: bool,
    ignore: Sequence[Path],
    within: Sequence[Path],
    class_field: str | None,
    components: bool,
    crosswalk: Path | None,
) -> EvaluateOptions:
    """Options as they are typed. Raises SpecError where one is not understood."""
    try:
        borders = SIZES if sizes is None else tuple(float(part) for part in sizes.split(",") if part.strip())
    except ValueError as error:
        raise SpecError(f"--sizes {sizes}: expected pixels, separated by commas") from error
    pairs = [text.partition("=") for text in class_map]
    if any(not (theirs and ours) for theirs, _, ours in pairs):
        raise SpecError(
            f"--class {' '.join(class_map)}: expected TRUTH=RUN, a class of the truth and its name in the run"
        )
    return EvaluateOptions(
        thresholds=tuple(sorted(set(iou))) if iou else THRESHOLDS,
        sizes=borders,
        boxes=boxes,
        any_class=any_class,
        class_map={theirs: ours for theirs, _, ours in pairs},
        ignore=tuple(ignore),
        within=tuple(within),
        truth=TruthOptions(class_field=class_field, boxes_only=boxes, components=components, crosswalk=crosswalk),
    )


def run_evaluate(
    out: str, truth: Sequence[Path], options: EvaluateOptions, folder: Path | None
) -> tuple[Evaluation, list[str]]:
    """Compare a run with truth; returns the evaluation and the lines that say what was found.

    folder: for `index.html`, `metrics.parquet`, `.csv`, `.json` and `objects.parquet`; None writes nothing.
    Raises SpecError where nothing can be compared, or the folder cannot be used.
    """
    results = open_results(out)
    options = _with_crosswalk(out, options)
    reader = bootstrap.reader()
    with tempfile.TemporaryDirectory(prefix="segworkers-evaluate-") as scratch:
        made = evaluate(results, truth, reader, options, Path(scratch) / "objects.parquet" if folder else None)
        lines = [*headline(made), *(f"note: {line}" for line in warnings(made))]
        if folder is not None:
            _write(results, options, made, (Path(scratch), _made(folder)))
            lines.append(f"tables and page: {folder}/index.html")
    return made, lines


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"{folder}: cannot be made: {error.strerror}; choose another folder") from error
    return folder


def _with_crosswalk(out: str, options: EvaluateOptions) -> EvaluateOptions:
    """The crosswalk beside the run where none is named."""
    beside = Path(f"{out.rstrip('/')}.crosswalk")
    if options.truth.crosswalk is not None or not beside.is_dir():
        return options
    return replace(options, truth=replace(options.truth, crosswalk=beside))


def _write(results: Results, options: EvaluateOptions, made: Evaluation, where: tuple[Path, Path]) -> None:
    scratch, folder = where
    write_metrics(folder, [*made.metrics, *made.images])
    (folder / "objects.parquet").write_bytes((scratch / "objects.parquet").read_bytes())
    reader = bootstrap.reader()
    with closing(_connection(results)) as connection:
        pictures = draw(made.examples, made.opened.of, connection, Images(reader, options.truth.crosswalk))
    title = f"Evaluation of {results.out.rstrip('/').rsplit('/', 1)[-1]}"
    compared = "boxes" if options.boxes else "masks"
    write_page(
        made,
        pictures,
        folder / "index.html",
        title=title,
        quiet=f"generation {results.generation} · {compared} compared",
    )


def _connection(results: Results) -> Any:
    return results.connect()
