"""Law 2 for seam profiles: they depend on lattice, pixels and objects, never on how windows were grouped into tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.boxes import Box
from tests import runs, worlds
from tests.fakes import ArrayReader, TruthClasses, TruthMasks
from tests.pipeline import plan_for, run_source
from tests.segworkers.readers.rasters import write_raster


@given(
    seed=st.integers(0, 2**32 - 1),
    side=st.integers(8, 70),
    window=st.integers(8, 24),
    overlap=st.integers(0, 8),
    groups=st.lists(st.integers(1, 4), min_size=2, max_size=2, unique=True),
    broken=st.booleans(),
)
def test_pixels_by_distance_do_not_depend_on_the_work_tile_and_add_up(
    seed: int, side: int, window: int, overlap: int, groups: list[int], broken: bool
) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.random((1, side, side)) < 0.3).astype(np.uint8)
    valid = rng.random((1, side, side)) < 0.8
    hole = Box((0, 3, 3), (1, 5, 6))
    model = TruthClasses((1, window, window), (0, overlap, overlap)) if 2 * overlap <= window else None
    model = model or TruthClasses((1, window, window), (0, 0, 0))
    sums: list[tuple[int, ...]] = []
    for group in groups:
        reader = ArrayReader(image, valid, [hole] if broken else [])
        _, receipts = run_source(reader, model, (1, group, group), seed)
        counts = receipts[0].counts
        for receipt in receipts[1:]:
            counts += receipt.counts
        assert sum(counts.by_distance) == counts.done + counts.empty
        sums.append(counts.by_distance)
    assert sums[0] == sums[1]
    if not broken:
        places = np.argwhere(valid) + 0.5
        frame = plan_for(ArrayReader(image), model, (1, 1, 1)).seams
        assert list(sums[0]) == np.bincount(frame.bins_of(places.astype(np.float64)), minlength=frame.size).tolist()


def test_the_published_profile_is_the_same_for_every_work_tile_and_perfect_models_are_flat(tmp_path: Path) -> None:
    truth = worlds.cars(np.random.default_rng(1), 700).astype(np.uint16)
    path = write_raster(tmp_path / "cars.tif", truth[None], crs=None, transform=None)
    outs = [tmp_path / f"out-{tile}" for tile in (64, 300, 2000)]
    for out, tile in zip(outs, (64, 300, 2000), strict=True):
        summary = runs.run([path], out, runs.user_model("Oracle"), tiling__tile=tile)
        assert summary.seam.startswith("no seam: as many objects")
    assert runs.files(outs[0]) == runs.files(outs[1]) == runs.files(outs[2])
    (image,) = runs.rows(outs[0], "images")
    profile = runs.rows(outs[0], "seams")
    assert image["seam_verdict"] == "flat" and image["seam_ratio_low"] < 1 < image["seam_ratio_high"]
    assert sum(row["object_count"] for row in profile) == image["object_count"] == len(np.unique(truth)) - 1
    assert sum(row["pixels"] for row in profile) == image["pixels_done"] + image["pixels_empty"]


FAULTY = f"python:{runs.USER_MODELS.with_name('faulty.py')}"


@pytest.mark.parametrize(
    ("model", "overlap", "verdict"),
    [
        ("Moody", 32, "excess near borders"),
        ("Moody", 48, "excess near borders"),
        ("Moody", 64, "cannot tell"),
        ("BlindAtItsRim", 32, "lack near borders"),
        ("BlindAtItsRim", 40, "lack near borders"),
    ],
)
def test_faulty_models_are_found_out_however_wide_the_overlap(
    tmp_path: Path, model: str, overlap: int, verdict: str
) -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((1, 900, 900), np.uint16)
    for number, field in enumerate(np.ndindex(64, 64), start=1):
        y, x = 14 * np.array(field) + rng.integers(1, 10, 2)
        image[0, y : y + 4, x : x + 4] = number
    path = write_raster(tmp_path / "squares.tif", image, crs=None, transform=None)
    events = runs.Recorder()
    out = tmp_path / "out"
    runs.run([path], out, f"{FAULTY}:{model}", {"overlap": overlap}, events=events)
    (source,) = runs.rows(out, "images")
    assert source["seam_verdict"] == verdict
    assert any("SEAM" in warning for warning in events.warnings) == ("near borders" in verdict)
    profile = [row for row in runs.rows(out, "seams") if row["zone"] != "margin"]
    assert [row["distance_max_px"] for row in profile[:-1]] == [row["distance_min_px"] for row in profile[1:]]
    assert profile[0]["distance_min_px"] == -overlap // 2 and {row["zone"] for row in profile} == {"near", "far"}
    if overlap < 64:
        assert all((row["zone"] == "near") == (row["distance_min_px"] < 0) for row in profile)


def test_a_source_of_one_window_has_a_profile_without_bins(tmp_path: Path) -> None:
    truth = worlds.cars(np.random.default_rng(1), 60).astype(np.uint16)
    path = write_raster(tmp_path / "cars.tif", truth[None], crs=None, transform=None)
    summary = runs.run([path], tmp_path / "out", runs.user_model("Oracle"))
    (row,) = runs.rows(tmp_path / "out", "seams")
    assert (row["zone"], row["pixels"], row["distance_min_px"]) == ("margin", 3600, None)
    assert runs.rows(tmp_path / "out", "images")[0]["seam_verdict"] == "no borders"
    assert "no source took more than one window" in summary.seam


@pytest.mark.parametrize("overlap", [16, 32])
def test_objects_beyond_the_overlap_are_warned_of_with_a_number_that_would_do(tmp_path: Path, overlap: int) -> None:
    image = np.zeros((1, 300, 300), np.uint16)
    for number, y in enumerate(range(20, 280, 20), start=1):
        image[0, y : y + 4, 10 + 5 * number : 34 + 5 * number] = 2 * number  # 24 pixels long, of class_0
    path = write_raster(tmp_path / "bars.tif", image, crs=None, transform=None)
    events = runs.Recorder()
    options = {"side": 64, "overlap": overlap}
    runs.run([path], tmp_path / "out", runs.user_model("Oracle"), options, events=events)
    told = [warning for warning in events.warnings if "overlap is" in warning]
    (row,) = runs.rows(tmp_path / "out", "images")
    assert row["object_size_p95_px"] == 24
    if overlap == 32:
        assert not told and row["assembled_count"] == 0
    else:
        assert len(told) == 1 and told[0].startswith("class_0: ")
        assert "set model.overlap to 32 or more" in told[0] and row["assembled_count"] > 0
        assert f"{row['assembled_count']} of 13 were seen whole" in told[0]


def test_dense_models_need_no_overlap_and_are_not_warned(tmp_path: Path) -> None:
    image = np.zeros((1, 300, 300), np.uint8)
    image[0, 10:290, 100:110] = 200
    path = write_raster(tmp_path / "bar.tif", image, crs=None, transform=None)
    events = runs.Recorder()
    runs.run([path], tmp_path / "out", options={"value": 100}, events=events, model__window=[64], model__overlap=[0])
    (row,) = runs.rows(tmp_path / "out", "images")
    assert row["object_size_p95_px"] > 200 and row["assembled_count"] == 1 and events.warnings == []


def test_truth_masks_and_truth_classes_are_used() -> None:
    """Both kinds of model count pixels the same way: the profile is a matter of lattice and validity."""
    image = np.ones((1, 50, 50), np.uint8)
    found = [
        run_source(ArrayReader(image), model((1, 16, 16), (0, 4, 4)), (1, 2, 2))[1][0].counts.by_distance
        for model in (TruthMasks, TruthClasses)
    ]
    assert found[0] == found[1] and sum(found[0]) > 0
