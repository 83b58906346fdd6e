"""GeoJSON of queries: what RFC 7946 wants, what GDAL reads of it, and what is refused."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from jobs.formats import Format
from jobs.geojson import write_geojson
from jobs.query import run_query
from jobs.results import open_results
from schemas.errors import SpecError
from tests.jobs.placed import placed_rows

PLACES = "SELECT geometry, instance_id, label, score, pixel_count FROM instances WHERE geometry IS NOT NULL ORDER BY 2"


def ask(out: Path, query: str, file: Path, form: Format | None = None) -> str:
    run_query(open_results(out), query, format=form, limit=None, output=file)
    return file.read_text()


def written(batches: Sequence[dict[str, Any]], *, lines: bool = False) -> str:
    """GeoJSON of batches whose column `place` holds shapes."""
    stream = io.StringIO()
    write_geojson(placed_rows(batches), stream, lines=lines)
    return stream.getvalue()


def test_a_feature_for_each_object_with_the_other_columns(published: Path, tmp_path: Path) -> None:
    document = json.loads(ask(published, PLACES, tmp_path / "o.geojson"))
    assert set(document) == {"type", "features"} and document["type"] == "FeatureCollection"
    rows = open_results(published).sql(PLACES).to_pylist()
    assert len(document["features"]) == len(rows) == 3
    for feature, row in zip(document["features"], rows, strict=True):
        assert set(feature) == {"type", "geometry", "properties"} and feature["type"] == "Feature"
        assert feature["properties"] == {name: value for name, value in row.items() if name != "geometry"}
        assert feature["properties"]["score"] is None, "null stays null"
        shape = shapely.geometry.shape(feature["geometry"])
        exact = shapely.from_wkb(row["geometry"])
        assert shape.is_valid and shape.exterior.is_ccw and shapely.equals_exact(shape, exact, 1e-9)


@pytest.mark.parametrize("suffix", ["geojson", "geojsonl"])
def test_gdal_reads_it_as_the_parquet(published: Path, tmp_path: Path, suffix: str) -> None:
    ask(published, PLACES, tmp_path / f"o.{suffix}")
    run_query(open_results(published), PLACES, format=None, limit=None, output=tmp_path / "o.parquet")
    ours, theirs = geopandas.read_file(tmp_path / f"o.{suffix}"), geopandas.read_parquet(tmp_path / "o.parquet")
    assert ours.crs.to_epsg() == 4326 and list(ours.instance_id) == list(theirs.instance_id)
    assert shapely.equals_exact(ours.geometry.values, theirs.geometry.values, 1e-9).all()
    assert list(ours.pixel_count) == list(theirs.pixel_count)


def test_lines_are_the_features(published: Path, tmp_path: Path) -> None:
    collection = json.loads(ask(published, PLACES, tmp_path / "o.geojson"))
    lines = ask(published, PLACES, tmp_path / "o.geojsonl").splitlines()
    assert [json.loads(line) for line in lines] == collection["features"]
    limited = "SELECT * FROM instances WHERE false"
    assert json.loads(ask(published, limited, tmp_path / "e.geojson")) == {"type": "FeatureCollection", "features": []}
    assert ask(published, limited, tmp_path / "e.geojsonl") == ""


def test_every_column_of_the_table_can_be_a_property(published: Path, tmp_path: Path) -> None:
    text = ask(
        published, "SELECT *, geometry AS again FROM instances WHERE geometry IS NOT NULL", tmp_path / "o.geojson"
    )
    for feature in json.loads(text)["features"]:
        properties = feature["properties"]
        assert "geometry" not in properties and properties["again"].startswith("POLYGON")
        assert set(properties["bbox"]) == {"xmin", "ymin", "xmax", "ymax"} and properties["polygon_px"] is None


def test_values_are_those_that_json_has() -> None:
    point = shapely.Point(1, 2)
    text = written([{"place": [point], "é": ['ü\n"'], "x": [float("nan")], "raw": [b"a"], "l": [[1, None]]}])
    (feature,) = json.loads(text, parse_constant=pytest.fail)["features"]
    assert feature["properties"] == {"é": 'ü\n"', "x": None, "raw": "61", "l": [1, None]}
    assert feature["geometry"] == {"type": "Point", "coordinates": [1.0, 2.0]}


def test_shells_run_counterclockwise_and_holes_clockwise() -> None:
    shell, hole = [(0, 0), (0, 9), (9, 9), (9, 0)], [(2, 2), (4, 2), (4, 4), (2, 4)]
    wrong = shapely.Polygon(shell, [hole])
    assert not wrong.exterior.is_ccw
    split = shapely.MultiPolygon([wrong, shapely.box(-180, 0, -179, 1)])
    for feature in json.loads(written([{"place": [wrong, split], "n": [1, 2]}]))["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        for part in shapely.get_parts(shape):
            assert part.exterior.is_ccw and not any(ring.is_ccw for ring in part.interiors)
        assert shape.area == (shell[2][0] ** 2 - 4) + (feature["properties"]["n"] == 2)


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-179, 179), st.floats(-89, 89), st.floats(1e-7, 0.1)), max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_rows_of_all_batches_are_there_in_order(
    batches: list[list[tuple[float, float, float]]],
) -> None:
    numbers: Iterator[int] = iter(range(99))
    shapes = [[shapely.box(x, y, x + side, y + side) for x, y, side in batch] for batch in batches]
    given_ = [{"place": batch, "n": pa.array([next(numbers) for _ in batch], pa.int64())} for batch in shapes]
    features = json.loads(written(given_))["features"]
    assert features == [json.loads(line) for line in written(given_, lines=True).splitlines()]
    assert [each["properties"]["n"] for each in features] == list(range(len(features)))
    flat = [shape for batch in shapes for shape in batch]
    for feature, shape in zip(features, flat, strict=True):
        read = shapely.geometry.shape(feature["geometry"])
        assert read.is_valid and np.allclose(read.bounds, shape.bounds, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT label FROM instances", "such as `geometry` of `instances`, found none: add geometry to SELECT"),
        ("SELECT polygon_px AS geometry FROM instances", r"found only geometry \(no CRS, as for pixels\)"),
        ("SELECT geometry FROM instances", "a row has no place on the map"),
        ("SELECT * FROM instances ORDER BY geometry IS NULL", r"a row of .*no where\.tif has no place on the map"),
        ("SELECT geometry AS g FROM instances", "add WHERE g IS NOT NULL"),
        (
            "SELECT geometry FROM instances",
            "where objects of images have polygon_px, those of volumes boxes",
        ),
        ("SELECT st_setcrs(polygon_px, 'EPSG:32633') AS p FROM instances", r"found only p \(EPSG:32633\)"),
        ("SELECT 'POINT EMPTY'::GEOMETRY('OGC:CRS84') AS g", "a row has an empty g: add WHERE st_astext"),
    ],
)
@pytest.mark.parametrize("suffix", ["geojson", "geojsonl"])
def test_what_has_no_place_is_refused_and_nothing_is_written(
    published: Path, tmp_path: Path, query: str, message: str, suffix: str
) -> None:
    file = tmp_path / f"o.{suffix}"
    with pytest.raises(SpecError, match=message):
        ask(published, query, file)
    assert list(tmp_path.iterdir()) == []
    file.write_text("mine")
    with pytest.raises(SpecError):
        ask(published, query, file)
    assert [each.name for each in tmp_path.iterdir()] == [file.name] and file.read_text() == "mine"


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "geojsonl"])
def test_a_query_that_fails_in_its_middle_writes_no_file(published: Path, tmp_path: Path, suffix: str) -> None:
    query = "SELECT geometry, CASE WHEN i > 50000 THEN error('boom') ELSE i END AS i FROM range(90000) t(i), instances"
    with pytest.raises(SpecError, match="boom"):
        ask(published, f"{query} WHERE geometry IS NOT NULL", tmp_path / f"o.{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_and_a_link_stay_what_they_are(published: Path, tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reading = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reading.start()
    run_query(open_results(published), PLACES, format="geojson", limit=1, output=pipe)
    reading.join(30)
    assert len(json.loads(got[0])["features"]) == 1 and pipe.is_fifo()
    (tmp_path / "real").mkdir()
    link = tmp_path / "o.geojson"
    link.symlink_to(tmp_path / "real" / "o.geojson")
    ask(published, PLACES, link)
    assert link.is_symlink() and (tmp_path / "real" / "o.geojson").is_file()


def test_the_command_line_knows_the_formats(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", str(published), PLACES, "--format", "geojson", "--limit", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["features"]) == 2
    assert main(["query", str(published), "SELECT label FROM instances", "--format", "geojsonl"]) == 2
    assert "add geometry to SELECT" in capsys.readouterr().err


def test_doubtful_merges_are_refused_as_geojson_before_the_checks(published: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["verify", str(published), "--doubtful", "-o", str(tmp_path / "o.geojson")]) == 2
    told = capsys.readouterr().err
    assert "listed without places" in told and "tiles" not in told
