"""Planning: from inputs and a spec to sources, tiles and warnings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from jobs.loading import load_spec
from jobs.plan_report import plan
from jobs.planning import prepare
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.bundles import SHIPPED, open_bundle
from segworkers.segmenters.loading import require_usable
from tests import runs


def raster(path: Path, **profile: Any) -> Path:
    """A raster of 600 x 700 pixels."""
    body = {"driver": "GTiff", "height": 600, "width": 700, "count": 1, "dtype": "uint8"} | profile
    with rasterio.open(path, "w", **body) as file:
        file.write(np.ones((body["count"], body["height"], body["width"]), body["dtype"]))
    return path


def spec(*inputs: Path, **model: Any) -> Any:
    """A spec for `threshold`."""
    body = {"reference": "threshold", "options": {"value": 1}} | model
    return load_spec(values={"inputs": [str(i) for i in inputs], "model": body, "output": {"path": "out"}})


def warnings_of(*inputs: Path, **model: Any) -> str:
    """All warnings of a plan as one text."""
    report = plan(spec(*inputs, **model))
    return "\n".join([*report.warnings, *(w for source in report.sources for w in source.warnings)])


def test_a_mosaic_whose_files_are_inputs_too_is_left_out(tmp_path: Path) -> None:
    part = raster(tmp_path / "part.tif", crs="EPSG:32632", transform=from_origin(0, 0, 1, 1))
    (tmp_path / "all.vrt").write_text(
        '<VRTDataset rasterXSize="700" rasterYSize="600"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">part.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    both = prepare(spec(tmp_path))
    assert [Path(p.source.uri).name for p in both.plans] == ["part.tif"]
    assert [(Path(s.uri).name, s.reason) for s in both.skipped] == [("all.vrt", "doubles_inputs")]
    alone = prepare(spec(tmp_path / "all.vrt"))
    assert [Path(p.source.uri).name for p in alone.plans] == ["all.vrt"]
    assert part.exists()


def test_16_bit_pixels_without_a_stretch_are_warned_about(tmp_path: Path) -> None:
    wide = raster(tmp_path / "a.tif", dtype="uint16")
    assert "16-bit" in warnings_of(wide)
    assert "16-bit" not in warnings_of(wide, options={"value": 0.5, "normalise": "percentile"})


def test_an_overlap_smaller_than_the_expected_object_is_warned_about(tmp_path: Path) -> None:
    image = raster(tmp_path / "a.tif")
    assert "smaller than the expected object" in warnings_of(image, object_size=80, window=256, overlap=64)
    assert "smaller than the expected object" not in warnings_of(image, object_size=60, window=256, overlap=64)


SOFT = """
class Soft:
    kind, window, overlap, classes, batch = "dense", (1, 64, 64), (0, 16, 16), ("a", "b", "c"), (1, 2, 2)
    def __init__(self, device): ...
    def predict(self, windows): ...
"""


def test_where_windows_do_not_overlap_nobody_is_told_that_objects_are_put_together(tmp_path: Path) -> None:
    image = raster(tmp_path / "a.tif")
    (tmp_path / "masks.py").write_text(
        SOFT.replace("dense", "instance").replace("predict(self, windows)", "predict(self, windows, valid)")
    )
    masks = {"reference": f"python:{tmp_path}/masks.py:Soft", "options": {}}
    assert "one object for each window" in warnings_of(image, **masks, overlap=0)
    assert "below 16" in warnings_of(image, **masks, overlap=8)
    assert "overlap" not in warnings_of(image, **masks)


def test_a_job_can_blend_and_its_tiles_then_show_the_batches_around_them_within_the_memory(tmp_path: Path) -> None:
    image = raster(tmp_path / "a.tif", height=3000, width=3000)
    (tmp_path / "soft.py").write_text(SOFT)
    tiling = {"memory": "600MB"}
    model = {"reference": f"python:{tmp_path}/soft.py:Soft"}
    bodies = [
        {"inputs": [str(image)], "model": model | blend, "output": {"path": "out"}, "tiling": tiling}
        for blend in ({}, {"blend": "gaussian"})
    ]
    plain, blended = (load_spec(values=body) for body in bodies)
    tiles = [prepare(each).plans[0].tiles for each in (plain, blended)]
    assert prepare(plain).manifest.blend == "none" and prepare(blended).manifest.blend == "gaussian"
    assert [each.margin for each in tiles] == [(0, 0, 0), (0, 2, 2)]
    first, second = tiles[1].tile((0, 0, 0)), tiles[1].tile((0, 1, 1))
    assert first.shown_start == (0, 0, 0) and second.shown_start == (0, second.start[1] - 2, second.start[2] - 2)
    assert len(tiles[1]) > len(tiles[0]), "the sums take memory too"
    assert plan(blended).worker_memory_bytes <= 1.1 * 600e6
    assert plain.digest() != blended.digest()


def test_blending_is_refused_or_warned_about_where_it_cannot_do_anything(tmp_path: Path) -> None:
    image = raster(tmp_path / "a.tif")
    with pytest.raises(SpecError, match=r"model\.blend=gaussian: threshold gives classes without probabilities"):
        plan(spec(image, blend="gaussian"))
    with pytest.raises(SpecError, match="blend"):
        spec(image, blend="mean")
    (tmp_path / "soft.py").write_text(SOFT)
    soft = {"reference": f"python:{tmp_path}/soft.py:Soft", "options": {}, "blend": "gaussian"}
    assert "nothing to blend" in warnings_of(image, **soft, overlap=0)
    assert "nothing to blend" not in warnings_of(image, **soft)


def test_an_image_smaller_than_the_window_is_warned_about(tmp_path: Path) -> None:
    assert "smaller than the model's window" in warnings_of(raster(tmp_path / "a.tif"), window=1024)


def test_a_resolution_reduces_the_grid_and_never_enlarges_it(tmp_path: Path) -> None:
    image = raster(tmp_path / "a.tif", crs="EPSG:32632", transform=from_origin(500_000, 5_000_000, 0.5, 0.5))
    assert prepare(spec(image, resolution=1.0)).plans[0].grid.shape == (1, 300, 350)
    assert prepare(spec(image, resolution=0.1)).plans[0].grid.shape == (1, 600, 700)
    assert "resolution" in warnings_of(image, resolution=0.1)


def test_a_resolution_without_a_georeference_is_refused_for_that_image_alone(tmp_path: Path) -> None:
    placed = raster(tmp_path / "a.tif", crs="EPSG:32632", transform=from_origin(500_000, 5_000_000, 0.5, 0.5))
    planned = prepare(spec(placed, raster(tmp_path / "b.tif"), resolution=1.0))
    assert len(planned.plans) == 1
    assert [s.reason for s in planned.skipped] == ["no_resolution"]
    assert "raster.pixel_size" in planned.skipped[0].hint


@pytest.mark.parametrize(
    ("stated", "shape"), [(0.25, (1, 150, 175)), ([0.5, 1.0], (1, 300, 700)), ("5e-1", (1, 300, 350))]
)
def test_a_stated_pixel_size_is_that_of_images_off_the_map_alone(tmp_path: Path, stated: Any, shape: Any) -> None:
    placed = raster(tmp_path / "a.tif", crs="EPSG:32632", transform=from_origin(500_000, 5_000_000, 0.5, 0.5))
    values = spec(placed, raster(tmp_path / "b.tif"), resolution=1.0).model_dump() | {"raster": {"pixel_size": stated}}
    planned = prepare(load_spec(values=values))
    assert not planned.skipped
    assert [plan.grid.shape for plan in planned.plans] == [(1, 300, 350), shape]
    assert planned.plans[0].source.pixel_um is None


def test_a_stated_pixel_size_gives_measures_and_makes_another_job(tmp_path: Path) -> None:
    image, out = raster(tmp_path / "a.tif"), tmp_path / "out"
    runs.run([image], out, "threshold", {"value": 0}, raster__pixel_size=2e-6)
    (row,) = runs.rows(out, "instances")
    assert row["area_um2"] == pytest.approx(4 * row["pixel_count"])
    assert runs.rows(out, "images")[0]["pixel_um_y"] == pytest.approx(2)
    with pytest.raises(SpecError):
        runs.run([image], out, "threshold", {"value": 0}, raster__pixel_size=3e-6, resume=True)


def test_a_pixel_size_is_above_0(tmp_path: Path) -> None:
    for wrong in (0, -1, [1], [1, 2, 3], "wide"):
        with pytest.raises(SpecError, match="pixel_size"):
            load_spec(values=spec(tmp_path / "a.tif").model_dump() | {"raster": {"pixel_size": wrong}})


def test_a_band_that_is_not_there_is_refused_for_that_image_alone(tmp_path: Path) -> None:
    colour = raster(tmp_path / "a.tif", count=3, photometric="RGB")
    planned = prepare(spec(colour, raster(tmp_path / "b.tif"), bands=["blue"]))
    assert [p.bands for p in planned.plans] == [(2,)]
    (skipped,) = planned.skipped
    assert skipped.reason == "missing_band" and "takes the band 'blue'" in skipped.message
    assert skipped.message.endswith("has 1: gray.")


def test_a_band_that_is_not_there_is_told_by_its_place(tmp_path: Path) -> None:
    (skipped,) = prepare(spec(raster(tmp_path / "a.tif"), bands=[1])).skipped
    assert "takes the band at index 1 (0-based)" in skipped.message and skipped.message.endswith("has 1: gray.")


def test_memory_bounds_the_work_tile(tmp_path: Path) -> None:
    image = raster(tmp_path / "a.tif", height=3000, width=3000)
    body = {
        "inputs": [str(image)],
        "model": {"reference": "threshold", "options": {"value": 1}},
        "output": {"path": "o"},
    }
    small = plan(load_spec(values=body | {"tiling": {"memory": "520MB"}}))
    large = plan(load_spec(values=body | {"tiling": {"memory": "4GB"}}))
    assert small.tiles > large.tiles == 1
    assert small.worker_memory_bytes < 600e6


def test_an_overlap_of_more_than_half_the_window_stops_the_job(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="half the window"):
        prepare(spec(raster(tmp_path / "a.tif"), window=64, overlap=40))


def test_another_window_for_a_network_that_has_one_is_refused_before_any_work() -> None:
    valid = ModelManifest(
        name="liver-lesions", kind="dense", window=(42, 84, 92), context=(24, 46, 46), overlap=(0, 0, 0), classes=("a",)
    )
    require_usable("liver-lesions", valid, replace(valid, overlap=(2, 4, 4)))
    with pytest.raises(SpecError, match=r"model\.window=\[40, 84, 92\]: liver-lesions .*\[42, 84, 92\]"):
        require_usable("liver-lesions", valid, replace(valid, window=(40, 84, 92)))
    padded = replace(valid, context=(0, 0, 0))
    require_usable("liver-lesions", padded, replace(padded, window=(40, 84, 92)))
    require_usable("python:own.py:Model", valid, replace(valid, window=(40, 84, 92)))


def test_a_copy_of_such_a_network_is_refused_another_window_too(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "liver-lesions", tmp_path / "copy")
    copy = str(tmp_path / "copy")
    declared = open_bundle(copy).definition.manifest
    other = replace(declared, window=(40, 84, 92))
    with pytest.raises(SpecError, match=r"model\.window=\[40, 84, 92\]: .*copy answers for windows of \[42, 84, 92\]"):
        require_usable(copy, declared, other)
    document = json.loads((tmp_path / "copy" / "model.json").read_text())
    (tmp_path / "copy" / "model.json").write_text(json.dumps(document | {"family": "torchscript"}))
    require_usable(copy, declared, other)
