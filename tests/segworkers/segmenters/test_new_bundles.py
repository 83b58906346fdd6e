"""A new bundle's folder is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.bundles import FILE_NAME
from schemas.errors import SpecError
from segworkers.segmenters.new_bundles import bundle_name, new_folder


@pytest.mark.parametrize("empty", [True, False])
def test_it_appears_when_it_is_whole(empty: bool, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    if empty:
        out.mkdir(parents=True)
    with new_folder(out) as scratch:
        (scratch / "part").mkdir()
        (scratch / "part" / "w").write_bytes(b"w")
        (scratch / FILE_NAME).write_text("{}")
        assert not out.exists() or not any(out.iterdir())
    assert (out / "part" / "w").read_bytes() == b"w" and (out / FILE_NAME).is_file()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    (tmp_path / "usual").mkdir()
    assert out.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("empty", [True, False])
def test_nothing_is_left_of_one_that_failed(empty: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if empty:
        out.mkdir()

    def fail() -> None:
        with new_folder(out) as scratch:
            (scratch / "w").write_bytes(b"w")
            raise SpecError("no")

    with pytest.raises(SpecError, match="no"):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == ["out"] * empty


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_kept(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
        (out / "mine").write_bytes(b"")
    else:
        out.write_bytes(b"mine")
    with pytest.raises(SpecError, match="new or empty folder"), new_folder(out):
        pass
    assert len(list(tmp_path.rglob("*"))) == (2 if kind == "folder" else 1)


@pytest.mark.parametrize(("text", "name"), [("My Model", "my-model"), ("a", "a"), ("-.A_1 ", "a_1"), ("é", "x")])
def test_names_of_folders_become_names_of_bundles(text: str, name: str) -> None:
    assert bundle_name(text, "x") == name
