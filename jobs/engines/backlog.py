"""Which item to try next, and what to do with one whose process died: pure bookkeeping, no processes, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from jobs.engines.base import Item

SPLIT_AFTER_DEATHS = 2
GIVE_UP_AFTER_DEATHS = 3


@dataclass(slots=True, eq=False)
class Attempt(Generic[Item]):
    """An item and how many processes have died under it (or under the item it is a part of)."""

    item: Item
    deaths: int = 0

    @property
    def is_suspect(self) -> bool:
        """A suspect runs alone on its process, so that another death can only be its own doing."""
        return self.deaths > 0


class Backlog(Generic[Item]):
    """The items still to be tried: fresh ones drawn lazily from their iterable, suspects returned by `died`.

    A dead process takes all its calls with it, and which one was to blame is unknown: all become suspects. A suspect
    that dies alone is guilty: it is split, and its parts are suspects in turn, until one that cannot be split has died
    `GIVE_UP_AFTER_DEATHS` times. An innocent item thus succeeds at its first try as a suspect.
    """

    def __init__(self, items: Iterable[Item], split: Callable[[Item], Sequence[Item]]) -> None:
        self._items = iter(items)
        self._split = split
        self._fresh: deque[Attempt[Item]] = deque()
        self._suspects: deque[Attempt[Item]] = deque()
        self._drained = False

    @property
    def suspects(self) -> int:
        """How many suspects wait for a process of their own."""
        return len(self._suspects)

    @property
    def waiting(self) -> int:
        """How many items are drawn and not handed out."""
        return len(self._fresh) + len(self._suspects)

    @property
    def is_drained(self) -> bool:
        """True once the iterable is known to have ended."""
        return self._drained

    def draw(self, count: int) -> None:
        """Draw fresh items until `count` items wait or the iterable ends."""
        while not self._drained and self.waiting < count:
            try:
                self._fresh.append(Attempt(next(self._items)))
            except StopIteration:
                self._drained = True

    def next_fresh(self) -> Attempt[Item] | None:
        """An item no process has died under; None: there is none left."""
        if not self._fresh:
            self.draw(len(self._suspects) + 1)
        return self._fresh.popleft() if self._fresh else None

    def next_suspect(self) -> Attempt[Item] | None:
        """An item that must run alone on its process; None: none waits."""
        return self._suspects.popleft() if self._suspects else None

    def put_back(self, attempt: Attempt[Item]) -> None:
        """Take back an item whose process went through no fault of any item."""
        (self._suspects if attempt.is_suspect else self._fresh).appendleft(attempt)

    def died(self, attempt: Attempt[Item], *, alone: bool) -> bool:
        """Take back an item whose process died; True: no more attempts, it is the caller's to report.

        alone: no other item was on that process.
        """
        attempt.deaths += 1
        if attempt.deaths >= SPLIT_AFTER_DEATHS and alone:
            parts = self._split(attempt.item)
            if len(parts) > 1:
                self._suspects.extend(Attempt(part, deaths=SPLIT_AFTER_DEATHS - 1) for part in parts)
                return False
        if attempt.deaths >= GIVE_UP_AFTER_DEATHS and alone:
            return True
        self._suspects.append(attempt)
        return False
