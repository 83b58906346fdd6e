"""The published tables in the hands of those who do not know this project: DuckDB, GeoPandas, Polars, Arrow."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import geopandas
import numpy as np
import polars
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import CRS
from rasterio.transform import Affine

from schemas.fields import SCHEMA_VERSION
from schemas.tables import SCHEMAS, TABLES
from tests import runs, worlds
from tests.segworkers.readers.rasters import write_raster


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over cars in UTM and cars nowhere."""
    folder, rng = tmp_path_factory.mktemp("cars"), np.random.default_rng(4)
    cars = worlds.cars(rng, 300).astype(np.uint16)
    inputs = [
        write_raster(folder / "utm.tif", cars[None], transform=Affine(2, 0, 690_000, 0, -2, 6_200_000)),
        write_raster(folder / "nowhere.tif", cars[None, :90], crs=None, transform=None),
    ]
    out = folder / "out"
    runs.run(inputs, out, runs.user_model("Oracle"), tiling__tile=100)
    return out


def parts(out: Path, name: str) -> str:
    (generation,) = (out / "tables").iterdir()
    return str(generation / name / "*.parquet")


def files(out: Path, name: str) -> list[Path]:
    return sorted(Path("/").glob(parts(out, name)[1:]))


def test_nothing_but_published_tables_lies_under_tables(out: Path) -> None:
    pointer = json.loads((out / "current.json").read_bytes())
    listed = {entry["path"] for entries in pointer["tables"].values() for entry in entries}
    assert {str(path.relative_to(out)) for path in (out / "tables").rglob("*") if path.is_file()} == listed
    assert all(files(out, name) for name in TABLES)


def test_duckdb_counts_and_joins(out: Path) -> None:
    query = f"""SELECT i.source_uri, i.object_count, count(*) AS n, sum(n.pixel_count)
        FROM '{parts(out, "images")}' i JOIN '{parts(out, "instances")}' n USING (source_id) GROUP BY ALL"""
    found = duckdb.sql(query).fetchall()
    assert len(found) == 2
    assert all(told == counted for _, told, counted, _ in found)


def test_duckdb_unnests_the_counts_of_classes(out: Path) -> None:
    query = f"""SELECT c.label, sum(c.object_count) FROM (SELECT unnest(classes) AS c FROM '{parts(out, "images")}')
        GROUP BY 1 ORDER BY 1"""
    counts = duckdb.sql(query).fetchall()
    rows = duckdb.sql(f"SELECT label, count(*) FROM '{parts(out, 'instances')}' GROUP BY 1 ORDER BY 1").fetchall()
    assert counts == rows != []


def test_geopandas_knows_the_reference_system_and_the_areas(out: Path) -> None:
    frame = geopandas.GeoDataFrame(geopandas.read_parquet(files(out, "instances")[0]))
    assert frame.crs == CRS("OGC:CRS84")
    known = frame[frame["area_m2"].notna()]
    assert 0 < len(known) < len(frame)
    equal_area = known.to_crs("+proj=laea +lat_0=55.9 +lon_0=12 +ellps=WGS84")
    assert equal_area.area.to_numpy() == pytest.approx(known["area_m2"].to_numpy(), rel=1e-4)
    assert known.geometry.is_valid.all()
    utm = known.to_crs("EPSG:32632")
    assert utm.area.to_numpy() == pytest.approx(4.0 * known["pixel_count"].to_numpy(), rel=1e-6)
    x = utm.geometry.centroid.x.to_numpy()
    assert x == pytest.approx(690_000 + 2 * known["centroid_x_px"].to_numpy(), abs=0.01)
    lonlat = known.set_geometry(geopandas.points_from_xy(known["centroid_lon"], known["centroid_lat"], crs=4326))
    y = lonlat.to_crs("EPSG:32632").geometry.y.to_numpy()
    assert y == pytest.approx(6_200_000 - 2 * known["centroid_y_px"].to_numpy(), abs=0.01)


def test_geopandas_reads_a_box_by_the_covering_column(out: Path) -> None:
    path = files(out, "instances")[0]
    whole = geopandas.read_parquet(path)
    west, south, east, north = whole.total_bounds
    box = (west, south, (west + east) / 2, (south + north) / 2)
    part = geopandas.read_parquet(path, bbox=box)
    expected = whole[whole.geometry.notna() & whole.geometry.intersects(shapely.box(*box))]
    assert 0 < len(part) < len(whole)
    assert set(expected["instance_id"]) <= set(part["instance_id"])


def test_polars_scans_lazily_and_agrees_with_the_images(out: Path) -> None:
    instances = polars.scan_parquet(parts(out, "instances"))
    counted = instances.group_by("source_id").agg(polars.len().alias("n"), polars.col("pixel_count").sum()).collect()
    images = polars.read_parquet(parts(out, "images"))
    joined = images.join(counted, on="source_id")
    assert len(joined) == 2
    assert joined["object_count"].to_list() == joined["n"].to_list()
    assert instances.select(polars.col("bbox").struct.field("xmin")).collect().null_count().item() > 0


@pytest.mark.parametrize("name", TABLES)
def test_arrow_sees_schema_version_units_and_descriptions(name: str, out: Path) -> None:
    for path in files(out, name):
        schema = pq.read_schema(path)
        assert schema.metadata[b"segworkers.schema_version"].decode() == SCHEMA_VERSION
        assert schema.metadata[b"segworkers.table"].decode() == name
        for declared in SCHEMAS[name]:
            field = schema.field(declared.name)
            assert field.nullable == declared.nullable
            assert {k: v for k, v in field.metadata.items() if not k.startswith(b"PARQUET:")} == declared.metadata
    if name == "instances":
        assert schema.field("area_m2").metadata[b"unit"] == b"square metre"


def test_row_order_keeps_neighbours_together(out: Path) -> None:
    rows = [row for row in runs.rows(out, "instances") if row["source_uri"].endswith("utm.tif")]
    at = np.array([[row["centroid_y_px"], row["centroid_x_px"]] for row in rows])
    step = np.hypot(*np.diff(at, axis=0).T).mean()
    shuffled = np.hypot(*np.diff(np.random.default_rng(0).permutation(at), axis=0).T).mean()
    assert step < shuffled / 3


def test_a_run_without_a_single_object_has_an_instances_table_too(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "zero.tif", np.zeros((1, 80, 80), np.uint16))
    runs.run([path], tmp_path / "out", runs.user_model("Oracle"))
    (file,) = files(tmp_path / "out", "instances")
    assert duckdb.sql(f"SELECT count(*), sum(area_m2) FROM '{file}'").fetchall() == [(0, None)]
    assert len(geopandas.read_parquet(file)) == 0
