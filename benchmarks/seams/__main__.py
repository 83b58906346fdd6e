"""Runs the seam benchmark: worlds and real pixels, this project, the oracle linker and the peers' real code.

    python -m benchmarks.seams run RECORDS         every case, appended to RECORDS as it is done (JSON lines)
    python -m benchmarks.seams page RECORDS ...    docs/benchmarks/seams.md and its plots from such records

A run that was interrupted goes on where it stopped. `--quick` takes one seed and small worlds; peers are left out where
their environment is missing, see benchmarks/seams/peers/requirements.txt.

The page's records lie beside it, in docs/benchmarks/seams/records.parquet. Of several records of the same work the page
takes the last, so after a change of this project's rule peers need not be measured again:

    python -m benchmarks.seams run NEW --rules "segworkers;segworkers, rule alone"
    python -m benchmarks.seams page docs/benchmarks/seams/records.parquet NEW
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.seams import oracle, ours, plan
from benchmarks.seams.cases import Case, Outcome
from benchmarks.seams.pages import markdown
from benchmarks.seams.peers import client
from benchmarks.seams.peers.rules import RULES
from benchmarks.seams.plots import plots
from benchmarks.seams.records import (
    ALONE,
    ORACLE,
    OURS,
    Part,
    Record,
    failure_of,
    latest,
    publish_records,
    read_records,
    record_of,
    write_records,
)
from benchmarks.seams.score import score

ROOT = Path(__file__).parents[2]
PEER_SECONDS = 120.0
"""A peer that takes longer for one case is recorded as having failed there."""

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    records: Path,
    parts: Annotated[str, typer.Option(help=f"of: {', '.join(plan.PARTS)}")] = ",".join(plan.PARTS),
    seeds: Annotated[str, typer.Option(help="worlds and noise are drawn from these")] = "101,102,103,104,105",
    rules: Annotated[str, typer.Option(help="only these, by name, with ; between them; all by default")] = "",
    quick: Annotated[bool, typer.Option(help="small worlds, first seed only")] = False,
) -> None:
    """Measure."""
    done = _done(records)
    chosen = [int(seed) for seed in seeds.split(",")][: 1 if quick else None]
    for block in plan.blocks(parts.split(","), chosen, quick=quick):
        wanted = [rule for rule in block.rules if not rules or rule in rules.split(";")]
        missing = [rule for rule in wanted if not block.keys(rule) <= done]
        if not missing:
            continue
        cases = list(block.cases())
        for rule in missing:
            missing_cases = [case for case in cases if block.key(case, rule) not in done]
            found = list(_records(block.part, rule, missing_cases))
            write_records(records, found, append=True)
            for record in found:
                print(_line(record), flush=True)


@app.command()
def page(records: list[Path], out: Path = ROOT / "docs" / "benchmarks") -> None:
    """Write the page, its plots and the records that it was made of."""
    found = latest(record for path in records for record in read_records(path))
    images = out / "seams"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("*.svg"):
        old.unlink()
    plots(found, images)
    rules = {rule.name: f"{rule.text} ({rule.package})" if rule.package else rule.text for rule in RULES.values()}
    publish_records(images / "records.parquet", found)
    (out / "seams.md").write_text(markdown(found, machine(), "seams", rules), encoding="utf-8")
    print(f"{len(found)} records: {out / 'seams.md'}")


def machine() -> dict[str, str]:
    """What the figures were measured with."""
    pins = (ROOT / "benchmarks" / "seams" / "peers" / "requirements.txt").read_text().split()
    peers = {rule.package for rule in RULES.values() if rule.package}
    versions = dict(pin.split("==") for pin in pins if "==" in pin)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "segworkers": version("segworkers"),
        **{name: versions[name] for name in sorted(peers) if name in versions},
    }


def _done(path: Path) -> set[tuple[object, ...]]:
    if not path.exists():
        return set()
    return {record.key for record in read_records(path)}


def _records(part: Part, rule: str, cases: list[Case]) -> Iterator[Record]:
    for case, outcome in zip(cases, _outcomes(rule, cases), strict=True):
        why = str(outcome.notes.get("skipped", ""))
        if why:
            yield failure_of(part, case, rule, why)
        else:
            yield record_of(part, case, rule, outcome, score(outcome, case.world), cut=plan.cut_detections(case))


def _outcomes(rule: str, cases: list[Case]) -> list[Outcome]:
    if rule == OURS:
        ours.merge(cases[0])  # compiles what is compiled at first use; a worker does it once in its life
        return [ours.merge(case) for case in cases]
    if rule == ALONE:
        ours.merge_alone(cases[0])
        return [ours.merge_alone(case) for case in cases]
    if rule == ORACLE:
        return [oracle.merge(case) for case in cases]
    if rule == "oracle of all views":
        return [oracle.merge(case, everywhere=True) for case in cases]
    try:
        return client.run(rule, cases, seconds=PEER_SECONDS)
    except client.PeerError as error:
        print(error, file=sys.stderr)
        return [client.skipped(str(error).splitlines()[0]) for _ in cases]


def _line(r: Record) -> str:
    if r.failure:
        return f"{r.world:13s} {r.noise:14s} {r.seed} {r.rule:22s} failed: {r.failure}"
    errors = f"{r.split}/{r.merged}/{r.duplicates}/{r.missed}/{r.false_positives}"
    count = f"{r.count_error:+8.2%} of {r.truth_count:6d}"
    scores = f"F1 {r.f1_50:.4f} {r.f1_90:.4f}"
    return f"{r.world:13s} {r.noise:14s} {r.seed} {r.rule:22s} {count}  {scores}  {errors}  {r.seconds:.2f} s"


if __name__ == "__main__":
    app()
