"""Lists of inputs kept in files: text with one a line, CSV, Parquet."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow is not typed.

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import InputError
from segworkers.readers.locations import Location
from segworkers.readers.remote import http_get, s3_get

MANIFEST_SUFFIXES = (".txt", ".csv", ".parquet")
"""Endings of the files that list inputs."""
COLUMNS = ("uri", "path")
"""Names of the column that holds inputs, in order of preference; else the first column."""


def read_manifest(location: Location) -> list[str]:
    """The inputs that a manifest lists, relative ones resolved against the manifest's own folder.

    Text: one a line, blank lines and lines that begin with # ignored. CSV: a header row, unless its first cell looks
    like an input itself. Raises InputError (`unreadable`, and what getting the file raises).
    """
    data = _bytes(location)
    suffix = PurePosixPath(location.uri.split("?")[0]).suffix.lower()
    try:
        if suffix == ".parquet":
            entries = _from_parquet(data)
        elif suffix == ".csv":
            entries = _from_csv(data.decode("utf-8-sig"))
        else:
            lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
            entries = [line for line in lines if line and not line.startswith("#")]
    except (UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise InputError(
            "unreadable",
            f"{location.uri}: expected a list of inputs as UTF-8 text, CSV or Parquet ({type(error).__name__}).",
            "Save it again in one of these formats.",
        ) from None
    return [_absolute(entry, location) for entry in entries]


def _bytes(location: Location) -> bytes:
    if location.kind == "http":
        return http_get(location.full)
    if location.kind == "s3":
        return s3_get(location.full)
    try:
        with open(location.full, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError("not_found", f"{location.uri}: no such file.", "Check the path.") from None
    except OSError as error:
        raise InputError("unreadable", f"{location.uri}: cannot be read ({error.strerror}).", "Check it.") from None


def _from_csv(text: str) -> list[str]:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0]]
    named = [header.index(name) for name in COLUMNS if name in header]
    column = named[0] if named else 0
    looks_like_input = not named and ("/" in header[0] or "." in header[0])
    cells = [row[column].strip() for row in (rows if looks_like_input else rows[1:]) if column < len(row)]
    return [cell for cell in cells if cell]


def _from_parquet(data: bytes) -> list[str]:
    file: Any = pq.ParquetFile(pa.BufferReader(data))
    names: Sequence[str] = file.schema_arrow.names
    column = next((name for name in COLUMNS if name in names), names[0])
    values: list[Any] = file.read(columns=[column]).column(0).to_pylist()
    return [str(value).strip() for value in values if value is not None and str(value).strip()]


def _absolute(entry: str, manifest: Location) -> str:
    if "://" in entry or entry.startswith("/") or (":" in entry and manifest.kind != "local"):
        return entry
    if manifest.kind == "local":
        # A GDAL name such as NETCDF:file.nc:band holds a colon before any slash.
        folder = str(PurePosixPath(manifest.full).parent)
        return entry if ":" in entry.partition("/")[0] else f"{folder}/{entry}"
    if manifest.kind == "http":
        return urljoin(manifest.uri, entry)
    return f"{manifest.uri.rpartition('/')[0]}/{entry}"
