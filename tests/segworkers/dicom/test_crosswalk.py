"""The crosswalk: several drivers write at once, and versions of a volume stay apart."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import StoreError
from segworkers.dicom import crosswalk as crosswalk_module
from segworkers.dicom import header_cache
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.stack import Slice, Stack

STACK = Stack(
    series_id="5e" * 16,
    study_uid="2.999.1",
    series_uid="2.999.2",
    frame_of_reference_uid="2.999.3",
    transfer_syntaxes=(),
    rows=1,
    columns=1,
    bits_stored=12,
    signed=False,
    dtype="int16",
    padding=None,
    slices=(Slice(place="/a/1", frame=0, uid="2.999.4"),),
)


@pytest.fixture
def made(tmp_path: Path) -> Crosswalk:
    return Crosswalk.open(str(tmp_path / "crosswalk"))


def files(crosswalk: Crosswalk) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(crosswalk.folder).rglob("*") if path.is_file()}


def test_names_that_several_add_at_once_are_all_kept(made: Crosswalk) -> None:
    names = [("input", f"{k:032x}", f"/p/{k}") for k in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: Crosswalk(made.folder).add_names([name]), names))
    assert list(made.originals([pseudonym for _, pseudonym, _ in names])) == names


def test_names_written_between_look_and_write_are_kept(made: Crosswalk, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ("input", "1" * 32, "/1"), ("input", "2" * 32, "/2")
    write = Crosswalk._write

    def late(self: Crosswalk, name: str, data: bytes, *, sync: bool = False) -> None:
        monkeypatch.setattr(Crosswalk, "_write", write)
        Crosswalk(self.folder).add_names([other])
        write(self, name, data, sync=sync)

    monkeypatch.setattr(Crosswalk, "_write", late)
    made.add_names([one])
    assert list(made.originals(["1" * 32, "2" * 32])) == [one, other]


def test_what_is_known_is_not_written_again(made: Crosswalk) -> None:
    names = [("input", "1" * 32, "/1"), ("input", "2" * 32, "/2")]
    made.add_names(names)
    before = files(made)
    made.add_names(reversed(names))
    made.add_names(names[:1])
    assert files(made) == before
    made.add_names([*names, ("input", "3" * 32, "/3")])
    (new,) = (data for path, data in files(made).items() if path not in before)
    assert new.count(b"\n") == 1 and before.items() <= files(made).items()


def test_versions_of_a_volume_stay_apart(made: Crosswalk) -> None:
    new = replace(STACK, rows=2)
    made.put(STACK, "one")
    before = files(made)
    made.put(new, "two")
    made.put(STACK, "one")
    assert before.items() <= files(made).items()
    assert (made.stack(STACK.series_id, "one"), made.stack(STACK.series_id, "two")) == (STACK, new)
    with pytest.raises(StoreError, match="this version of series"):
        made.stack(STACK.series_id, "three")


def test_the_first_whole_key_is_everybodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path / "crosswalk")
    partial = crosswalk_module._partial
    winner: list[bytes] = []

    def late(path: Path, data: bytes, *, sync: bool) -> Path:
        monkeypatch.setattr(crosswalk_module, "_partial", partial)
        written = partial(path, data, sync=sync)
        assert not path.exists()
        winner.append(Crosswalk.open(folder).pseudonyms().key)
        return written

    monkeypatch.setattr(crosswalk_module, "_partial", late)
    assert [Crosswalk.open(folder).pseudonyms().key] == winner
    assert [path.name for path in Path(folder).iterdir() if path.is_file()] == ["key"]


def test_every_file_is_for_its_owner_only(made: Crosswalk) -> None:
    made.put(STACK, "one")
    made.add_names([("input", "1" * 32, "/1")])
    header_cache.HeaderCache(made.folder).store("ab" * 16, [])
    modes = {stat.S_IMODE(path.stat().st_mode) for path in Path(made.folder).rglob("*") if path.is_file()}
    assert modes == {0o600} and len(files(made)) == 4


def test_the_version_of_the_cache_covers_all_shapes_and_the_parser() -> None:
    assert "philips_suv_factor" in header_cache._SHAPE and "gantry_tilt" in header_cache._SHAPE
    assert header_cache._VERSION.endswith(f"-{header_cache.PARSER_VERSION}")
