"""What the seam benchmark measured: one record for each case, rule and seed.

A run appends JSON lines. What the page was made of is published beside it as Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.seams.cases import Case, Outcome, Zyx
from benchmarks.seams.intervals import Interval, paired
from benchmarks.seams.score import Score

Part = Literal["synthetic", "nuclei", "cost", "scale"]
OURS = "segworkers"
ALONE = "segworkers, rule alone"
"""This project's rule from masks in memory to objects in memory, as peers are timed; `OURS` is the whole path."""
ORACLE = "oracle linker"
NO_MERGE = frozenset({"no merge", "none"})
"""Names of the rule that merges nothing."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one rule made of one case. Fields of `Score` are meant as there."""

    part: Part
    """`synthetic` and `nuclei` are scored, `cost` and `scale` are timed."""
    world: str
    noise: str
    """`perfect` for truth ∩ window; names that begin with it for other models without error."""
    seed: int
    window: Zyx
    overlap: Zyx
    rule: str
    """`OURS`, `ORACLE` or one of `NO_MERGE`, variants of the first two (whose names begin alike), or a peer's rule."""
    truth_count: int
    """In part `scale`: how many objects were merged."""
    found_count: int
    count_error: float
    split: int
    merged: int
    duplicates: int
    missed: int
    false_positives: int
    f1_50: float
    f1_90: float
    mean_iou: float
    wrong_label: int
    seconds: float
    peak_bytes: int
    """Growth of resident memory; 0 where it was not measured."""
    cut: int = 0
    """Detections of the case that touch a border of their window inside the image; 0 where they were not counted."""
    failure: str = ""
    """Why there is no result; scores are then without meaning and left out of all tables."""

    @property
    def key(self) -> tuple[object, ...]:
        """What was measured: two records with one key are of the same work, done twice."""
        case = (self.part, self.world, self.noise, self.seed, self.window, self.overlap, self.rule)
        return (*case, self.truth_count) if self.part == "scale" else case


@dataclass(frozen=True, slots=True)
class Cell:
    """What is compared: rules on the same worlds, noise and windows; seeds are repetitions."""

    part: Part
    world: str
    noise: str
    window: Zyx
    overlap: Zyx

    @property
    def perfect(self) -> bool:
        """Whether the model makes no error."""
        return self.noise.startswith("perfect")

    @property
    def grid(self) -> str:
        """Window and overlap in px, as people write them: 512/64, or 32×64×64/8×16×16."""
        return f"{_size(self.window)}/{_size(self.overlap)}"


BySeed = dict[int, Record]
Cells = dict[Cell, dict[str, BySeed]]
"""Cell to rule to seed to record, in order of first appearance."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that rules are compared by."""

    name: str
    of: Callable[[Record], float]
    lower_is_better: bool

    def mean(self, records: BySeed) -> float:
        """Mean over the seeds."""
        return sum(map(self.of, records.values())) / len(records)

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`."""
        return a < b if self.lower_is_better else a > b

    def difference(self, ours: BySeed, theirs: BySeed) -> Interval | None:
        """Interval of the mean of ours - theirs over the seeds that both have; None where there is none."""
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds:
            return None
        return paired([self.of(ours[s]) for s in seeds], [self.of(theirs[s]) for s in seeds])


COUNT = Metric("count error, %", lambda record: 100 * abs(record.count_error), lower_is_better=True)
"""Absolute, in per cent of the true objects."""
F1_50 = Metric("F1@0.5", lambda record: record.f1_50, lower_is_better=False)
F1_90 = Metric("F1@0.9", lambda record: record.f1_90, lower_is_better=False)


def record_of(part: Part, case: Case, rule: str, outcome: Outcome, result: Score, cut: int = 0) -> Record:
    """The record of a rule that finished."""
    return Record(
        part, case.world.name, case.noise, case.seed, case.window, case.overlap, rule,
        **asdict(result), seconds=outcome.seconds, peak_bytes=outcome.peak_bytes, cut=cut,
    )  # fmt: skip


def failure_of(part: Part, case: Case, rule: str, why: str) -> Record:
    """The record of a rule that did not finish."""
    nothing: dict[str, Any] = {f.name: 0 for f in fields(Score)}
    place = (part, case.world.name, case.noise, case.seed, case.window, case.overlap)
    return Record(*place, rule, **nothing, seconds=0.0, peak_bytes=0, failure=why)


def scale_of(objects: int, cpu_s: float, driver_bytes: int) -> Record:
    """The record of a large merge by this project (`benchmarks.scale`): CPU seconds, growth of the driver."""
    found: dict[str, Any] = {f.name: 0 for f in fields(Score)} | {"truth_count": objects, "found_count": objects}
    place = ("scale", "cells", "perfect", 0, (1, 1024, 1024), (0, 64, 64))
    return Record(*place, OURS, **found, seconds=cpu_s, peak_bytes=driver_bytes)


def write_records(path: Path, records: Iterable[Record], *, append: bool = False) -> None:
    """One JSON object a line."""
    with path.open("a" if append else "w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n" for record in records)


def read_records(path: Path) -> list[Record]:
    """What `write_records` or `publish_records` wrote.

    Raises ValueError, naming the line (the row, in Parquet), where one is no record.
    """
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
        return [_record_of(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_record_of(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _record_of(found: str | dict[str, Any], where: str) -> Record:
    try:
        row = cast("dict[str, Any]", json.loads(found)) if isinstance(found, str) else found
        record = Record(**row | {name: tuple(row[name]) for name in ("window", "overlap")})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: expected a record of the seam benchmark, found {error}") from error
    if record.part not in get_args(Part):
        raise ValueError(f"{where}: expected a part of {get_args(Part)}, found {record.part!r}")
    return record


def latest(records: Iterable[Record]) -> list[Record]:
    """The last of the records of each key, at the first one's place."""
    return list({record.key: record for record in records}.values())


def publish_records(path: Path, records: Sequence[Record]) -> None:
    """Parquet with one row for each record and a column for each of its fields."""
    pq.write_table(pa.Table.from_pylist([asdict(record) for record in records]), path, compression="zstd")


def cells_of(records: Iterable[Record]) -> Cells:
    """Scored records that finished, by cell, rule and seed.

    Raises ValueError where a rule was recorded twice for one case, since a mean would count it twice.
    """
    cells: Cells = {}
    for record in records:
        if record.part not in {"synthetic", "nuclei"} or record.failure:
            continue
        cell = Cell(record.part, record.world, record.noise, record.window, record.overlap)
        seeds = cells.setdefault(cell, {}).setdefault(record.rule, {})
        if record.seed in seeds:
            raise ValueError(f"expected one record of {record.rule!r} for {cell}, seed {record.seed}; found two")
        seeds[record.seed] = record
    return cells


def rules_of(records: Iterable[Record]) -> list[str]:
    """Rules as tables list them: ours, the oracle's, peers as they appear, none at all."""

    def place(rule: str) -> tuple[bool, ...]:
        return rule != OURS, not rule.startswith(OURS), not rule.startswith("oracle"), rule in NO_MERGE

    return sorted(dict.fromkeys(record.rule for record in records), key=place)


def is_peer(rule: str) -> bool:
    """Whether a rule is another project's."""
    return rule not in NO_MERGE and competes(rule) and not rule.startswith(OURS)


def competes(rule: str) -> bool:
    """Whether a rule may be called best: all but the oracle's, which know the truth."""
    return not rule.startswith("oracle")


def best(rules: Sequence[str], found: dict[str, BySeed], metric: Metric) -> str | None:
    """The rule with the best mean, the first of equals; None where there are no such rules."""
    known = [rule for rule in rules if rule in found]
    pick = min if metric.lower_is_better else max
    return pick(known, key=lambda rule: metric.mean(found[rule])) if known else None


def _size(size: Zyx) -> str:
    z, y, x = size
    if z in {0, 1}:
        return str(y) if y == x else f"{y}×{x}"
    return f"{z}×{y}×{x}"
