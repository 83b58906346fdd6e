"""Time and memory of a peer's own work."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.seams.cases import Mask, Outcome

_STATUS = Path("/proc/self/status")


class Meter:
    """Adds up what is spent on preparing a peer's input, and on merging."""

    def __init__(self) -> None:
        self.construct_s = 0.0
        """Seconds for making the peer's own objects from detections."""
        self.seconds = 0.0
        """Seconds of merging."""
        self.peak_bytes = 0
        """Growth of resident memory at its highest in any one stretch of merging."""

    @contextmanager
    def constructing(self) -> Generator[None]:
        """What happens here prepares the peer's input."""
        began = time.perf_counter()
        yield
        self.construct_s += time.perf_counter() - began

    @contextmanager
    def merging(self) -> Generator[None]:
        """What happens here is the peer's merge."""
        before = _forget_peak()
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began
        self.peak_bytes = max(self.peak_bytes, _resident("VmHWM") - before)

    def outcome(self, masks: Sequence[Mask], label: Sequence[int], **notes: Any) -> Outcome:
        """The result, with what was spent on it."""
        spent = {"construct_s": self.construct_s, **notes}
        return Outcome(masks, np.array(label, np.int64), self.seconds, self.peak_bytes, spent)


def _forget_peak() -> int:
    """Resident bytes now, which are from here on the highest seen.

    Freed memory goes back to the system first: reusing it would hide growth.
    """
    gc.collect()
    if not _STATUS.exists():
        return 0
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _resident("VmRSS")


def _resident(field: str) -> int:
    """A size from the process's status, in bytes; 0 on systems that have none."""
    if not _STATUS.exists():
        return 0
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
