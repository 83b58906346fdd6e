"""Decoded frames, the last used kept up to a number of bytes: windows of neighbouring tiles overlap."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What can be kept."""

    @property
    def nbytes(self) -> int:
        """Bytes it occupies."""
        ...


T = TypeVar("T", bound=Sized)


class Kept(Generic[T]):
    """Least recently used first out. Safe to call from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        """`limit_bytes`: what may be held together; 0 keeps nothing."""
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._items: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._bytes

    def get(self, key: Hashable) -> T | None:
        """What is kept under a key, now the most recently used."""
        with self._lock:
            item = self._items.get(key)
            if item is not None:
                self._items.move_to_end(key)
            return item

    def put(self, key: Hashable, item: T) -> None:
        """Keep an item, in place of an older one; what is larger than the limit is not kept."""
        with self._lock:
            old = self._items.pop(key, None)
            self._bytes -= old.nbytes if old is not None else 0
            if item.nbytes > self.limit_bytes:
                return
            self._items[key] = item
            self._bytes += item.nbytes
            while self._bytes > self.limit_bytes:
                self._bytes -= self._items.popitem(last=False)[1].nbytes
