"""Which files of an input may be DICOM: folders, globs, DICOMDIR, zip archives. By content, so names decide little."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from pydicom.fileset import FileSet

from segworkers.dicom import zips
from segworkers.dicom.locations import Search, has_plain_name, matches, suffix_of
from segworkers.dicom.places import Candidate, Places, Unusable
from segworkers.readers.locations import locate
from tests.dicom_files import ct_series, save


def found(text: str | Path, passed_over: frozenset[str] = frozenset((".tif",))) -> list[Candidate | Unusable]:
    return list(Search(Places(), passed_over).candidates(locate(str(text))))


def names(text: str | Path, folder: Path) -> list[str]:
    return [os.path.relpath(each.place, folder) for each in found(text) if isinstance(each, Candidate)]


def refused(text: str | Path) -> list[tuple[str, str]]:
    return [(Path(each.place).name, each.reason) for each in found(text) if isinstance(each, Unusable)]


def touch(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 10)


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_folder_gives_every_file_below_it_but_hidden_ones_rasters_and_run_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b/IM1", "a.dcm", "b/c/1.2.840.5", "notes.txt", "scan.tif", ".hidden", ".git/x", "b/DICOMDIR")
    touch(tmp_path, "run/run.json", "run/shards/x.zip", "run/IM2")
    assert names(tmp_path, tmp_path) == ["a.dcm", "notes.txt", "b/IM1", "b/c/1.2.840.5"]
    assert refused(tmp_path) == []
    assert [each.promised for each in found(tmp_path) if isinstance(each, Candidate)] == [True, False, False, False]


def test_links_to_folders_are_followed_once_and_links_to_nothing_are_no_files(tmp_path: Path) -> None:
    touch(tmp_path, "a/IM1")
    (tmp_path / "a/again").symlink_to(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path, tmp_path) == ["a/IM1"]
    assert refused(tmp_path) == []


def test_size_and_time_are_recorded(tmp_path: Path) -> None:
    touch(tmp_path, "IM1")
    (each,) = found(tmp_path)
    assert isinstance(each, Candidate)
    stat = (tmp_path / "IM1").stat()
    assert (each.state.size, each.state.stamp) == (10, str(stat.st_mtime_ns))
    assert Places().state(each.place) == each.state


def test_files_and_globs(tmp_path: Path) -> None:
    touch(tmp_path, "a/IM1", "a/IM2", "a/x.tif", "b/IM1", "b/c/IM3")
    assert names(tmp_path / "a/IM2", tmp_path) == ["a/IM2"]
    assert names(tmp_path / "a/x.tif", tmp_path) == []
    assert names(tmp_path / "*/IM1", tmp_path) == ["a/IM1", "b/IM1"]
    assert names(tmp_path / "a*", tmp_path) == ["a/IM1", "a/IM2"]
    assert names(tmp_path / "**/IM*", tmp_path) == ["a/IM1", "a/IM2", "b/IM1", "b/c/IM3"]
    assert names(tmp_path / "absent", tmp_path) == []


def test_a_name_that_no_pseudonym_can_be_made_of_is_refused(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\xfe.dcm", os.O_CREAT))
    touch(tmp_path, "x.ZIP!y")
    assert sorted(reason for _, reason in refused(tmp_path)) == ["bad_name", "bad_name"]


def test_a_dicomdir_stands_for_the_files_it_lists(tmp_path: Path) -> None:
    made = save(ct_series()[:4], tmp_path / "made")
    files = FileSet()
    for file in made.files:
        files.add(file)
    files.write(tmp_path / "medium")
    listed = sorted(file for file in (tmp_path / "medium").rglob("*") if file.is_file() and file.name != "DICOMDIR")
    assert len(listed) == 4
    touch(tmp_path, "medium/OTHER")
    candidates = found(tmp_path / "medium/DICOMDIR")
    assert sorted(each.place for each in candidates) == [str(file) for file in listed]
    assert all(isinstance(each, Candidate) and each.promised for each in candidates)
    listed[0].unlink()
    listed[1].rename(listed[1].with_name(listed[1].name.lower()))
    assert sorted(names(tmp_path / "medium/DICOMDIR", tmp_path)) == sorted(
        str(file.relative_to(tmp_path)) for file in (listed[1].with_name(listed[1].name.lower()), *listed[2:])
    )
    assert refused(tmp_path / "medium/DICOMDIR") == [(listed[0].name, "missing_file")]


@pytest.mark.parametrize("data", [b"", b"x" * 500, b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0"])
def test_a_damaged_dicomdir_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "DICOMDIR").write_bytes(data)
    assert refused(tmp_path / "DICOMDIR") == [("DICOMDIR", "damaged_dicomdir")]
    assert found(tmp_path) == []


def test_members_of_a_zip_are_read_in_the_archive(tmp_path: Path) -> None:
    members = {"s/IM1": b"a" * 1000, "s/.hidden": b"", "__MACOSX/s/IM1": b"", "IM0.dcm": b"b", "x.tif": b"", "s/": b""}
    make_zip(tmp_path / "A.Zip", members)
    places = Places()
    (first, second) = found(tmp_path)
    assert isinstance(first, Candidate) and isinstance(second, Candidate)
    assert [first.place, second.place] == [f"{tmp_path}/A.Zip!IM0.dcm", f"{tmp_path}/A.Zip!s/IM1"]
    assert (first.promised, second.promised) == (True, False)
    assert second.state.size == 1000 and second.state.stamp.startswith("crc ")
    assert places.state(second.place) == second.state
    assert places.read(second.place) == b"a" * 1000
    assert places.read(second.place, 998) == b"aa"
    assert places.read(first.place, 0, 1) == b"b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.Zip"]


def test_what_is_wrong_with_a_zip_is_told_and_its_other_members_are_read(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner", {"IM": b""}).read_bytes()
    whole = make_zip(tmp_path / "whole.zip", {"a.zip": inner, "b": b"1"})
    assert [(Path(each.place).name, getattr(each, "reason", None)) for each in found(whole)] == [
        ("whole.zip!a.zip", "nested_archive"),
        ("whole.zip!b", None),
    ]
    torn = tmp_path / "torn.zip"
    torn.write_bytes(whole.read_bytes()[:-30])
    assert refused(torn) == [("torn.zip", "damaged_archive")]
    (tmp_path / "none.zip").write_bytes(b"")
    assert refused(tmp_path / "none.zip") == [("none.zip", "damaged_archive")]


def test_an_encrypted_zip_is_told_once(tmp_path: Path) -> None:
    data = bytearray(make_zip(tmp_path / "x.zip", {"a": b"1", "b": b"2"}).read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            data[start + at] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    assert refused(tmp_path / "x.zip") == [("x.zip", "encrypted_archive")]
    assert names(tmp_path / "x.zip", tmp_path) == []


def test_a_zip_bomb_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", {"a": bytes(1_000_000), "b": bytes(1_000_000)})
    assert len(names(bomb, tmp_path)) == 2
    monkeypatch.setattr(zips, "FREE_BYTES", 1_500_000)
    assert refused(bomb) == [("bomb.zip", "oversized_archive")]
    monkeypatch.setattr(zips, "FREE_BYTES", 1 << 30)
    monkeypatch.setattr(zips, "MAX_MEMBER_BYTES", 999_999)
    assert refused(bomb) == [("bomb.zip!a", "oversized_archive"), ("bomb.zip!b", "oversized_archive")]
    monkeypatch.setattr(zips, "MAX_MEMBERS", 1)
    assert refused(bomb) == [("bomb.zip", "oversized_archive")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """Objects in memory, listed in the order of their names as S3 does."""
    store = MemoryStore()
    monkeypatch.setattr(Places, "store", lambda self, name: store)
    return store


def objects(text: str) -> list[str]:
    return [each.place.removeprefix("s3://b/") for each in found(text) if isinstance(each, Candidate)]


def test_outputs_of_earlier_runs_in_a_bucket_are_no_inputs_wherever_their_names_sort(bucket: MemoryStore) -> None:
    run = ("run.json", "current.json", "dicom/g/s-seg.dcm", "ledger/k.jsonl", "rows/k.rows", "shards/s/t.zip")
    names = ["a/IM1", "a/x.tif", *(f"a/out/{name}" for name in run), "a/outer/IM2", "z/IM3"]
    for name in names:
        obstore.put(bucket, name, b"x" * 10)
    assert objects("s3://b/a") == objects("s3://b/a/") == ["a/IM1", "a/outer/IM2"]
    assert objects("s3://b") == ["a/IM1", "a/outer/IM2", "z/IM3"]
    assert objects("s3://b/**/*.dcm") == [] and objects("s3://b/*/IM*") == ["a/IM1", "z/IM3"]
    assert objects("s3://b/a/IM1") == ["a/IM1"]
    assert objects("s3://b/a/out/dicom") == ["a/out/dicom/g/s-seg.dcm"], "what is named is searched"
    search = Search(Places())
    assert len(list(search.candidates(locate("s3://b/a")))) == 3 and search.counts["run folders"] == 1


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "open/IM1", "shut/IM2")
    listed = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read everything
    assert names(tmp_path, tmp_path) == ["open/IM1"]
    assert refused(tmp_path) == [("shut", "access_denied")]


def test_a_folder_that_goes_while_it_is_searched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1", "b/1")
    stat = os.stat

    def late(path: str, **options: object) -> os.stat_result:
        if path == str(tmp_path / "a"):
            shutil.rmtree(path, ignore_errors=True)
        return stat(path)

    monkeypatch.setattr(os, "stat", late)
    told = found(tmp_path)
    assert [each.place for each in told if isinstance(each, Candidate)] == [str(tmp_path / "b" / "1")]
    assert [each.reason for each in told if isinstance(each, Unusable)] == ["missing_file"]


def test_the_numbers_of_a_uid_are_no_ending() -> None:
    assert [suffix_of(name) for name in ("1.2.840.10008", "a/b.DCM", "IM0001", "x.tar.gz")] == ["", ".dcm", "", ".gz"]


@given(st.lists(st.sampled_from(["a", "bc", "IM1"]), min_size=1, max_size=4))
def test_a_name_matches_itself_and_the_patterns_that_cover_it(parts: list[str]) -> None:
    name = "/".join(parts)
    assert matches(name, name)
    assert matches("**", name)
    assert matches("/".join("*" for _ in parts), name)
    assert not matches("/".join(["*", *("*" for _ in parts)]), name)


@given(st.text(min_size=1, max_size=20))
def test_a_plain_name_can_be_split_from_its_member(text: str) -> None:
    if has_plain_name(text):
        assert ".zip!" not in text.lower()
        assert text.encode().decode() == text
