"""Whole jobs on DICOM volumes: what the tables say of phantoms and of awkward series, and that nothing changes them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from jobs.verify import verify
from schemas.boxes import Zyx
from tests import runs
from tests.pipeline import same_partition
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


THIN = (2.5, 1.0, 1.0)
THICK = (5.0, 0.9, 0.9)
DENSE: dict[str, tuple[tuple[float, float, float], Zyx | None, tuple[int, ...], dict[str, Any]]] = {
    # spacing of the series, shape of the model's grid, axes that are flipped, options
    "own cells": (THIN, None, (), {}),
    "6 neighbours": (THIN, None, (), {"connectivity": 6, "window": [1, 9, 40], "overlap": [0, 0, 0]}),
    "18 neighbours": (THIN, None, (), {"connectivity": 18, "overlap": [0, 5, 1], "batch": [2, 1, 2]}),
    "blended": (THIN, None, (), {"blend": "gaussian"}),
    "blended in batches": (THIN, None, (), {"blend": "gaussian", "batch": [2, 1, 2], "connectivity": 6}),
    "context": (THIN, None, (), {"context": [1, 3, 5]}),
    "blended with context": (THIN, None, (), {"blend": "gaussian", "context": [3, 0, 1], "overlap": [1, 6, 0]}),
    "coarser": (THIN, (11, 18, 27), (), {"spacing": [3.0, 2.0, 1.5]}),
    "finer across slices": (THICK, (22, 22, 25), (), {"spacing": [3.0, 1.5, 1.5]}),
    "finer in single slices": (THICK, (22, 36, 41), (), {"spacing": [3.0, 0.9, 0.9], "window": [1, 12, 14], "overlap": [0, 4, 6]}),
    "turned": (THIN, None, (1, 2), {"orientation": "RAS"}),
    "all at once": (
        THICK,
        (22, 22, 25),
        (0, 1, 2),
        {"spacing": [3.0, 1.5, 1.5], "orientation": "RAI", "context": [1, 2, 3], "blend": "gaussian", "batch": [2, 1, 1]},
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_a_tiled_dense_model_in_space_is_the_untiled_one(name: str, tmp_path: Path) -> None:
    spacing, grid, flips, options = DENSE[name]
    world = noise((13, 36, 41), spacing, seed=4)
    world.save(tmp_path / "in")
    whole = segmented(tmp_path / "in", tmp_path / "whole", "Contrast", options)
    assert len(runs.rows(whole, "tiles")) == 1
    cells = segmented(tmp_path / "in", tmp_path / "cells", "Contrast", options, tiling__tile=1)
    some = segmented(tmp_path / "in", tmp_path / "some", "Contrast", options, tiling__tile=60, engine__chunk_tiles=2)
    assert len(runs.rows(cells, "tiles")) > len(runs.rows(some, "tiles")) > 1
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
    noise((13, 36, 41), THIN, seed=5).save(tmp_path / "in")
    whole = segmented(tmp_path / "in", tmp_path / "whole", "Contrast")
    tables = runs.files(whole)
    for memory in ("500KB", "500.3MB", "501MB"):
        out = segmented(tmp_path / "in", tmp_path / memory, "Contrast", tiling__memory=memory)
        assert runs.files(out) == tables
    tiles = runs.rows(tmp_path / "500.3MB", "tiles")
    assert {(row["y_min"], row["y_max"], row["x_min"], row["x_max"]) for row in tiles} == {(0, 36, 0, 41)}
    assert len(tiles) > 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": [4, 12, 12], "overlap": [1, 1, 1]},
        {"window": [4, 12, 12], "overlap": [2, 6, 6], "batch": [1, 2, 2]},
        {"window": [1, 16, 16], "overlap": [0, 4, 4]},
        {"orientation": "RAI"},
    ],
)
def test_masks_of_a_perfect_model_in_space_are_the_objects(options: dict[str, Any], tmp_path: Path) -> None:
    world = ellipsoids((20, 50, 54), 40, seed=6)
    world.save(tmp_path / "in")
    whole = segmented(tmp_path / "in", tmp_path / "whole", "Truth", options)
    cells = segmented(tmp_path / "in", tmp_path / "cells", "Truth", options, tiling__tile=1)
    assert runs.files(cells) == runs.files(whole)
    rows = runs.rows(whole, "instances")
    flat = options.get("window", [2])[0] == 1
    truth = world.values
    assert same_partition(painted(rows, truth.shape), truth + 100 * np.arange(20)[:, None, None] * (truth > 0) * flat)
    for row in rows:
        assert row["value_sd"] == 0 and row["label"] == ("even", "odd")[int(row["value_mean"]) % 2]
