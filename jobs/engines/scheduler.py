"""Keeps worker processes busy and outlives them: placement, back-pressure, deadlines, restarts. Knows no cluster.

One process at a time goes through: start -> `hello` (it runs) -> `load` (the worker is built) -> calls, at most
`IN_FLIGHT` at once, which is all the back-pressure there is. A process is never restarted: when it dies, or hangs and
is killed, a new one takes its place, so an answer can never come from a process that was given up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol

from jobs.engines.backlog import Attempt, Backlog
from jobs.engines.base import EngineError, Item, Outcome, Result
from jobs.engines.host import Reply

logger = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Calls per process: one computes while the other's input is read or its output written."""
FAILED_STARTS = 3
"""A process that cannot build its worker this many times in a row ends the run: it is the worker, not bad luck."""


class Fleet(Protocol):
    """What the scheduler needs of a cluster. Processes and calls are opaque, hashable handles."""

    def target(self) -> int:
        """How many processes there may be now; asking is cheap."""
        ...

    def start(self) -> Any:
        """Ask for a process; it may take for ever until there is room for it."""
        ...

    def send(self, process: Any, method: Literal["hello", "load", "call"], item: Any = None) -> Any:
        """Call a method of the process's `Host`; returns the call's handle at once."""
        ...

    def wait(self, calls: Sequence[Any], timeout_s: float) -> Sequence[Any]:
        """The calls that have been answered; returns as soon as there is one, or after `timeout_s`."""
        ...

    def receive(self, call: Any) -> Reply:
        """The answer to a call that `wait` returned."""
        ...

    def kill(self, process: Any) -> None:
        """End the process for good; never raises."""
        ...

    def clock(self) -> float:
        """Seconds, monotonic."""
        ...

    def describe(self) -> str:
        """What one process needs and what there is, for messages."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of every wait, in seconds."""

    deadline_s: float | None = None
    load_s: float = 1800.0
    """Building the worker: fetching and loading a model."""
    room_s: float = 1800.0
    """Waiting without a single process for lack of room; a cluster that starts from zero needs minutes."""
    tick_s: float = 0.2
    first_backoff_s: float = 0.2
    most_backoff_s: float = 10.0


@dataclass(slots=True, eq=False)
class _Call(Generic[Item]):
    attempt: Attempt[Item] | None  # None: hello or load
    since: float


@dataclass(slots=True, eq=False)
class _Slot(Generic[Item]):
    """The place of one process and of those that follow it."""

    process: Any = None
    is_ready: bool = False
    is_loading: bool = False
    calls: dict[Any, _Call[Item]] = field(default_factory=dict[Any, _Call[Item]])
    not_before: float = 0.0
    deaths: int = 0  # in a row, without an answered call in between
    failed_starts: int = 0  # in a row

    def attempts(self) -> list[Attempt[Item]]:
        return [call.attempt for call in self.calls.values() if call.attempt is not None]

    def is_busy(self) -> bool:
        return bool(self.attempts())

    def takes_more(self) -> bool:
        has_suspect = any(attempt.is_suspect for attempt in self.attempts())
        return self.is_ready and len(self.calls) < IN_FLIGHT and not has_suspect


class Scheduler(Generic[Item, Result]):
    """One `map`. `outcomes` is the loop; everything else is a step of it."""

    def __init__(
        self, fleet: Fleet, backlog: Backlog[Item], limits: Limits, describe: Callable[[Item], str] = str
    ) -> None:
        self._fleet = fleet
        self._backlog = backlog
        self._limits = limits
        self._describe = describe
        self._slots: list[_Slot[Item]] = []
        self._done: list[Outcome[Item, Result]] = []
        self._last_sign = fleet.clock()  # of life, of any process
        self._next_notice = self._last_sign + 30.0

    def outcomes(self) -> Iterator[Outcome[Item, Result]]:
        """Run until every item has its outcome. Leaving early, by any way, kills the processes."""
        try:
            while True:
                self._size()
                self._start()
                self._dispatch()
                done, self._done = self._done, []
                yield from done
                if self._is_over():
                    return
                self._collect()
                self._expire()
                self._watch_for_room()
        finally:
            for slot in self._slots:
                if slot.process is not None:
                    self._fleet.kill(slot.process)

    def _is_over(self) -> bool:
        self._backlog.draw(1)
        return not (self._backlog.waiting or any(slot.is_busy() for slot in self._slots) or self._done)

    def _size(self) -> None:
        """As many slots as allowed, but no more than there is work for; at the end idle processes are given back."""
        target, idle = self._fleet.target(), [slot for slot in self._slots if not slot.is_busy()]
        busy = len(self._slots) - len(idle)
        self._backlog.draw(target - busy)
        while len(self._slots) < min(target, busy + self._backlog.waiting):
            self._slots.append(_Slot())
        if self._backlog.is_drained and not self._backlog.waiting:
            for slot in idle:
                self._slots.remove(slot)
                if slot.process is not None:
                    self._fleet.kill(slot.process)

    def _start(self) -> None:
        now = self._fleet.clock()
        for slot in self._slots:
            if slot.process is None and now >= slot.not_before:
                slot.process = self._fleet.start()
                self._send(slot, "hello")

    def _send(self, slot: _Slot[Item], method: Literal["hello", "load"]) -> None:
        slot.is_loading = method == "load"
        slot.calls[self._fleet.send(slot.process, method)] = _Call(None, self._fleet.clock())

    def _dispatch(self) -> None:
        """Suspects first, each on an empty process; then fresh items, to the least busy."""
        for slot in self._slots:
            if slot.is_ready and not slot.calls and (attempt := self._backlog.next_suspect()):
                self._call(slot, attempt)
        takers = sorted((s for s in self._slots if s.takes_more()), key=lambda s: len(s.calls))
        takers = takers[self._backlog.suspects :]  # these run empty, for the suspects that still wait
        for load in range(IN_FLIGHT):
            for slot in takers:
                if len(slot.calls) == load and (attempt := self._backlog.next_fresh()):
                    self._call(slot, attempt)

    def _call(self, slot: _Slot[Item], attempt: Attempt[Item]) -> None:
        slot.calls[self._fleet.send(slot.process, "call", attempt.item)] = _Call(attempt, self._fleet.clock())

    def _collect(self) -> None:
        slots = {call: slot for slot in self._slots for call in slot.calls}
        replies = [
            (slots[call], call, self._fleet.receive(call))
            for call in self._fleet.wait(list(slots), self._limits.tick_s)
        ]
        for slot, call, reply in replies:  # answers before deaths: an answered call needs no second attempt
            if reply.kind != "died":
                self._answered(slot, call, reply)
        for slot, call, reply in replies:
            if reply.kind == "died" and call in slot.calls:
                self._bury(slot, reply.error, "died", to_blame=reply.to_blame)

    def _answered(self, slot: _Slot[Item], handle: Any, reply: Reply) -> None:
        now = self._last_sign = self._fleet.clock()
        attempt = slot.calls.pop(handle).attempt
        if attempt is None:
            self._started(slot, reply)
            return
        slot.deaths = 0
        for call in slot.calls.values():  # it may have waited for this one
            call.since = now
        if reply.kind == "value":
            self._done.append(Outcome(attempt.item, reply.value))
            return
        logger.debug("the worker raised on %s\n%s", self._describe(attempt.item), reply.details)
        self._done.append(Outcome(attempt.item, None, reply.error, "raised"))

    def _started(self, slot: _Slot[Item], reply: Reply) -> None:
        if reply.kind == "raised":
            logger.debug("the worker could not be built\n%s", reply.details)
            self._bury(slot, reply.error, "died")
        elif slot.is_loading:
            slot.is_loading, slot.is_ready, slot.failed_starts = False, True, 0
        else:
            self._send(slot, "load")

    def _expire(self) -> None:
        now = self._fleet.clock()
        for slot in self._slots:
            limit = self._limits.load_s if slot.is_loading else self._limits.deadline_s
            if not (slot.is_loading or slot.is_ready) or limit is None:
                continue
            if any(now - call.since > limit for call in slot.calls.values()):
                self._bury(slot, f"did not come back within {limit:g} s", "hung")

    def _bury(self, slot: _Slot[Item], why: str, reason: Literal["died", "hung"], *, to_blame: bool = True) -> None:
        """The process is gone or is made to go; its calls come back, and another takes its place after a while."""
        self._fleet.kill(slot.process)
        attempts = slot.attempts()
        if not slot.is_ready and to_blame:
            slot.failed_starts += 1
            if slot.failed_starts >= FAILED_STARTS:
                raise EngineError(f"the worker could not be built, {FAILED_STARTS} times in a row: {why}")
        slot.process, slot.is_ready, slot.is_loading = None, False, False
        slot.calls.clear()
        backoff = min(self._limits.first_backoff_s * 2**slot.deaths, self._limits.most_backoff_s)
        slot.deaths += 1
        slot.not_before = self._fleet.clock() + backoff
        names = " and ".join(self._describe(attempt.item) for attempt in attempts) or "nothing"
        logger.info("a worker process ended (%s) while it had %s; another starts in %.1f s", why, names, backoff)
        for attempt in attempts:
            if not to_blame:
                self._backlog.put_back(attempt)
            elif self._backlog.died(attempt, alone=len(attempts) == 1):
                self._done.append(self._given_up(attempt, why, reason))

    def _given_up(self, attempt: Attempt[Item], why: str, reason: Literal["died", "hung"]) -> Outcome[Item, Result]:
        deed = "hung" if reason == "hung" else "killed"
        error = f"{deed} its process {attempt.deaths} times, the last time alone on it: {why}"
        logger.warning("%s %s", self._describe(attempt.item), error)
        return Outcome(attempt.item, None, error, reason)

    def _watch_for_room(self) -> None:
        """Processes that cannot be placed wait silently: say so, and not for ever."""
        now = self._fleet.clock()
        if any(slot.is_ready or slot.is_loading for slot in self._slots):
            self._last_sign, self._next_notice = now, now + 30.0
            return
        if now - self._last_sign > self._limits.room_s:
            raise EngineError(
                f"no worker process could start within {self._limits.room_s:g} s: {self._fleet.describe()}"
            )
        if now >= self._next_notice:
            self._next_notice = now + 30.0
            logger.warning("waiting for room for a worker process: %s", self._fleet.describe())
