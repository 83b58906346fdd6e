"""Packages: pinned by hash, whole or absent, and a helpful message where they cannot be had. No network."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from schemas.errors import InputError
from segworkers import archives
from segworkers.archives import Archive, cache_folder, fetch_archive, pip_download, unpack_members

CONTENT = b"the wheel"
ARCHIVE = Archive(
    name="thing",
    version="1.2",
    filename="thing-1.2-py3-none-any.whl",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
)


def serving(content: bytes):
    def download(archive: Archive, folder: Path) -> None:
        (folder / archive.filename).write_bytes(content)

    return download


def never(archive: Archive, folder: Path) -> str | None:
    raise AssertionError("nothing is to be downloaded")


def offline(archive: Archive, folder: Path) -> str | None:
    (folder / "half.tmp").write_bytes(b"the wh")
    return "ERROR: No matching distribution found for thing==1.2"


def test_a_download_is_announced_and_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    found = fetch_archive(ARCHIVE, tmp_path / "new", lines.append, serving(CONTENT))
    assert found.read_bytes() == CONTENT
    assert list((tmp_path / "new").iterdir()) == [found]
    assert len(lines) == 1
    assert "thing 1.2" in lines[0]


def test_what_is_cached_or_put_there_by_hand_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE.filename).write_bytes(CONTENT)
    lines: list[str] = []
    assert fetch_archive(ARCHIVE, tmp_path, lines.append, never) == tmp_path / ARCHIVE.filename
    assert lines == []


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        fetch_archive(ARCHIVE, tmp_path, print, offline)
    assert caught.value.reason == "fetch_failed"
    for part in ("No matching distribution", ARCHIVE.filename, ARCHIVE.sha256, str(tmp_path)):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_under_the_same_name_are_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected sha256") as caught:
        fetch_archive(ARCHIVE, tmp_path, print, serving(b"another wheel"))
    assert caught.value.reason == "hash_mismatch"
    assert hashlib.sha256(b"another wheel").hexdigest() in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cached_file_is_named_and_left_to_its_owner(tmp_path: Path) -> None:
    target = tmp_path / ARCHIVE.filename
    target.write_bytes(b"the whe")
    with pytest.raises(InputError, match="Delete") as caught:
        fetch_archive(ARCHIVE, tmp_path, print, never)
    assert caught.value.reason == "hash_mismatch"
    assert str(target) in str(caught.value)
    assert target.exists()


def test_an_interrupted_download_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(archive: Archive, folder: Path) -> str | None:
        (folder / archive.filename).write_bytes(CONTENT[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_archive(ARCHIVE, tmp_path, print, interrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_download_of_another_file_is_reported(tmp_path: Path) -> None:
    def other(archive: Archive, folder: Path) -> None:
        (folder / "thing-1.2.tar.gz").write_bytes(CONTENT)

    with pytest.raises(InputError, match=r"thing-1\.2\.tar\.gz"):
        fetch_archive(ARCHIVE, tmp_path, print, other)


def test_pip_says_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert "thing==1.2" in (pip_download(ARCHIVE, tmp_path / "to") or "")


def test_pip_fetches_a_wheel_without_building_or_installing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, target = tmp_path / "index", tmp_path / "to"
    index.mkdir()
    with zipfile.ZipFile(index / ARCHIVE.filename, "w") as wheel:
        info = "thing-1.2.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.2\nRequires-Python: <3\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    assert pip_download(ARCHIVE, target) is None
    assert (target / ARCHIVE.filename).read_bytes() == (index / ARCHIVE.filename).read_bytes()


def test_a_python_without_pip_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.sys, "executable", str(tmp_path / "no-python"))
    assert "FileNotFoundError" in (pip_download(ARCHIVE, tmp_path) or "")


def test_only_named_members_are_unpacked_and_a_torn_one_is_written_again(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("p/data/a.txt", "all of it")
        opened.writestr("p/data/b.txt", "not asked for")
    folder = tmp_path / "out"
    unpack_members(archive, {"p/data/a.txt": "a.txt"}, folder)
    (folder / "a.txt").write_text("all o")
    unpack_members(archive, {"p/data/a.txt": "a.txt"}, folder)
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("a.txt", "all of it")]
    with pytest.raises(InputError, match=r"does not hold p/c\.txt"):
        unpack_members(archive, {"p/c.txt": "c.txt"}, folder)


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path))
    assert cache_folder("models") == tmp_path / "models"
    monkeypatch.delenv("SEGWORKERS_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("models") == tmp_path / "xdg" / "segworkers" / "models"
