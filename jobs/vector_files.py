"""Rows with a place on the map as GeoPackage (OGC 12-128) or FlatGeobuf, for desktop GIS and large maps, through GDAL.

A feature for each row, in one layer: its geometry is the table's to the last bit, the other columns are its fields, of
their own types where the formats have them.
"""
# pyarrow and pyogrio have no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pyarrow as pa

from jobs.places import place_column, places
from jobs.row_values import json_text, plain_column
from schemas.discretion import one_line
from schemas.errors import SpecError

VectorFormat = Literal["gpkg", "fgb"]

_DRIVERS: dict[VectorFormat, str] = {"gpkg": "GPKG", "fgb": "FlatGeobuf"}
_NAMES: dict[VectorFormat, str] = {"gpkg": "GeoPackage", "fgb": "FlatGeobuf"}
_GDAL_ID = "OGC_FID"
"""GDAL takes a column of this name for ids of its own and drops its values."""
_CRS = "EPSG:4326"
"""What readers know best; in both formats, as in GDAL's reading of GeoJSON, longitude comes first."""
_AS_THEY_ARE = (
    pa.types.is_boolean,
    pa.types.is_signed_integer,
    pa.types.is_uint8,
    pa.types.is_uint16,
    pa.types.is_uint32,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_date,
)


def write_vectors(reader: pa.RecordBatchReader, path: Path, form: VectorFormat, layer: str) -> None:
    """Write one layer with all rows; nothing else stays beside `path`, whose suffix does not matter.

    NaN and infinity are null as in GeoJSON; lists and structs are JSON, other geometry is WKT, times are cut to the
    millisecond. FlatGeobuf has its spatial index, for maps that fetch only what they show; its rows are in that order.

    Raises SpecError where the rows have no geometry in longitude and latitude, a row has none, a number needs more than
    64 bits or a column cannot be named so; OSError where GDAL cannot write.
    """
    import pyogrio

    place = place_column(reader.schema, _NAMES[form])
    _require_names(reader.schema, _NAMES[form])
    rows = _Rows(reader, place)
    own = {"GEOMETRY_NAME": reader.schema.names[place], "FID": _free_name(reader.schema)} if form == "gpkg" else {}
    # GDAL goes by suffixes, and SQLite keeps its journal beside the database.
    with TemporaryDirectory(prefix=".", suffix=".partial", dir=path.parent) as folder:
        made = Path(folder, f"rows.{form}")
        try:
            pyogrio.write_arrow(
                rows.reader(),
                made,
                layer=layer,
                driver=_DRIVERS[form],
                geometry_name=reader.schema.names[place],
                geometry_type="Unknown",
                crs=_CRS,
                layer_options={"SPATIAL_INDEX": "YES"} | own,
            )
        except RuntimeError as error:  # all that pyogrio raises
            if rows.failure is not None:
                raise rows.failure from rows.failure.__cause__
            raise OSError(errno.EIO, one_line(error)) from error
        os.replace(made, path)


class _Rows:
    """The rows as GDAL takes them. What goes wrong while it takes them is kept: through C only a text would come."""

    def __init__(self, reader: pa.RecordBatchReader, place: int) -> None:
        self.failure: BaseException | None = None
        self._rows, self._place = reader, place
        self._schema = pa.schema(
            field if index == place else pa.field(field.name, _kept_as(field))
            for index, field in enumerate(reader.schema)
        )

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._rows:
                places(batch, self._place)
                made = [
                    column if index == self._place else _converted(column, field)
                    for index, (column, field) in enumerate(zip(batch.columns, batch.schema, strict=True))
                ]
                yield pa.RecordBatch.from_arrays(made, schema=self._schema)
        except BaseException as failure:
            self.failure = failure
            raise


def _kept_as(field: pa.Field) -> pa.DataType:
    """The type of a column in the file."""
    kind = field.type
    if any(is_kind(kind) for is_kind in _AS_THEY_ARE):
        return kind
    if pa.types.is_uint64(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):  # sums of integers
        return pa.int64()
    if pa.types.is_decimal(kind):
        return pa.float64()
    return pa.timestamp("ms", kind.tz) if pa.types.is_timestamp(kind) else pa.string()


def _converted(column: pa.Array, field: pa.Field) -> pa.Array:
    """A column as `_kept_as` says."""
    kind = _kept_as(field)
    if pa.types.is_floating(field.type):
        values = column.to_numpy(zero_copy_only=False)
        return pa.array(values, kind, mask=~np.isfinite(values))
    if kind == field.type:
        return column
    if pa.types.is_string(kind):
        return pa.array([_text(value) for value in plain_column(field, column)], kind)
    return _integers(field.name, column) if pa.types.is_int64(kind) else column.cast(kind, safe=False)


def _integers(name: str, column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        wide = next(value for value in column.drop_null().to_pylist() if not -(2**63) <= value < 2**63)
        raise SpecError(
            f"{name}: expected integers of at most 64 bits, found {wide}: select CAST({name} AS VARCHAR) or "
            f"CAST({name} AS DOUBLE), with AS {name} behind it"
        ) from error


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json_text(value) if isinstance(value, list | dict) else str(value)


def _require_names(schema: pa.Schema, form: str) -> None:
    if _GDAL_ID in schema.names:
        raise SpecError(f"{form}: expected no column called {_GDAL_ID}, which GDAL keeps for itself: rename it with AS")


def _free_name(schema: pa.Schema) -> str:
    """A name for the column of row numbers that a GeoPackage must have."""
    taken = {name.lower() for name in schema.names}
    return next(name for count in range(len(taken) + 1) if (name := f"fid_{count}" if count else "fid") not in taken)
