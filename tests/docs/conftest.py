"""A finished run for the pages that show how to ask it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from jobs.cli import main


def write_survey(path: Path) -> Path:
    """A georeferenced image of 400 x 600 pixels with 12 bright squares of 20 pixels a side."""
    image = np.zeros((400, 600), np.uint8)
    for y in range(40, 400, 130):
        for x in range(40, 600, 140):
            image[y : y + 20, x : x + 20] = 200
    profile = {"driver": "GTiff", "height": 400, "width": 600, "count": 1, "dtype": "uint8", "tiled": True}
    where = {"crs": "EPSG:32632", "transform": from_origin(650_000, 5_330_000, 0.5, 0.5)}
    with rasterio.open(path, "w", **profile, blockxsize=256, blockysize=256, **where) as file:
        file.write(image, 1)
    return path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of that image and of an input that does not exist."""
    folder = tmp_path_factory.mktemp("run")
    survey, missing, out = write_survey(folder / "survey.tif"), folder / "missing.tif", folder / "out"
    arguments = ["segment", str(survey), str(missing), "--model", "threshold", "-o", str(out), "--engine", "inline"]
    assert main([*arguments, "--set", "model.options.value=100"]) == 3, "finished, with a failed input"
    return out
