"""Discretion: a process that has to do with patients does not repeat what others wrote.

Exceptions, warnings and log lines of libraries and of models repeat what they were given: paths, attribute values,
pixels. After `begin` this process shows of such a text only what kind it is and where it comes from. Errors of our own
packages are written to be shown, and are shown.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

WITHHELD = "text withheld: it may name a patient"
"""Stands for what others wrote."""

_OURS = frozenset(("jobs", "segworkers", "schemas"))
"""Packages whose errors and log lines hold no identities."""


@dataclass(slots=True)
class _State:
    restore: list[Callable[[], None]]


_STATE = _State([])


def is_on() -> bool:
    """Whether `begin` was called in this process."""
    return bool(_STATE.restore)


def begin() -> None:
    """Withhold texts of others in this process from now on: in errors, tracebacks, warnings and log lines.

    Standard output and standard error themselves are left alone: what a model prints is the model's.
    """
    if is_on():
        return
    factory, shouts, shown = logging.getLogRecordFactory(), logging.raiseExceptions, warnings.showwarning
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook

    def restore() -> None:
        logging.setLogRecordFactory(factory)
        logging.raiseExceptions = shouts
        warnings.showwarning = shown
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks

    _STATE.restore.append(restore)

    def record(*arguments: Any, **options: Any) -> logging.LogRecord:
        return _discreet(factory(*arguments, **options))

    logging.setLogRecordFactory(record)
    logging.raiseExceptions = False  # a handler that fails prints what it was handling
    warnings.showwarning = _show_warning
    sys.excepthook = lambda _, error, __: _print(traceback_text(error))
    sys.unraisablehook = lambda told: _print(traceback_text(told.exc_value) if told.exc_value else WITHHELD)
    threading.excepthook = lambda told: _print(traceback_text(told.exc_value) if told.exc_value else WITHHELD)


def end() -> None:
    """The opposite of `begin`; for processes that turned out to have nothing to do with patients."""
    while _STATE.restore:
        _STATE.restore.pop()()


def one_line(error: BaseException, most: int = 500) -> str:
    """Type and message of any exception on one line of at most `most` characters, fit for a table."""
    text = _text(error)
    return " ".join(f"{type(error).__name__}: {text}".split())[:most] if text else type(error).__name__


def traceback_text(error: BaseException) -> str:
    """Like `traceback.format_exception`, with all causes; texts of others are withheld where `is_on`."""
    if not is_on():
        return "".join(traceback.format_exception(error))
    parts: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        frames = "".join(traceback.format_tb(at.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{one_line(at)}\n")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\nThis led to:\n\n".join(reversed(parts))


def _text(error: BaseException) -> str:
    if not is_on() or type(error).__module__.partition(".")[0] in _OURS:
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"({WITHHELD}){where}"


def _discreet(record: logging.LogRecord) -> logging.LogRecord:
    """The record, with its own text if it is one of ours; errors among its arguments as `one_line` shows them."""
    if record.name.partition(".")[0] not in _OURS:
        record.msg, record.args = f"{record.name}, {record.filename}:{record.lineno}: {WITHHELD}", ()
    elif isinstance(record.args, tuple):
        record.args = tuple(one_line(each) if isinstance(each, BaseException) else each for each in record.args)
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = traceback_text(record.exc_info[1])  # what formatters use in place of making their own
    return record


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del message, line
    _print(f"{os.path.basename(filename)}:{lineno}: {category.__name__}: {WITHHELD}\n", file)


def _print(text: str, stream: TextIO | None = None) -> None:
    target = stream or sys.stderr
    if target is not None:  # pyright: ignore[reportUnnecessaryComparison]  # pythonw has none
        target.write(text)
