"""What a private Ray instance needs before it starts: its environment, its token, a folder of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from jobs.engines.base import EngineError

_TOKEN = secrets.token_hex(32)  # one per process: Ray reads it once
_SOCKET_SUFFIX = 73  # "/r/session_<date>_<pid>/sockets/plasma_store"
_SOCKET_LIMIT = 107  # of a Unix domain socket's path
_PREFIX = "segw-"

ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every worker resolves the driver's `uv run` environment again
    "RAY_DEDUP_LOGS": "0",
}
"""Environment of every driver, embedded or connected; Ray reads most of it when it is imported."""


def embedded_environment() -> dict[str, str]:
    """Environment of a private instance: every port on the loopback interface, behind a token written to no file."""
    return ALWAYS | {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the switch that binds everything to 127.0.0.1, on any system
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or _TOKEN,
        "PYTHONPATH": os.pathsep.join(_import_folders()),
    }


def _import_folders() -> list[str]:
    """Folders this process imports its own code from, so that workers find the same code, run from a checkout too."""
    installed = (os.path.join(sys.prefix, ""), os.path.join(sys.base_prefix, ""))
    folders = [os.path.abspath(folder) for folder in sys.path]  # "" is the current folder
    return list(dict.fromkeys(f for f in folders if os.path.isdir(f) and not f.startswith(installed)))


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Generator[None]:
    """Set environment variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class SessionFolder:
    """A private folder (mode 0700) with a path short enough for Ray's sockets; locked for as long as it is in use.

    Ray makes the folder that it is given open to everybody (mode 0777): `temp`, which lies in ours.
    A process killed outright leaves its folder behind; the next one removes those that nobody locks any more.
    """

    def __init__(self) -> None:
        parent = _short_parent()
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self.temp = self.path / "r"
        self.temp.mkdir(mode=0o700)
        self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        _try_lock(self._lock)

    def remove(self) -> None:
        """Remove the folder with all that Ray left in it; idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _short_parent() -> str:
    candidates = list(dict.fromkeys((tempfile.gettempdir(), "/tmp")))  # noqa: S108 - a fresh folder of our own is made in it
    for folder in candidates:
        length = len(os.fsencode(folder)) + 1 + len(_PREFIX) + 8 + _SOCKET_SUFFIX
        if length <= _SOCKET_LIMIT and os.access(folder, os.W_OK):
            return folder
    raise EngineError(
        f"no writable folder for temporary files has a path short enough for Ray's sockets (tried {candidates}); "
        "set TMPDIR to a folder with a path of at most 20 characters"
    )


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: nothing is locked there, so nothing counts as left behind
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(parent: str) -> None:
    for folder in Path(parent).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's folder, or another process sweeps as well
            descriptor = os.open(folder / "lock", os.O_RDWR)  # no lock file: it is just being made
            try:
                if _try_lock(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
