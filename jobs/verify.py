"""`segworkers verify`: does a finished run stand up to its own ledger?

Nothing is taken from memory of the run: files, checksums, schemas and figures are read again and compared with each
other. Every problem is collected; none stops the checks that can still be made.
"""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import verify_ledger, verify_masks, verify_seams
from jobs.doubtful import WEAK, count_doubtful
from jobs.results import Entry, Results, open_results
from schemas.errors import SegworkersError, StoreError, VerifyError
from schemas.fields import SCHEMA_VERSION
from schemas.tables import SCHEMAS, TABLES
from segworkers.seam_test import SeamVerdict

SAMPLE = 1_000
"""Masks decoded unless all are asked for."""


@dataclass(slots=True)
class Check:
    """One kind of agreement, how many things were compared, and what did not agree."""

    name: str
    checked: int = 0
    unit: str = ""
    problems: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found."""

    out: str
    generation: str
    checks: tuple[Check, ...]
    doubtful: dict[str, int]
    """Doubtful merges by kind; they are findings about the objects, not problems of the tables."""
    below: float
    """Overlap (IoU) below which a link counted as doubtful."""
    seam: SeamVerdict | None
    """What the run said about seams; None where it left no verdict."""

    @property
    def problems(self) -> list[str]:
        """All problems, `check: what`."""
        return [f"{check.name}: {problem}" for check in self.checks for problem in check.problems]

    def raise_if_bad(self) -> None:
        """Raise VerifyError with every problem, one a line, unless there is none."""
        if self.problems:
            head = f"{self.out}: {len(self.problems)} problems found; do not use these tables before they are explained"
            raise VerifyError("\n".join([head, *self.problems]))


def verify(out: str | Path, *, everything: bool = False, sample: int = SAMPLE, below: float = WEAK) -> VerifyReport:
    """Check the live generation of a run folder.

    everything: decode every mask instead of `sample` of them (those of lowest instance_id, which is a hash).
    below: overlap (IoU), 0 to 1, below which a link counts as doubtful.
    Raises StoreError where there is no live generation; problems are in the report.
    """
    results = open_results(out)
    checks = [
        _check("files", "files", partial(_files, results)),
        _check("schemas", "files", partial(_schemas, results)),
    ]
    if any(check.problems for check in checks):
        # What follows reads the tables: with files missing or columns gone it would only repeat this in other words.
        return VerifyReport(results.out, results.generation, tuple(checks), {}, below, results.seam)
    connection = results.connect()
    try:
        checks += [
            _check("shards", "shards", partial(_shards, results, connection)),
            _check("ledger", "sources", partial(verify_ledger.ledger, connection)),
            _check("cores", "tiles", partial(verify_ledger.cores, connection)),
            _check("failures", "tiles and sources", partial(verify_ledger.failures, connection)),
            _check("counts", "sources", partial(verify_ledger.counts, connection)),
            _check("seams", "sources", partial(verify_seams.seams, connection)),
            _check("identity", "objects", partial(verify_ledger.identity, connection)),
            _check("lower bounds", "sources", partial(verify_ledger.lower_bounds, connection)),
            _check("masks", "objects", partial(verify_masks.masks, connection, None if everything else sample)),
        ]
    finally:
        connection.close()
    doubtful = count_doubtful(results, below)
    return VerifyReport(results.out, results.generation, tuple(checks), doubtful, below, results.seam)


def _check(name: str, unit: str, run: Callable[[list[str]], int]) -> Check:
    """One check: `run` appends problems and returns how many things it compared."""
    check = Check(name, unit=unit)
    try:
        check.checked = run(check.problems)
    except (duckdb.Error, pa.ArrowException, SegworkersError, OSError) as error:
        check.problems.append(f"could not be completed: {error}")
    return check


def _files(results: Results, problems: list[str]) -> int:
    problems += [f"{name} is missing from the manifest" for name in TABLES if name not in results.tables]
    problems += [f"the manifest names an unknown table {name!r}" for name in results.tables if name not in TABLES]
    entries = [entry for files in results.tables.values() for entry in files] + list(results.masks)
    for entry in entries:
        problem = _file_problem(results, entry)
        if problem:
            problems.append(f"{entry.path}: {problem}")
    return len(entries)


def _file_problem(results: Results, entry: Entry) -> str:
    if not results.store.exists(entry.path):
        return "does not exist"
    path = results.local(entry)
    if path.stat().st_size != entry.bytes:
        return f"expected {entry.bytes} bytes, found {path.stat().st_size}"
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return "" if found == entry.sha256 else f"expected sha256 {entry.sha256}, found {found}"


def _schemas(results: Results, problems: list[str]) -> int:
    if results.schema_version != SCHEMA_VERSION:
        problems.append(f"current.json: expected schema version {SCHEMA_VERSION}, found {results.schema_version}")
    checked = 0
    for name in TABLES:
        for entry in results.tables.get(name, ()):
            checked += 1
            if results.store.exists(entry.path):
                problems += [
                    f"{entry.path}: {problem}" for problem in _schema_problems(name, entry, results.local(entry))
                ]
    return checked


def _schema_problems(name: str, entry: Entry, path: Path) -> list[str]:
    try:
        with pq.ParquetFile(path) as file:
            found, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        return [f"is not readable as Parquet: {error}"]
    expected = SCHEMAS[name]
    metadata = {key.decode(): value.decode(errors="replace") for key, value in (found.metadata or {}).items()}
    problems = [
        f"expected the metadata {key}={value}, found {metadata.get(key)}"
        for key, value in (("segworkers.table", name), ("segworkers.schema_version", SCHEMA_VERSION))
        if metadata.get(key) != value
    ]
    if rows != entry.rows:
        problems.append(f"expected {entry.rows} rows, found {rows}")
    if found.names != expected.names:
        differing = sorted(set(found.names) ^ set(expected.names)) or "their order"
        return [*problems, f"columns differ from the schema in {differing}"]
    return problems + [
        f"column {wanted.name}: expected {_type(wanted)}, found {_type(have)}"
        for wanted, have in zip(expected, found, strict=True)
        if not have.equals(wanted, check_metadata=False)
    ]


def _type(column: pa.Field) -> str:
    return f"{column.type}{'' if column.nullable else ' not null'}"


def _shards(results: Results, connection: duckdb.DuckDBPyConnection, problems: list[str]) -> int:
    query = "SELECT DISTINCT shard, shard_sha256 FROM tiles WHERE shard <> '' ORDER BY ALL"
    rows = connection.execute(query).fetchall()
    for shard, expected in rows:
        try:
            found = hashlib.sha256(results.store.read(shard)).hexdigest()
        except (StoreError, OSError) as error:
            problems.append(f"{shard}: cannot be read: {error}")
            continue
        if found != expected:
            problems.append(f"{shard}: expected sha256 {expected}, found {found}")
    query = "SELECT source_uri, tile FROM tiles WHERE shard = '' AND status = 'done' ORDER BY ALL"
    problems += [f"{uri} tile {tile}: is done but names no shard" for uri, tile in connection.execute(query).fetchall()]
    return len(rows)
