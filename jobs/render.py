"""What the command line prints: run summaries, plans and verification reports as text."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import TYPE_CHECKING, TextIO

from jobs.events import clock_time

if TYPE_CHECKING:
    from jobs.plan_report import PlanReport
    from jobs.stages import RunSummary
    from jobs.verify import VerifyReport


def summary_lines(summary: RunSummary) -> list[str]:
    """The end of a run: counts, what failed, where the tables are, how to query them."""
    incomplete = bool(summary.failed_inputs or summary.pixels_failed)
    speed = f", {summary.pixels / 1e6 / summary.seconds:,.1f} Mpx/s" if summary.seconds > 0 else ""
    work = f"{summary.pixels / 1e6:,.1f} Mpx in {clock_time(summary.seconds)}{speed}"
    lines = [
        f"{'at least ' if incomplete else ''}{summary.objects:,} objects in {summary.sources:,} sources",
        *(f"  {count:>12,}  {label}" for label, count in summary.counts.items()),
        f"{summary.tiles:,} tiles ({summary.tiles_resumed:,} from an earlier run), {work}",
        summary.seam,
    ]
    out = shlex.quote(summary.out)
    if incomplete or summary.failed_outputs:
        outputs = f", {summary.failed_outputs:,} objects of volumes" if summary.failed_outputs else ""
        lines += [
            f"failed: {summary.failed_inputs:,} inputs, {summary.pixels_failed:,} pixels{outputs}; "
            "why, and what to do:",
            f'  segworkers query {out} "SELECT source_uri, reason, message, hint FROM failures"',
        ]
    return [
        *lines,
        f"tables: {summary.out.rstrip('/')}/tables/{summary.generation}",
        f'  segworkers query {out} "SELECT label, count(*) AS objects FROM instances GROUP BY label"',
        *([f"  segworkers preview {out}"] if summary.images else []),
    ]


def verify_lines(report: VerifyReport) -> list[str]:
    """One line for each check, what the run says about its merge, and a last line for all checks."""
    lines = [
        f"{'ok    ' if not check.problems else 'FAILED'}  {check.name:<13} {check.checked:>9,} {check.unit}"
        + (f", {len(check.problems):,} problems" if check.problems else "")
        for check in report.checks
    ]
    from jobs.doubtful import doubtful_line
    from jobs.seams import verdict_line

    if report.seam is not None:
        lines.append(verdict_line(report.seam))
    lines.append(doubtful_line(report.doubtful, report.below))
    return [*lines, f"generation {report.generation}: {'everything agrees' if not report.problems else 'NOT verified'}"]


def plan_json(report: PlanReport) -> str:
    """The plan as JSON, sizes in bytes."""
    return json.dumps(dataclasses.asdict(report), indent=2, default=str)


def print_plan(report: PlanReport, stream: TextIO) -> None:
    """The plan as text: a line for each source, totals, warnings, skipped inputs."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jobs.query import fit_width

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("source", overflow="fold")
    for name in ("rows x columns", "bands", "type", "tiles", "windows", "read"):
        table.add_column(name, justify="right", no_wrap=True)
    for source in report.sources:
        planes = f"{source.depth:,} x " if source.depth > 1 else ""
        size = f"{planes}{source.height:,} x {source.width:,}"
        about, most = ("about ", "at most ") if report.around_organ else ("", "")
        figures = (f"{about}{source.tiles:,}", f"{most}{source.windows:,}", f"{most}{gigabytes(source.read_bytes)}")
        table.add_row(Text(source.uri), size, str(len(source.bands)), source.dtype, *figures)
    fit_width(console, table)
    console.print(table)
    console.print("\n".join(plan_lines(report)), soft_wrap=True)


def plan_lines(report: PlanReport) -> list[str]:
    """Totals, warnings and skipped inputs."""
    model = report.model
    window, overlap = (", ".join(str(value) for value in extent) for extent in (model.window, model.overlap))
    about, most = ("about ", "at most ") if report.around_organ else ("", "")
    work = f"{about}{report.tiles:,} tiles, {most}{report.windows:,} windows, {report.pixels / 1e6:,.1f} Mpx"
    memory = f"{gigabytes(report.worker_memory_bytes)} memory"
    totals = f"{len(report.sources):,} sources, {work}"
    lines = [
        f"model {model.name} ({model.kind}): {', '.join(model.classes)}; windows {window}, overlap {overlap} (z, y, x)",
        f"{totals}, {most}{gigabytes(report.read_bytes)} to read, {memory} per worker",
        *_organ_lines(report),
        *(f"warning: {warning}" for warning in report.warnings),
    ]
    lines += [f"warning: {source.uri}: {warning}" for source in report.sources for warning in source.warnings]
    return [*lines, *(f"skipped: {skipped.message} {skipped.hint} ({skipped.reason})" for skipped in report.skipped)]


def _organ_lines(report: PlanReport) -> list[str]:
    if report.around_organ is None:
        return []
    return [
        f"two stages: {report.around_organ} finds the organ of each volume first, and windows are then laid around it; "
        "these are the windows, and the reading, of an organ that fills the volume: a smaller one takes fewer"
    ]


def gigabytes(count: int) -> str:
    """Bytes as decimal GB, or MB below a tenth of one."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
