"""Stitched masks: a cloud-optimised GeoTIFF for each source whose values lead back to the table's rows."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from tests import runs, worlds
from tests.segworkers.readers.rasters import NORTH_UP, write_raster

WIDTH, HEIGHT = 1301, 1107
OPTIONS: dict[str, Any] = {"side": 256, "overlap": 32, "classes": 3}


@pytest.fixture(scope="module")
def truth() -> NDArray[np.uint16]:
    return worlds.touching_cells(np.random.default_rng(6), WIDTH)[:HEIGHT].astype(np.uint16)


@pytest.fixture(scope="module")
def inputs(truth: NDArray[np.uint16], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("masks")
    rivers = worlds.rivers(np.random.default_rng(1), 300)[:80].astype(np.uint16)
    return [
        write_raster(folder / "cells.tif", truth[None], blockxsize=256, blockysize=256),
        write_raster(folder / "rivers.tif", rivers[None], crs=None, transform=None),
    ]


@pytest.fixture(scope="module")
def labels(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labels") / "out"
    runs.run(inputs, out, runs.user_model("Oracle"), OPTIONS, output__masks="labels", tiling__tile=500)
    return out


def mask_file(out: Path, name: str) -> Path:
    """As `current.json` lists it."""
    (image,) = [row for row in runs.rows(out, "images") if Path(row["source_uri"]).stem == name]
    masks = json.loads((out / "current.json").read_bytes())["masks"]
    (entry,) = [entry for entry in masks if entry["source_id"] == image["source_id"]]
    assert (out / entry["path"]).stat().st_size == entry["bytes"]
    return out / entry["path"]


def rows_of(out: Path, name: str) -> list[dict[str, Any]]:
    return [row for row in runs.rows(out, "instances") if Path(row["source_uri"]).stem == name]


def painted(out: Path, name: str, shape: tuple[int, int], values: dict[str, int] | None = None) -> NDArray[np.int64]:
    """The rows' masks by `mask_value`, or by the values of their labels."""
    image = np.zeros(shape, np.int64)
    for row in rows_of(out, name):
        image[runs.mask_of(row, shape)] = row["mask_value"] if values is None else values[row["label"]]
    return image


def test_values_are_the_mask_values_of_the_rows(labels: Path, truth: NDArray[np.uint16]) -> None:
    with rasterio.open(mask_file(labels, "cells")) as file:
        found = file.read(1)
        assert (file.dtypes, file.nodata) == (("uint32",), 0)
        assert file.transform == NORTH_UP
        assert file.crs == rasterio.CRS.from_epsg(32632)
    assert (found == painted(labels, "cells", truth.shape)).all()
    assert len(np.unique(found)) == len(rows_of(labels, "cells"))  # a tessellation leaves no background
    with rasterio.open(mask_file(labels, "rivers")) as file:
        found = file.read(1)
        assert (file.crs, file.transform) == (None, Affine.identity())
    assert (found == painted(labels, "rivers", found.shape)).all()


def test_files_are_cloud_optimised(labels: Path) -> None:
    path = mask_file(labels, "cells")
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.profile["tiled"]
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1) == [2, 4]
        first_tile = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
        small = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=1))
    data = path.read_bytes()
    assert struct.unpack_from("<I", data, 4)[0] < small < first_tile  # headers, then overviews, then the full image


def test_overviews_hold_nothing_but_values_of_the_pixels_below_them(labels: Path) -> None:
    path = mask_file(labels, "cells")
    with rasterio.open(path) as file:
        base = file.read(1)
        levels = len(file.overviews(1))
    for level in range(levels):
        with rasterio.open(path, OVERVIEW_LEVEL=level) as file:
            small = file.read(1)
        factor = 2 ** (level + 1)
        for y, x in np.random.default_rng(level).integers(0, np.array(small.shape), (300, 2)):
            below = base[factor * y : factor * (y + 1) + 1, factor * x : factor * (x + 1) + 1]
            assert small[y, x] in below


def test_classes_are_numbered_in_the_models_order(
    inputs: list[Path], tmp_path: Path, truth: NDArray[np.uint16]
) -> None:
    out = tmp_path / "out"
    runs.run(inputs, out, runs.user_model("Oracle"), OPTIONS, output__masks="classes")
    with rasterio.open(mask_file(out, "cells")) as file:
        found = file.read(1)
        assert file.dtypes == ("uint16",)
    assert (found == np.where(truth > 0, truth % 3 + 1, 0)).all()
    assert (found == painted(out, "cells", truth.shape, {"class_0": 1, "class_1": 2, "class_2": 3})).all()


def test_a_panoptic_raster_holds_classes_and_instances_and_no_instance_of_stuff(
    inputs: list[Path], labels: Path, tmp_path: Path, truth: NDArray[np.uint16]
) -> None:
    out = tmp_path / "out"
    options = OPTIONS | {"stuff": ["class_1"]}
    runs.run(inputs, out, runs.user_model("Oracle"), options, output__masks="panoptic")
    with rasterio.open(mask_file(out, "cells")) as file:
        classes, instances = file.read()
        assert (file.dtypes, file.descriptions) == (("uint32", "uint32"), ("class", "instance"))
        assert json.loads(file.tags()["CLASSES"]) == {"1": "class_0", "2": "class_1", "3": "class_2"}
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert (classes == np.where(truth > 0, truth % 3 + 1, 0)).all()
    assert (instances == np.where(classes == 2, 0, painted(out, "cells", truth.shape))).all()
    assert (instances > 0).sum() == ((classes == 1) | (classes == 3)).sum() > 0
    with rasterio.open(mask_file(labels, "cells")) as file:
        assert (file.read(1) > 0).all()  # stuff stays in the raster of instances alone, and in the rows
    (image,) = [row for row in runs.rows(out, "images") if "cells" in row["source_uri"]]
    areas = {entry["label"]: entry["pixel_count"] for entry in image["classes"]}
    assert areas == {f"class_{k}": int((truth[truth > 0] % 3 == k).sum()) for k in range(3)}


def test_masks_do_not_change_the_tables_and_can_be_added_by_resuming(
    inputs: list[Path], labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    runs.run(inputs, out, runs.user_model("Oracle"), OPTIONS, tiling__tile=1500)
    assert json.loads((out / "current.json").read_bytes())["masks"] == []
    runs.run(inputs, out, runs.user_model("Oracle"), OPTIONS, tiling__tile=1500, output__masks="labels", resume=True)
    assert runs.files(out) == runs.files(labels)
    assert mask_file(out, "cells").read_bytes() == mask_file(labels, "cells").read_bytes()


def test_a_raster_of_several_strips_and_no_objects_is_all_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segworkers.stitched.STRIP_PIXELS", 100_000)
    path = write_raster(tmp_path / "zero.tif", np.zeros((1, 1200, 90), np.uint16))
    runs.run([path], tmp_path / "out", runs.user_model("Oracle"), OPTIONS, output__masks="labels")
    with rasterio.open(mask_file(tmp_path / "out", "zero")) as file:
        assert not file.read(1).any()


def test_strips_do_not_show(inputs: list[Path], labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segworkers.stitched.STRIP_PIXELS", 100_000)
    runs.run(inputs, tmp_path / "out", runs.user_model("Oracle"), OPTIONS, output__masks="labels")
    assert mask_file(tmp_path / "out", "cells").read_bytes() == mask_file(labels, "cells").read_bytes()
