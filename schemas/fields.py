"""How columns and tables are declared, and the columns that several tables share."""
# pyarrow ships no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = "1.2"
"""Major: a column changed its meaning or went. Minor: a column came."""


def column(name: str, kind: pa.DataType, description: str, unit: str = "", *, nullable: bool = False) -> pa.Field:
    """A column with its meaning and unit in its metadata."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def table_schema(name: str, fields: list[pa.Field]) -> pa.Schema:
    """A table with its name and version in its metadata."""
    return pa.schema(fields, metadata={"segworkers.table": name, "segworkers.schema_version": SCHEMA_VERSION})


BBOX = pa.struct([pa.field(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])

SOURCE = [
    column("source_id", pa.string(), "identity of the source: a hash of its URI"),
    column("source_uri", pa.string(), "where the source was read from, without credentials"),
]

PIXEL_BOX = [
    column(
        f"{axis}_{side}",
        pa.int64(),
        f"{'first' if side == 'min' else 'one past the last'} {axis} index of the pixel box",
        "pixel",
    )
    for side in ("min", "max")
    for axis in ("z", "y", "x")
]

PSEUDONYMS = [
    column("series_id", pa.string(), "pseudonym of the DICOM volume; null for rasters", nullable=True),
    column("study_id", pa.string(), "pseudonym of its study", nullable=True),
]
