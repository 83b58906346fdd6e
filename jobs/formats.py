"""Formats of a query's rows, and the file they go to."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from schemas.errors import SpecError
from segworkers.whole_files import appearing

Format = Literal["table", "csv", "json", "geojson", "geojsonl", "gpkg", "fgb", "parquet"]

PLACED: tuple[Format, ...] = ("geojson", "geojsonl", "gpkg", "fgb")
"""Formats in which every row has a place on the map."""
_FILES: tuple[Format, ...] = ("gpkg", "fgb", "parquet")
"""Formats that are no text."""
_PLAIN_FILES: tuple[Format, ...] = ("gpkg", "fgb")
"""Formats that are not written from their beginning to their end, as a pipe wants it."""
_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".json": "json",
    ".geojson": "geojson",
    ".geojsonl": "geojsonl",
    ".gpkg": "gpkg",
    ".fgb": "fgb",
    ".parquet": "parquet",
    ".txt": "table",
    "": "table",
}


def check_target(form: Format | None, output: Path | None) -> Format:
    """The format that rows are written in; nothing is written or created.

    form: None takes it from the suffix of `output`, else `table`. Raises SpecError for GeoPackage, FlatGeobuf and
    Parquet without a file, a suffix that names no format, and a file that cannot be written.
    """
    chosen = form or _format_of(output)
    if output is None:
        if chosen in _FILES:
            raise SpecError(f"--format {chosen} needs a file: add -o FILE.{chosen}")
        return chosen
    if chosen in _PLAIN_FILES and not _is_replaced(output) and not output.is_dir():
        raise SpecError(f"{output}: expected a plain file for {chosen}, found a pipe or a device; choose a plain file")
    reason = _obstacle(output)
    if reason:
        raise SpecError(f"{output}: cannot be written: {os.strerror(reason)}; choose another file")
    return chosen


def _format_of(output: Path | None) -> Format:
    suffix = output.suffix.lower() if output is not None else ""
    if suffix not in _BY_SUFFIX:
        *most, last = filter(None, _BY_SUFFIX)
        raise SpecError(f"{output}: expected a name that ends in {', '.join(most)} or {last}; or say --format")
    return _BY_SUFFIX[suffix]


def _obstacle(output: Path) -> int:
    """Error number of what keeps rows from being written to `output`; 0 for nothing."""
    if output.is_dir():
        return errno.EISDIR
    if not _is_replaced(output):
        return 0 if os.access(output, os.W_OK) else errno.EACCES
    folder = output.resolve().parent
    if not folder.is_dir():
        return errno.ENOTDIR if folder.exists() else errno.ENOENT
    may = os.access(folder, os.W_OK) and (not output.exists() or os.access(output, os.W_OK))
    return 0 if may else errno.EACCES


def _is_replaced(output: Path) -> bool:
    """Whether a new file takes the place of `output`: not of a pipe or a terminal."""
    return output.is_file() or not output.exists()


@contextmanager
def whole(output: Path) -> Generator[Path]:
    """A path to write to; a plain file then appears at `output` with all rows or not at all."""
    if not _is_replaced(output):
        yield output
        return
    with appearing(output.resolve()) as partial:
        yield partial
