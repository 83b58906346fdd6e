"""Damage to a copy of a run: tables rewritten so that every checksum is right and only the content is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.results import open_results
from schemas.tables import SCHEMAS

Rows = list[dict[str, Any]]


def pointer(out: Path) -> dict[str, Any]:
    """The content of current.json."""
    return json.loads((out / "current.json").read_text())


def write_pointer(out: Path, body: dict[str, Any]) -> None:
    """Replace current.json."""
    (out / "current.json").write_text(json.dumps(body))


def write_table(out: Path, name: str, table: pa.Table) -> None:
    """Publish `table` as the only file of the table `name`."""
    body = pointer(out)
    path = f"tables/{body['generation']}/{name}/part-00000.parquet"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out / path)
    data = (out / path).read_bytes()
    entry = {"path": path, "rows": table.num_rows, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    body["tables"][name] = [entry]
    write_pointer(out, body)


def change(out: Path, name: str, edit: Callable[[Rows], Any]) -> None:
    """Edit the rows of a table in place."""
    rows: Rows = open_results(out).table(name).to_pylist()
    edit(rows)
    write_table(out, name, pa.Table.from_pylist(rows, schema=SCHEMAS[name]))


def empty(out: Path, *names: str) -> None:
    """Publish tables without files."""
    body = pointer(out)
    for name in names:
        body["tables"][name] = []
    write_pointer(out, body)
