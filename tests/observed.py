"""Run the command line in a process of its own, watched: `python tests/observed.py KEEP SABOTAGE ARGUMENT…`.

KEEP: what the run would take away at its end, or never writes down: Ray's session folders, and the arguments and
environments of all processes that it started. SABOTAGE: folder with links `gone` and `changed` to files that are
removed and overwritten once their headers are read, or "-".
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs import runfile
from jobs.cli import main
from jobs.engines.embedded import SessionFolder


def _watch(keep: Path, stop: threading.Event) -> None:
    """Arguments and environments of this process's children and theirs, each once."""
    seen: set[bytes] = set()
    while not stop.wait(0.05):
        for process in _descendants():
            with suppress(OSError):
                seen |= {(process / name).read_bytes() for name in ("cmdline", "environ")}
    (keep / "processes.txt").write_bytes(b"\n".join(sorted(seen)).replace(b"\0", b"\n"))


def _descendants() -> list[Path]:
    """Folders in /proc of this process's children and theirs."""
    parents: dict[str, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[process.name] = (process / "stat").read_text().rpartition(") ")[2].split()[1]
    found: list[str] = [str(os.getpid())]
    for process in found:  # grows
        found += [child for child, parent in parents.items() if parent == process]
    return [Path("/proc") / process for process in found[1:]]


def _keep_sessions(keep: Path) -> None:
    remove = SessionFolder.remove

    def copied(self: SessionFolder) -> None:
        if self.path.exists():
            shutil.copytree(self.path, keep / self.path.name, symlinks=True, ignore=_sockets)
        remove(self)

    SessionFolder.remove = copied


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_socket()]


def _sabotage(folder: Path) -> None:
    claim = runfile.claim

    def damaged(*arguments: Any, **options: Any) -> None:
        with suppress(FileNotFoundError):
            (folder / "gone").resolve(strict=True).unlink()
        (folder / "changed").resolve(strict=True).write_bytes(b"\0" * 1000)
        claim(*arguments, **options)

    runfile.claim = damaged


if __name__ == "__main__":
    kept, saboteur = Path(sys.argv[1]), sys.argv[2]
    # As `python -m jobs` has it.
    sys.path.insert(0, os.getcwd())
    _keep_sessions(kept)
    if saboteur != "-":
        _sabotage(Path(saboteur))
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(kept, ended))
    watcher.start()
    code = main(sys.argv[3:])
    ended.set()
    watcher.join()
    sys.exit(code)
