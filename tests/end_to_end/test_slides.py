"""Whole jobs on whole-slide images: what the tables say of known discs, and that nothing changes it."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pydicom.encaps import encapsulate

from jobs.results import open_results
from schemas.patient_tables import SLIDE_MEASURES
from schemas.tables import SCHEMAS
from segworkers.dicom.slide import Slide
from tests import runs
from tests.dicom_archives import IDENTITIES
from tests.dicom_files import SENTINEL, UID_ROOT, Layout, ct_series, save
from tests.dicom_slides import Tiling, pyramid, unreadable
from tests.leftovers import traces

if TYPE_CHECKING:
    from jobs.engines.cluster import RayEngine

ROWS, COLUMNS = 300, 420
DISCS = ((40.0, 60.0, 24.0), (150.0, 200.0, 40.0), (97.0, 333.0, 30.0), (255.0, 70.0, 18.0), (230.0, 380.0, 12.0))
"""Centre (y, x) and radius in pixels; apart from each other and from the edges."""
UM = 0.25
TILE = (64, 80)
HOLES = (5, 12)
"""Tiles that the sparse slide leaves out: the last of the first row, and one in a row of its own."""
DARK = {"value": 128, "above": False, "window": [1, 64, 64]}


@functools.cache
def painted() -> NDArray[np.uint8]:
    """(y, x, 3): purple discs on white."""
    y, x = np.mgrid[:ROWS, :COLUMNS] + 0.5
    seen = np.full((ROWS, COLUMNS, 3), 240, np.uint8)
    for cy, cx, radius in DISCS:
        seen[np.hypot(y - cy, x - cx) <= radius] = (90, 40, 120)
    return seen


def slide(folder: Path, **how: Any) -> Path:
    """Three levels of it, and a label that nobody may open; names of files and attributes are a patient's."""
    tiling = Tiling(tile=TILE, **how)
    um = tiling.pixel_um
    levels = [
        replace(tiling, pixel_um=(um[0] * 2**k, um[1] * 2**k), absent=() if k else tiling.absent) for k in range(3)
    ]
    label = unreadable("LABEL", "label")
    label.PixelData = encapsulate([f"{SENTINEL} on the label".encode() * 99] * int(label.NumberOfFrames))
    save([*pyramid(levels, painted()), label], folder, word=SENTINEL)
    return folder


def segmented(folder: Path, out: Path, options: dict[str, Any] | None = None, **sets: Any) -> Path:
    """A run whose ledger closes and in which no pixel fails; it uses the crosswalk beside the archive."""
    told = {"dicom__crosswalk": f"{folder}.ids", **sets}
    assert runs.segment([folder], out, "threshold", DARK | (options or {}), **told) == 0
    return out


def disc_of(row: dict[str, Any], um: tuple[float, float]) -> tuple[float, float, float]:
    """The disc whose centre the row's centroid is."""
    return min(
        DISCS, key=lambda d: math.hypot(row["centroid_y_um"] - d[0] * um[0], row["centroid_x_um"] - d[1] * um[1])
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_discs_are_counted_and_measured(sparse: bool, tmp_path: Path) -> None:
    out = segmented(slide(tmp_path / "in", sparse=sparse, jpeg=sparse, pixel_um=(UM, UM)), tmp_path / "out")
    rows = runs.rows(out, "instances")
    assert len(rows) == len(DISCS) and {disc_of(row, (UM, UM)) for row in rows} == set(DISCS)
    for row in rows:
        cy, cx, radius = (each * UM for each in disc_of(row, (UM, UM)))
        assert row["area_um2"] == pytest.approx(math.pi * radius**2, rel=0.03)
        assert row["area_um2"] == pytest.approx(row["pixel_count"] * UM**2, rel=1e-12)
        assert (row["centroid_y_um"], row["centroid_x_um"]) == pytest.approx((cy, cx), abs=0.2 * UM)
        assert row["width_um"] <= row["length_um"] == pytest.approx(2 * radius, abs=2.5 * UM)
        assert (row["length_um"], row["width_um"]) == pytest.approx((row["length_px"] * UM, row["width_px"] * UM))
        assert row["volume_mm3"] is row["voxel_count"] is row["area_m2"] is row["geometry"] is None
        assert row["polygon_px"] is not None and row["is_complete"]
    (image,), (series,) = runs.rows(out, "images"), accepted(out)
    assert (image["pixels"], image["pixels_nodata"], image["object_count"]) == (ROWS * COLUMNS, 0, len(DISCS))
    assert (image["pixel_um_y"], image["pixel_um_x"]) == (UM, UM)
    area = ROWS * COLUMNS * UM**2 / 1e6
    assert image["valid_area_mm2"] == pytest.approx(area, rel=1e-12)
    assert image["objects_per_mm2"] == pytest.approx(len(DISCS) / area, rel=1e-12)
    assert image["valid_area_m2"] is image["objects_per_km2"] is image["valid_volume_mm3"] is None
    assert (image["modality"], series["modality"]) == ("SM", "SM")
    for name in ("series_id", "study_id", "subject_id", "source_id"):
        assert image[name] == series[name] is not None
    assert {(row["series_id"], row["study_id"]) for row in rows} == {(series["series_id"], series["study_id"])}


def accepted(out: Path) -> list[dict[str, Any]]:
    """Rows of `series` that are sources."""
    return [row for row in runs.rows(out, "series") if row["status"] != "rejected"]


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    um = (0.5, 0.25)
    out = segmented(slide(tmp_path / "in", pixel_um=um), tmp_path / "out")
    for row in runs.rows(out, "instances"):
        radius = disc_of(row, um)[2]
        assert row["area_um2"] == pytest.approx(math.pi * radius**2 * um[0] * um[1], rel=0.03)
        assert row["length_um"] == pytest.approx(2 * radius * um[0], abs=1.0)  # discs are ellipses on this slide
        assert row["width_um"] == pytest.approx(2 * radius * um[1], abs=1.0)
    (image,) = runs.rows(out, "images")
    assert (image["pixel_um_y"], image["pixel_um_x"]) == um


def test_tiles_that_are_not_there_are_nodata_and_the_ledger_closes(tmp_path: Path) -> None:
    folder = slide(tmp_path / "in", sparse=True, absent=HOLES, pixel_um=(UM, UM))
    out = segmented(folder, tmp_path / "out", {"value": 250})  # all that is there; what is not is white
    hole = np.zeros((ROWS, COLUMNS), bool)
    across = -(-COLUMNS // TILE[1])
    for number in HOLES:
        y, x = number // across * TILE[0], number % across * TILE[1]
        hole[y : y + TILE[0], x : x + TILE[1]] = True
    (image,) = runs.rows(out, "images")
    assert image["pixels_nodata"] == hole.sum() > 0
    assert image["pixels_done"] + image["pixels_empty"] == (~hole).sum()
    assert image["valid_area_mm2"] == pytest.approx((~hole).sum() * UM**2 / 1e6)
    (row,) = runs.rows(out, "instances")
    assert np.array_equal(runs.mask_of(row, hole.shape), ~hole)


def test_another_level_has_the_same_objects_of_the_same_size(tmp_path: Path) -> None:
    folder = slide(tmp_path / "in", pixel_um=(UM, UM))
    fine = segmented(folder, tmp_path / "fine")
    coarse = segmented(folder, tmp_path / "coarse", dicom__slide_um_per_pixel=0.6)
    assert [row["height"] for name in (fine, coarse) for row in runs.rows(name, "images")] == [ROWS, ROWS // 2]
    (series,) = accepted(coarse)
    assert series["decisions"][0] == "coarser_level" and (series["rows"], series["columns"]) == (150, 210)
    found = {disc_of(row, (UM, UM)): row for row in runs.rows(coarse, "instances")}
    assert set(found) == set(DISCS)
    for row in runs.rows(fine, "instances"):
        other = found[disc_of(row, (UM, UM))]
        assert other["area_um2"] == pytest.approx(row["area_um2"], rel=0.06)
        assert other["pixel_count"] == pytest.approx(row["pixel_count"] / 4, rel=0.06)
    assert runs.rows(fine, "images")[0]["source_id"] == runs.rows(coarse, "images")[0]["source_id"]


def test_a_level_that_is_finer_than_there_is_fails_the_input(tmp_path: Path) -> None:
    folder = slide(tmp_path / "in", pixel_um=(UM, UM))
    assert runs.segment([folder], tmp_path / "out", "threshold", DARK, dicom__slide_um_per_pixel=0.2) != 0
    (failure,) = runs.rows(tmp_path / "out", "failures")
    assert failure["reason"] == "too_coarse" and failure["source_uri"].startswith("dicom:")


@pytest.mark.parametrize("um", [(UM, UM), (0.5, 0.25)])
def test_a_model_with_a_resolution_sees_coarser_pixels_and_measures_on_the_native_ones(
    um: tuple[float, float], tmp_path: Path
) -> None:
    folder = slide(tmp_path / "in", pixel_um=um)
    out = segmented(folder, tmp_path / "out", model__resolution=0.5e-6)
    windows = sum(row["windows"] for row in runs.rows(out, "tiles"))
    assert windows == math.ceil(ROWS * um[0] / 0.5 / 64) * math.ceil(COLUMNS * um[1] / 0.5 / 64)
    rows = runs.rows(out, "instances")
    assert {disc_of(row, um) for row in rows} == set(DISCS)
    for row in rows:
        radius = disc_of(row, um)[2]
        assert row["area_um2"] == pytest.approx(math.pi * radius**2 * um[0] * um[1], rel=0.12)
    (image,) = runs.rows(out, "images")
    assert (image["height"], image["width"]) == (ROWS, COLUMNS)
    assert (image["pixel_um_y"], image["pixel_um_x"]) == um


@pytest.mark.long
@pytest.mark.cluster
def test_tiles_and_engine_change_nothing(tmp_path: Path, ray_engine: RayEngine) -> None:
    folder = slide(tmp_path / "in", sparse=True, absent=HOLES, pixel_um=(UM, UM))
    whole = runs.files(segmented(folder, tmp_path / "whole"))
    for name, sets in {
        "one window a tile": {"tiling__tile": 1},
        "some": {"tiling__tile": 130, "engine__chunk_tiles": 2},
        "ray": {"tiling__tile": 64, "engine__kind": "ray", "engine__address": "auto", "engine__workers": 2},
    }.items():
        out = segmented(folder, tmp_path / name, **sets)
        assert len(runs.rows(out, "tiles")) > 1
        assert runs.files(out) == whole


def test_masks_of_slides_are_rasters_and_volumes_beside_them_keep_their_own_columns(tmp_path: Path) -> None:
    folder = slide(tmp_path / "in", pixel_um=(UM, UM))
    save(ct_series(Layout(shape=(6, 40, 48)), patient="P2"), folder / "ct")
    out = segmented(folder, tmp_path / "out", output__masks="labels")
    images = {row["modality"]: row for row in runs.rows(out, "images")}
    assert set(images) == {"CT", "SM"}
    names = [field.name for field in SLIDE_MEASURES]
    for row in runs.rows(out, "instances"):
        is_slide = row["source_id"] == images["SM"]["source_id"]
        assert all((row[name] is not None) == is_slide for name in names)
        assert (row["volume_mm3"] is None) == is_slide
    assert images["CT"]["pixel_um_x"] is images["CT"]["objects_per_mm2"] is None
    assert images["CT"]["valid_volume_mm3"] is not None
    (path,) = out.glob("masks/*/*.tif")
    with rasterio.open(path) as mask:
        stitched = mask.read(1)
    values = {row["mask_value"] for row in runs.rows(out, "instances") if row["source_id"] == images["SM"]["source_id"]}
    assert set(np.unique(stitched).tolist()) == values | {0}
    assert np.array_equal(stitched > 0, painted()[..., 0] < 128)
    per_series = open_results(out).sql("SELECT modality, object_count FROM per_series ORDER BY 1").to_pylist()
    assert [row["modality"] for row in per_series] == ["CT", "SM"] and per_series[1]["object_count"] == len(DISCS)


def test_a_model_for_another_modality_leaves_slides_out(tmp_path: Path) -> None:
    model = tmp_path / "ct.py"
    model.write_text(
        "class ForCt:\n"
        "    kind, classes, window, overlap = 'dense', ('a',), (1, 64, 64), (0, 0, 0)\n"
        "    modalities, bands = ('CT',), (0,)\n"
        "    def __init__(self, device):\n        pass\n"
        "    def predict(self, windows):\n        return (windows[:, 0] < 128).astype('u1')\n"
    )
    folder = slide(tmp_path / "in", pixel_um=(UM, UM))
    runs.segment([folder], tmp_path / "out", f"python:{model}:ForCt", {}, dicom__crosswalk=f"{folder}.ids")
    assert [row["reason"] for row in runs.rows(tmp_path / "out", "failures")] == ["wrong_modality"]


def test_nothing_of_the_patient_or_of_the_label_is_left_in_the_run(tmp_path: Path) -> None:
    folder = slide(tmp_path / "in", sparse=True, pixel_um=(UM, UM))
    out = segmented(folder, tmp_path / "out", output__masks="classes")
    assert traces(out, IDENTITIES) == []
    assert len(runs.rows(out, "instances")) == len(DISCS)
    (series,) = accepted(out)
    (kept,) = Path(f"{folder}.ids", "slides").glob(f"{series['series_id']}.*.json.gz")
    assert Slide.from_bytes(kept.read_bytes()).series_uid.startswith(UID_ROOT)


def test_a_preview_of_a_slide_says_that_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.cli import main

    out = segmented(slide(tmp_path / "in", pixel_um=(UM, UM)), tmp_path / "out")
    capsys.readouterr()
    assert main(["preview", str(out), "-o", str(tmp_path / "a.png")]) != 0
    told = capsys.readouterr().err
    assert "preview" in told and "dicom:" in told and "Traceback" not in told
    assert not (tmp_path / "a.png").exists()


def test_a_slide_is_resumed_from_its_tiles_unless_it_changed(tmp_path: Path) -> None:
    folder = slide(tmp_path / "in", pixel_um=(UM, UM))
    sets: dict[str, Any] = {"dicom__crosswalk": f"{folder}.ids", "tiling__tile": 64}
    first = runs.run([folder], tmp_path / "out", "threshold", DARK, **sets)
    again = runs.run([folder], tmp_path / "out", "threshold", DARK, resume=True, **sets)
    tables = runs.files(tmp_path / "out")
    assert again.tiles_resumed == again.tiles == first.tiles > 1
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        file.write_bytes(file.read_bytes())
    anew = runs.run([folder], tmp_path / "out", "threshold", DARK, resume=True, **sets)
    assert anew.tiles_resumed == 0 and runs.files(tmp_path / "out") == tables


def test_rasters_have_the_columns_and_no_values(tmp_path: Path) -> None:
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=64, width=64, count=1, dtype="uint8") as file:
        file.write(np.eye(64, dtype=np.uint8)[None] * 255)
    assert runs.segment([tmp_path / "a.tif"], tmp_path / "out", "threshold", {"value": 128}) == 0
    (row,), (image,) = runs.rows(tmp_path / "out", "instances"), runs.rows(tmp_path / "out", "images")
    assert {row[field.name] for field in SLIDE_MEASURES} == {None}
    assert {image[name] for name in ("pixel_um_y", "pixel_um_x", "valid_area_mm2", "objects_per_mm2")} == {None}
    assert list(row) == SCHEMAS["instances"].names
