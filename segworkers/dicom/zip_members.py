"""Members of zip archives as seekable files, in bounded memory.

A small member is read whole, and its checksum with it. Of a large one that is stored as it is only what is asked for is
read, without its checksum; a large one that is compressed is unpacked into a temporary file that has no name.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, cast

WHOLE_BYTES = 64 << 20
"""Members up to this size are held in memory while they are open."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, and the lengths of name and extra field (APPNOTE 4.3.7)."""
_BUFFER = 1 << 20


def open_member(archive: zipfile.ZipFile, member: str, open_archive: Callable[[], BinaryIO]) -> BinaryIO:
    """A member, to be closed. Raises what the standard library raises on damaged archives.

    open_archive: opens the archive's own file once more, so that readers of members do not share a place in it.
    """
    info = archive.getinfo(member)
    if info.file_size <= WHOLE_BYTES:
        return io.BytesIO(archive.read(info))
    if info.compress_type == zipfile.ZIP_STORED:
        file = open_archive()
        try:
            return cast("BinaryIO", io.BufferedReader(_Window(file, _data_start(file, info), info.file_size)))
        except BaseException:
            file.close()
            raise
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # its closing is the caller's
    try:
        with archive.open(info) as packed:
            shutil.copyfileobj(packed, unpacked, _BUFFER)
        unpacked.seek(0)
    except BaseException:
        unpacked.close()
        raise
    return cast("BinaryIO", unpacked)


def _data_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin; the local header may have another extra field than the directory's."""
    file.seek(info.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\3\4":
        raise zipfile.BadZipFile("no local header where the directory says that one is")
    return info.header_offset + _LOCAL_HEADER.size + name + extra


class _Window(io.RawIOBase):
    """Bytes start .. start + size of a file."""

    name = ""  # libraries ask files for it; the archive's own may say whose it is

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size, self._at = file, start, size, 0

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        self._file.seek(self._start + self._at)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
