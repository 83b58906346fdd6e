"""Runs peers' rules from the project's environment, in a process of the peers' own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.seams.cases import Case, Outcome
from benchmarks.seams.peers.rules import RULES

ROOT = Path(__file__).parents[3]
"""Of the repository."""
VARIABLE = "SEGWORKERS_PEERS_PYTHON"
"""Environment variable that names the peers' Python."""


class PeerError(RuntimeError):
    """A peer, or the adapter to it, failed."""


def peers_python() -> Path | None:
    """The Python in which the peers are installed, or None where there is none.

    Raises PeerError where the environment variable names a file that does not exist.
    """
    named = os.environ.get(VARIABLE)
    python = Path(named) if named else ROOT / ".venv-peers" / "bin" / "python"
    if python.exists():
        return python
    if named:
        raise PeerError(
            f"{VARIABLE} should name the peers' Python, found {named}, which does not exist; unset or fix it"
        )
    return None


def skipped(why: str) -> Outcome:
    """The outcome of a case that a peer could not answer: no objects, no time, and the reason."""
    return Outcome((), np.zeros(0, np.int64), float("nan"), notes={"skipped": why})


def run(rule: str, cases: Iterable[Case], *, seconds: float = 600.0, memory_bytes: int = 8 * 2**30) -> list[Outcome]:
    """What a peer's rule makes of each case, one after the other in one process.

    A case that takes longer than `seconds`, or more memory than `memory_bytes` in all, has no objects, NaN seconds and
    the reason in `notes['skipped']`. So has one whose number of axes the rule does not know.

    Raises KeyError for an unknown rule, and PeerError where the peers are not installed or their process fails.
    """
    python = peers_python() if RULES[rule].package else Path(sys.executable)
    if python is None:
        raise PeerError(
            f"{rule} needs the peers' environment, found none at {ROOT / '.venv-peers'}; make one with"
            f" benchmarks/seams/peers/requirements.txt, or name its Python in {VARIABLE}"
        )
    with tempfile.TemporaryDirectory() as folder:
        asked, answers = Path(folder) / "cases", Path(folder) / "answers"
        with asked.open("wb") as file:
            count = sum(1 for case in cases if pickle.dump(case, file, protocol=5) is None)
        options = ["--seconds", str(seconds), "--memory-bytes", str(memory_bytes)]
        while (done := len(_read(answers))) < count:
            _process(python, [rule, str(asked), str(answers), "--skip", str(done), *options], answers)
            if len(_read(answers)) == done:
                raise PeerError(f"{rule}: expected {count} outcomes, but its process ended after {done} without a word")
        return _read(answers)


def _process(python: Path, arguments: list[str], answers: Path) -> None:
    """One life of the peers' process; a case that kills it is answered here, so that the next life goes on after it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(python), "-m", "benchmarks.seams.peers.run", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if ended.returncode > 0:
        raise PeerError(f"{arguments[0]}: expected outcomes, but its process ended with {ended.stdout[-4000:]}")
    if ended.returncode < 0:
        whole = _read(answers)
        with answers.open("wb") as file:  # again from the start: the last pickle may be cut short
            for outcome in [*whole, skipped(f"its process was killed by signal {-ended.returncode}")]:
                pickle.dump(outcome, file, protocol=5)


def _read(answers: Path) -> list[Outcome]:
    """The whole pickles in a file."""
    outcomes = list[Outcome]()
    if answers.exists():
        with answers.open("rb") as file:
            while True:
                try:
                    outcomes.append(pickle.load(file))
                except (EOFError, pickle.UnpicklingError):
                    break
    return outcomes
