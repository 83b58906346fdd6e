from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from jobs.engines.base import EngineError
from jobs.engines.embedded import SessionFolder, embedded_environment, environment


def test_the_session_folder_is_private_and_short_enough_for_rays_sockets() -> None:
    folder = SessionFolder()
    try:
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        socket = folder.temp / "session_2026-01-01_00-00-00_000000_4194304" / "sockets" / "plasma_store"
        assert len(os.fsencode(socket)) <= 107
    finally:
        folder.remove()
        folder.remove()
    assert not folder.path.exists()


def test_a_long_temporary_folder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = SessionFolder()
    try:
        assert folder.path.parent == Path("/tmp")
    finally:
        folder.remove()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(EngineError, match="set TMPDIR"):
        SessionFolder()


def test_only_folders_that_no_process_uses_are_swept() -> None:
    in_use, abandoned = SessionFolder(), SessionFolder()
    os.close(abandoned._lock)  # as when its process is killed
    abandoned._lock = -1
    SessionFolder().remove()
    assert in_use.path.exists()
    assert not abandoned.path.exists()
    in_use.remove()


def test_a_private_instance_is_on_loopback_behind_a_token_and_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    values = embedded_environment()
    assert values["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert values["RAY_AUTH_MODE"] == "token"
    assert len(values["RAY_AUTH_TOKEN"]) == 64
    assert values["RAY_USAGE_STATS_ENABLED"] == "0"
    assert embedded_environment()["RAY_AUTH_TOKEN"] == values["RAY_AUTH_TOKEN"], "Ray reads it once per process"


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "before")
    monkeypatch.delenv("ADDED", raising=False)
    with environment({"KEPT": "inside", "ADDED": "inside"}):
        assert (os.environ["KEPT"], os.environ["ADDED"]) == ("inside", "inside")
    assert os.environ["KEPT"] == "before"
    assert "ADDED" not in os.environ
