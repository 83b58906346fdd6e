"""Bundles from folders and zips: the same, checked, nowhere but in their own place, and unpacked once."""

from __future__ import annotations

import errno
import os
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from schemas.errors import SpecError
from segworkers.segmenters import bundles
from segworkers.segmenters.bundles import is_bundle, open_bundle, shipped_names
from tests.model_bundles import logistic, rewritten, zipped


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models" / "bundles"


@pytest.mark.parametrize("prefix", ["", "bright/"])
def test_a_zip_is_its_folder_and_is_unpacked_once(prefix: str, cache: Path, tmp_path: Path) -> None:
    bundle = logistic(tmp_path / "bright")
    (tmp_path / "bright" / "notes.txt").write_text("not listed")
    archive = zipped(tmp_path / "bright", tmp_path / "bright.zip", prefix)
    opened = open_bundle(str(archive))
    assert opened.definition == bundle == open_bundle(str(tmp_path / "bright")).definition
    assert opened.place == str(archive) and opened.folder.parent == cache
    assert sorted(path.name for path in opened.folder.iterdir()) == ["model.json", "weights.safetensors"]
    before = (opened.folder / "model.json").stat().st_ino
    assert open_bundle(str(archive)).folder == opened.folder
    assert (opened.folder / "model.json").stat().st_ino == before and len(list(cache.iterdir())) == 1


def test_processes_that_unpack_at_once_do_not_disturb_each_other(cache: Path, tmp_path: Path) -> None:
    logistic(tmp_path / "bright")
    archive = zipped(tmp_path / "bright", tmp_path / "bright.zip")
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(open_bundle(str(archive)).folder)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 8 and len(set(folders)) == 1 and [each.name for each in cache.iterdir()] == [folders[0].name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.py", "expected members inside the bundle, found '../evil.py'"),
        ("bright/../../evil.py", "expected members inside the bundle"),
        ("/etc/evil", "expected members inside the bundle"),
        ("C:\\evil", "expected members inside the bundle"),
        ("c:evil", "expected members inside the bundle"),
        ("other/model.json", "expected one model.json, at the top or in one folder, found"),
    ],
)
def test_zips_that_reach_out_are_refused_whole(name: str, message: str, cache: Path, tmp_path: Path) -> None:
    logistic(tmp_path / "bright")
    archive = zipped(tmp_path / "bright", tmp_path / "bright.zip", "bright/")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(zipfile.ZipInfo(name), "evil")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpecError, match=message):
        open_bundle(str(archive))
    assert sorted(tmp_path.rglob("*")) == before


def test_links_and_encrypted_members_are_refused(cache: Path, tmp_path: Path) -> None:
    logistic(tmp_path / "bright")
    archive = zipped(tmp_path / "bright", tmp_path / "bright.zip")
    link = zipfile.ZipInfo("passwords")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(SpecError, match="found the link 'passwords'"):
        open_bundle(str(archive))
    archive = zipped(tmp_path / "bright", archive)
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag of the last member, in the archive's directory
    archive.write_bytes(content)
    with pytest.raises(SpecError, match="encrypted; unpack it first"):
        open_bundle(str(archive))


def test_torn_zips_leave_nothing_behind(cache: Path, tmp_path: Path) -> None:
    logistic(tmp_path / "bright")
    archive = zipped(tmp_path / "bright", tmp_path / "bright.zip")
    content = archive.read_bytes()
    for torn in (content[: len(content) // 2], content[:-10], b"", b"PK"):
        archive.write_bytes(torn)
        with pytest.raises(SpecError, match="expected a whole zip of a model bundle"):
            open_bundle(str(archive))
    middle = bytearray(content)
    middle[content.index(b"weights.safetensors") + 40] ^= 0xFF  # in the member's compressed bytes
    archive.write_bytes(middle)
    with pytest.raises(SpecError, match=r"expected a whole zip|expected sha256|expected \d+ bytes"):
        open_bundle(str(archive))
    assert not cache.exists() or not list(cache.iterdir())


def test_what_was_deleted_in_the_cache_comes_again(cache: Path, tmp_path: Path) -> None:
    bundle = logistic(tmp_path / "bright")
    content = (tmp_path / "bright" / "weights.safetensors").read_bytes()
    archive = zipped(tmp_path / "bright", tmp_path / "bright.zip")
    folder = open_bundle(str(archive)).folder
    for name in ("weights.safetensors", "model.json"):
        (folder / name).unlink()
        assert open_bundle(str(archive)).definition == bundle
        assert (folder / "weights.safetensors").read_bytes() == content and list(cache.iterdir()) == [folder]


def test_others_may_use_what_was_unpacked(cache: Path, tmp_path: Path) -> None:
    logistic(tmp_path / "bright")
    before = os.umask(0o022)
    try:
        folder = open_bundle(str(zipped(tmp_path / "bright", tmp_path / "bright.zip"))).folder
    finally:
        os.umask(before)
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in (folder, *folder.iterdir())}
    assert modes == {folder.name: "0o755", "model.json": "0o644", "weights.safetensors": "0o644"}


def test_a_cache_that_cannot_be_written_is_not_the_zips_fault(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logistic(tmp_path / "bright")
    archive = zipped(tmp_path / "bright", tmp_path / "bright.zip")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "file"))
    with pytest.raises(SpecError, match=rf"bright.zip: cannot be kept in {tmp_path}/file/.*Not a directory"):
        open_bundle(str(archive))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SpecError, match=r"cannot be kept in .*No space left on device; make room there"):
        open_bundle(str(archive))
    assert list(cache.iterdir()) == []


def test_a_member_that_is_more_or_other_than_promised_is_refused(cache: Path, tmp_path: Path) -> None:
    bundle = logistic(tmp_path / "bright")
    weights = tmp_path / "bright" / "weights.safetensors"
    size = bundle.weights[0].size
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(SpecError, match=r"weights.safetensors: expected sha256 .*, found .*nothing was kept"):
        open_bundle(str(zipped(weights.parent, tmp_path / "other.zip")))
    weights.write_bytes(bytes(50 * 2**20))
    with pytest.raises(SpecError, match=f"weights.safetensors: expected {size} bytes, found more"):
        open_bundle(str(zipped(weights.parent, tmp_path / "bomb.zip")))
    weights.unlink()
    with pytest.raises(SpecError, match=r"expected in the zip, as model\.json lists it, found missing"):
        open_bundle(str(zipped(weights.parent, tmp_path / "missing.zip")))
    assert not list(cache.iterdir())


def test_what_is_no_bundle_says_so(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=r"expected a model bundle with a model\.json, found none"):
        open_bundle(str(tmp_path / "empty"))
    with pytest.raises(SpecError, match=r"found nothing at .*nowhere; .*liver-lesions"):
        open_bundle(str(tmp_path / "nowhere"))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as opened:
        opened.writestr("readme", "hello")
    with pytest.raises(SpecError, match=r"expected one model\.json, at the top or in one folder, found none"):
        open_bundle(str(tmp_path / "other.zip"))
    logistic(tmp_path / "bright")
    rewritten(tmp_path / "bright", manifest__window=None)
    with pytest.raises(SpecError, match=r"bright/model.json: manifest.window: missing"):
        open_bundle(str(tmp_path / "bright"))
    (tmp_path / "bright" / "model.json").write_bytes(b" " * (bundles._MOST_JSON + 1))
    with pytest.raises(SpecError, match="expected at most"):
        open_bundle(str(tmp_path / "bright"))


def test_names_and_paths_are_told_apart_by_how_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logistic(tmp_path / "mr-metastases")
    monkeypatch.chdir(tmp_path)
    assert open_bundle("mr-metastases").definition.family == "deepmeta"
    assert open_bundle("./mr-metastases").definition.family == "logistic"
    assert {"mr-metastases", "liver-lesions"} <= set(shipped_names())
    for reference in ("mr-metastases", "./x", "a/b", "x.zip", "/a/b"):
        assert is_bundle(reference)
    for reference in ("threshold", "x", "python:a/b.py:C", "maskrcnn:a/w.pth", "python:m:C"):
        assert not is_bundle(reference)


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_bundle_is_read_and_known_by_its_folder(name: str) -> None:
    opened = open_bundle(name)
    assert opened.definition.name == name and opened.place == name
    size = sum(path.stat().st_size for path in opened.folder.rglob("*") if path.is_file())
    assert size < 20 * 10**6 + 100_000, "weights of the package are at most 20 MB"
    listed = {each.name for each in opened.definition.weights} | {"model.json", "NOTICE.txt"}
    assert {path.relative_to(opened.folder).as_posix() for path in opened.folder.rglob("*") if path.is_file()} <= listed
    assert set(opened.definition.codes) <= set(opened.definition.manifest.classes)
