from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jobs.results import VIEWS, literal_glob, open_results, quote
from schemas.errors import SpecError, StoreError
from schemas.tables import SCHEMAS, TABLES
from tests.jobs.published import empty, pointer, write_pointer


def test_tables_are_read_with_the_columns_of_the_contract(published: Path):
    results = open_results(published)
    for name in TABLES:
        assert results.table(name).schema == SCHEMAS[name]
        assert all(path.is_file() for path in results.files(name))
    assert results.table("instances").num_rows == 4


def test_every_view_can_be_queried(published: Path):
    results = open_results(published)
    counts = {name: results.sql(f"SELECT count(*) FROM {name}").column(0)[0].as_py() for name in VIEWS}
    of_rasters = {"instances": 4, "images": 3, "seams": 14, "tiles": 12, "failures": 1, "classes": 2}
    assert counts == of_rasters | {"series": 0, "per_series": 0, "per_study": 0}


def test_classes_has_a_row_for_each_image_and_class(published: Path):
    rows = open_results(published).sql("SELECT label, object_count FROM classes ORDER BY 2").to_pylist()
    assert rows == [{"label": "object", "object_count": 1}, {"label": "object", "object_count": 3}]


def test_values_are_bound_to_question_marks(published: Path):
    found = open_results(published).sql("SELECT count(*) FROM images WHERE suffix(source_uri, ?)", ["it's nowhere"])
    assert found.column(0).to_pylist() == [0]


@pytest.mark.parametrize("name", ["a b", "it's", 'quo"te', "a[1]*?", "ünï"])
def test_a_run_folder_may_have_any_name(published: Path, tmp_path: Path, name: str):
    out = shutil.copytree(published, tmp_path / name / "o")
    assert open_results(out).sql("SELECT count(*) FROM instances").column(0).to_pylist() == [4]


def test_a_run_folder_may_be_named_relatively(published: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(published.parent)
    assert open_results("out").sql("SELECT count(*) FROM instances").column(0).to_pylist() == [4]


def test_a_table_without_files_is_an_empty_view_with_the_same_columns_and_types(published: Path, broken: Path):
    empty(broken, *TABLES)
    for name in VIEWS:
        columns = "SELECT column_name, column_type FROM (DESCRIBE {})"
        with_rows = open_results(published).sql(columns.format(name)).to_pylist()
        without = open_results(broken).sql(columns.format(name)).to_pylist()
        assert without == with_rows
        assert open_results(broken).sql(f"SELECT * FROM {name}").num_rows == 0
        if name in TABLES:
            assert open_results(broken).table(name).schema == SCHEMAS[name]


def test_geometry_works_where_some_sources_have_none(published: Path):
    query = "SELECT source_uri, st_astext(coalesce(geometry, polygon_px)) FROM instances WHERE pixel_count = 64"
    (row,) = open_results(published).sql(query).to_pylist()
    assert list(row.values())[1].startswith("POLYGON")


@pytest.mark.parametrize(
    "query",
    [
        "COPY instances TO 'x.csv'",
        "INSERT INTO instances SELECT * FROM instances",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW instances",
        "ATTACH 'x.db'",
        "PRAGMA version",
        "SET threads = 1",
        "INSTALL spatial",
        "EXPLAIN ANALYZE SELECT 1",
        "CALL pragma_version()",
    ],
)
def test_anything_but_a_select_is_refused(published: Path, query: str):
    with pytest.raises(SpecError, match="only SELECT is allowed"):
        open_results(published).sql(query)


@pytest.mark.parametrize("query", ["", "SELECT 1; SELECT 2", "SELECT 1; DROP VIEW instances"])
def test_none_or_several_statements_are_refused(published: Path, query: str):
    with pytest.raises(SpecError, match="expected one SELECT statement"):
        open_results(published).sql(query)


@pytest.mark.parametrize(
    ("query", "message"),
    [("SELEC 1", "syntax error"), ("SELECT nope FROM images", "nope"), ("SELECT error('boom')", "boom")],
)
def test_a_query_that_is_wrong_or_fails_is_a_usage_error(published: Path, query: str, message: str):
    with pytest.raises(SpecError, match=message):
        open_results(published).sql(query)


def test_a_query_cannot_read_other_files_or_variables(published: Path, tmp_path: Path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    rows_of_python = open_results(published).table("images")
    assert rows_of_python.num_rows
    for query in (
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM glob('{tmp_path}/*')",
        f"SELECT * FROM read_text('{published.parent}/field.tif')",
        "SELECT * FROM rows_of_python",
        "FROM query('COPY instances TO ''x.csv''')",
    ):
        with pytest.raises(SpecError):
            open_results(published).sql(query)


def test_a_folder_without_results_says_what_to_do(tmp_path: Path):
    with pytest.raises(StoreError, match="expected the -o folder"):
        open_results(tmp_path / "nothing")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StoreError, match="--resume"):
        open_results(tmp_path)


def test_a_manifest_that_is_none_is_refused(broken: Path):
    for text in ("", "[]", "{}", '{"tables": {"images": [{}]}, "generation": "", "schema_version": ""}'):
        (broken / "current.json").write_text(text)
        with pytest.raises(StoreError, match="not a manifest"):
            open_results(broken)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.parquet", "tables/../../x"])
def test_a_manifest_cannot_point_out_of_the_run_folder(broken: Path, path: str):
    body = pointer(broken)
    body["tables"]["images"][0]["path"] = path
    write_pointer(broken, body)
    with pytest.raises(StoreError, match="leaves the run folder"):
        open_results(broken)


def test_a_missing_file_is_told_by_name(broken: Path):
    open_results(broken).files("tiles")[0].unlink()
    with pytest.raises(StoreError, match=r"tiles.*run: segworkers verify"):
        open_results(broken).sql("SELECT 1")


def test_an_unknown_table_is_told_with_the_known_ones(published: Path):
    with pytest.raises(SpecError, match="instances, images, series, seams, tiles, failures"):
        open_results(published).table("nope")


def test_literals_are_quoted():
    assert quote("it's") == "'it''s'"
    assert literal_glob("a[1]*?") == "a[[]1][*][?]"
