"""Values of a query's rows as plain ones that text formats can hold."""
# pyarrow and shapely have no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa


def rows(reader: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    """The rows, batch by batch: geometry as WKT, other binary as hexadecimal digits."""
    for batch in reader:
        yield from zip(*columns(batch), strict=True)


def columns(batch: pa.RecordBatch) -> list[list[Any]]:
    """The columns of a batch, the same way."""
    return [
        _wkt(column) if is_geometry(field) else [plain(value) for value in column.to_pylist()]
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]


def plain(value: Any) -> Any:
    """A value of Arrow without bytes and decimals."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):  # sums of integers are 128 bits wide
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def finite(value: Any) -> Any:
    """The value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


def is_geometry(field: pa.Field) -> bool:
    """Whether a column is DuckDB's GEOMETRY, which comes as WKB."""
    return (field.metadata or {}).get(b"ARROW:extension:name") == b"geoarrow.wkb"


def _wkt(column: pa.Array) -> list[str | None]:
    import shapely

    return [
        None if wkb is None else shapely.to_wkt(shapely.from_wkb(wkb), rounding_precision=7)
        for wkb in column.to_pylist()
    ]
