"""Filters from the command line to tables, image counts and stitched masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from tests import runs
from tests.segworkers.readers.rasters import write_raster

OPTIONS: dict[str, Any] = {"value": [0.5, 1.5], "window": [1, 32, 32], "overlap": [0, 8, 8]}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A ring of class 1 over many windows, with a ring and a speck of its own class and a block of class 2 in it."""
    image = np.zeros((200, 230), np.uint8)
    image[20:180, 20:200] = 1
    image[24:176, 24:196] = 0
    image[60:120, 60:120] = 1
    image[70:110, 70:110] = 0
    image[80:100, 80:100] = 2
    image[150, 150] = 1
    image[0:4, 100:104] = 2
    folder = tmp_path_factory.mktemp("filters")
    other = np.zeros((40, 50), np.uint8)
    other[5:9, 5:9] = 1
    return [write_raster(folder / "a.tif", image[None]), write_raster(folder / "b.tif", other[None])]


def image_rows(out: Path) -> dict[str, list[int]]:
    """Objects of each class by image."""
    return {
        Path(row["source_uri"]).stem: [each["object_count"] for each in row["classes"]]
        for row in runs.rows(out, "images")
    }


def stitched(out: Path, name: str) -> NDArray[Any]:
    (source,) = [row["source_id"] for row in runs.rows(out, "images") if Path(row["source_uri"]).stem == name]
    (path,) = (out / "masks").glob(f"*/{source}*.tif")
    with rasterio.open(path) as file:
        return file.read(1)


def test_filled_objects_hide_nothing_that_lies_in_their_holes(inputs: list[Path], tmp_path: Path) -> None:
    assert runs.segment(inputs, tmp_path, "threshold", OPTIONS, output__fill_holes=True, output__masks="labels") == 0
    rows = [row for row in runs.rows(tmp_path, "instances") if row["source_uri"].endswith("a.tif")]
    value = {row["pixel_count"]: row["mask_value"] for row in rows}
    assert sorted(value) == [1, 16, 400, 3600, 160 * 180]
    want = np.zeros((200, 230), np.int64)
    want[20:180, 20:200] = value[160 * 180]
    want[60:120, 60:120] = value[3600]
    want[80:100, 80:100] = value[400]
    want[150, 150] = value[1]
    want[0:4, 100:104] = value[16]
    assert (stitched(tmp_path, "a") == want).all()


def test_the_largest_of_each_class_and_image_is_all_that_is_counted_and_painted(
    inputs: list[Path], tmp_path: Path
) -> None:
    sets = {"output__largest_only": True, "output__masks": "classes", "tiling__tile": 64}
    assert runs.segment(inputs, tmp_path / "all", "threshold", OPTIONS, **sets) == 0
    assert image_rows(tmp_path / "all") == {"a": [1, 1], "b": [1, 0]}
    found = stitched(tmp_path / "all", "a")
    assert np.bincount(found.ravel())[1:].tolist() == [160 * 180 - 152 * 172, 400]
    assert runs.segment(inputs, tmp_path / "some", "threshold", OPTIONS, **sets, output__max_pixels=300) == 0
    pixels = sorted(row["pixel_count"] for row in runs.rows(tmp_path / "some", "instances"))
    assert pixels == [1, 16, 16]  # the largest of what the other filters leave


def test_a_run_is_not_resumed_with_other_filters(inputs: list[Path], tmp_path: Path) -> None:
    assert runs.segment(inputs, tmp_path, "threshold", OPTIONS) == 0
    assert image_rows(tmp_path) == {"a": [3, 2], "b": [1, 0]}
    for other in ({"output__fill_holes": 10}, {"output__largest_only": True}, {"output__border": "drop"}):
        assert runs.segment(inputs, tmp_path, "threshold", OPTIONS, resume=True, **other) == 2
