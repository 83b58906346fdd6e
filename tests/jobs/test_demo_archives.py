"""The demo's packages have a cache of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.demo_archives import cache_folder


def test_demo_data_lives_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "demo"
