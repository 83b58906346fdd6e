"""What runs inside a worker process: builds the worker, calls it, and turns what it raises into a reply."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from schemas.discretion import one_line, traceback_text

_TRACEBACK_CHARACTERS = 8000
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one call to a process."""

    kind: Literal["value", "raised", "died"]
    value: Any = None
    error: str = ""
    """One line; set unless `kind` is "value"."""
    details: str = ""
    """A traceback, for the log."""
    to_blame: bool = True
    """False where the process went for a reason that no call can have caused, such as a machine taken away."""


class Host:
    """One per process. Exceptions travel as text: they need not be picklable, nor their classes importable.

    threads: the limit of numeric libraries, which read it from the environment when they are imported; that is later,
        with the worker (nothing that this module imports may import them).
    """

    def __init__(self, threads: int = 1) -> None:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
        self._worker: Callable[[Any], Any] | None = None

    def hello(self) -> Reply:
        """Answers as soon as the process runs."""
        return Reply("value", os.getpid())

    def load(self, factory: Callable[[], Callable[[Any], Any]]) -> Reply:
        """Build the worker; must have answered before the first `call`."""
        try:
            self._worker = factory()
        except (Exception, SystemExit) as error:
            return _raised(error)
        return Reply("value")

    def call(self, item: Any) -> Reply:
        """Call the worker; may run in two threads at once."""
        try:
            if self._worker is None:
                raise RuntimeError("called before the worker was built")
            return Reply("value", self._worker(item))
        except (Exception, SystemExit) as error:
            return _raised(error)


def _raised(error: BaseException) -> Reply:
    details = traceback_text(error)
    return Reply("raised", error=one_line(error, 1000), details=details[-_TRACEBACK_CHARACTERS:])
