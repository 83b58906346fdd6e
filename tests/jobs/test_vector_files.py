"""GeoPackage and FlatGeobuf of queries: the rows of the table, read back by GDAL, and what is refused."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas
import pyarrow as pa
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from jobs.geojson import write_geojson
from jobs.query import run_query
from jobs.results import open_results
from jobs.vector_files import VectorFormat, write_vectors
from schemas.errors import SpecError
from tests.jobs.placed import placed_rows

FORMS: tuple[VectorFormat, ...] = ("gpkg", "fgb")
PLACES = "FROM instances WHERE geometry IS NOT NULL ORDER BY instance_id"
POINT = shapely.Point(1, 2)

both = pytest.mark.parametrize("form", FORMS)


def ask(out: Path, query: str, file: Path, limit: int | None = None) -> None:
    run_query(open_results(out), query, format=None, limit=limit, output=file)


def read(file: Path) -> list[dict[str, Any]]:
    """Rows as GDAL reads them, the place as a shape in `place`."""
    told, table = pyogrio.read_arrow(file)
    (column,) = (field.name for field in table.schema if (field.metadata or {}).get(b"ARROW:extension:name"))
    assert column == (told["geometry_name"] or "wkb_geometry")
    rows = table.to_pylist()
    return [row | {"place": shapely.from_wkb(row.pop(column))} for row in rows]


def stored(form: VectorFormat, **columns: Any) -> list[dict[str, Any]]:
    """Rows with these columns, written and read."""
    with TemporaryDirectory() as folder:
        rows = {"place": [POINT] * len(next(iter(columns.values()))), **columns}
        file = Path(folder, f"o.{form}")
        write_vectors(placed_rows([rows]), file, form, "o")
        return [{name: row[name] for name in columns} for row in read(file)]


@both
def test_every_column_of_the_table_comes_back(published: Path, tmp_path: Path, form: VectorFormat) -> None:
    ask(published, f"SELECT * {PLACES}", tmp_path / f"o.{form}")
    rows = {row["instance_id"]: row for row in read(tmp_path / f"o.{form}")}
    table = open_results(published).sql(f"SELECT * {PLACES}")
    assert len(rows) == table.num_rows == 3
    for expected in table.to_pylist():
        row = rows[expected["instance_id"]]
        assert shapely.equals_exact(row.pop("place"), shapely.from_wkb(expected.pop("geometry")), 0)
        assert json.loads(row.pop("bbox")) == expected.pop("bbox")
        assert {name: row[name] for name in row if name not in ("fid", "OGC_FID")} == expected
        assert row["score"] is None and row["touches_border"] in (True, False)


@both
def test_types_are_the_tables(published: Path, tmp_path: Path, form: VectorFormat) -> None:
    ask(published, f"SELECT * EXCLUDE (bbox, polygon_px, geometry), geometry {PLACES}", tmp_path / f"o.{form}")
    _, table = pyogrio.read_arrow(tmp_path / f"o.{form}")
    expected = open_results(published).table("instances").schema
    for field in table.schema:
        if field.name in expected.names and field.name != "geometry":
            assert field.type == expected.field(field.name).type, field.name
    assert {"instance_id", "pixel_count", "n_parts", "assembled", "area_m2"} <= set(table.schema.names)


@both
def test_a_layer_is_named_like_its_file_and_in_longitude_and_latitude(
    published: Path, tmp_path: Path, form: VectorFormat
) -> None:
    file = tmp_path / f"crowns of 'may'.{form}"
    ask(published, f"SELECT label, geometry {PLACES}", file)
    assert [each[0] for each in pyogrio.list_layers(file)] == ["crowns of 'may'"]
    frame = geopandas.read_file(file)
    assert frame.crs.to_epsg() == 4326 and len(frame) == 3
    ask(published, f"SELECT label, geometry {PLACES}", tmp_path / "o.parquet")
    west, south, east, north = geopandas.read_parquet(tmp_path / "o.parquet").total_bounds
    assert tuple(frame.total_bounds) == (west, south, east, north)
    found = pyogrio.read_dataframe(file, bbox=(west, south, east, north), use_arrow=True)
    assert len(found) == 3 and len(pyogrio.read_dataframe(file, bbox=(0, 0, 1, 1))) == 0
    assert pyogrio.read_info(file)["capabilities"]["fast_spatial_filter"], "an index"


def test_a_geopackage_is_one_as_the_standard_says(published: Path, tmp_path: Path) -> None:
    ask(published, f"SELECT geometry AS outline, 7 AS fid, 8 AS FID_1 {PLACES}", tmp_path / "o.gpkg")
    with sqlite3.connect(tmp_path / "o.gpkg") as database:
        assert database.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
        assert database.execute(
            "SELECT table_name, column_name, geometry_type_name, srs_id FROM gpkg_geometry_columns"
        ).fetchall() == [("o", "outline", "GEOMETRY", 4326)]
        assert database.execute("SELECT DISTINCT fid, FID_1 FROM o").fetchall() == [(7, 8)]
        keys = [row[1] for row in database.execute("PRAGMA table_info(o)") if row[5]]
        assert keys == ["fid_2"], "row numbers have a name that no column has"
    database.close()


@both
def test_nothing_but_the_file_is_left(published: Path, tmp_path: Path, form: VectorFormat) -> None:
    file = tmp_path / f"o.{form}"
    for limit in (2, 1):  # the second takes the place of the first
        ask(published, f"SELECT geometry {PLACES}", file, limit)
        assert [each.name for each in tmp_path.iterdir()] == [file.name]
        assert len(read(file)) == limit
    usual = tmp_path / "usual"
    usual.touch()
    assert file.stat().st_mode == usual.stat().st_mode


@both
def test_a_link_stays_and_its_layer_has_the_links_name(published: Path, tmp_path: Path, form: VectorFormat) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / f"o.{form}"
    link.symlink_to(tmp_path / "real" / f"r.{form}")
    ask(published, f"SELECT geometry {PLACES}", link)
    assert link.is_symlink() and [each[0] for each in pyogrio.list_layers(tmp_path / "real" / f"r.{form}")] == ["o"]


@both
def test_no_rows_are_a_layer_without_features(published: Path, tmp_path: Path, form: VectorFormat) -> None:
    ask(published, "SELECT * FROM instances WHERE false", tmp_path / f"o.{form}")
    told = pyogrio.read_info(tmp_path / f"o.{form}")
    assert read(tmp_path / f"o.{form}") == [] and "label" in told["fields"] and told["crs"] == "EPSG:4326"


@both
def test_what_the_formats_do_not_have_becomes_what_they_have(form: VectorFormat) -> None:
    enum = pa.array(["a", "b", None]).dictionary_encode()
    rows = stored(
        form,
        small=pa.array([-128, 127, None], pa.int8()),
        wide=pa.array([2**63 - 1, 0, None], pa.uint64()),
        total=pa.array([Decimal(-(2**63)), Decimal(1), None], pa.decimal128(38, 0)),
        share=pa.array([Decimal("1.25"), Decimal("-0.01"), None], pa.decimal128(18, 2)),
        single=pa.array([0.1, float("nan"), None], pa.float32()),
        enum=enum,
        raw=pa.array([b"a", b"", None]),
        nothing=pa.nulls(3),
        list=pa.array([[1.5, None, float("inf")], [], None]),
        struct=pa.array([{"a": "é"}, {"a": None}, None]),
        map=pa.array([[("a", Decimal("1.5"))], [], None], pa.map_(pa.string(), pa.decimal128(4, 2))),
        flag=pa.array([True, False, None]),
    )
    by_total = sorted(rows, key=lambda row: (row["total"] is None, row["total"] or 0))
    assert by_total == [
        {
            "small": -128,
            "wide": 2**63 - 1,
            "total": -(2**63),
            "share": 1.25,
            "single": pa.scalar(0.1, pa.float32()).as_py(),
            "enum": "a",
            "raw": "61",
            "nothing": None,
            "list": "[1.5, null, null]",
            "struct": '{"a": "é"}',
            "map": '[["a", 1.5]]',
            "flag": True,
        },
        {
            "small": 127,
            "wide": 0,
            "total": 1,
            "share": -0.01,
            "single": None,
            "enum": "b",
            "raw": "",
            "nothing": None,
            "list": "[]",
            "struct": '{"a": null}',
            "map": "[]",
            "flag": False,
        },
        dict.fromkeys(by_total[0]),
    ]


@both
def test_places_of_any_kind_are_kept_and_other_geometry_is_text(
    published: Path, tmp_path: Path, form: VectorFormat
) -> None:
    kinds = ["POINT (1 2)", "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))", "LINESTRING (0 0, 3 4)"]
    rows = ", ".join(f"('{each}')" for each in [*kinds, "POLYGON EMPTY"])
    query = f"SELECT w::GEOMETRY AS px, w::GEOMETRY('OGC:CRS84') AS p FROM (VALUES {rows}) t(w)"
    ask(published, f"{query} WHERE st_astext(p) NOT LIKE '%EMPTY%'", tmp_path / f"o.{form}")
    assert {(row["px"], row["place"].wkt) for row in read(tmp_path / f"o.{form}")} == {(each, each) for each in kinds}


@both
def test_days_and_times_are_such_to_the_millisecond(form: VectorFormat) -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, 123987, UTC)
    (row,) = stored(
        form,
        day=[date(2024, 5, 6)],
        naive=pa.array([moment.replace(tzinfo=None)], pa.timestamp("us")),
        fine=pa.array([moment.replace(tzinfo=None)], pa.timestamp("ns")),
        zoned=pa.array([moment], pa.timestamp("us", "UTC")),
        clock=pa.array([moment.time()], pa.time64("us")),
    )
    assert row["clock"] == "07:08:09.123987"
    assert date(row["day"].year, row["day"].month, row["day"].day) == date(2024, 5, 6)
    for name in ("naive", "fine", "zoned"):
        assert row[name].replace(tzinfo=UTC) == moment.replace(microsecond=123000)


VALUES = {
    "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
    "real": st.none() | st.floats(),
    "flag": st.none() | st.booleans(),
    "text": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    "list": st.none() | st.lists(st.none() | st.floats()),
}
TYPES = {
    "whole": pa.int64(),
    "real": pa.float64(),
    "flag": pa.bool_(),
    "text": pa.string(),
    "list": pa.list_(pa.float64()),
}
CORNERS = st.tuples(st.floats(-179, 179), st.floats(-89, 89), st.floats(1e-7, 0.1))
ROWS = st.lists(st.tuples(CORNERS, st.fixed_dictionaries(VALUES)), max_size=5)


@given(st.lists(ROWS, min_size=1, max_size=3))
def test_geojson_geopackage_and_flatgeobuf_hold_the_same_rows(batches: list[Any]) -> None:
    numbers = iter(range(99))
    columns = [
        {"place": [shapely.box(x, y, x + side, y + side) for (x, y, side), _ in rows]}
        | {name: pa.array([row[name] for _, row in rows], kind) for name, kind in TYPES.items()}
        | {"n": pa.array([next(numbers) for _ in rows], pa.int64())}
        for rows in batches
    ]
    stream = io.StringIO()
    write_geojson(placed_rows(columns), stream)
    told = [feature["properties"] for feature in json.loads(stream.getvalue())["features"]]
    shapes = [shape for batch in columns for shape in batch["place"]]
    with TemporaryDirectory() as folder:
        for form in FORMS:
            file = Path(folder, f"o.{form}")
            write_vectors(placed_rows(columns), file, form, "o")
            rows = sorted(read(file), key=lambda row: row["n"])
            assert shapely.equals_exact([row.pop("place") for row in rows], shapes, 0).all()
            for row in rows:
                row["list"] = None if row["list"] is None else json.loads(row["list"])
            assert rows == told
            if form == "gpkg":
                assert [row["n"] for row in read(file)] == list(range(len(told))), "in the query's order"
        assert sorted(os.listdir(folder)) == ["o.fgb", "o.gpkg"]


@both
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT label FROM instances", "such as `geometry` of `instances`, found none: add geometry to SELECT"),
        ("SELECT polygon_px FROM instances", r"found only polygon_px \(no CRS, as for pixels\)"),
        ("SELECT * FROM instances ORDER BY geometry IS NULL", r"a row of .*no where\.tif has no place on the map"),
        (f"SELECT 18446744073709551615::UBIGINT AS h, geometry {PLACES}", "h: expected integers of at most 64 bits"),
        (f"SELECT -9223372036854775809 AS h, geometry {PLACES}", r"found -9223372036854775809: select CAST\(h AS"),
        (f"SELECT 1 AS OGC_FID, geometry {PLACES}", "expected no column called OGC_FID"),
        ("SELECT 'POLYGON EMPTY'::GEOMETRY('OGC:CRS84') AS p", "a row has an empty p: add WHERE st_astext"),
        ("SELECT geometry, error('boom') FROM instances", "boom"),
        (
            "SELECT geometry, CASE WHEN i > 50000 THEN error('boom') ELSE i END AS i FROM range(90000) t(i), instances "
            "WHERE geometry IS NOT NULL",
            "boom",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is(
    published: Path, tmp_path: Path, form: VectorFormat, query: str, message: str
) -> None:
    file = tmp_path / f"o.{form}"
    file.write_text("mine")
    with pytest.raises(SpecError, match=message):
        ask(published, query, file)
    assert [each.name for each in tmp_path.iterdir()] == [file.name] and file.read_text() == "mine"


def test_what_gdal_cannot_write_is_told_with_the_files_name(published: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gpkg_x\.gpkg: cannot be written: .*may not begin with 'gpkg'"):
        ask(published, f"SELECT geometry {PLACES}", tmp_path / "gpkg_x.gpkg")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="reserved") as caught:
        write_vectors(placed_rows([{"place": [POINT]}]), tmp_path / "o", "gpkg", "sqlite_x")
    assert caught.value.errno == errno.EIO


@both
def test_an_interruption_is_none_of_gdals_failures(tmp_path: Path, form: VectorFormat) -> None:
    rows = placed_rows([{"place": [POINT]}])

    def interrupted() -> Any:
        yield from rows
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_vectors(pa.RecordBatchReader.from_batches(rows.schema, interrupted()), tmp_path / "o", form, "o")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_knows_the_formats(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = f"SELECT geometry {PLACES}"
    assert main(["query", str(published), query, "--format", "fgb", "-o", str(tmp_path / "o"), "--limit", "2"]) == 0
    assert pyogrio.read_info(tmp_path / "o")["driver"] == "FlatGeobuf"
    assert main(["query", str(published), query, "--format", "gpkg"]) == 2
    assert "--format gpkg needs a file: add -o FILE.gpkg" in capsys.readouterr().err
    assert main(["verify", str(published), "--doubtful", "-o", str(tmp_path / "o.gpkg")]) == 2
    assert "listed without places" in capsys.readouterr().err
