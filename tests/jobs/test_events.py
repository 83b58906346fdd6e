from __future__ import annotations

import io
import threading
import time

import pytest
from rich.console import Console

from jobs.events import NullEvents, PlainProgress, RichProgress, Tally, clock_time, open_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(events: PlainProgress | RichProgress | NullEvents) -> None:
    events.stage("segment")
    events.planned(sources=2, tiles=10, pixels=10_000_000, resumed_tiles=5, resumed_pixels=5_000_000)
    events.tile_done(pixels=1_000_000, objects=1234, failed=False)
    events.tile_done(pixels=1_000_000, objects=1, failed=True)
    events.warning("no CRS")


def test_plain_progress_says_stages_plan_warnings_and_totals():
    stream = io.StringIO()
    with PlainProgress(stream, interval=60) as events:
        work(events)
    first, planned, warning, last = stream.getvalue().splitlines()
    assert first == "segment ..."
    assert planned == "2 sources, 10 tiles, 10.0 Mpx, 5 tiles already done"
    assert warning == "warning: no CRS"
    assert last.startswith("segment: 7/10 tiles (70%), ") and "1,235 objects so far, 1 failed" in last


def test_plain_progress_speaks_while_a_slow_tile_runs():
    stream = io.StringIO()
    with PlainProgress(stream, interval=0.02) as events:
        events.stage("segment")
        events.planned(sources=1, tiles=1, pixels=10, resumed_tiles=0, resumed_pixels=0)
        until = time.monotonic() + 10
        while stream.getvalue().count("0/1 tiles") < 2 and time.monotonic() < until:
            time.sleep(0.01)
    assert stream.getvalue().count("0/1 tiles") >= 2


def test_plain_progress_is_silent_between_stages():
    stream = io.StringIO()
    with PlainProgress(stream, interval=0.01) as events:
        events.stage("merge")
        time.sleep(0.05)
    assert stream.getvalue() == "merge ...\n"


def test_rich_progress_draws_tiles_speed_objects_and_time_left():
    stream = Terminal()
    with RichProgress(Console(file=stream, width=160, force_terminal=True, color_system=None)) as events:
        work(events)
    text = stream.getvalue()
    for part in ("7/10 tiles", "Mpx/s", "1,235 objects so far", "left", "warning: no CRS"):
        assert part in text


def test_the_bar_is_for_terminals_only():
    assert isinstance(open_progress(Terminal()), RichProgress)
    assert isinstance(open_progress(io.StringIO()), PlainProgress)


def test_tiles_that_end_in_several_threads_are_all_counted():
    stream = io.StringIO()
    with PlainProgress(stream, interval=60) as events:
        events.planned(sources=1, tiles=400, pixels=400, resumed_tiles=0, resumed_pixels=0)

        def some() -> None:
            for _ in range(100):
                events.tile_done(pixels=1, objects=2, failed=False)

        threads = [threading.Thread(target=some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "400/400 tiles (100%)" in stream.getvalue() and "800 objects" in stream.getvalue()


def test_speed_and_time_left_are_of_this_run_and_not_of_the_one_resumed():
    now = [100.0]
    tally = Tally(lambda: now[0])
    now[0] = 200.0
    tally.plan(sources=1, tiles=4, pixels=4_000, resumed_tiles=2, resumed_pixels=2_000)
    assert tally.seconds_left is None
    now[0] = 210.0
    tally.add(pixels=1_000, objects=0, failed=False)
    assert tally.pixels_per_s == pytest.approx(100)
    assert tally.seconds_left == pytest.approx(10)


def test_nothing_is_shown_by_null_events(capsys: pytest.CaptureFixture[str]):
    work(NullEvents())
    assert capsys.readouterr() == ("", "")


def test_times_are_written_as_clocks():
    assert [clock_time(seconds) for seconds in (0, 59.6, 61, 3661)] == ["0:00", "1:00", "1:01", "1:01:01"]
