from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.engines.backlog import Backlog
from jobs.engines.base import EngineError, Outcome
from jobs.engines.host import Reply
from jobs.engines.scheduler import IN_FLIGHT, Limits, Scheduler

Chunk = tuple[int, ...]
Fate = Callable[[Chunk], str]


@dataclass(eq=False)
class Process:
    calls: list[Any] = field(default_factory=list[Any])
    is_dead: bool = False
    most_calls: int = 0
    items: list[Chunk] = field(default_factory=list[Chunk])


@dataclass
class PretendFleet:
    """A cluster on paper: its clock jumps, its processes answer in random order and die as their items' fate says."""

    fate: Fate
    room: int = 3
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    load: Callable[[int], str] = lambda start: "value"
    stray_deaths: float = 0.0
    now: float = 0.0
    processes: list[Process] = field(default_factory=list[Process])
    answers: dict[Any, Reply] = field(default_factory=dict[Any, Reply])
    open_calls: dict[Any, tuple[Process, str, Any]] = field(default_factory=dict[Any, tuple[Process, str, Any]])

    def target(self) -> int:
        return self.room

    def start(self) -> Process:
        self.processes.append(Process())
        assert sum(not p.is_dead for p in self.processes) <= self.room
        return self.processes[-1]

    def send(self, process: Process, method: str, item: Any = None) -> object:
        assert not process.is_dead, "called a process that was given up"
        handle = object()
        self.open_calls[handle] = (process, method, item)
        process.calls.append(handle)
        if method == "call":
            process.items.append(item)
            process.most_calls = max(process.most_calls, len(process.calls))
        return handle

    def wait(self, calls: Sequence[Any], timeout_s: float) -> Sequence[Any]:
        self.now += timeout_s
        for handle in self.chance.sample(list(calls), len(calls)):
            if handle in self.open_calls and self.chance.random() < 0.5:
                self._advance(handle)
        return [call for call in calls if call in self.answers]

    def _advance(self, handle: Any) -> None:
        process, method, item = self.open_calls[handle]
        if method == "hello":
            fate = "value"
        elif method == "load":
            fate = self.load(len(self.processes))
        else:
            fate = "stray" if self.chance.random() < self.stray_deaths else self.fate(item)
        if fate == "hung":
            return
        if fate in ("died", "stray"):
            for other in process.calls:
                self.answers[other] = Reply("died", error="gone", to_blame=fate == "died")
                self.open_calls.pop(other, None)
            process.calls.clear()
            return
        process.calls.remove(handle)
        self.open_calls.pop(handle)
        self.answers[handle] = Reply("raised", error="ValueError: bad") if fate == "raised" else Reply("value", item)

    def receive(self, call: Any) -> Reply:
        return self.answers.pop(call)

    def kill(self, process: Process) -> None:
        process.is_dead = True
        for call in process.calls:
            self.open_calls.pop(call, None)

    def clock(self) -> float:
        return self.now

    def describe(self) -> str:
        return "needs 1 CPU; there are none"


def halves(chunk: Chunk) -> list[Chunk]:
    middle = len(chunk) // 2
    return [part for part in (chunk[:middle], chunk[middle:]) if part]


def run(fleet: PretendFleet, items: Iterator[Chunk], limits: Limits | None = None) -> list[Outcome[Chunk, Chunk]]:
    scheduler = Scheduler[Chunk, Chunk](fleet, Backlog(items, halves), limits or Limits(deadline_s=60.0))
    return list(scheduler.outcomes())


@given(
    sizes=st.lists(st.integers(1, 9), max_size=12),
    bad=st.dictionaries(st.integers(0, 60), st.sampled_from(["died", "hung", "raised"]), max_size=3),
    room=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_every_tile_has_one_outcome_and_only_the_guilty_ones_fail(
    sizes: list[int], bad: dict[int, str], room: int, seed: int
) -> None:
    counter = itertools.count()
    chunks = [tuple(next(counter) for _ in range(size)) for size in sizes]

    def fate(chunk: Chunk) -> str:
        return next((bad[tile] for tile in chunk if tile in bad), "value")

    fleet = PretendFleet(fate, room, random.Random(seed))
    outcomes = run(fleet, iter(chunks))
    tiles = sorted(tile for outcome in outcomes for tile in outcome.item)
    assert tiles == [tile for chunk in chunks for tile in chunk]
    for outcome in outcomes:
        verdict = fate(outcome.item)
        assert outcome.reason == (None if verdict == "value" else verdict)
        assert (outcome.error is None) == (verdict == "value")
        if outcome.reason in ("died", "hung"):
            assert len(outcome.item) == 1, "an item that can be split is split until the guilty part is found"
    assert all(process.is_dead for process in fleet.processes)
    assert all(process.most_calls <= IN_FLIGHT for process in fleet.processes)


@given(seed=st.integers(0, 2**16), room=st.integers(1, 4))
def test_deaths_that_no_item_can_have_caused_fail_none(seed: int, room: int) -> None:
    fleet = PretendFleet(lambda chunk: "value", room, random.Random(seed), stray_deaths=0.3)
    outcomes = run(fleet, ((n,) for n in range(20)))
    assert sorted(outcome.item for outcome in outcomes) == [(n,) for n in range(20)]
    assert all(outcome.error is None for outcome in outcomes)


def test_items_are_drawn_as_they_are_needed() -> None:
    drawn = 0

    def items() -> Iterator[Chunk]:
        nonlocal drawn
        for n in range(1000):
            drawn += 1
            yield (n,)

    fleet = PretendFleet(lambda chunk: "value", room=3)
    scheduler = Scheduler[Chunk, Chunk](fleet, Backlog(items(), halves), Limits())
    for done, _ in enumerate(scheduler.outcomes(), start=1):
        assert drawn - done <= 2 * 3 * IN_FLIGHT + 1  # in flight, answered together, one to know the end
    assert drawn == 1000


def test_no_more_processes_start_than_there_are_items() -> None:
    fleet = PretendFleet(lambda chunk: "value", room=50)
    run(fleet, iter([(1,), (2,)]))
    assert len(fleet.processes) == 2


def test_no_items_need_no_process() -> None:
    fleet = PretendFleet(lambda chunk: "value")
    assert run(fleet, iter(())) == []
    assert fleet.processes == []


def test_a_poison_item_dies_alone_before_it_is_given_up_and_its_companion_is_not_split() -> None:
    fleet = PretendFleet(lambda chunk: "died" if 7 in chunk else "value", room=1)
    outcomes = run(fleet, iter([(1, 2), (7,), (3, 4)]))
    assert {outcome.item for outcome in outcomes} == {(1, 2), (7,), (3, 4)}
    hosts = [process.items for process in fleet.processes if (7,) in process.items]
    assert len(hosts) == 3
    assert hosts[-1][-1] == (7,)
    poison = next(outcome for outcome in outcomes if outcome.item == (7,))
    assert poison.error == "killed its process 3 times, the last time alone on it: gone"


def test_a_suspect_shares_its_process_with_no_one() -> None:
    alone: list[bool] = []
    fleet = PretendFleet(lambda chunk: "died" if 5 in chunk else "value", room=2)
    send = fleet.send
    tried: set[Chunk] = set()

    def watch(process: Process, method: str, item: Any = None) -> object:
        if method == "call":
            if item in tried:
                alone.append(not process.calls)
            tried.add(item)
        return send(process, method, item)

    fleet.send = watch  # type: ignore[method-assign]
    run(fleet, ((n,) for n in range(12)))
    assert alone
    assert all(alone)


def test_a_worker_that_cannot_be_built_ends_the_run_after_three_attempts() -> None:
    fleet = PretendFleet(lambda chunk: "value", room=1, load=lambda start: "raised")
    with pytest.raises(EngineError, match="3 times in a row: ValueError: bad"):
        run(fleet, iter([(1,)]))
    assert len(fleet.processes) == 3
    assert all(process.is_dead for process in fleet.processes)


def test_a_worker_that_kills_or_hangs_its_process_while_being_built_ends_the_run() -> None:
    for fate in ("died", "hung"):
        fleet = PretendFleet(lambda chunk: "value", room=1, load=lambda start, fate=fate: fate)
        with pytest.raises(EngineError, match="could not be built"):
            run(fleet, iter([(1,)]), Limits(load_s=5.0))


def test_a_build_that_fails_once_is_forgiven() -> None:
    fleet = PretendFleet(lambda chunk: "value", room=1, load=lambda start: "raised" if start == 1 else "value")
    assert [outcome.error for outcome in run(fleet, iter([(1,)]))] == [None]


def test_waiting_for_room_ends_with_what_is_missing() -> None:
    fleet = PretendFleet(lambda chunk: "value", room=1)
    fleet.wait = lambda calls, timeout_s: setattr(fleet, "now", fleet.now + timeout_s) or []  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="within 60 s: needs 1 CPU; there are none"):
        run(fleet, iter([(1,)]), Limits(room_s=60.0))


def test_processes_are_added_when_the_cluster_grows() -> None:
    fleet = PretendFleet(lambda chunk: "value", room=1)
    scheduler = Scheduler[Chunk, Chunk](fleet, Backlog(((n,) for n in range(200)), halves), Limits())
    for outcome in scheduler.outcomes():
        if outcome.item == (20,):
            fleet.room = 4
    assert len(fleet.processes) == 4


def test_leaving_early_kills_the_processes() -> None:
    fleet = PretendFleet(lambda chunk: "value")
    outcomes = Scheduler[Chunk, Chunk](fleet, Backlog(((n,) for n in range(200)), halves), Limits()).outcomes()
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert fleet.processes
    assert all(process.is_dead for process in fleet.processes)


def test_the_second_call_of_a_process_may_take_as_long_as_the_first_one_again() -> None:
    """Calls may wait for each other inside the worker: the clock of the second starts when the first is answered."""
    fleet = PretendFleet(lambda chunk: "value", room=1)
    started: dict[Any, float] = {}

    def wait(calls: Sequence[Any], timeout_s: float) -> Sequence[Any]:
        fleet.now += timeout_s
        for handle in calls:
            process, method, _ = fleet.open_calls[handle]
            first = process.calls[0] is handle
            if first:
                started.setdefault(handle, fleet.now)
            if method != "call" or (first and fleet.now - started[handle] > 8.0):
                fleet._advance(handle)
                return [handle]
        return []

    fleet.wait = wait  # type: ignore[method-assign]
    outcomes = run(fleet, ((n,) for n in range(6)), Limits(deadline_s=10.0))
    assert [outcome.error for outcome in outcomes] == [None] * 6
    assert len(fleet.processes) == 1
