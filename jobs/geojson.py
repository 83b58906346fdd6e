"""Rows with a place on the map as GeoJSON (RFC 7946), for QGIS, web maps and what else reads it.

A Feature for each row: WGS 84 longitude and latitude, shells counterclockwise, polygons cut at the antimeridian as they
are in the tables; the other columns are its properties.
"""
# pyarrow and shapely have no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TextIO

import numpy as np
import pyarrow as pa

from jobs.row_values import columns, finite, is_geometry
from schemas.errors import SpecError

_DIGITS = 9
"""Decimals of a degree that are written: a tenth of a millimetre."""
_CRS84 = {"authority": "OGC", "code": "CRS84"}
_COLUMN = "geometry"
_IMAGE = "source_uri"


def write_geojson(reader: pa.RecordBatchReader, stream: TextIO, *, lines: bool = False) -> None:
    """A FeatureCollection, a Feature a line; with `lines` the Features alone (newline-delimited GeoJSON).

    Null, NaN and infinity are null; other geometry among the properties is WKT. Raises SpecError where the rows have no
    geometry in longitude and latitude, or a row has none.
    """
    place = _place(reader.schema)
    if lines:
        stream.writelines(f"{feature}\n" for feature in _features(reader, place))
        return
    separator = "\n"
    stream.write('{"type": "FeatureCollection", "features": [')
    for feature in _features(reader, place):
        stream.write(separator + feature)
        separator = ",\n"
    stream.write("]}\n" if separator == "\n" else "\n]}\n")


def _place(schema: pa.Schema) -> int:
    """Position of the column with the places: `geometry`, else the first in longitude and latitude."""
    placed = [index for index, field in enumerate(schema) if is_geometry(field) and _crs(field) == _CRS84]
    if not placed:
        off = " and ".join(field.name for field in schema if is_geometry(field))
        raise SpecError(
            "GeoJSON: expected a column of places in longitude and latitude, such as `geometry` of `instances`, found "
            f"{f'only {off}, in pixels' if off else 'none'}: add geometry to SELECT, or write .parquet, .csv or .json"
        )
    return next((index for index in placed if schema.field(index).name == _COLUMN), placed[0])


def _crs(field: pa.Field) -> object:
    """The identifier of a geometry's coordinate reference system (PROJJSON); None for pixels."""
    crs = json.loads(field.metadata.get(b"ARROW:extension:metadata") or b"{}").get("crs")
    return crs.get("id") if isinstance(crs, dict) else None


def _features(reader: pa.RecordBatchReader, place: int) -> Iterator[str]:
    others = [index for index in range(len(reader.schema)) if index != place]
    names = [json.dumps(reader.schema.field(index).name, ensure_ascii=False) for index in others]
    for batch in reader:
        values = columns(batch.select(others))
        for geometry, *row in zip(_geometries(batch, place), *values, strict=True):
            told = ", ".join(
                f"{name}: {json.dumps(finite(value), default=str, ensure_ascii=False)}"
                for name, value in zip(names, row, strict=True)
            )
            yield f'{{"type": "Feature", "geometry": {geometry}, "properties": {{{told}}}}}'


def _geometries(batch: pa.RecordBatch, place: int) -> list[str]:
    """GeoJSON geometries. Raises SpecError where a row has none: readers would drop it without a word."""
    import shapely

    shapes = shapely.from_wkb(np.array(batch.column(place).to_pylist(), object))
    nowhere = np.flatnonzero(shapely.is_missing(shapes))
    if len(nowhere):
        names = batch.schema.names
        image = batch.column(names.index(_IMAGE))[int(nowhere[0])].as_py() if _IMAGE in names else None
        name = names[place]
        raise SpecError(
            f"a row{f' of {image}' if image else ''} has no place on the map, because its image has no georeference "
            f"that can be used: add WHERE {name} IS NOT NULL to leave such rows out, or write .parquet, .csv or .json, "
            "where they have polygon_px"
        )
    rounded = shapely.transform(shapely.orient_polygons(shapes), lambda lonlat: np.round(lonlat, _DIGITS))
    return list(shapely.to_geojson(rounded))
