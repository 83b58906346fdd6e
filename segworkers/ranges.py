"""An object of an object store as a seekable file, of which only what is read is fetched."""
# obstore's accessors for remote stores are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, cast

READ_AHEAD = 256 * 1024
"""Bytes that are fetched at once at least: a request takes as long as so many bytes, and neighbours come along."""


def open_remote(store: Any, name: str) -> BinaryIO:
    """The object `name` of an obstore store. Raises FileNotFoundError; every fetch may raise obstore's errors."""
    return cast("BinaryIO", io.BufferedReader(_RemoteFile(store, name), READ_AHEAD))


class _RemoteFile(io.RawIOBase):
    """Every read is a request."""

    name = ""  # libraries ask files for it; the object's own may say whose it is

    def __init__(self, store: Any, name: str) -> None:
        import obstore

        super().__init__()
        self._store, self._name, self._at = store, name, 0
        self._size = int(obstore.head(store, name)["size"])

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
        import obstore

        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        data = memoryview(obstore.get_range(self._store, self._name, start=self._at, end=stop))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
