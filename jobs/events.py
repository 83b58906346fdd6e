"""Events: what a run tells whoever watches it, and two ways to show it.

`RichProgress` draws a bar on a terminal; `PlainProgress` writes one line every few seconds, for log files. Both write
to stderr: stdout is for results.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Events(Protocol):
    """Receives what happens in a run. Methods may be called from several threads and return quickly."""

    def stage(self, name: str) -> None:
        """A stage begins: `catalog`, `segment`, `merge`, `measure` or `publish`."""
        ...

    def planned(self, *, sources: int, tiles: int, pixels: int, resumed_tiles: int, resumed_pixels: int) -> None:
        """How much there is in all, and how much of that an earlier run has finished; a later call replaces it."""
        ...

    def tile_done(self, *, pixels: int, objects: int, failed: bool) -> None:
        """One work tile came to its end; `objects` counts its detections before the merge."""
        ...

    def warning(self, message: str) -> None:
        """Something a careful person would want to know; one line."""
        ...


class NullEvents:
    """Shows nothing."""

    def stage(self, name: str) -> None:
        """Ignore."""

    def planned(self, *, sources: int, tiles: int, pixels: int, resumed_tiles: int, resumed_pixels: int) -> None:
        """Ignore."""

    def tile_done(self, *, pixels: int, objects: int, failed: bool) -> None:
        """Ignore."""

    def warning(self, message: str) -> None:
        """Ignore."""


@dataclass(slots=True)
class Tally:
    """Running totals of one run. Not thread-safe: its owner holds a lock."""

    clock: Callable[[], float] = time.monotonic
    sources: int = 0
    tiles: int = 0
    pixels: int = 0
    resumed_tiles: int = 0
    resumed_pixels: int = 0
    tiles_done: int = 0
    pixels_done: int = 0
    failed: int = 0
    objects: int = 0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def plan(self, *, sources: int, tiles: int, pixels: int, resumed_tiles: int, resumed_pixels: int) -> None:
        """Set the totals and restart the clock: what was planned or resumed says nothing about this run's speed."""
        self.sources, self.tiles, self.pixels = sources, tiles, pixels
        self.resumed_tiles, self.resumed_pixels = resumed_tiles, resumed_pixels
        if not self.tiles_done:
            self.started = self.clock()

    def add(self, *, pixels: int, objects: int, failed: bool) -> None:
        """Count one tile."""
        self.tiles_done += 1
        self.pixels_done += pixels
        self.objects += objects
        self.failed += failed

    @property
    def tiles_ended(self) -> int:
        """Tiles finished by this run and by earlier ones."""
        return self.tiles_done + self.resumed_tiles

    @property
    def pixels_per_s(self) -> float:
        """Pixels a second of this run; 0 before the first tile."""
        return self.pixels_done / max(self.clock() - self.started, 1e-9) if self.pixels_done else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the pixels still to do; None before the first tile."""
        left = self.pixels - self.resumed_pixels - self.pixels_done
        return max(left, 0) / self.pixels_per_s if self.pixels_per_s else None

    def figures(self) -> str:
        """Speed, objects and time left as one phrase."""
        parts = [f"{self.pixels_per_s / 1e6:,.1f} Mpx/s", f"{self.objects:,} objects so far"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.seconds_left is not None:
            parts.append(f"{clock_time(self.seconds_left)} left")
        return ", ".join(parts)

    def line(self) -> str:
        """Everything as one line."""
        percent = f" ({100 * self.tiles_ended / self.tiles:.0f}%)" if self.tiles else ""
        return f"{self.tiles_ended:,}/{self.tiles:,} tiles{percent}, {self.figures()}"


def clock_time(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


class PlainProgress(AbstractContextManager["PlainProgress", None]):
    """One line at each stage, one line every `interval` seconds while tiles are worked on, and each warning.

    A thread writes the periodic lines, so that a slow tile does not look like a dead run.
    """

    def __init__(
        self, stream: TextIO | None = None, interval: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._interval = interval
        self._tally = Tally(clock)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._stage = ""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._tally.tiles_done:
            with self._lock:
                self._write(f"segment: {self._tally.line()}")

    def stage(self, name: str) -> None:
        """Write the stage's name."""
        with self._lock:
            self._stage = name
            self._write(f"{name} ...")

    def planned(self, *, sources: int, tiles: int, pixels: int, resumed_tiles: int, resumed_pixels: int) -> None:
        """Write the totals."""
        with self._lock:
            self._tally.plan(
                sources=sources, tiles=tiles, pixels=pixels, resumed_tiles=resumed_tiles, resumed_pixels=resumed_pixels
            )
            self._write(planned_line(sources, tiles, pixels, resumed_tiles))

    def tile_done(self, *, pixels: int, objects: int, failed: bool) -> None:
        """Count it; the next periodic line shows it."""
        with self._lock:
            self._tally.add(pixels=pixels, objects=objects, failed=failed)

    def warning(self, message: str) -> None:
        """Write it at once."""
        with self._lock:
            self._write(f"warning: {message}")

    def _beat(self) -> None:
        while not self._stop.wait(self._interval):
            with self._lock:
                if self._stage == "segment" and self._tally.tiles:
                    self._write(f"segment: {self._tally.line()}")

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


class RichProgress(AbstractContextManager["RichProgress", None]):
    """A bar with tiles, Mpx/s, objects so far and time left."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._tally = Tally()
        self._lock = threading.Lock()
        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[tiles]}"),
            TextColumn("{task.fields[figures]}", style="dim"),
            console=console or Console(stderr=True),
            expand=True,
        )
        self._task: TaskID = self._progress.add_task("starting", total=None, tiles="", figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, name: str) -> None:
        """Name the bar."""
        with self._lock:
            self._progress.update(self._task, description=name)

    def planned(self, *, sources: int, tiles: int, pixels: int, resumed_tiles: int, resumed_pixels: int) -> None:
        """Give the bar its length, in pixels, and say what is to do."""
        with self._lock:
            self._tally.plan(
                sources=sources, tiles=tiles, pixels=pixels, resumed_tiles=resumed_tiles, resumed_pixels=resumed_pixels
            )
            self._progress.console.print(planned_line(sources, tiles, pixels, resumed_tiles), markup=False)
            self._show()

    def tile_done(self, *, pixels: int, objects: int, failed: bool) -> None:
        """Move the bar."""
        with self._lock:
            self._tally.add(pixels=pixels, objects=objects, failed=failed)
            self._show()

    def warning(self, message: str) -> None:
        """Print it above the bar."""
        with self._lock:
            self._progress.console.print(f"warning: {message}", style="yellow", markup=False)

    def _show(self) -> None:
        tally = self._tally
        self._progress.update(
            self._task,
            total=max(tally.pixels, 1),
            completed=tally.resumed_pixels + tally.pixels_done,
            tiles=f"{tally.tiles_ended:,}/{tally.tiles:,} tiles",
            figures=tally.figures(),
        )


def planned_line(sources: int, tiles: int, pixels: int, resumed_tiles: int) -> str:
    """What a run is about to do, as one line."""
    resumed = f", {resumed_tiles:,} tiles already done" if resumed_tiles else ""
    return f"{sources:,} sources, {tiles:,} tiles, {pixels / 1e6:,.1f} Mpx{resumed}"


def open_progress(stream: TextIO | None = None) -> RichProgress | PlainProgress:
    """The progress display that suits `stream` (default stderr): a bar on a terminal, else plain lines."""
    target = stream if stream is not None else sys.stderr
    if not target.isatty():
        return PlainProgress(target)
    from rich.console import Console

    return RichProgress(Console(file=target))
