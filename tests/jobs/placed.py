"""Rows with places as queries give them, made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

CRS84 = json.dumps({"crs_type": "projjson", "crs": {"id": {"authority": "OGC", "code": "CRS84"}}})


def placed_rows(batches: Sequence[dict[str, Any]], *, crs: str = CRS84) -> pa.RecordBatchReader:
    """Batches of columns, read one by one; the column `place` holds shapes and becomes DuckDB's GEOMETRY."""
    marks = {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": crs}

    def batch(given: dict[str, Any]) -> pa.RecordBatch:
        shapes = [None if each is None else each.wkb for each in given["place"]]
        columns = {
            name: pa.array(shapes, pa.binary()) if name == "place" else pa.array(values)
            for name, values in given.items()
        }
        fields = [
            pa.field(name, each.type, metadata=marks if name == "place" else None) for name, each in columns.items()
        ]
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=pa.schema(fields))

    return pa.RecordBatchReader.from_batches(batch(batches[0]).schema, map(batch, batches))
