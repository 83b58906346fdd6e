"""Laws 7 and 8: every pixel of every source is accounted for, and nothing unknown looks like zero."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from schemas.boxes import Box
from segworkers.lattice import Lattice
from tests import damage, runs, worlds
from tests.segworkers.readers.rasters import write_raster

INCOMPLETE = 3
SIDE, WINDOW, OVERLAP = 300, 64, 16
LATTICE = Lattice((1, WINDOW, WINDOW), (0, OVERLAP, OVERLAP), (1, SIDE, SIDE))
ORACLE = (runs.user_model("Oracle"), {"side": WINDOW, "overlap": OVERLAP})
POISON = 60_000
REASONS = [("raise", "model_failed"), ("nan", "bad_prediction"), ("shape", "bad_prediction")]


@pytest.fixture
def truth() -> NDArray[np.uint16]:
    """Cells that touch, with a free corner."""
    image = worlds.touching_cells(np.random.default_rng(11), SIDE).astype(np.uint16)
    image[:100, :100] = 0
    return image


@pytest.fixture
def good(tmp_path: Path, truth: NDArray[np.uint16]) -> Path:
    return raster(tmp_path / "in" / "good.tif", truth)


def raster(path: Path, pixels: NDArray[np.uint16]) -> Path:
    path.parent.mkdir(exist_ok=True)
    return write_raster(path, pixels[None], blockxsize=32, blockysize=32, compress="deflate")


def segment(inputs: Sequence[Path], out: Path, model: tuple[str, dict[str, Any]] = ORACLE, **sets: Any) -> int:
    return runs.segment(inputs, out, *model, **sets)


def image_of(out: Path, name: str) -> dict[str, Any]:
    (row,) = [row for row in runs.rows(out, "images") if Path(row["source_uri"]).stem == name]
    return row


def instances_of(out: Path, name: str) -> list[dict[str, Any]]:
    return [row for row in runs.rows(out, "instances") if Path(row["source_uri"]).stem == name]


def cells_that_need(broken: Sequence[Box]) -> NDArray[np.bool_]:
    """(y, x) of the cells whose windows meet one of the boxes."""
    failed = np.zeros((SIDE, SIDE), bool)
    for index in LATTICE.indices((0, 0, 0), LATTICE.shape):
        if any(LATTICE.real_box(index) & box for box in broken):
            failed[LATTICE.cell_box(index).within((0, 0, 0))[1:]] = True
    return failed


def assert_only_these_pixels_failed(out: Path, name: str, failed: NDArray[np.bool_], reason: str) -> None:
    image = image_of(out, name)
    assert image["pixels_failed"] == failed.sum() > 0
    assert (image["status"], image["reason"], image["is_lower_bound"]) == ("partial", reason, True)
    told = [row for row in runs.rows(out, "failures") if Path(row["source_uri"]).stem == name]
    tiles = [row for row in runs.rows(out, "tiles") if Path(row["source_uri"]).stem == name]
    assert {row["tile"] for row in told} == {row["tile"] for row in tiles if row["pixels_failed"]}
    for row in told:
        assert (row["scope"], row["reason"]) == ("tile", reason)
        assert row["message"]
        assert row["hint"]
    for row in tiles:
        inside = failed[row["y_min"] : row["y_max"], row["x_min"] : row["x_max"]]
        assert row["pixels_failed"] == inside.sum()
        assert (row["status"] == "failed") == inside.any()


def assert_objects(rows: Sequence[dict[str, Any]], truth: NDArray[Any], failed: NDArray[np.bool_]) -> None:
    """Whole and complete away from what failed; marked, and never more than there is, where they touch it."""
    near = binary_dilation(failed, np.ones((3, 3)))
    masks = [runs.mask_of(row, truth.shape) for row in rows]
    whole = {int(number) for number in np.unique(truth[truth > 0])} - {int(n) for n in np.unique(truth[near])}
    for row, mask in zip(rows, masks, strict=True):
        assert row["is_complete"] == (not (mask & near).any())
        (number,) = np.unique(truth[mask])
        if row["is_complete"]:
            assert (mask == (truth == number)).all()
            whole.remove(int(number))
    assert not whole
    assert any(row["is_complete"] for row in rows)
    assert not all(row["is_complete"] for row in rows)


def assert_untouched(out: Path, name: str, truth: NDArray[Any]) -> None:
    image = image_of(out, name)
    assert image["object_count"] == len(np.unique(truth[truth > 0]))
    assert (image["status"], image["is_lower_bound"], image["pixels_failed"]) == ("done", False, 0)
    assert all(row["is_complete"] for row in instances_of(out, name))


def assert_unknown(image: dict[str, Any], reason: str) -> None:
    for name in ("object_count", "mean_score", "classes", "valid_area_m2", "objects_per_km2"):
        assert image[name] is None, name
    assert (image["status"], image["reason"], image["is_lower_bound"]) == ("failed", reason, True)


@pytest.mark.parametrize("tile", [64, 150, 1000])
def test_spoiled_blocks_cost_the_cells_whose_windows_need_them(
    tile: int, tmp_path: Path, good: Path, truth: NDArray[np.uint16]
) -> None:
    bad = raster(tmp_path / "in" / "bad.tif", truth)
    failed = cells_that_need(damage.spoil_blocks(bad, [(5, 7), (8, 2)]))
    out = tmp_path / "out"
    assert segment([bad, good], out, tiling__tile=tile) == INCOMPLETE
    assert_untouched(out, "good", truth)
    assert_only_these_pixels_failed(out, "bad", failed, "read_failed")
    assert_objects(instances_of(out, "bad"), truth, failed)


def test_tables_do_not_depend_on_work_tiles_where_pixels_failed_either(
    tmp_path: Path, truth: NDArray[np.uint16]
) -> None:
    bad = raster(tmp_path / "in" / "bad.tif", truth)
    damage.spoil_blocks(bad, [(5, 7), (8, 2)])
    told = []
    for tile in (64, 150, 1000):
        segment([bad], tmp_path / f"{tile}", tiling__tile=tile)
        told.append(runs.files(tmp_path / f"{tile}"))
    assert told[0] == told[1] == told[2]


def test_a_truncated_file_gives_what_is_left_of_it(tmp_path: Path, good: Path, truth: NDArray[np.uint16]) -> None:
    bad = raster(tmp_path / "in" / "bad.tif", truth)
    failed = cells_that_need(damage.truncate(bad, 0.6))
    out = tmp_path / "out"
    assert segment([bad, good], out, tiling__tile=128) == INCOMPLETE
    assert_untouched(out, "good", truth)
    assert_only_these_pixels_failed(out, "bad", failed, "read_failed")
    assert_objects(instances_of(out, "bad"), truth, failed)


@pytest.mark.parametrize(("how", "reason"), REASONS)
@pytest.mark.parametrize("batch", [1, 2])
def test_an_instance_model_that_fails_in_some_windows_costs_their_cells(
    how: str, reason: str, batch: int, tmp_path: Path, good: Path, truth: NDArray[np.uint16]
) -> None:
    poisoned = truth.copy()
    poisoned[200, 230] = POISON
    bad = raster(tmp_path / "in" / "bad.tif", poisoned)
    failed = cells_that_need([Box((0, 200, 230), (1, 201, 231))])
    out = tmp_path / "out"
    options = {"side": WINDOW, "overlap": OVERLAP, "poison": POISON, "how": how, "batch": batch}
    assert segment([bad, good], out, (runs.user_model("Fragile"), options), tiling__tile=128) == INCOMPLETE
    assert_only_these_pixels_failed(out, "bad", failed, reason)
    assert_objects(instances_of(out, "bad"), truth, failed)
    assert_untouched(out, "good", truth)
    (told,) = {row["message"].split(",")[0] for row in runs.rows(out, "failures")}
    assert told == "model Fragile"


@pytest.mark.parametrize(("how", "reason"), REASONS)
def test_a_dense_model_that_fails_in_some_windows_costs_their_cells(how: str, reason: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    classes = (worlds.blobs(rng, SIDE) > 0) * 1 + (worlds.cars(rng, SIDE) > 0)
    classes = classes.astype(np.uint8)
    classes[10, 250] = 9
    bad = write_raster(tmp_path / "bad.tif", classes[None])
    lattice = Lattice((1, WINDOW, WINDOW), (0, 0, 0), (1, SIDE, SIDE))
    failed = np.zeros((SIDE, SIDE), bool)
    failed[lattice.cell_box((0, 10 // WINDOW, 250 // WINDOW)).within((0, 0, 0))[1:]] = True
    out = tmp_path / "out"
    assert segment([bad], out, (runs.user_model("FragileClasses"), {"how": how}), tiling__tile=128) == INCOMPLETE
    assert_only_these_pixels_failed(out, "bad", failed, reason)
    seen = np.where(failed, 0, classes)
    truth = sum(worlds.connected(np.where(seen == k, 1, 0)) * 2 + (k - 1) * (seen == k) for k in (1, 2))
    assert_objects(runs.rows(out, "instances"), np.asarray(truth), failed)


def test_inputs_that_cannot_be_used_are_told_and_the_others_go_on(
    tmp_path: Path, good: Path, truth: NDArray[np.uint16]
) -> None:
    folder = good.parent
    (folder / "empty.tif").touch()
    (folder / "text.tif").write_text("not an image")
    write_raster(folder / "complex.tif", truth[None, :40, :40].astype(np.complex64))
    cut = shutil.copy(good, folder / "header_cut.tif")
    damage.truncate(Path(cut), 0.0005)
    out = tmp_path / "out"
    missing = folder / "missing.tif"
    assert segment([folder, missing], out, tiling__tile=150) == INCOMPLETE
    assert_untouched(out, "good", truth)
    reasons = {
        "empty": "unreadable", "text": "unsupported_format", "complex": "unsupported_dtype", "header_cut": "unreadable",
        "missing": "not_found",
    }  # fmt: skip
    told = {Path(row["source_uri"]).stem: row for row in runs.rows(out, "failures")}
    assert {name: row["reason"] for name, row in told.items()} == reasons
    for name, row in told.items():
        assert row["scope"] == "input"
        assert row["message"]
        assert row["hint"]
        assert_unknown(image_of(out, name), reasons[name])
        assert image_of(out, name)["pixels"] is None


def test_a_run_over_bad_inputs_only_publishes_that(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("not an image")
    out = tmp_path / "out"
    assert segment([tmp_path / "text.tif", tmp_path / "missing.tif"], out) == INCOMPLETE
    assert [row["object_count"] for row in runs.rows(out, "images")] == [None, None]
    assert runs.rows(out, "instances") == runs.rows(out, "tiles") == []
    assert len(runs.rows(out, "failures")) == 2


def test_an_image_without_a_single_good_window_counts_nothing_rather_than_zero(
    tmp_path: Path, good: Path, truth: NDArray[np.uint16]
) -> None:
    all_bad = raster(tmp_path / "in" / "all_bad.tif", np.full((100, 90), POISON, np.uint16))
    out = tmp_path / "out"
    model = runs.user_model("Fragile"), {"side": WINDOW, "overlap": OVERLAP, "poison": POISON}
    assert segment([all_bad, good], out, model, tiling__tile=50) == INCOMPLETE
    image = image_of(out, "all_bad")
    assert_unknown(image, "model_failed")
    assert (image["pixels"], image["pixels_failed"], image["pixels_done"]) == (9000, 9000, 0)
    assert_untouched(out, "good", truth)


def test_an_image_whose_statistics_cannot_be_taken_is_a_failed_input(
    tmp_path: Path, good: Path, truth: NDArray[np.uint16]
) -> None:
    bad = raster(tmp_path / "in" / "bad.tif", truth)
    damage.spoil_blocks(bad, [(5, 7)])
    out = tmp_path / "out"
    assert segment([bad, good], out, ("threshold", {"window": [1, 64, 64]})) == INCOMPLETE
    assert_unknown(image_of(out, "bad"), "read_failed")
    (told,) = runs.rows(out, "failures")
    assert (told["scope"], told["reason"]) == ("input", "read_failed")
    assert told["hint"]
    assert image_of(out, "good")["object_count"] > 0


def test_unknown_areas_are_null_in_images_without_a_georeference(tmp_path: Path, truth: NDArray[np.uint16]) -> None:
    write_raster(tmp_path / "plain.tif", truth[None], crs=None, transform=None)
    out = tmp_path / "out"
    assert segment([tmp_path / "plain.tif"], out) == 0
    (image,) = runs.rows(out, "images")
    assert image["valid_area_m2"] is None
    assert image["objects_per_km2"] is None
    assert {told["area_m2"] for told in image["classes"]} == {None}
    assert {row["area_m2"] for row in runs.rows(out, "instances")} == {None}
