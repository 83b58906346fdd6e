"""Rows with a place on the map as GeoJSON (RFC 7946), for QGIS, web maps and what else reads it.

A Feature for each row: WGS 84 longitude and latitude, shells counterclockwise, polygons cut at the antimeridian as they
are in the tables; the other columns are its properties.
"""
# pyarrow and shapely have no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

import numpy as np
import pyarrow as pa

from jobs.places import place_column, places
from jobs.row_values import columns, json_text

_DIGITS = 9
"""Decimals of a degree that are written: a tenth of a millimetre."""


def write_geojson(reader: pa.RecordBatchReader, stream: TextIO, *, lines: bool = False) -> None:
    """A FeatureCollection, a Feature a line; with `lines` the Features alone (newline-delimited GeoJSON).

    Null, NaN and infinity are null; other geometry among the properties is WKT. Raises SpecError where the rows have no
    geometry in longitude and latitude, or a row has none.
    """
    place = place_column(reader.schema, "GeoJSON")
    if lines:
        stream.writelines(f"{feature}\n" for feature in _features(reader, place))
        return
    separator = "\n"
    stream.write('{"type": "FeatureCollection", "features": [')
    for feature in _features(reader, place):
        stream.write(separator + feature)
        separator = ",\n"
    stream.write("]}\n" if separator == "\n" else "\n]}\n")


def _features(reader: pa.RecordBatchReader, place: int) -> Iterator[str]:
    others = [index for index in range(len(reader.schema)) if index != place]
    names = [json_text(reader.schema.field(index).name) for index in others]
    for batch in reader:
        values = columns(batch.select(others))
        for geometry, *row in zip(_geometries(batch, place), *values, strict=True):
            told = ", ".join(f"{name}: {json_text(value)}" for name, value in zip(names, row, strict=True))
            yield f'{{"type": "Feature", "geometry": {geometry}, "properties": {{{told}}}}}'


def _geometries(batch: pa.RecordBatch, place: int) -> list[str]:
    """GeoJSON geometries. Raises SpecError where a row has none."""
    import shapely

    shapes = shapely.orient_polygons(places(batch, place))
    return list(shapely.to_geojson(shapely.transform(shapes, lambda lonlat: np.round(lonlat, _DIGITS))))
