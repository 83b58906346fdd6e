"""Laws of `schemas.discretion`: whatever way others' texts take to the screen or a table, they do not arrive."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from schemas import discretion
from schemas.errors import InputError, SpecError

NAME = "Muster^Erika"


@pytest.fixture
def discreet() -> Iterator[None]:
    discretion.begin()
    yield
    discretion.end()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a handler of the root writes, as a worker process has one."""
    text = io.StringIO()
    made = logging.StreamHandler(text)
    logging.getLogger().addHandler(made)
    yield text
    logging.getLogger().removeHandler(made)


def chain() -> SpecError:
    """An error of ours, raised while others were handled."""
    try:
        try:
            open(f"/archive/{NAME}")  # noqa: SIM115
        except OSError as error:
            raise ValueError(f"bad value of {NAME}") from error
    except ValueError:
        try:
            raise SpecError("output.path: choose another")  # noqa: TRY301
        except SpecError as error:
            return error


def test_texts_of_others_are_shown_as_they_are_until_it_begins() -> None:
    assert discretion.one_line(ValueError(NAME)) == f"ValueError: {NAME}"
    assert discretion.traceback_text(chain()).count(NAME) >= 2


@pytest.mark.usefixtures("discreet")
def test_errors_of_others_tell_their_kind_and_place() -> None:
    try:
        raise KeyError(NAME)  # noqa: TRY301
    except KeyError as error:
        told = discretion.one_line(error)
    assert told.startswith(f"KeyError: ({discretion.WITHHELD}) at test_discretion.py:")
    assert discretion.one_line(KeyError(NAME)) == f"KeyError: ({discretion.WITHHELD})"


@pytest.mark.usefixtures("discreet")
def test_our_own_errors_are_shown() -> None:
    assert discretion.one_line(InputError("changed", "the file is another.")) == "InputError: the file is another."


@pytest.mark.usefixtures("discreet")
def test_a_traceback_shows_all_causes_and_no_text_of_others() -> None:
    told = discretion.traceback_text(chain())
    assert NAME not in told
    kinds = [told.index(f"\n{kind}: ") for kind in ("FileNotFoundError", "ValueError", "SpecError")]
    assert kinds == sorted(kinds)
    assert "output.path: choose another" in told and "in chain" in told


@pytest.mark.usefixtures("discreet")
def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert discretion.traceback_text(one).count("ValueError") == 2


@pytest.mark.usefixtures("discreet")
def test_log_lines_of_libraries_tell_where_they_come_from(log: io.StringIO) -> None:
    logging.getLogger("somelib.x").warning("value %s", NAME)
    try:
        raise ValueError(NAME)  # noqa: TRY301
    except ValueError:
        logging.getLogger("otherlib").exception("cannot decode %s", NAME)
    told = log.getvalue()
    assert NAME not in told
    assert "somelib.x, test_discretion.py:" in told and "ValueError" in told


@pytest.mark.usefixtures("discreet")
def test_our_log_lines_are_shown_and_errors_in_them_are_not(log: io.StringIO) -> None:
    logger = logging.getLogger("segworkers.worker")
    logger.warning("%s, tile %s: %s", "dicom:abc", "0-0-0", ValueError(NAME))
    try:
        raise OSError(2, "no such file", NAME)  # noqa: TRY301
    except OSError:
        logger.exception("while reading %d", 7)
    told = log.getvalue()
    assert NAME not in told
    assert "dicom:abc, tile 0-0-0: ValueError: (" in told and "while reading 7" in told and "FileNotFoundError" in told


@pytest.mark.usefixtures("discreet")
def test_warnings_and_dying_threads(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest shows warnings its own way within `catch_warnings`: ask the function that a process has.
        warnings.showwarning = discretion._show_warning  # pyright: ignore[reportPrivateUsage]
        warnings.warn(NAME, stacklevel=1)

    def fail() -> None:
        raise ValueError(NAME)

    hook = threading.excepthook
    assert hook is not threading.__excepthook__
    try:
        fail()
    except ValueError as error:
        hook(threading.ExceptHookArgs((ValueError, error, error.__traceback__, None)))
        sys.excepthook(ValueError, error, error.__traceback__)
    told = capsys.readouterr().err
    assert NAME not in told
    assert "UserWarning" in told and told.count("in fail") == 2


@pytest.mark.usefixtures("discreet")
def test_a_handler_that_fails_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    closed = io.StringIO()
    closed.close()
    handler = logging.StreamHandler(closed)
    try:
        raise ValueError(NAME)  # noqa: TRY301
    except ValueError:
        handler.handle(logging.getLogger("x").makeRecord("x", logging.ERROR, __file__, 1, NAME, (), None))
    assert NAME not in capsys.readouterr().err


def test_it_ends_as_it_began() -> None:
    before = logging.getLogRecordFactory(), warnings.showwarning, sys.excepthook, threading.excepthook
    discretion.begin()
    discretion.begin()
    assert discretion.is_on()
    discretion.end()
    assert not discretion.is_on()
    assert (logging.getLogRecordFactory(), warnings.showwarning, sys.excepthook, threading.excepthook) == before
