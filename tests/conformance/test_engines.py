"""What `map` promises, on every engine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.engines.base import Engine, EngineError, Outcome, Resources, Worker
from jobs.engines.inline import InlineEngine

ONE = Resources(threads=1, workers=1)
TWO = Resources(threads=1, workers=2)


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.cluster)])
def engine(request: pytest.FixtureRequest) -> Engine:
    return InlineEngine() if request.param == "inline" else request.getfixturevalue("ray_engine")


def whole(item: Any) -> list[Any]:
    return [item]


class UnpicklableError(Exception):
    def __init__(self, lock: Any) -> None:
        super().__init__("two\nlines")
        self.lock = lock


def squares() -> Worker[int, int]:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three is not allowed")
        if item == 4:
            raise UnpicklableError(threading.Lock())
        if item == 5:
            raise SystemExit(7)
        return item * item

    return work


def pids() -> Worker[int, tuple[int, int]]:
    built_in = os.getpid()

    def work(item: int) -> tuple[int, int]:
        time.sleep(0.005)
        return built_in, os.getpid()

    return work


def broken() -> Worker[int, int]:
    raise FileNotFoundError("no weights at /models/absent.pt")


def by_item(outcomes: Iterator[Outcome[Any, Any]]) -> dict[Any, Outcome[Any, Any]]:
    found: dict[Any, Outcome[Any, Any]] = {}
    for outcome in outcomes:
        assert outcome.item not in found, "every item has one outcome"
        found[outcome.item] = outcome
    return found


def test_every_item_has_one_outcome(engine: Engine) -> None:
    outcomes = by_item(engine.map(squares, range(10, 60), resources=TWO, split=whole))
    assert {item: outcome.result for item, outcome in outcomes.items()} == {n: n * n for n in range(10, 60)}
    assert all(outcome.error is None and outcome.reason is None for outcome in outcomes.values())


def test_a_worker_that_raises_loses_that_item_only_and_says_what_it_raised(engine: Engine) -> None:
    outcomes = by_item(engine.map(squares, range(8), resources=ONE, split=whole))
    assert sorted(outcomes) == list(range(8))
    assert [item for item, outcome in sorted(outcomes.items()) if outcome.error is not None] == [3, 4, 5]
    assert outcomes[3] == Outcome(3, None, "ValueError: three is not allowed", "raised")
    assert outcomes[4].error == "UnpicklableError: two lines"
    assert outcomes[5].error == "SystemExit: 7"


def test_the_worker_is_built_once_per_process(engine: Engine) -> None:
    outcomes = by_item(engine.map(pids, range(30), resources=TWO, split=whole))
    found = {outcome.result for outcome in outcomes.values()}
    assert all(result is not None and result[0] == result[1] for result in found)
    assert len(found) <= 2


def test_items_are_drawn_with_a_bounded_number_ahead(engine: Engine) -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(100, 200):
            drawn += 1
            yield item

    for done, _ in enumerate(engine.map(squares, items(), resources=TWO, split=whole), start=1):
        assert drawn - done <= 9
    assert drawn == 100


def test_no_items_need_no_worker(engine: Engine) -> None:
    assert list(engine.map(broken, [], resources=ONE, split=whole)) == []


def test_a_worker_that_cannot_be_built_ends_the_run_with_its_reason(engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"could not be built.*FileNotFoundError: no weights at /models/absent\.pt"):
        list(engine.map(broken, [1, 2, 3], resources=ONE, split=whole))


def test_items_that_cannot_be_drawn_end_the_run(engine: Engine) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the catalog broke")

    with pytest.raises(OSError, match="the catalog broke"):
        list(engine.map(squares, items(), resources=ONE, split=whole))


def test_an_engine_maps_again_after_one_was_left_early(engine: Engine) -> None:
    outcomes = engine.map(squares, range(10, 1000), resources=TWO, split=whole)
    next(outcomes)
    close: Callable[[], None] = getattr(outcomes, "close")  # noqa: B009 - iterators need not have it
    close()
    assert len(list(engine.map(squares, range(10, 14), resources=TWO, split=whole))) == 4


def test_items_are_described_with_the_callers_words(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="jobs.engines"):
        list(engine.map(squares, [3], resources=ONE, split=whole, describe=lambda item: f"tile number {item}"))
    assert "the worker raised on tile number 3" in caplog.text
    assert "Traceback" in caplog.text
