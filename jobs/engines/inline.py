"""The engine that is a loop: what `map` means, without processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from jobs.engines.base import EngineError, Item, Outcome, Resources, Result, Worker
from schemas.discretion import one_line

logger = logging.getLogger(__name__)


class InlineEngine:
    """Calls the worker in this process, one item after the other, in the order of the items.

    Nothing here can outlive a crash or stop a hung call, so `split` and `deadline_s` are not used; `resources` reserve
    nothing, the worker itself limits its threads.
    """

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
        """See `Engine.map`. An interrupt (`KeyboardInterrupt`) passes through."""
        del resources, split, deadline_s
        worker: Worker[Item, Result] | None = None
        for item in items:
            if worker is None:  # built for the first item, so that no items need no model
                worker = _build(factory)
            try:
                result = worker(item)
            except (Exception, SystemExit) as error:
                logger.debug("the worker raised on %s", describe(item), exc_info=True)
                yield Outcome(item, None, one_line(error, 1000), "raised")
            else:
                yield Outcome(item, result)

    def gpus(self) -> float:
        """None that could be reserved: the model looks for its device itself."""
        return 0.0

    def places(self, resources: Resources) -> int:
        """This process."""
        del resources
        return 1

    def close(self) -> None:
        """Holds nothing."""


def _build(factory: Callable[[], Worker[Item, Result]]) -> Worker[Item, Result]:
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise EngineError(f"the worker could not be built: {one_line(error, 1000)}") from error
