"""One small real run for the tests of what reads runs, and copies of it to break."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.runs import run

BLOBS = {"field.tif": [(10, 10, 30, 40), (50, 60, 90, 70), (100, 5, 101, 6)], "no where.tif": [(0, 0, 8, 8)]}
"""Objects of each source as (y0, x0, y1, x1)."""


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a finished run over two images, one without a georeference, and a missing third."""
    folder = tmp_path_factory.mktemp("it's a run")
    for name, blobs in BLOBS.items():
        pixels = np.full((120, 140), 20, np.uint8)
        for y0, x0, y1, x1 in blobs:
            pixels[y0:y1, x0:x1] = 220
        place = {"crs": "EPSG:32633", "transform": from_origin(400_000, 5_000_000, 0.5, 0.5)} if "field" in name else {}
        with rasterio.open(
            folder / name, "w", driver="GTiff", height=120, width=140, count=1, dtype="uint8", **place
        ) as file:
            file.write(pixels, 1)
    inputs = [*(folder / name for name in BLOBS), folder / "gone.tif"]
    run(inputs, folder / "out", options={"value": 100}, tiling__tile=64, model__window=[64], model__overlap=[0])
    return folder / "out"


@pytest.fixture
def broken(published: Path, tmp_path: Path) -> Path:
    """A copy of the run to damage."""
    return Path(shutil.copytree(published, tmp_path / "out"))
