"""Values of a query's rows as plain ones that text formats can hold."""
# pyarrow and shapely have no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa

from jobs.places import is_geometry


def rows(reader: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    """The rows, batch by batch: geometry as WKT, other binary as hexadecimal digits."""
    for batch in reader:
        yield from zip(*columns(batch), strict=True)


def columns(batch: pa.RecordBatch) -> list[list[Any]]:
    """The columns of a batch, the same way."""
    return [plain_column(field, column) for field, column in zip(batch.schema, batch.columns, strict=True)]


def plain_column(field: pa.Field, column: pa.Array) -> list[Any]:
    """The values of one column, the same way."""
    return _wkt(column) if is_geometry(field) else [plain(value) for value in column.to_pylist()]


def plain(value: Any) -> Any:
    """A value of Arrow without bytes, decimals and tuples: maps are lists of pairs."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):  # sums of integers are 128 bits wide
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def json_text(value: Any) -> str:
    """A plain value as JSON: null for NaN and infinity, which JSON does not have, and text for dates and times."""
    return json.dumps(_finite(value), default=str, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _wkt(column: pa.Array) -> list[str | None]:
    import shapely

    return [
        None if wkb is None else shapely.to_wkt(shapely.from_wkb(wkb), rounding_precision=7)
        for wkb in column.to_pylist()
    ]
