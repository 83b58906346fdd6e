"""Commands about finished runs: querying their tables, verifying them, pictures, and the originals of pseudonyms.

As in `jobs.cli`, which offers them: what a command does lives in the module it imports when it runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.arguments import Out, QueryFormat
from schemas.errors import SpecError


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
    from jobs.formats import PLACED, check_target
    from jobs.query import run_query
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
    if chosen in PLACED:
        raise SpecError("verify: doubtful merges are listed without places: write .csv, .json or .parquet")
    threshold = WEAK if below is None else below
    report = verify_run(out, everything=everything, below=threshold)
    print("\n".join(verify_lines(report)), file=sys.stderr if doubtful else sys.stdout)
    report.raise_if_bad()
    if doubtful:
        run_query(open_results(out), doubtful_sql(threshold), format=chosen, limit=limit, output=output)


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
