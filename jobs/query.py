"""`segworkers query`: the rows of a SELECT as a text table, CSV, JSON, GeoJSON, GeoPackage, FlatGeobuf or Parquet.

All but the table are streamed in batches, so a query over millions of objects needs little memory.
"""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.formats import Format, check_target, whole
from jobs.geojson import write_geojson
from jobs.places import CRS84, crs_of, is_geometry
from jobs.results import Results, select
from jobs.row_values import json_text, rows
from jobs.vector_files import write_vectors
from schemas.errors import SpecError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SCREEN_ROWS = 200
"""Rows that the `table` format shows unless a limit is given."""
CELL_WIDTH = 60
"""Characters of a cell that the `table` format shows on a terminal."""
FILE_CELL_WIDTH = 600
"""The same in a pipe or a file: every message, but not a whole mask."""
_BATCH_ROWS = 20_000
_IN_FULL = 1e15
"""Floats below this have a units digit that means something."""
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_NO_LIMIT = 1_000_000


def run_query(results: Results, query: str, *, format: Format | None, limit: int | None, output: Path | None) -> None:
    """Write the rows of `query` to `output`, or to stdout.

    format: None takes it from the suffix of `output`, else `table`.
    Raises SpecError for a query that is refused or fails, and where `check_target` does.
    """
    import duckdb

    chosen = check_target(format, output)
    shown = SCREEN_ROWS if chosen == "table" and limit is None and output is None else None
    connection = results.connect()
    try:
        # Inside a SELECT equal names are told apart as name and name_1; JSON, GeoPackage and others need that.
        relation = select(connection, query).select("*")
        most = limit if shown is None else shown + 1
        reader = (relation if most is None else relation.limit(most)).to_arrow_reader(_BATCH_ROWS)
        if output is None:
            _write_text(reader, sys.stdout, chosen, shown)
        else:
            with whole(output) as path:
                _write_file(reader, path, chosen, output.stem)
    except (duckdb.Error, pa.ArrowInvalid) as error:
        raise SpecError(f"query failed: {error}") from error
    except OSError as error:
        if error.errno is None:  # Arrow's way to say that DuckDB failed while it was streaming
            raise SpecError(f"query failed: {error}") from error
        if output is None:
            raise
        raise SpecError(f"{output}: cannot be written: {error.strerror or error}") from error
    finally:
        connection.close()


def _write_file(reader: pa.RecordBatchReader, path: Path, format: Format, layer: str) -> None:
    if format == "parquet":
        write_parquet(reader, path)
        return
    if format in ("gpkg", "fgb"):
        write_vectors(reader, path, format, layer)
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        _write_text(reader, stream, format, None)


def _write_text(reader: pa.RecordBatchReader, stream: TextIO, format: Format, shown: int | None) -> None:
    if format == "csv":
        write_csv(reader, stream)
    elif format == "json":
        write_json(reader, stream)
    elif format in ("geojson", "geojsonl"):
        write_geojson(reader, stream, lines=format == "geojsonl")
    else:
        write_table(reader, stream, shown)


def write_csv(reader: pa.RecordBatchReader, stream: TextIO) -> None:
    """Header and rows; null is empty, nested values are JSON, geometry is WKT, other binary is hexadecimal."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for row in rows(reader):
        writer.writerow([_csv_cell(value) for value in row])


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json_text(value) if isinstance(value, list | dict) else value


def write_json(reader: pa.RecordBatchReader, stream: TextIO) -> None:
    """A list of objects, one a line; NaN and infinity are null, geometry is WKT."""
    names = reader.schema.names
    separator = "[\n"
    for row in rows(reader):
        stream.write(separator + json_text(dict(zip(names, row, strict=True))))
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def write_parquet(reader: pa.RecordBatchReader, path: Path) -> None:
    """Rows with their types; the file is GeoParquet 1.1 where `geometry` is among the columns. Replaces `path`.

    A `geometry` that is not in longitude and latitude is marked as of no known CRS.
    """
    schema = reader.schema
    plain = pa.schema([field.remove_metadata() for field in schema], metadata=_geo_metadata(schema))
    with pq.ParquetWriter(path, plain, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=plain))


def _geo_metadata(schema: pa.Schema) -> dict[str, str] | None:
    if "geometry" not in schema.names or not is_geometry(schema.field("geometry")):
        return None
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": []}
    if crs_of(schema.field("geometry")) != CRS84:  # what readers take where nothing is said
        column["crs"] = None
    return {"geo": json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}})}


def write_table(reader: pa.RecordBatchReader, stream: TextIO, shown: int | None) -> None:
    """Aligned columns for reading; long cells are shortened, and rows beyond `shown` are announced on stderr."""
    from rich.console import Console

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    # A pipe or a file has no width: only masks and polygons are cut there.
    table, more = _text_table(reader, shown, CELL_WIDTH if console.is_terminal else FILE_CELL_WIDTH)
    fit_width(console, table)
    console.print(table)
    if more:
        print(f"more than {shown} rows: add --limit N, or --format csv for all", file=sys.stderr)


def fit_width(console: Console, table: Table) -> None:
    """Let rows run on where the table needs more than the screen's width, or where there is no screen.

    Otherwise rich would leave out columns and shorten cells without a word.
    """
    unbounded = console.options.update(width=_NO_LIMIT)
    needed = console.measure(table, options=unbounded)
    if needed.minimum > console.width or not console.is_terminal:
        console.width = max(needed.maximum, 1)


def _text_table(reader: pa.RecordBatchReader, shown: int | None, longest: int) -> tuple[Table, bool]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for field in reader.schema:
        number = any(kind(field.type) for kind in _NUMBERS)
        table.add_column(Text(field.name), justify="right" if number else "left")
    for count, row in enumerate(rows(reader)):
        if count == shown:
            return table, True
        table.add_row(*(Text(shorten(value, longest)) for value in row))
    return table, False


def shorten(value: Any, longest: int = CELL_WIDTH) -> str:
    """A value as one short line: floats with six digits, large ones in full to the unit, long text cut in its middle.

    Line breaks are spaces.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e5 <= abs(value) < _IN_FULL else f"{value:.6g}"
    text = json_text(value) if isinstance(value, list | dict) else str(value)
    text = " ".join(text.split())
    half = longest // 2
    return text if len(text) <= longest else f"{text[: half - 1]} … {text[-(half - 2) :]}"
