"""Places: where the bytes of a DICOM file lie, and how they are had. A local path, an s3:// URL, or a member of a zip.

A place is written as one string: `/a/b.dcm`, `s3://bucket/b.dcm`, `/a/b.zip!c/d.dcm` or `s3://bucket/b.zip!c/d.dcm`.
Places may name patients, so they live in the crosswalk and in worker processes only; no error here shows one.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# obstore's accessors for remote stores are partly untyped.

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, BinaryIO, cast

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from schemas.errors import InputError
from segworkers.dicom.zip_members import open_member
from segworkers.ranges import open_remote
from segworkers.readers.locations import split_s3
from segworkers.readers.remote import s3_store

_MEMBER = re.compile(r"\.zip!", re.IGNORECASE)
_ARCHIVES_OPEN = 4

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError, ValueError)
"""What the standard library raises on a zip that is torn, encrypted or compressed in a way it does not know."""


DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", ".dic")
"""Names that promise DICOM: where such a file is none, that is told. Others are passed over silently."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells one version of a file from another."""

    size: int
    """Bytes, uncompressed."""
    stamp: str
    """Modification time in nanoseconds, ETag, or the CRC-32 of a zip member."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be DICOM."""

    place: str
    state: FileState
    promised: bool = False
    """Whether its name, or a DICOMDIR, says that it is DICOM: where it is none, that is told."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file or archive that is left out."""

    place: str
    reason: str
    """Stable code, see `docs/dicom.md`."""
    state: FileState = FileState(0, "")


def split_member(place: str) -> tuple[str, str | None]:
    """Archive and member of a place inside a zip; the place itself and None elsewhere."""
    found = _MEMBER.search(place)
    return (place, None) if found is None else (place[: found.end() - 1], place[found.end() :])


def member_place(archive: str, member: str) -> str:
    """The place of a member of a zip."""
    return f"{archive}!{member}"


def member_state(member: zipfile.ZipInfo) -> FileState:
    """Of a member, as the zip's directory tells it: no byte of it is read."""
    return FileState(member.file_size, f"crc {member.CRC:08x}")


def object_state(meta: Any) -> FileState:
    """Of an object, as obstore describes it."""
    return FileState(int(meta["size"]), str(meta["e_tag"] or meta["last_modified"].isoformat()))


def storage_refusal(error: BaseException) -> InputError:
    """The error as an InputError that names no file.

    Reasons: `missing_file`, `access_denied`, `damaged_archive`, `read_failed`.
    """
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError) or "NoSuchBucket" in str(error):
        return InputError("missing_file", "The file is not there.", "Check that the archive is complete.")
    if isinstance(error, PermissionError | PermissionDeniedError | UnauthenticatedError):
        return InputError("access_denied", f"The storage refused access ({kind}).", "Check permissions or credentials.")
    if isinstance(error, ZIP_ERRORS) and not isinstance(error, OSError):
        return InputError("damaged_archive", f"The zip archive cannot be read ({kind}).", "Copy it again.")
    return InputError("read_failed", f"The file cannot be read ({kind}).", "Check the storage and try again.")


@dataclass(slots=True)
class Places:
    """Reads bytes of places; keeps a few zip archives open. Safe to call from several threads; not picklable.

    Every method raises InputError, see `storage_refusal`.
    """

    _archives: OrderedDict[str, zipfile.ZipFile] = field(default_factory=OrderedDict[str, zipfile.ZipFile], repr=False)
    _stores: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False)

    def state(self, place: str) -> FileState:
        """Size and stamp now."""
        archive, member = split_member(place)
        try:
            if member is not None:
                with self._lock:
                    return member_state(self.archive(archive).getinfo(member))
            if place.startswith("s3://"):
                bucket, key = split_s3(place)
                return object_state(obstore.head(self.store(bucket), key))
            found = os.stat(place)
        except (OSError, BaseError, *ZIP_ERRORS) as error:
            raise storage_refusal(error) from None
        if not stat.S_ISREG(found.st_mode):
            raise InputError("read_failed", "Expected a regular file, found something else.", "Check the archive.")
        return FileState(found.st_size, str(found.st_mtime_ns))

    def read(self, place: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes start..stop, to the end where stop is None; fewer where the file ends before."""
        archive, member = split_member(place)
        try:
            if member is not None:
                return self._read_member(archive, member, start, stop)
            if place.startswith("s3://"):
                return self._read_object(place, start, stop)
            return _read_local(place, start, stop)
        except (OSError, BaseError, *ZIP_ERRORS) as error:
            raise storage_refusal(error) from None

    def archive(self, archive: str) -> zipfile.ZipFile:
        """An open zip; raises what the standard library and obstore raise."""
        with self._lock:
            if archive not in self._archives:
                while len(self._archives) >= _ARCHIVES_OPEN:
                    self._archives.popitem(last=False)[1].close()
                self._archives[archive] = zipfile.ZipFile(self._file(archive))
            self._archives.move_to_end(archive)
            return self._archives[archive]

    def open_member(self, place: str) -> BinaryIO:
        """A member of a zip as a seekable file, to be closed; see `segworkers.dicom.zip_members`."""
        archive, member = split_member(place)
        try:
            with self._lock:
                return open_member(self.archive(archive), member or "", lambda: self._opened(archive))
        except (OSError, BaseError, *ZIP_ERRORS) as error:
            raise storage_refusal(error) from None

    def store(self, bucket: str) -> Any:
        """The obstore store of a bucket."""
        with self._lock:
            if bucket not in self._stores:
                self._stores[bucket] = s3_store(bucket)
            return self._stores[bucket]

    def close(self) -> None:
        """Close all archives."""
        with self._lock:
            while self._archives:
                self._archives.popitem()[1].close()

    def _file(self, archive: str) -> str | BinaryIO:
        if not archive.startswith("s3://"):
            return archive
        bucket, key = split_s3(archive)
        return open_remote(self.store(bucket), key)

    def _opened(self, archive: str) -> BinaryIO:
        file = self._file(archive)
        return open(file, "rb") if isinstance(file, str) else file

    def _read_member(self, archive: str, member: str, start: int, stop: int | None) -> bytes:
        with self._lock, self.archive(archive).open(member) as file:
            file.seek(start)
            return file.read(-1 if stop is None else max(stop - start, 0))

    def _read_object(self, place: str, start: int, stop: int | None) -> bytes:
        bucket, key = split_s3(place)
        if start == 0 and stop is None:
            return bytes(obstore.get(self.store(bucket), key).bytes())
        end = {"end": stop} if stop is not None else {"end": int(obstore.head(self.store(bucket), key)["size"])}
        return bytes(cast("Any", obstore).get_range(self.store(bucket), key, start=start, **end))


def _read_local(place: str, start: int, stop: int | None) -> bytes:
    handle = os.open(place, os.O_RDONLY)
    try:
        missing = (os.fstat(handle).st_size if stop is None else stop) - start
        parts: list[bytes] = []
        while missing > 0:  # one call returns at most 2 GiB
            part = os.pread(handle, missing, start)
            if not part:
                break
            parts.append(part)
            start += len(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(handle)
