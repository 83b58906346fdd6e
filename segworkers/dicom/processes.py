"""Processes: functions over many arguments, in as many processes.

They are started as plain children that speak over pipes, not by `multiprocessing`: that imports the main module of the
program again in each child, which a script without a guard, a notebook or a Ray driver does not survive. Nothing that a
child prints, or that it fails with, gets out: it may name a patient.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from queue import Empty, Queue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from schemas.errors import SegworkersError, StoreError

_R = TypeVar("_R")
_READY = b"r"
_PROGRAM = "from segworkers.dicom.processes import serve; serve()"


def processors() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    is_ready: bool = False
    """Whether it has told that it can work."""


class Processes:
    """At most `count` children, started when they are first needed; a context that ends them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def run(self, work: Callable[..., _R], tasks: Iterable[tuple[Any, ...]], *, alone: bool = False) -> Iterator[_R]:
        """`work(*task)` of every task, in any order; in this process until a child is ready, or if `alone`.

        After that this process only hands out tasks: beside work of its own its threads would wait for one another.
        work: a function of a module; tasks and results are pickled. Tasks are taken as they are needed.
        Raises what `work` raises on purpose (SegworkersError), and StoreError where it fails otherwise or a child dies.
        """
        if not alone and self.count > 1 and not self._children:
            self._children = [_Child(_start(work.__module__)) for _ in range(self.count)]
        crew = _Crew(work, iter(tasks), [] if alone else self._children)
        try:
            while not crew.is_ready() and (task := crew.take()) is not None:
                yield _value(_answer(work, task))
            yield from crew.answers()
        except BaseException:
            self.close()  # ends the children in the middle of their tasks, and so the threads that wait for them
            raise
        finally:
            crew.dismiss()

    def close(self) -> None:
        """End all children, busy or not."""
        children, self._children = self._children, []
        for child in children:
            child.process.kill()
        for child in children:
            child.process.wait()
            for pipe in (child.process.stdin, child.process.stdout):
                with suppress(OSError):  # what was still to be written to it
                    if pipe is not None:
                        pipe.close()


def _value(answer: tuple[str, Any]) -> Any:
    if answer[0] == "error":
        raise answer[1]
    return answer[1]


class _Crew:
    """One run: a thread for each child feeds it."""

    def __init__(self, work: Callable[..., Any], tasks: Iterator[tuple[Any, ...]], children: list[_Child]) -> None:
        self._work, self._tasks, self._lock, self._children = work, tasks, Lock(), list(children)
        self._answers: Queue[tuple[str, Any]] = Queue(2 * len(children))
        self._threads = [Thread(target=self._drive, args=(child,), daemon=True) for child in children]
        for thread in self._threads:
            thread.start()

    def is_ready(self) -> bool:
        """Whether a child can work."""
        return any(child.is_ready for child in self._children)

    def take(self) -> tuple[Any, ...] | None:
        """The next task; None where there is none left."""
        with self._lock:
            return next(self._tasks, None)

    def answers(self) -> Iterator[Any]:
        """Results as they come."""
        busy = len(self._threads)
        while busy:
            answer = self._answers.get()
            if answer[0] == "end":
                busy -= 1
            else:
                yield _value(answer)

    def dismiss(self) -> None:
        """Wait for the threads, whose children have done their tasks or are gone."""
        while any(thread.is_alive() for thread in self._threads):
            with suppress(Empty):  # one may be waiting for room
                self._answers.get(timeout=0.01)

    def _drive(self, child: _Child) -> None:
        to, of = child.process.stdin, child.process.stdout
        assert to is not None and of is not None
        try:
            child.is_ready = child.is_ready or of.read(1) == _READY
            while (task := self.take()) is not None:
                pickle.dump((self._work, task), to)
                to.flush()
                self._answers.put(pickle.load(of))  # noqa: S301  # of our own child
        except (EOFError, OSError, ValueError):
            error = StoreError("A process that reads DICOM headers ended: is there enough memory?")
            self._answers.put(("error", error))
        except Exception as error:  # noqa: BLE001  # the tasks' own: raised where results are awaited
            self._answers.put(("error", error))
        finally:
            self._answers.put(("end", None))


def _start(module: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # this interpreter, on a fixed program
        [sys.executable, "-c", _PROGRAM, module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
    )


def serve() -> None:
    """The child: answers until its input ends."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints must not get between the answers
    import_module(sys.argv[1])
    sink.write(_READY)
    sink.flush()
    while True:
        try:
            work, task = pickle.load(source)  # noqa: S301  # of our own parent
        except EOFError:
            return
        pickle.dump(_answer(work, task), sink)
        sink.flush()


def _answer(work: Callable[..., Any], task: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "value", work(*task)
    except SegworkersError as error:
        return "error", error
    except Exception as error:  # noqa: BLE001  # its text may name a patient: only its kind gets out
        return "error", StoreError(f"Reading DICOM headers failed ({type(error).__name__}).")
