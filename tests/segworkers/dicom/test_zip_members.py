"""Members of zip archives: the same bytes however they are read, and no more memory than a buffer."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from segworkers.dicom import zip_members
from segworkers.dicom.opening import opened
from segworkers.dicom.places import FileState, Places

DATA = bytes(range(256)) * 40
UNPLANNED = FileState(0, "")


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", request.param) as made:
        made.writestr("first", b"before")
        info = zipfile.ZipInfo("study/IM1")
        info.compress_type, info.extra = request.param, b"\x99\x99\x04\x00abcd"
        made.writestr(info, DATA)
        made.writestr("last", b"behind")
    return tmp_path / "a.zip"


@pytest.mark.parametrize("whole", [0, 1 << 20])
def test_all_ways_give_the_same_bytes(whole: int, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_members, "WHOLE_BYTES", whole)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(DATA) + 9), st.integers(-1, 700)), max_size=5))
    def reads(asked: list[tuple[int, int]]) -> None:
        with opened(Places(), f"{archive}!study/IM1", UNPLANNED) as file:
            for start, count in asked:
                assert file.seek(start) == start
                assert file.read(count) == (DATA[start:] if count < 0 else DATA[start : start + count])
            assert file.seek(-4, os.SEEK_END) == len(DATA) - 4
            assert file.read() == DATA[-4:]

    reads()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_large_member_is_not_held_in_memory(method: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method, compresslevel=1) as made:
        made.writestr("IM1", bytes(48 << 20))
    monkeypatch.setattr(zip_members, "WHOLE_BYTES", 16 << 20)
    tracemalloc.start()
    try:
        with opened(Places(), f"{tmp_path / 'a.zip'}!IM1", UNPLANNED) as file:
            file.seek(40 << 20)
            assert file.read(10) == bytes(10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


@pytest.mark.parametrize("whole", [0, 1 << 20])
def test_damage_is_told_without_names(whole: int, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_members, "WHOLE_BYTES", whole)
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\3\4", 10)
    data[at : at + 4] = b"XXXX"
    archive.write_bytes(data)
    with pytest.raises(InputError) as caught, opened(Places(), f"{archive}!study/IM1", UNPLANNED):
        pass
    assert caught.value.reason == "damaged_archive"
    assert "study" not in str(caught.value)


def test_nothing_stays_open(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_members, "WHOLE_BYTES", 0)
    places = Places()
    with opened(places, f"{archive}!study/IM1", UNPLANNED) as file:
        assert file.read(3) == DATA[:3]
        places.close()  # another thread may need room
        assert file.read(3) == DATA[3:6]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with opened(places, f"{archive}!study/IM1", UNPLANNED):
            pass
    places.close()
    assert len(os.listdir("/proc/self/fd")) == before
