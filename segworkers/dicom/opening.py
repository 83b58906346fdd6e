"""A place as an open file, after its version was compared with the one that the catalog saw."""

from __future__ import annotations

import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import BinaryIO

from obstore.exceptions import BaseError

from schemas.errors import InputError
from segworkers.dicom.places import FileState, Places, split_member, storage_refusal
from segworkers.ranges import open_remote
from segworkers.readers.locations import split_s3

WHOLE_BYTES = 8 << 20
"""Objects up to this size are fetched in one request; of larger ones only what is read."""


@contextmanager
def opened(places: Places, place: str, planned: FileState) -> Generator[BinaryIO]:
    """A seekable file; closed when the context ends. An empty `planned.stamp` is not compared.

    Raises InputError: `changed` where it is another version than planned, and what `storage_refusal` lists. Errors that
    reading raises inside the context become such errors too; none of them shows a name.
    """
    try:
        with _file(places, place, planned) as file:
            yield file
    except (OSError, BaseError) as error:
        raise storage_refusal(error) from None


@contextmanager
def _file(places: Places, place: str, planned: FileState) -> Generator[BinaryIO]:
    _, member = split_member(place)
    if member is None and not place.startswith("s3://"):
        with open(place, "rb") as file:
            found = os.fstat(file.fileno())  # of what is open: nobody can put another file in between
            _compare(FileState(found.st_size, str(found.st_mtime_ns)), planned)
            yield file
        return
    found = places.state(place)
    _compare(found, planned)
    if member is not None:
        with places.open_member(place) as file:
            yield file
        return
    if found.size > WHOLE_BYTES:
        bucket, key = split_s3(place)
        with open_remote(places.store(bucket), key) as file:
            yield file
        return
    yield io.BytesIO(places.read(place))


def _compare(found: FileState, planned: FileState) -> None:
    if planned.stamp and found != planned:
        raise InputError(
            "changed",
            "the file is no longer the one that was planned (size, time or version differ).",
            "Run again without resuming, or restore the file.",
        )
