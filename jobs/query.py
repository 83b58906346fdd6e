"""`segworkers query`: the rows of a SELECT as a text table, CSV, JSON or Parquet.

CSV, JSON and Parquet are streamed in batches, so a query over millions of objects needs little memory.
"""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import csv
import errno
import json
import math
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.results import Results, select
from schemas.errors import SpecError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Format = Literal["table", "csv", "json", "parquet"]

SCREEN_ROWS = 200
"""Rows that the `table` format shows unless a limit is given."""
CELL_WIDTH = 60
"""Characters of a cell that the `table` format shows on a terminal."""
FILE_CELL_WIDTH = 600
"""The same in a pipe or a file: every message, but not a whole mask."""
_BATCH_ROWS = 20_000
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
        relation = select(connection, query)
        rows = limit if shown is None else shown + 1
        reader = (relation if rows is None else relation.limit(rows)).to_arrow_reader(_BATCH_ROWS)
        if chosen == "parquet" and output is not None:
            write_parquet(reader, output)
        elif output is None:
            _write_text(reader, sys.stdout, chosen, shown)
        else:
            with output.open("w", encoding="utf-8", newline="") as stream:
                _write_text(reader, stream, chosen, shown)
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


def check_target(format: Format | None, output: Path | None) -> Format:
    """The format that rows are written in; nothing is written or created.

    Raises SpecError for Parquet without a file, a suffix that names no format, and a file that cannot be written.
    """
    chosen = format or _format_of(output)
    if output is None:
        if chosen == "parquet":
            raise SpecError("--format parquet needs a file: add -o FILE.parquet")
        return chosen
    if output.is_dir():
        reason = errno.EISDIR
    elif output.exists():
        reason = 0 if os.access(output, os.W_OK) else errno.EACCES
    elif not output.parent.is_dir():
        reason = errno.ENOTDIR if output.parent.exists() else errno.ENOENT
    else:
        reason = 0 if os.access(output.parent, os.W_OK) else errno.EACCES
    if reason:
        raise SpecError(f"{output}: cannot be written: {os.strerror(reason)}; choose another file")
    return chosen


def _format_of(output: Path | None) -> Format:
    suffix = output.suffix.lower() if output is not None else ""
    by_suffix: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table", "": "table"}
    if suffix not in by_suffix:
        raise SpecError(f"{output}: expected a name that ends in .csv, .json, .parquet or .txt; or say --format")
    return by_suffix[suffix]


def _write_text(reader: pa.RecordBatchReader, stream: TextIO, format: Format, shown: int | None) -> None:
    if format == "csv":
        write_csv(reader, stream)
    elif format == "json":
        write_json(reader, stream)
    else:
        write_table(reader, stream, shown)


def write_csv(reader: pa.RecordBatchReader, stream: TextIO) -> None:
    """Header and rows; null is empty, nested values are JSON, geometry is WKT, other binary is hexadecimal."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for row in _rows(reader):
        writer.writerow([_csv_cell(value) for value in row])


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


def write_json(reader: pa.RecordBatchReader, stream: TextIO) -> None:
    """A list of objects, one a line; NaN and infinity are null, geometry is WKT."""
    names = reader.schema.names
    separator = "[\n"
    for row in _rows(reader):
        stream.write(
            separator + json.dumps(_finite(dict(zip(names, row, strict=True))), default=str, ensure_ascii=False)
        )
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def write_parquet(reader: pa.RecordBatchReader, path: Path) -> None:
    """Rows with their types; the file is GeoParquet 1.1 where `geometry` is among the columns. Replaces `path`."""
    schema = reader.schema
    plain = pa.schema([field.remove_metadata() for field in schema], metadata=_geo_metadata(schema))
    with pq.ParquetWriter(path, plain, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=plain))


def _geo_metadata(schema: pa.Schema) -> dict[str, str] | None:
    if "geometry" not in schema.names or not _is_geometry(schema.field("geometry")):
        return None
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": []}
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
    for count, row in enumerate(_rows(reader)):
        if count == shown:
            return table, True
        table.add_row(*(Text(shorten(value, longest)) for value in row))
    return table, False


def shorten(value: Any, longest: int = CELL_WIDTH) -> str:
    """A value as one short line: floats with six digits, long text cut in its middle, line breaks as spaces."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)
    text = " ".join(text.split())
    half = longest // 2
    return text if len(text) <= longest else f"{text[: half - 1]} … {text[-(half - 2) :]}"


def _rows(reader: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    geometry = [_is_geometry(field) for field in reader.schema]
    for batch in reader:
        columns = [
            _wkt(column) if is_geometry else [_plain(value) for value in column.to_pylist()]
            for column, is_geometry in zip(batch.columns, geometry, strict=True)
        ]
        yield from zip(*columns, strict=True)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):  # sums of integers are 128 bits wide
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _is_geometry(field: pa.Field) -> bool:
    return (field.metadata or {}).get(b"ARROW:extension:name") == b"geoarrow.wkb"


def _wkt(column: pa.Array) -> list[str | None]:
    import shapely

    return [
        None if wkb is None else shapely.to_wkt(shapely.from_wkb(wkb), rounding_precision=7)
        for wkb in column.to_pylist()
    ]
