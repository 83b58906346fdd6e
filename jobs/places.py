"""Columns of geometry in a query's rows, and where on the map they are."""
# pyarrow and shapely have no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import SpecError

CRS84 = "OGC:CRS84"
"""WGS 84 with longitude before latitude: what `geometry` of the tables is in."""
_COLUMN = "geometry"
_IMAGE = "source_uri"
_INSTEAD = ".parquet, .csv or .json"


def is_geometry(field: pa.Field) -> bool:
    """Whether a column is DuckDB's GEOMETRY, which comes as WKB."""
    return (field.metadata or {}).get(b"ARROW:extension:name") == b"geoarrow.wkb"


def crs_of(field: pa.Field) -> str | None:
    """The coordinate reference system of a geometry, such as `OGC:CRS84`; None where it says none, as pixels do."""
    crs = json.loads(field.metadata.get(b"ARROW:extension:metadata") or b"{}").get("crs")
    if isinstance(crs, dict):  # PROJJSON
        known = crs.get("id")
        return f"{known['authority']}:{known['code']}" if known else str(crs.get("name"))
    return crs


def place_column(schema: pa.Schema, form: str) -> int:
    """Position of the column with the places: `geometry`, else the first in longitude and latitude.

    form: name of the format that needs it, for the message. Raises SpecError where there is none.
    """
    shapes = [(index, field) for index, field in enumerate(schema) if is_geometry(field)]
    placed = [index for index, field in shapes if crs_of(field) == CRS84]
    if not placed:
        others = " and ".join(f"{field.name} ({crs_of(field) or 'no CRS, as for pixels'})" for _, field in shapes)
        raise SpecError(
            f"{form}: expected a column of places in longitude and latitude, such as `geometry` of `instances`, found "
            f"{f'only {others}' if others else 'none'}: add geometry to SELECT, or write {_INSTEAD}"
        )
    return next((index for index in placed if schema.field(index).name == _COLUMN), placed[0])


def places(batch: pa.RecordBatch, column: int) -> NDArray[Any]:
    """The shapes (n,) of a column of places, all there: readers of files drop a row without one and say nothing.

    Raises SpecError where a row has none, or an empty one.
    """
    import shapely

    shapes = shapely.from_wkb(np.array(batch.column(column).to_pylist(), object))
    nowhere = np.flatnonzero(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    if not len(nowhere):
        return shapes
    row, name = int(nowhere[0]), batch.schema.names[column]
    image = batch.column(batch.schema.names.index(_IMAGE))[row].as_py() if _IMAGE in batch.schema.names else None
    told = f"a row of {image}" if image else "a row"
    if shapes[row] is not None:
        raise SpecError(
            f"{told} has an empty {name}: add WHERE st_astext({name}) NOT LIKE '%EMPTY%' to leave such rows out, or "
            f"write {_INSTEAD}"
        )
    raise SpecError(
        f"{told} has no place on the map, because its image has no georeference that can be used: add WHERE {name} IS "
        f"NOT NULL to leave such rows out, or write {_INSTEAD}, where objects of images have polygon_px, those of "
        "volumes boxes and centroids"
    )
