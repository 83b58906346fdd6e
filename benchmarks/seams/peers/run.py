"""The process at the other end of `client`: reads cases, lets one peer merge them, writes outcomes.

    python -m benchmarks.seams.peers.run RULE CASES ANSWERS --skip N --seconds S --memory-bytes B

CASES and ANSWERS are files of pickles, one after the other. A first call on a tiny case takes a library's one-time
costs. A case that takes too long or too much memory is answered by an empty outcome that says so in `notes['skipped']`;
any other error ends the process.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import pickle
import resource
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from benchmarks.seams.cases import Case, Outcome
from benchmarks.seams.peers.client import skipped
from benchmarks.seams.peers.rules import RULES, Rule
from benchmarks.seams.peers.tiny import tiny


class TooLongError(BaseException):
    """The time for a case is over. No Exception, so that no library's handler takes it for its own."""


def main() -> None:
    """Answers the cases of one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rule", choices=RULES)
    parser.add_argument("cases", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--skip", type=int, default=0, help="cases that were answered before")
    parser.add_argument("--seconds", type=float, required=True, help="for one case")
    parser.add_argument("--memory-bytes", type=int, required=True, help="for the process")
    args = parser.parse_args()
    rule = RULES[args.rule]
    merge = _merge_of(rule)
    merge(tiny(rule.dims[0]))
    resource.setrlimit(resource.RLIMIT_DATA, (args.memory_bytes, args.memory_bytes))
    with args.cases.open("rb") as cases, args.answers.open("ab") as answers:
        for number, case in enumerate(_stream(cases)):
            if number >= args.skip:
                pickle.dump(_answer(rule, merge, case, args.seconds), answers, protocol=5)
                answers.flush()


def _merge_of(rule: Rule) -> Callable[[Case], Outcome]:
    """The rule as a function; what it returns says which release it ran."""
    adapter = importlib.import_module(f"benchmarks.seams.peers.{rule.module}")
    peer = f"{rule.package} {importlib.metadata.version(rule.package)}" if rule.package else "segworkers"

    def merge(case: Case) -> Outcome:
        outcome: Outcome = adapter.merge(case, **rule.options)
        return replace(outcome, notes={"peer": peer, **outcome.notes})

    return merge


def _stream(file: object) -> Iterator[Case]:
    """The pickles in a file."""
    while True:
        try:
            yield pickle.load(file)  # pyright: ignore[reportArgumentType]
        except EOFError:
            return


def _answer(rule: Rule, merge: Callable[[Case], Outcome], case: Case, seconds: float) -> Outcome:
    dims = 3 if case.world.truth.shape[0] > 1 else 2
    if dims not in rule.dims:
        return skipped(f"{rule.name} has no rule for {dims} dimensions")
    try:
        with _at_most(seconds):
            return merge(case)
    except TooLongError:
        return skipped(f"took longer than {seconds:g} s")
    except MemoryError:
        return skipped("ran out of memory")


@contextmanager
def _at_most(seconds: float) -> Generator[None]:
    """Raises TooLongError in what is inside once the time is over."""

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise TooLongError

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
