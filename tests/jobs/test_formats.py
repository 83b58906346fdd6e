"""Where rows go: which format, and whether the file can be written, before any work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from jobs.arguments import QueryFormat
from jobs.formats import Format, check_target, whole
from schemas.errors import SpecError

FORMATS: tuple[Format, ...] = get_args(Format)
READ_ONLY = "cannot be written: Permission denied; choose another file"


def test_the_command_line_offers_every_format() -> None:
    assert tuple(each.value for each in QueryFormat) == FORMATS


@pytest.mark.parametrize("form", FORMATS)
def test_a_suffix_is_the_formats_name_and_the_option_goes_before_it(tmp_path: Path, form: Format) -> None:
    suffix = "txt" if form == "table" else form
    assert check_target(None, tmp_path / f"o.{suffix}") == check_target(None, tmp_path / f"O.{suffix.upper()}") == form
    assert check_target(form, tmp_path / "o.csv") == check_target(form, tmp_path / "o.else") == form
    assert list(tmp_path.iterdir()) == []


def test_a_suffix_of_no_format_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"o\.xlsx: expected a name that ends in \.csv, .*\.gpkg, \.fgb, .* or \.txt"):
        check_target(None, tmp_path / "o.xlsx")


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_no_text_needs_a_file(form: Format) -> None:
    if form in ("gpkg", "fgb", "parquet"):
        with pytest.raises(SpecError, match=rf"--format {form} needs a file: add -o FILE\.{form}"):
            check_target(form, None)
    else:
        assert check_target(form, None) == form


def test_a_pipe_takes_what_is_written_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "o"
    os.mkfifo(pipe)
    assert check_target("geojson", pipe) == "geojson"
    for form in ("gpkg", "fgb"):
        with pytest.raises(SpecError, match=f"o: expected a plain file for {form}, found a pipe or a device; choose"):
            check_target(form, pipe)
    with whole(pipe) as path:
        assert path == pipe


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link.csv").symlink_to(tmp_path / "no" / "o.csv")
    for name, reason in (
        ("no/o.csv", "No such file or directory"),
        ("link.csv", "No such file or directory"),
        ("file/o.csv", "Not a directory"),
        (".", "Is a directory"),
    ):
        for form in ("csv", "gpkg"):
            with pytest.raises(SpecError, match=rf"cannot be written: {reason}; choose another file"):
                check_target(form, tmp_path / name)


def test_a_file_whose_folder_takes_no_new_one_is_refused_before_the_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are written beside the file, and take its place when all are there."""
    (tmp_path / "there.csv").touch()
    closed = {tmp_path}
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) not in closed)
    for name in ("there.csv", "new.csv"):
        with pytest.raises(SpecError, match=READ_ONLY):
            check_target(None, tmp_path / name)
    closed = {tmp_path / "there.csv"}
    with pytest.raises(SpecError, match=READ_ONLY):
        check_target(None, tmp_path / "there.csv")
    assert check_target(None, tmp_path / "new.csv") == "csv"


def test_a_file_of_a_block_that_fails_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "o.csv"
    file.write_text("mine")

    def fail() -> None:
        with whole(file) as path:
            path.write_text("half")
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert [each.name for each in tmp_path.iterdir()] == ["o.csv"] and file.read_text() == "mine"
    with whole(file) as path:
        path.write_text("all")
    assert file.read_text() == "all"
