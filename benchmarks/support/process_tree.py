"""What a process and everything it started use: CPU seconds by stage, and resident memory. Reads /proc: Linux only."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Usage:
    """Of one stage."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    """Of the process and its descendants."""
    driver_mb: list[float] = field(default_factory=list[float])
    """Resident memory of the process itself, in order of time."""
    worker_mb: float = 0.0
    """Largest resident memory of any one Ray worker."""


class Watch(threading.Thread):
    """Samples the tree under `pid` until `stop`; `enter` begins a stage."""

    def __init__(self, pid: int, interval: float = 0.1) -> None:
        super().__init__(name="watch", daemon=True)
        self.stages: dict[str, Usage] = {}
        self._pid = pid
        self._interval = interval
        self._stage = ""
        self._since = time.monotonic()
        self._cpu: dict[int, float] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()

    def enter(self, stage: str) -> None:
        """Account for what comes from now on as `stage`."""
        with self._lock:
            self._sample()
            self._leave()
            self._stage = stage

    def stop(self) -> dict[str, Usage]:
        """All stages."""
        self._over.set()
        self.join()
        self._leave()
        return self.stages

    def run(self) -> None:
        """The thread."""
        while not self._over.wait(self._interval):
            with self._lock:
                self._sample()

    def _leave(self) -> None:
        now = time.monotonic()
        self.stages.setdefault(self._stage, Usage()).seconds += now - self._since
        self._since = now

    def _sample(self) -> None:
        usage = self.stages.setdefault(self._stage, Usage())
        for pid, (name, cpu, resident) in _tree(self._pid).items():
            usage.cpu_s += max(0.0, cpu - self._cpu.get(pid, 0.0))
            self._cpu[pid] = cpu
            if pid == self._pid:
                usage.driver_mb.append(resident)
            elif name.startswith("ray::"):
                usage.worker_mb = max(usage.worker_mb, resident)


def _tree(root: int) -> dict[int, tuple[str, float, float]]:
    """Name, CPU seconds and resident MB of a process and all its descendants."""
    parent: dict[int, int] = {}
    facts: dict[int, tuple[str, float, float]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            name, _, rest = Path(f"/proc/{entry}/stat").read_text().partition("(")[2].rpartition(") ")
        except OSError:  # it ended meanwhile
            continue
        values = rest.split()
        parent[int(entry)] = int(values[1])
        megabytes = int(values[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        facts[int(entry)] = (name, (int(values[11]) + int(values[12])) / _TICKS, megabytes)
    return {pid: each for pid, each in facts.items() if _descends(pid, root, parent)}


def _descends(pid: int, root: int, parent: dict[int, int]) -> bool:
    while pid not in (root, 0):
        pid = parent.get(pid, 0)
    return pid == root
