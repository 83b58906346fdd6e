"""The Engine port: run a worker over many items, somewhere, and survive what happens there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Reason = Literal["raised", "died", "hung"]
"""Why an item has no result: its worker raised, it killed its process each time, or it never came back in time."""

Worker = Callable[[Item], Result]
"""Built once per process by a factory, then called once per item; must be safe to call from two threads."""


class EngineError(RuntimeError):
    """The engine cannot do its work at all: no room for a worker, no cluster, a worker that cannot be built."""


def cluster_text(exception: BaseException) -> str:
    """Type and message, in one line, of what the cluster itself says: it knows nothing of what the work is about.

    What workers raise is shown by `schemas.discretion.one_line`.
    """
    text = " ".join(str(exception).split())[:1000]
    name = type(exception).__name__
    return f"{name}: {text}" if text else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one worker process needs."""

    threads: int = 1
    """CPU threads it computes with; reserved on the engine, and the limit of its numeric libraries."""
    gpus: float = 0.0
    """GPUs it needs; a fraction lets workers share one."""
    memory_bytes: int | None = None
    """Peak memory, for placement."""
    workers: int | None = None
    """How many worker processes at most; None: as many as the machines have room for."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: a result, or the reason why there never will be one."""

    item: Item
    result: Result | None
    error: str | None = None
    """Set exactly where the item killed or hung its process each time it was tried, or its worker raised; one line."""
    reason: Reason | None = None
    """Set exactly where `error` is."""


class Engine(Protocol):
    """Runs workers. Outcomes arrive in any order; every item (or each part of a split one) has exactly one."""

    def map(
        self,
        factory: Callable[[], Worker[Item, Result]],
        items: Iterable[Item],
        *,
        resources: Resources,
        split: Callable[[Item], Sequence[Item]],
        deadline_s: float | None = None,
        describe: Callable[[Item], str] = str,
    ) -> Iterator[Outcome[Item, Result]]:
        """Call `factory()` once per process and its result once per item.

        items: drawn lazily, with a bounded number in flight.
        split: parts of an item that killed its process, to find the one to blame; one part or none = cannot be split.
        deadline_s: seconds after which a call counts as hung and its process is killed.
        A worker that raises is not retried (it decides itself what is worth retrying); a process that dies is.
        A worker that cannot be built raises `EngineError`, after a few attempts. Processes live as long as the
        iterator.
        """
        ...

    def gpus(self) -> float:
        """GPUs that the engine has now, in all; 0 where it has none."""
        ...

    def places(self, resources: Resources) -> int:
        """How many worker processes `map` would start now; at least 1. A cluster may grow later."""
        ...

    def close(self) -> None:
        """Give back what the engine holds; idempotent."""
        ...
