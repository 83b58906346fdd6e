"""A name appears with all bytes of one writer, whoever else writes it or died while writing it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from segworkers import whole_files
from segworkers.whole_files import appearing, write_whole


def test_the_old_file_stays_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError("no space left")

    path = tmp_path / "f"
    path.write_bytes(b"old")
    monkeypatch.setattr(whole_files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    with pytest.raises(FileNotFoundError), appearing(path) as partial:
        partial.rename(tmp_path / "gone")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


def test_writers_that_share_a_process_id_do_not_share_a_file(tmp_path: Path) -> None:
    path, together = tmp_path / "f", threading.Barrier(2)
    partials: list[Path] = []

    def write(content: bytes) -> None:
        with appearing(path) as partial:
            partials.append(partial)
            partial.write_bytes(content[:5])
            together.wait(10)
            with partial.open("ab") as file:
                file.write(content[5:])

    threads = [threading.Thread(target=write, args=(letter * 10,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(partials)) == 2 and path.read_bytes() in (b"a" * 10, b"b" * 10)
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_has_the_mode_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "f", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


def test_long_names_are_no_hindrance(tmp_path: Path) -> None:
    write_whole(tmp_path / ("n" * 250), b"all")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"all"]
