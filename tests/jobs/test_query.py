from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import geopandas
import pyarrow.parquet as pq
import pytest

from jobs.formats import Format
from jobs.query import CELL_WIDTH, FILE_CELL_WIDTH, SCREEN_ROWS, run_query, shorten
from jobs.results import open_results
from schemas.errors import SpecError


@pytest.fixture
def ask(published: Path, capsys: pytest.CaptureFixture[str]):
    def ask(
        query: str, form: Format | None = None, limit: int | None = None, output: Path | None = None
    ) -> tuple[str, str]:
        run_query(open_results(published), query, format=form, limit=limit, output=output)
        return capsys.readouterr()

    return ask


def test_the_table_format_aligns_columns_and_keeps_all_of_them(ask):
    out, err = ask("SELECT * FROM instances ORDER BY pixel_count")
    header = out.splitlines()[0].split()
    assert header[:3] == ["instance_id", "source_id", "source_uri"] and header[-1] == "unknown_reason"
    assert len(out.splitlines()) == 2 + 4
    assert err == ""


def test_the_table_format_shortens_long_and_binary_cells_and_writes_wkt(ask):
    out, _ = ask("SELECT geometry, repeat('x', 1500) AS long, 'a'::BLOB AS raw FROM instances WHERE pixel_count = 600")
    assert "POLYGON ((" in out and " 61" in out  # "a" in hexadecimal
    assert "x" * FILE_CELL_WIDTH not in out and "xxx … xxx" in out
    assert max(map(len, out.splitlines())) < 2 * FILE_CELL_WIDTH


def test_the_table_format_stops_at_a_screenful_and_says_so(ask):
    out, err = ask(f"SELECT * FROM range({SCREEN_ROWS + 1})")
    assert len(out.splitlines()) == 2 + SCREEN_ROWS
    assert f"more than {SCREEN_ROWS} rows" in err
    out, err = ask(f"SELECT * FROM range({SCREEN_ROWS + 1})", limit=SCREEN_ROWS + 1)
    assert len(out.splitlines()) == 2 + SCREEN_ROWS + 1 and err == ""


def test_csv_has_all_rows_with_wkt_json_for_lists_and_nothing_for_null(ask):
    out, _ = ask("SELECT i, NULL AS n, [1, 2] AS l, true AS b, 1.5 AS f FROM range(30000) t(i)", "csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["i", "n", "l", "b", "f"]
    assert rows[-1] == ["29999", "", "[1, 2]", "true", "1.5"] and len(rows) == 30001


def test_json_is_a_list_of_objects_with_null_for_nan(ask):
    out, _ = ask("SELECT 'é' AS t, 'nan'::DOUBLE AS x, {'a': 1.0, 'b': [NULL]} AS s, DATE '2020-01-02' AS d", "json")
    assert json.loads(out) == [{"t": "é", "x": None, "s": {"a": 1.0, "b": [None]}, "d": "2020-01-02"}]


def test_json_in_a_cell_of_csv_is_json_too(ask):
    out, _ = ask("SELECT ['nan'::DOUBLE, 1] AS l, {'a': 'é'} AS s, MAP {'a': 1.50, 'b': 'inf'::DOUBLE} AS m", "csv")
    _, row = csv.reader(io.StringIO(out))
    assert row == ["[null, 1.0]", '{"a": "é"}', '[["a", 1.5], ["b", null]]']


@pytest.mark.parametrize("limit", [None, 5])
def test_columns_of_the_same_name_are_told_apart(ask, tmp_path: Path, limit: int | None):
    query = "SELECT i.label, m.label, i.Label, 1 AS label_1 FROM instances i JOIN instances m USING (instance_id)"
    names = ["label", "label_1", "label_2", "label_1_1"]
    assert list(json.loads(ask(query, "json", limit)[0])[0]) == names
    assert ask(query, "csv", limit)[0].splitlines()[0] == ",".join(names)
    ask(query, limit=limit, output=tmp_path / "o.parquet")
    assert pq.read_table(tmp_path / "o.parquet").column_names == names


def test_rows_keep_the_order_of_the_query(ask):
    out, _ = ask("SELECT i FROM range(50000) t(i) ORDER BY hash(i)", "csv")
    count = [int(row) for row in out.splitlines()[1:]]
    assert sorted(count) == list(range(50000)) and count != sorted(count)
    assert out == ask("SELECT i FROM range(50000) t(i) ORDER BY hash(i)", "csv", 50000)[0]


def test_sums_of_integers_are_numbers_in_json_and_csv(ask):
    query = "SELECT sum(pixel_count) AS n, 0.5 AS h FROM instances"
    assert json.loads(ask(query, "json")[0]) == [{"n": 600 + 400 + 1 + 64, "h": 0.5}]
    assert ask(query, "csv")[0] == "n,h\n1065,0.5\n"


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_no_rows_are_written_as_such(ask, form: Format):
    out, _ = ask("SELECT label FROM instances WHERE false", form)
    assert json.loads(out) == [] if form == "json" else out.split()[0] == "label"


def test_geometry_is_wkt_in_csv_and_json(ask):
    query = "SELECT geometry, polygon_px FROM instances ORDER BY pixel_count LIMIT 1"
    assert json.loads(ask(query, "json")[0])[0]["geometry"].startswith("POLYGON ((")
    assert "POLYGON ((" in ask(query, "csv")[0]


def test_limit_cuts_in_every_format(ask):
    assert len(json.loads(ask("SELECT * FROM range(9)", "json", 3)[0])) == 3
    assert len(ask("SELECT * FROM range(9) ORDER BY 1 DESC -- end", "csv", 3)[0].splitlines()) == 4
    assert ask("SELECT * FROM range(9)", "csv", 0)[0].splitlines() == ["range"]


def test_the_suffix_of_the_file_chooses_the_format(ask, tmp_path: Path):
    for suffix in ("csv", "json", "parquet", "txt"):
        path = tmp_path / f"o.{suffix}"
        assert ask("SELECT 1 AS a", output=path) == ("", "")
        assert path.stat().st_size
    assert json.loads((tmp_path / "o.json").read_text()) == [{"a": 1}]
    assert (tmp_path / "o.csv").read_text() == "a\n1\n"
    assert pq.read_table(tmp_path / "o.parquet").to_pylist() == [{"a": 1}]


def test_parquet_with_geometry_opens_in_geopandas_with_its_crs(ask, tmp_path: Path):
    ask("SELECT label, geometry FROM instances WHERE geometry IS NOT NULL", output=tmp_path / "o.parquet")
    frame = geopandas.read_parquet(tmp_path / "o.parquet")
    assert len(frame) == 3 and frame.crs.to_string() == "OGC:CRS84"
    assert frame.geometry.is_valid.all()


def test_parquet_of_pixels_does_not_pass_for_longitude_and_latitude(ask, tmp_path: Path):
    ask("SELECT polygon_px AS geometry FROM instances", output=tmp_path / "o.parquet")
    frame = geopandas.read_parquet(tmp_path / "o.parquet")
    assert frame.crs is None and frame.geometry.notna().any()


def test_parquet_keeps_types_and_values(ask, published: Path, tmp_path: Path):
    ask("SELECT * EXCLUDE (geometry, polygon_px) FROM instances", output=tmp_path / "o.parquet")
    written = pq.read_table(tmp_path / "o.parquet")
    expected = open_results(published).table("instances").drop_columns(["geometry", "polygon_px"])
    assert written.to_pylist() == expected.to_pylist()


def test_parquet_needs_a_file(ask):
    with pytest.raises(SpecError, match=r"-o FILE\.parquet"):
        ask("SELECT 1", "parquet")


def test_a_file_that_cannot_be_written_is_told_by_name(ask, tmp_path: Path):
    for name in ("no/o.csv", "no/o.parquet"):
        with pytest.raises(SpecError, match="cannot be written"):
            ask("SELECT 1", output=tmp_path / name)


def test_a_query_that_fails_in_its_middle_is_a_usage_error(ask):
    with pytest.raises(SpecError, match="boom"):
        ask("SELECT CASE WHEN i > 50000 THEN error('boom') ELSE i END FROM range(90000) t(i)", "csv")


def test_a_refused_query_leaves_the_file_alone(ask, tmp_path: Path):
    path = tmp_path / "o.csv"
    path.write_text("mine")
    with pytest.raises(SpecError):
        ask("DROP VIEW images", output=path)
    assert path.read_text() == "mine"


def test_cells_are_short_single_lines():
    assert [shorten(value) for value in (None, True, 1 / 3, "a\nb", {"a": 1})] == [
        "",
        "true",
        "0.333333",
        "a b",
        '{"a": 1}',
    ]
    assert len(shorten("x" * 1000)) <= CELL_WIDTH


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (6687371.4, "6687371"),
        (-123456789.0, "-123456789"),
        (999999.7, "1000000"),
        (12.3456789, "12.3457"),
        (6.5e-7, "6.5e-07"),
        (2.5e20, "2.5e+20"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_areas_are_shown_without_powers_of_ten(value: float, shown: str):
    assert shorten(value) == shown
