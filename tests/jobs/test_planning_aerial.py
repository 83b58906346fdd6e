"""The grid of the package's aerial models on images of other resolutions."""

# rasterio and scipy.ndimage are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from jobs.config import JobSpec
from jobs.loading import load_spec
from jobs.plan_report import plan
from jobs.planning import prepare
from jobs.volumes import without_empty_cells
from schemas.models import ModelManifest
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid


def job_of(folder: Path, model: str, pixel: float, bands: int, **raster: Any) -> JobSpec:
    """For an image of 300 x 400 pixels, on the map unless `raster` says how large they are."""
    path = folder / f"{pixel}.tif"
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": 300,
        "width": 400,
        "count": bands,
        "dtype": "uint8",
    }
    if not raster:
        profile |= {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_000_000, pixel, pixel)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.full((bands, 300, 400), 9, np.uint8))
    output = {"path": str(folder / "out")}
    return load_spec(values={"inputs": [str(path)], "model": {"reference": model}, "output": output, "raster": raster})


def grid_of(folder: Path, model: str, pixel: float, bands: int) -> ModelGrid:
    return prepare(job_of(folder, model, pixel, bands)).plans[0].grid


@pytest.mark.parametrize(
    ("pixel", "height", "width"),
    [(0.1, 120, 160), (0.25, 300, 400), (0.3, 360, 480), (0.5, 600, 800), (1.0, 600, 800)],
)
def test_vehicles_sees_quarter_metres_where_it_can(tmp_path: Path, pixel: float, height: int, width: int) -> None:
    grid = grid_of(tmp_path, "vehicles", pixel, 1)
    assert grid.native == (1, 300, 400)
    assert grid.shape == pytest.approx((1, height, width), abs=1)


def test_tree_crowns_reduces_and_never_enlarges(tmp_path: Path) -> None:
    assert grid_of(tmp_path, "tree-crowns", 0.1, 3).shape == (1, 150, 200)
    assert grid_of(tmp_path, "tree-crowns", 0.4, 3).shape == (1, 300, 400)


@pytest.mark.parametrize(
    ("model", "bands", "pixel", "told"),
    [
        ("vehicles", 1, 10.0, "pixels of 10 m; the model was made for 0.25 m and sees it at 5 m, enlarged as far as"),
        ("vehicles", 1, 1.0, "pixels of 1 m; the model was made for 0.25 m and sees it at 0.5 m"),
        ("vehicles", 1, 0.5, None),
        ("vehicles", 1, 0.1, None),
        ("tree-crowns", 3, 10.0, "pixels of 10 m; the model was made for 0.2 m and sees it as it is"),
        ("tree-crowns", 3, 0.2, None),
        ("tree-crowns", 3, 0.1, None),
    ],
)
def test_images_that_are_too_coarse_are_told(
    tmp_path: Path, model: str, bands: int, pixel: float, told: str | None
) -> None:
    for raster in ({}, {"pixel_size": pixel}):
        (source,) = plan(job_of(tmp_path, model, pixel, bands, **raster)).sources
        found = [each for each in source.warnings if each.startswith("resolution")]
        assert len(found) == (told is not None) and all(str(told) in each for each in found)


@settings(deadline=None)
@given(native=st.integers(1, 3000), factor=st.floats(1, 8), window=st.sampled_from([64, 512]))
def test_every_cell_of_an_enlarged_grid_has_native_pixels(native: int, factor: float, window: int) -> None:
    manifest = ModelManifest(
        name="m", kind="instance", window=(1, window, window), overlap=(0, window // 4, window // 4), classes=("a",)
    )
    wanted = int(native * factor)
    shape = without_empty_cells((1, native, native), (1, wanted, wanted), manifest)
    grid = ModelGrid((1, native, native), shape)
    for axis in (1, 2):
        edges = grid.native_edges(axis, Lattice(manifest.window, manifest.overlap, shape).cell_edges(axis))
        assert (np.diff(edges) > 0).all()
    assert wanted - 8 <= shape[1] <= wanted


@pytest.mark.parametrize("enlarge", [0.5, 9.0])
def test_a_manifest_refuses_factors_that_make_no_sense(enlarge: float) -> None:
    with pytest.raises(ValueError, match="enlarge"):
        ModelManifest(
            name="m", kind="instance", window=(1, 64, 64), overlap=(0, 16, 16), classes=("a",), enlarge=enlarge
        )
