"""Publishing: rows files become the sorted, split, self-describing `instances` table (GeoParquet 1.1).

1. rows of some sources are sorted by source, Hilbert position and identity, with DuckDB, on disk where memory ends;
2. of rows with one identity (one mask, one class: one object) the best scored stays, and where only the largest object
   of each class is wanted, that one;
3. they are numbered within each source (`mask_value`), summed up, and written in files of at most `ROWS_PER_FILE`.

The order is total and the writer's settings are fixed, so equal rows give equal bytes.
"""
# pyarrow ships no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.tables import INSTANCES
from segworkers.seam_totals import SeamTotals, sum_up_seams
from segworkers.seams import SeamFrame
from segworkers.store import Store
from segworkers.totals import ClassTotals, sum_up

ROWS_PER_GROUP = 30_000
"""Rows of a Parquet row group: what a reader must read at least to get at one object."""

ROWS_PER_FILE = 33 * ROWS_PER_GROUP
"""Rows of a file at most: about 100 to 500 MB."""

_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {
        "geometry": {
            "encoding": "WKB",
            "geometry_types": [],
            "orientation": "counterclockwise",
            "edges": "planar",
            "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
        }
    },
}
"""GeoParquet 1.1 metadata; without `crs` the coordinates are OGC:CRS84."""

GEO_INSTANCES = INSTANCES.with_metadata((INSTANCES.metadata or {}) | {b"geo": json.dumps(_GEO).encode()})
"""The schema of the files of `instances`."""

_LARGEST = (
    "SELECT arg_min(instance_id, (-pixel_count, instance_id)) FROM read_parquet(?) "
    "WHERE list_contains(?, source_id) GROUP BY source_id, label"
)
"""Identities of the largest objects: an aggregate of one row for each source and class, whatever the number of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishTask:
    """Write the rows of some whole sources as consecutive files."""

    folder: str
    """Where the files go, relative to the run folder."""
    first: int
    """Number of the first file."""
    sources: tuple[str, ...]
    """Source ids, in the table's order (by URI)."""
    files: tuple[str, ...]
    """Rows files that hold their rows, among others."""
    frames: tuple[SeamFrame, ...] = ()
    """Where the seams of each of the sources are; none where their profiles are not wanted."""
    largest_only: bool = False
    """Whether of each source and class only the object of most pixels is written; of equal ones the least identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One file of a table as `current.json` lists it."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRows:
    """What a publishing task wrote."""

    sources: tuple[str, ...]
    files: list[Published]
    totals: dict[str, dict[str, ClassTotals]]
    """Sums by source and class."""
    seams: dict[str, SeamTotals] = field(default_factory=dict[str, SeamTotals])
    """Sums for the seam profiles, by source."""

    def to_json(self) -> bytes:
        """For `from_json`."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> PublishedRows:
        """The inverse of `to_json`."""
        raw = json.loads(data)
        totals = {
            source: {label: ClassTotals(**sums) for label, sums in by_class.items()}
            for source, by_class in raw["totals"].items()
        }
        files = [Published(**file) for file in raw["files"]]
        seams = {source: SeamTotals.from_json(sums) for source, sums in raw["seams"].items()}
        return cls(sources=tuple(raw["sources"]), files=files, totals=totals, seams=seams)


class PublishWorker:
    """Sorts and writes. What is published already is found, not made again."""

    def __init__(self, store: Store, memory: str = "1GB") -> None:
        self._store = store
        self._memory = memory

    def __call__(self, task: PublishTask) -> PublishedRows:
        """Write the task's files."""
        note = f"publish/{task.folder}/{task.first:05d}.json"
        if self._store.exists(note):
            return PublishedRows.from_json(self._store.read(note))
        made = PublishedRows(sources=task.sources, files=[], totals={})
        with self._store.scratch() as scratch:
            made.files.extend(
                put_local(self._store, f"{task.folder}/part-{task.first + k:05d}.parquet", path, rows)
                for k, (path, rows) in enumerate(self._files(task, scratch, made))
            )
        self._store.create(note, made.to_json())
        return made

    def _files(self, task: PublishTask, scratch: Path, made: PublishedRows) -> Iterator[tuple[Path, int]]:
        """Finished local files and their rows; sums are added to those of `made`."""
        frames = dict(zip(task.sources, task.frames, strict=False))
        writer: pq.ParquetWriter | None = None
        path, rows, number = scratch, 0, 0
        for group in _groups(self._sorted(task, scratch), GEO_INSTANCES):
            if writer is None:
                path = scratch / f"part-{number}.parquet"
                writer = pq.ParquetWriter(path, GEO_INSTANCES, compression="zstd", compression_level=3)
            writer.write_table(group, row_group_size=ROWS_PER_GROUP)
            sum_up(group, made.totals)
            sum_up_seams(group, frames, made.seams)
            rows += group.num_rows
            if rows >= ROWS_PER_FILE:
                writer.close()
                yield path, rows
                writer, rows, number = None, 0, number + 1
        if writer is not None:
            writer.close()
            yield path, rows

    def _sorted(self, task: PublishTask, scratch: Path) -> Iterator[pa.RecordBatch]:
        with duckdb.connect() as connection:
            connection.execute("SET threads = 1")
            connection.execute(f"SET memory_limit = '{self._memory}'")
            connection.execute("SET temp_directory = ?", [str(scratch / "spill")])
            files = [str(self._store.local_copy(name, scratch)) for name in task.files]
            columns = ", ".join(f'"{field.name}"' for field in INSTANCES if field.name != "mask_value")
            chosen = f"AND instance_id IN ({_LARGEST}) " if task.largest_only else ""
            found = connection.sql(
                f"SELECT {columns} FROM read_parquet(?) WHERE list_contains(?, source_id) {chosen}"
                'ORDER BY source_uri, source_id, "order", instance_id, '
                "score DESC NULLS LAST, n_views DESC, min_link_overlap DESC NULLS LAST, assembled",
                params=[files, list(task.sources)] * (2 if task.largest_only else 1),
            )
            yield from found.to_arrow_reader(ROWS_PER_GROUP)


def _groups(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows, one for each identity, numbered within their source, in tables of ROWS_PER_GROUP but the last."""
    waiting: list[pa.Table] = []
    held, last, numbered = 0, ("", ""), 0
    for batch in batches:
        names = list(zip(batch["source_id"].to_pylist(), batch["instance_id"].to_pylist(), strict=True))
        keep = np.array([name != before for name, before in zip(names, [last, *names], strict=False)], bool)
        if not keep.any():
            continue
        sources = np.array([source for source, _ in names], object)[keep]
        changes = np.flatnonzero(np.r_[True, sources[1:] != sources[:-1]])
        start = np.repeat(changes, np.diff(np.r_[changes, len(sources)]))
        value = np.arange(len(sources)) - start + 1
        if sources[0] == last[0]:
            value[start == 0] += numbered
        last, numbered = names[-1], int(value[-1])
        waiting.append(_with_numbers(batch.filter(pa.array(keep)), value, schema))
        held += len(value)
        while held >= ROWS_PER_GROUP:
            joined = pa.concat_tables(waiting).combine_chunks()
            yield joined.slice(0, ROWS_PER_GROUP)
            waiting = [joined.slice(ROWS_PER_GROUP)]
            held -= ROWS_PER_GROUP
    if held:
        yield pa.concat_tables(waiting).combine_chunks()


def _with_numbers(batch: pa.RecordBatch, value: Any, schema: pa.Schema) -> pa.Table:
    columns = {name: batch[name] for name in batch.schema.names} | {"mask_value": pa.array(value, pa.int64())}
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def table_bytes(table: pa.Table) -> bytes:
    """A small table as Parquet, with the settings of the large ones."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3, row_group_size=ROWS_PER_GROUP)
    return sink.getvalue()


def put_bytes(store: Store, name: str, data: bytes, rows: int) -> Published:
    """Publish a file from memory; where it is there already, what is there is what is published."""
    if not store.create(name, data):
        data = store.read(name)
    return Published(path=name, rows=rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def put_local(store: Store, name: str, path: Path, rows: int) -> Published:
    """Publish a finished local file, which goes; as `put_bytes`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    if not store.put_file(name, path):
        there = store.read(name)
        digest, size = hashlib.sha256(there).hexdigest(), len(there)
    return Published(path=name, rows=rows, bytes=size, sha256=digest)
