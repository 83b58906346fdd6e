"""Law 2: `instances` and `images` are byte-identical whatever the work tiles, chunks, engine, order and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import runs
from tests.archives import write_archive
from tests.segworkers.readers.rasters import write_raster

if TYPE_CHECKING:
    from jobs.engines.cluster import RayEngine


@dataclass(frozen=True)
class Case:
    """A model, and what is set besides."""

    model: str
    options: Mapping[str, Any]
    sets: Mapping[str, Any]


CASES = {
    "threshold": Case("threshold", {"value": 0.5, "window": [1, 64, 64]}, {}),
    "threshold with overlap": Case("threshold", {"value": 0.5, "window": [1, 50, 70], "overlap": [0, 17, 20]}, {}),
    "statistics of the image": Case("threshold", {"window": [1, 64, 64], "connectivity": 4}, {}),
    "perfect masks": Case(runs.user_model("Oracle"), {"side": 64, "overlap": 24}, {}),
    "perfect masks in batches": Case(runs.user_model("Oracle"), {"side": 48, "overlap": 16, "batch": 2}, {}),
    "a window that the job sets": Case(
        runs.user_model("Oracle"), {}, {"model__window": [80, 100], "model__overlap": [16, 30]}
    ),
    "masks that disagree": Case(
        runs.user_model("Blobs"), {"level": 40, "side": 64, "overlap": 16}, {"output__min_pixels": 4}
    ),
}


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder)
    return folder


@pytest.fixture(scope="session")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster of 0.5 m per pixel, whose size no reduction divides."""
    pixels = np.random.default_rng(3).integers(0, 255, (1, 333, 301)).astype(np.uint8)
    pixels[:, 40:90, 200:290] = 0
    return write_raster(tmp_path_factory.mktemp("coarse") / "coarse.tif", pixels, nodata=0)


def results(inputs: Path, out: Path, case: Case, **sets: Any) -> dict[str, list[bytes]]:
    summary = runs.run([inputs], out, case.model, case.options, **case.sets, **sets)
    assert summary.objects > 100
    assert summary.pixels_failed == 0
    return runs.files(out)


LONG = ("threshold with overlap", "perfect masks in batches", "a window that the job sets")


@pytest.mark.parametrize("name", [pytest.param(each, marks=[pytest.mark.slow] * (each in LONG)) for each in CASES])
def test_tables_do_not_depend_on_work_tiles_and_chunks(name: str, archive: Path, tmp_path: Path) -> None:
    case = CASES[name]
    first = results(archive, tmp_path / "whole", case, tiling__tile=1024)
    for tile, chunk in ((64, 1), (150, 7)):
        other = results(archive, tmp_path / f"{tile}", case, tiling__tile=tile, engine__chunk_tiles=chunk)
        assert other == first


@pytest.mark.parametrize("resolution", [0.8, 1.6])
def test_tables_of_a_model_with_a_resolution_do_not_depend_on_work_tiles(
    coarse: Path, tmp_path: Path, resolution: float
) -> None:
    case = Case("threshold", {"value": 140, "window": [1, 32, 32], "resolution": resolution}, {})
    first = results(coarse, tmp_path / "whole", case, tiling__tile=1024)
    assert results(coarse, tmp_path / "tiles", case, tiling__tile=50) == first
    (image,) = runs.rows(tmp_path / "whole", "images")
    assert image["pixels_nodata"] > 50 * 90 * 0.8


def test_tables_do_not_depend_on_memory_or_threads(archive: Path, tmp_path: Path) -> None:
    case = CASES["perfect masks"]
    first = results(archive, tmp_path / "a", case, tiling__memory="501MB", engine__threads=2)
    assert results(archive, tmp_path / "b", case, tiling__memory="2GB") == first


def test_tiles_agree_on_box_and_status_at_equal_tile_size(archive: Path, tmp_path: Path) -> None:
    case, kept = CASES["threshold"], ("source_id", "tile", "y_min", "x_min", "y_max", "x_max", "status", "pixels_done")
    told = []
    for chunk in (1, 5):
        results(archive, tmp_path / f"{chunk}", case, tiling__tile=128, engine__chunk_tiles=chunk)
        told.append([[row[name] for name in kept] for row in runs.rows(tmp_path / f"{chunk}", "tiles")])
    assert told[0] == told[1]


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("name", "small_run"),
    [("statistics of the image", 10**9), pytest.param("masks that disagree", 0, marks=pytest.mark.long)],
)
def test_tables_do_not_depend_on_the_engine(
    name: str, small_run: int, archive: Path, tmp_path: Path, ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.stages.SMALL_RUN_PIXELS", small_run)  # 0: the merge on Ray as well
    case = CASES[name]
    ray: dict[str, Any] = {
        "engine__kind": "ray",
        "engine__address": "auto",
        "engine__gpus_per_worker": 0,
        "engine__workers": 2,
    }
    first = results(archive, tmp_path / "inline", case, tiling__tile=1024)
    assert results(archive, tmp_path / "ray", case, tiling__tile=100, engine__chunk_tiles=3, **ray) == first
