"""Run the command line in a process of its own, watched: `python tests/observed.py KEEP SABOTAGE ARGUMENT…`.

KEEP: what the run would take away at its end, or never writes down: Ray's session folders, its records of jobs and
processes, and the arguments and environments of all processes that were started. SABOTAGE: folder with links `gone` and
`changed` to files that are removed and overwritten once their headers are read, or "-".
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs import runfile
from jobs.cli import main
from jobs.engines.cluster import RayEngine
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
            assert stat.S_IMODE(self.path.stat().st_mode) == 0o700, "Ray opens the folder that it is given to everybody"
            shutil.copytree(self.path, keep / self.path.name, symlinks=True, ignore=_sockets)
        remove(self)

    SessionFolder.remove = copied


def _keep_records(keep: Path) -> None:
    """What Ray's control service holds of jobs, actors, workers and nodes, which dashboards and `ray list` show."""
    close = RayEngine.close

    def noted(self: RayEngine) -> None:
        import ray

        if ray.is_initialized():
            from ray._private.state import state

            held = state._connect_and_get_accessor()
            tables = (held.get_job_table(), held.get_worker_table(), held.get_actor_table(None, None))
            assert tables[0] and tables[2], "a job and its actors are there"
            (keep / "records").write_bytes(b"\n".join(record for table in tables for record in table))
        close(self)

    RayEngine.close = noted


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
    _keep_sessions(kept)
    _keep_records(kept)
    if saboteur != "-":
        _sabotage(Path(saboteur))
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(kept, ended))
    watcher.start()
    code = main(sys.argv[3:])
    ended.set()
    watcher.join()
    sys.exit(code)
