"""Results: the published tables of a run, found through OUT/current.json and queried with DuckDB.

The database lives in memory, sees the files of the live generation and nothing else, and cannot be reconfigured, so a
query cannot read or write other files.
"""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import SpecError, StoreError
from schemas.tables import SCHEMAS, TABLES
from segworkers.seam_test import SeamVerdict
from segworkers.store import LocalStore, Store, open_store

if TYPE_CHECKING:
    import duckdb

VIEWS = (*TABLES, "classes", "per_series", "per_study")
"""What a query can name: the tables; `classes`, one row for each image and class; and of DICOM volumes `per_series` and
`per_study`, with the number, total volume and longest axis of objects."""

_WKB = {"geometry": "st_setcrs(st_geomfromwkb({0}::BLOB), 'OGC:CRS84')", "polygon_px": "st_geomfromwkb({0}::BLOB)"}
"""Columns that are WKB in the files and GEOMETRY in the views, whatever metadata the first file happens to carry."""

_CLASSES = """CREATE VIEW classes AS SELECT source_id, source_uri, status, is_lower_bound,
    unnest(classes, recursive := true) FROM images"""

_PER_SERIES = """CREATE VIEW per_series AS SELECT series_id, study_id, subject_id, modality, source_id, status,
    is_lower_bound, object_count, CASE WHEN object_count = 0 THEN 0 ELSE volume_mm3 END AS volume_mm3, longest_axis_mm,
    valid_volume_mm3
    FROM images LEFT JOIN (SELECT source_id, sum(volume_mm3) AS volume_mm3, max(long_axis_mm) AS longest_axis_mm
        FROM instances GROUP BY source_id) USING (source_id) WHERE series_id IS NOT NULL"""
"""Unknown counts and volumes stay null; without objects the volume is 0."""

_PER_STUDY = """CREATE VIEW per_study AS SELECT study_id, any_value(subject_id) AS subject_id, count(*) AS series_count,
    count(*) FILTER (is_rejected) AS series_rejected, bool_or(is_lower_bound) AS is_lower_bound,
    sum(object_count)::BIGINT AS object_count, sum(volume_mm3) AS volume_mm3, max(longest_axis_mm) AS longest_axis_mm
    FROM (
        SELECT study_id, subject_id, is_lower_bound, object_count, volume_mm3, longest_axis_mm, false AS is_rejected
        FROM per_series UNION ALL
        SELECT study_id, subject_id, true, NULL, NULL, NULL, true FROM series WHERE status = 'rejected'
            AND study_id IS NOT NULL AND reason NOT IN ('localizer', 'not_an_image_volume', 'not_a_slide_level')
    ) GROUP BY study_id"""
"""Sums over the series of a study that are known; `is_lower_bound` where some are not, or were rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One published file."""

    path: str
    """Relative to the run folder."""
    rows: int | None
    """Rows of a table's file; None for a mask."""
    bytes: int
    sha256: str
    source_id: str | None = None
    """Source of a stitched mask; None for tables."""


@dataclass(frozen=True, slots=True)
class Results:
    """The live generation of one run folder. Make it with `open_results`."""

    store: Store
    """The run folder."""
    scratch: Path
    """Where copies of remote files go; emptied when the process ends."""
    generation: str
    schema_version: str
    tables: dict[str, tuple[Entry, ...]]
    """Table name to its files."""
    masks: tuple[Entry, ...]
    """Stitched mask rasters."""
    seam: SeamVerdict | None
    """What the seam profiles of all sources say together; None where an older version published them."""

    @property
    def out(self) -> str:
        """Path or URL of the run folder."""
        return self.store.url

    def local(self, entry: Entry) -> Path:
        """A local file with the bytes of a published file: fetched where the run folder is remote."""
        return self.store.local_copy(entry.path, self.scratch)

    def files(self, table: str) -> list[Path]:
        """The Parquet files of a table; none where it has no rows. Raises SpecError for an unknown name."""
        return [self.local(entry) for entry in self._entries(table)]

    def _entries(self, table: str) -> tuple[Entry, ...]:
        if table not in TABLES:
            raise SpecError(f"no table is called {table!r}: expected one of {', '.join(TABLES)}")
        return self.tables.get(table, ())

    def table(self, name: str) -> pa.Table:
        """A whole table with the columns of `schemas.tables`; also where it has no rows. Geometry is WKB."""
        parts = [pq.ParquetFile(path).read().cast(SCHEMAS[name]) for path in self.files(name)]
        return pa.concat_tables(parts) if parts else SCHEMAS[name].empty_table()

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A new sandboxed in-memory database with the views of `VIEWS`. The caller closes it.

        Raises StoreError where a published file is missing or is not readable as Parquet.
        """
        import duckdb

        # Without this a query could name Python variables of this process as tables.
        connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
        try:
            for name in TABLES:
                self._create_view(connection, name)
            for view in (_CLASSES, _PER_SERIES, _PER_STUDY):
                connection.execute(view)
        except duckdb.Error as error:
            connection.close()
            reason = " ".join(str(error).split())
            raise StoreError(
                f"{self.out}: the published tables cannot be opened: {reason}; run: segworkers verify"
            ) from error
        folders = {str(path.parent) for name in TABLES for path in self.files(name)}
        # The check compares text with text, and the views hold their paths in glob notation.
        allowed = sorted(folders | {literal_glob(folder) for folder in folders})
        connection.execute(f"SET allowed_directories = [{', '.join(map(quote, allowed))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection

    def _create_view(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        files = self.files(name)
        columns = ", ".join(
            f"{_WKB[column].format(column)} AS {column}" if column in _WKB else f'"{column}"'
            for column in SCHEMAS[name].names
        )
        if files:
            paths = ", ".join(quote(literal_glob(str(path))) for path in files)
            connection.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM read_parquet([{paths}])")
            return
        connection.register("empty_rows", SCHEMAS[name].empty_table())
        connection.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM empty_rows")
        connection.unregister("empty_rows")

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """The rows of one SELECT, with `?` filled from `parameters`. Geometry is WKB with the geoarrow.wkb annotation.

        Raises SpecError where the query is not one SELECT, names what does not exist, or fails.
        """
        import duckdb

        connection = self.connect()
        try:
            return select(connection, query, parameters).to_arrow_table()
        except duckdb.Error as error:
            raise SpecError(f"query failed: {error}") from error
        finally:
            connection.close()


def select(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()
) -> duckdb.DuckDBPyRelation:
    """One SELECT (also FROM, WITH, DESCRIBE, SUMMARIZE) as a lazy relation. Raises SpecError for anything else."""
    import duckdb

    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise SpecError(f"query not understood: {error}") from error
    if len(statements) != 1:
        raise SpecError(f"expected one SELECT statement, found {len(statements)}")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise SpecError(f"only SELECT is allowed, tables are read-only; found {statements[0].type.name}")
    try:
        return connection.sql(statements[0].query, params=list(parameters) or None)
    except duckdb.Error as error:
        raise SpecError(f"query failed: {error}") from error


def quote(text: str) -> str:
    """`text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def literal_glob(path: str) -> str:
    """`path` so that DuckDB takes its `*`, `?` and `[` for what they are."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def open_results(out: str | Path) -> Results:
    """The live generation of the run folder `out`, a path or a URL that the run store knows.

    Raises StoreError where there is none, or where its manifest is not what `segworkers` writes.
    """
    store = open_store(str(out))
    if not store.exists("current.json"):
        unfinished = store.exists("run.json")
        hint = "finish the run with --resume" if unfinished else "expected the -o folder of a finished run"
        raise StoreError(f"{out}: holds no published results (no current.json): {hint}")
    try:
        body = json.loads(store.read("current.json"))
        tables = {str(name): tuple(_entry(item) for item in items) for name, items in body["tables"].items()}
        masks = tuple(_entry(item) for item in body.get("masks", []))
        generation, version = str(body["generation"]), str(body["schema_version"])
        seam = SeamVerdict(**body["seam"]) if "seam" in body else None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(f"{out}/current.json: is not a manifest of published tables: {error!r}") from error
    return Results(store, _scratch_folder(store), generation, version, tables, masks, seam)


def _scratch_folder(store: Store) -> Path:
    if isinstance(store, LocalStore):
        return Path(store.url)
    folder = Path(tempfile.mkdtemp(prefix="segworkers-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _entry(item: dict[str, Any]) -> Entry:
    path = PurePosixPath(item["path"])
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"the path {item['path']!r} leaves the run folder")
    rows = item.get("rows")
    return Entry(
        path=str(path),
        rows=None if rows is None else int(rows),
        bytes=int(item["bytes"]),
        sha256=str(item["sha256"]),
        source_id=item.get("source_id"),
    )
