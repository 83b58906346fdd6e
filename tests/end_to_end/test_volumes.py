"""Whole jobs on DICOM volumes: what the tables say of phantoms and of awkward series, and that nothing changes them."""

from __future__ import annotations

import functools
import importlib.util
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from jobs.verify import verify
from schemas.boxes import Zyx
from segworkers.dicom.crosswalk import Crosswalk
from tests import runs
from tests.dicom_files import Layout, Phantom, ct_series, save
from tests.dicom_variants import NAMES, Variant, make
from tests.pipeline import same_partition
from tests.segworkers.dicom.test_pitfalls import REFUSALS, VOLUMES
from tests.volume_truth import World, class_map, components, ellipsoids, noise, on_native, painted

MODELS = runs.ROOT / "tests" / "user_models" / "volumes.py"


def model(name: str) -> str:
    """The reference of a class in `tests/user_models/volumes.py`."""
    return f"python:{MODELS}:{name}"


@functools.cache
def plugins() -> ModuleType:
    """The module of these classes, for the reference computation."""
    spec = importlib.util.spec_from_file_location("volumes_of_tests", MODELS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segmented(folder: Path, out: Path, name: str, options: dict[str, Any] | None = None, **sets: Any) -> Path:
    """A run of one of these models in which no pixel fails; it uses the crosswalk beside the archive."""
    summary = runs.run([folder], out, model(name), options, **{"dicom__crosswalk": str(folder) + ".ids", **sets})
    assert (summary.pixels_failed, summary.failed_inputs) == (0, 0)
    return out


# --- awkward series ---------------------------------------------------------------------------------------------------

MR = {name for name in NAMES if name.startswith("mr_")} | {"cardiac", "enhanced_mr"}
PET = {name for name in NAMES if name.startswith("pet")}
ODD = {"mixed_matrices": [24, 6], "enhanced_two_stacks": [24, 10]}
"""Fixtures with a volume that shows nothing of the phantom: their slices."""


@dataclass(frozen=True)
class Archive:
    """All fixtures of a kind in one archive, and the run over it."""

    out: Path
    variants: dict[str, Variant]
    studies: dict[str, str]
    """Pseudonyms of the fixtures' studies."""

    def rows(self, table: str, name: str) -> list[dict[str, Any]]:
        """Rows of a fixture, by its study."""
        return [row for row in runs.rows(self.out, table) if row["study_id"] == self.studies[name]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Archive]:
    """The archive that a fixture is in: of CT, MR or PET, each segmented at half the phantom's contrast."""

    @functools.cache
    def made(kind: str) -> Archive:
        folder = tmp_path_factory.mktemp("archive")
        names = {"MR": MR, "PT": PET, "CT": {*NAMES} - MR - PET}[kind]
        variants = {name: make(name, folder / "in" / name, alone=False)[1] for name in sorted(names)}
        phantom = next(iter(variants.values())).phantom
        level = (phantom.inside + phantom.outside) / 2
        options = {"value": level, "window": [6, 20, 24]}
        runs.run([folder / "in"], folder / "out", options=options, dicom__crosswalk=str(folder / "ids"))
        verify(folder / "out", everything=True).raise_if_bad()
        names_of = Crosswalk.open(str(folder / "ids")).pseudonyms()
        studies = {name: names_of.of("study", one.slices[0].StudyInstanceUID) for name, one in variants.items()}
        return Archive(folder / "out", variants, studies)

    return lambda name: made("MR" if name in MR else "PT" if name in PET else "CT")


@pytest.mark.parametrize("name", sorted(VOLUMES))
def test_the_phantom_of_an_awkward_series_is_found_measured_and_placed(
    name: str, archive: Callable[[str], Archive]
) -> None:
    told = archive(name)
    phantom = told.variants[name].phantom
    rows = told.rows("instances", name)
    series = {row["series_id"]: row for row in told.rows("series", name) if row["status"] != "rejected"}
    assert len(rows) == len(series) == len(VOLUMES[name])
    assert sorted(tuple(row["decisions"]) for row in series.values()) == sorted(VOLUMES[name])
    for row in rows:
        own = series[row["series_id"]]
        gaps = own["missing_slices"] > 0
        assert row["volume_mm3"] == pytest.approx(phantom.volume_mm3, rel=0.02 if gaps else 0.01)
        place = [row[f"centroid_{axis}_mm"] for axis in "xyz"]
        np.testing.assert_allclose(place, phantom.centre, atol=0.2 if gaps else 0.1)
        brighter = row["value_mean"] == pytest.approx(100.0)  # of a second phase
        assert row["value_mean"] == pytest.approx(phantom.inside, rel=1e-4) or (brighter and len(rows) > 1)
        assert row["is_complete"] is not gaps
        assert row["touches_border"] is False
        repaired = "missing_slices", "variable_spacing", "gantry_tilt", "duplicates_dropped", "split_by"
        changed = any(code.startswith(repaired) for code in own["decisions"])
        assert own["status"] == ("repaired" if changed else "accepted")
        unit = {"pet_gml": "GML", "pet_philips_counts": "CNTS"}.get(name, "BQML")
        assert row["value_unit"] == own["value_unit"] == (unit if name in PET else None if name in MR else "HU")
        assert (row["suv_mean"] is None) == ("suv_unknown" in (row["unknown_reason"] or "") or name not in PET)


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_a_refused_series_is_told_and_stops_nothing(name: str, archive: Callable[[str], Archive]) -> None:
    told = archive(name)
    refused = [row for row in told.rows("series", name) if row["status"] == "rejected"]
    counts = Counter[str]()
    for row in refused:
        counts[row["reason"]] += row["slices"]
    assert counts == REFUSALS[name]
    failures = {row["source_uri"]: row["reason"] for row in runs.rows(told.out, "failures")}
    for row in refused:
        passed_over = row["reason"] in ("localizer", "not_an_image_volume")
        assert failures.get(f"dicom:{row['series_id']}") == (None if passed_over else row["reason"])
    assert len(told.rows("instances", name)) == len(VOLUMES.get(name, ()))


def test_the_ledger_closes_over_an_archive_of_awkward_series(archive: Callable[[str], Archive]) -> None:
    told = archive("regular")
    images = runs.rows(told.out, "images")
    series = {row["series_id"]: row for row in runs.rows(told.out, "series")}
    volumes = [row for row in images if row["series_id"] is not None and row["pixels"] is not None]
    assert {row["series_id"] for row in volumes} == {k for k, row in series.items() if row["status"] != "rejected"}
    for row in volumes:
        own = series[row["series_id"]]
        assert row["pixels"] == own["slices"] * own["rows"] * own["columns"]
        assert sum(row[f"pixels_{kind}"] for kind in ("done", "empty", "nodata", "failed")) == row["pixels"]
        assert row["pixels_failed"] == 0
        assert row["is_lower_bound"] == (own["missing_slices"] > 0)
    padded = {row["study_id"] for row in volumes if row["pixels_nodata"]}
    assert padded == {told.studies["padding"], told.studies["padding_range"]}
    files = [row["reason"] for row in runs.rows(told.out, "failures") if row["source_uri"].startswith("dicom-file:")]
    assert sorted(files) == ["damaged_header", "empty_file"]


@pytest.mark.parametrize("name", ODD)
def test_the_other_stack_of_a_series_is_a_volume_without_objects(name: str, archive: Callable[[str], Archive]) -> None:
    told = archive(name)
    images = told.rows("images", name)
    assert sorted((row["depth"], row["object_count"]) for row in images) == sorted(
        (slices, int(slices == 24)) for slices in ODD[name]
    )


def test_an_object_at_the_end_of_a_volume_touches_its_border(archive: Callable[[str], Archive]) -> None:
    (row,) = archive("two_slices").rows("instances", "two_slices")
    assert (row["voxel_count"], row["touches_border"]) == (row["pixel_count"], True)


def test_an_archive_without_a_preamble_is_found(tmp_path: Path) -> None:
    make("no_preamble", tmp_path / "in")
    summary = runs.run([tmp_path / "in"], tmp_path / "out", options={"value": -10, "window": [8, 64, 64]})
    assert (summary.sources, summary.objects) == (1, 1)


def test_a_model_that_is_not_for_a_volume_refuses_it_and_goes_on(tmp_path: Path) -> None:
    thick = World(values=noise((5, 20, 20), THICK, seed=1).values, layout=Layout(shape=(5, 20, 20), spacing=THICK))
    thin = World(values=thick.values, layout=Layout(shape=(5, 20, 20), spacing=(1.0, 1.0, 1.0)), study={"study": "2"})
    for k, world in enumerate((thick, thin)):
        world.save(tmp_path / "in" / str(k))
    made = {"spacing": [1.0, 1.0, 1.0], "window": [1, 10, 10], "overlap": [0, 0, 0]}
    runs.run([tmp_path / "in"], tmp_path / "out", model("Contrast"), made)
    (failure,) = runs.rows(tmp_path / "out", "failures")
    assert (failure["scope"], failure["reason"]) == ("input", "too_thick_for_model")
    verify(tmp_path / "out", everything=True).raise_if_bad()


# --- tiles ------------------------------------------------------------------------------------------------------------

THIN = (2.5, 1.0, 1.0)
THICK = (5.0, 0.9, 0.9)
DENSE: dict[str, tuple[tuple[float, float, float], Zyx | None, tuple[int, ...], dict[str, Any]]] = {
    # spacing of the series, shape of the model's grid, axes that are flipped, options
    "own cells": (THIN, None, (), {}),
    "6 neighbours": (THIN, None, (), {"connectivity": 6, "window": [1, 9, 29], "overlap": [0, 0, 0]}),
    "18 neighbours": (THIN, None, (), {"connectivity": 18, "overlap": [0, 5, 1], "batch": [2, 1, 2]}),
    "blended": (THIN, None, (), {"blend": "gaussian"}),
    "blended in batches": (THIN, None, (), {"blend": "gaussian", "batch": [2, 1, 2], "connectivity": 6}),
    "context": (THIN, None, (), {"context": [1, 3, 5]}),
    "blended with context": (THIN, None, (), {"blend": "gaussian", "context": [3, 0, 1], "overlap": [1, 6, 0]}),
    "coarser": (THIN, (8, 13, 20), (), {"spacing": [3.0, 2.0, 1.5]}),
    "finer across slices": (THICK, (15, 16, 18), (), {"spacing": [3.0, 1.5, 1.5]}),
    "finer in the plane": (THICK, (9, 43, 48), (), {"spacing": [5.0, 0.55, 0.56]}),
    "turned": (THIN, None, (1, 2), {"orientation": "RAS"}),
    "all at once": (
        THICK,
        (15, 16, 18),
        (0, 1, 2),
        {
            "spacing": [3.0, 1.5, 1.5],
            "orientation": "RAI",
            "context": [1, 2, 3],
            "blend": "gaussian",
            "batch": [2, 1, 1],
        },
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_a_tiled_dense_model_in_space_is_the_untiled_one(name: str, tmp_path: Path) -> None:
    spacing, grid, flips, options = DENSE[name]
    world = noise((9, 26, 30), spacing, seed=4)
    world.save(tmp_path / "in")
    whole = segmented(tmp_path / "in", tmp_path / "whole", "Contrast", options)
    assert len(runs.rows(whole, "tiles")) == 1
    cells = segmented(tmp_path / "in", tmp_path / "cells", "Contrast", options, tiling__tile=1)
    some = segmented(tmp_path / "in", tmp_path / "some", "Contrast", options, tiling__tile=40, engine__chunk_tiles=2)
    assert len(runs.rows(cells, "tiles")) >= max(8, len(runs.rows(some, "tiles")))
    assert runs.files(cells) == runs.files(some) == runs.files(whole)

    one = plugins().Contrast("cpu", **options)
    classes = class_map(one, world, grid, flips)
    shape = world.values.shape
    expected = on_native(components(classes, one.connectivity), shape)
    rows = runs.rows(whole, "instances")
    assert len(rows) > 10
    found = painted(rows, shape)
    assert same_partition(found, expected)
    labels = np.array(["", *(row["label"] for row in sorted(rows, key=lambda row: row["mask_value"]))])
    assert np.array_equal(labels[found], np.array(["", *one.classes])[on_native(classes, shape)])
    verify(cells, everything=True).raise_if_bad()


def test_memory_makes_slabs_and_changes_nothing(tmp_path: Path) -> None:
    noise((9, 26, 30), THIN, seed=5).save(tmp_path / "in")
    whole = segmented(tmp_path / "in", tmp_path / "whole", "Contrast")
    tables = runs.files(whole)
    for memory in ("500KB", "500.3MB", "500.4MB"):
        out = segmented(tmp_path / "in", tmp_path / memory, "Contrast", tiling__memory=memory)
        assert runs.files(out) == tables
    tiles = runs.rows(tmp_path / "500.3MB", "tiles")
    assert {(row["y_min"], row["y_max"], row["x_min"], row["x_max"]) for row in tiles} == {(0, 26, 0, 30)}
    assert len(tiles) > 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": [4, 12, 12], "overlap": [1, 1, 1]},
        {"window": [4, 12, 12], "overlap": [2, 6, 6], "batch": [1, 2, 2]},
        {"orientation": "RAI"},
    ],
)
def test_masks_of_a_perfect_model_in_space_are_the_objects(options: dict[str, Any], tmp_path: Path) -> None:
    world = ellipsoids((14, 40, 44), 40, seed=6)
    world.save(tmp_path / "in")
    whole = segmented(tmp_path / "in", tmp_path / "whole", "Truth", options)
    cells = segmented(tmp_path / "in", tmp_path / "cells", "Truth", options, tiling__tile=1)
    assert runs.files(cells) == runs.files(whole)
    rows = runs.rows(whole, "instances")
    assert len(rows) == world.values.max() > 20
    assert same_partition(painted(rows, world.values.shape), world.values)
    for row in rows:
        assert row["value_sd"] == 0 and row["label"] == ("even", "odd")[int(row["value_mean"]) % 2]


def test_a_spacing_that_the_job_sets_is_the_one_that_a_model_declares(tmp_path: Path) -> None:
    noise((9, 26, 30), THICK, seed=7).save(tmp_path / "in")
    declared = segmented(tmp_path / "in", tmp_path / "declared", "Contrast", {"spacing": [3.0, 1.5, 1.5]})
    asked = segmented(tmp_path / "in", tmp_path / "asked", "Contrast", model__spacing=[3, 1.5, 1.5])
    plain = segmented(tmp_path / "in", tmp_path / "plain", "Contrast")
    assert runs.files(asked, "instances") == runs.files(declared, "instances") != runs.files(plain, "instances")


@pytest.mark.parametrize(
    "options",
    [
        {"spacing": [3.0, 1.5, 1.5]},
        {"spacing": [1.0, 0.7, 0.7], "orientation": "RAS"},
        {"spacing": [7.0, 3.0, 2.0], "orientation": "LPI"},
    ],
)
def test_what_a_model_finds_on_its_own_grid_is_measured_where_it_is(options: dict[str, Any], tmp_path: Path) -> None:
    layout, phantom = Layout(shape=(14, 44, 48), spacing=(5.0, 0.9, 0.9)), Phantom(semi_axes=(14.0, 11.0, 24.0))
    save(ct_series(layout, phantom), tmp_path / "in")
    out = segmented(tmp_path / "in", tmp_path / "out", "Above", {"level": -10, **options}, tiling__tile=1)
    (row,) = runs.rows(out, "instances")
    coarse = max(options["spacing"]) > 5
    assert row["volume_mm3"] == pytest.approx(phantom.volume_mm3, rel=0.06 if coarse else 0.02)
    centroid = [row[f"centroid_{axis}_mm"] for axis in "xyz"]
    np.testing.assert_allclose(centroid, phantom.centre, atol=0.7 if coarse else 0.25)
    assert row["voxel_count"] * 5 * 0.81 == pytest.approx(row["volume_mm3"])
