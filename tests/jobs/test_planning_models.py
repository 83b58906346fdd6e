"""Planning: does this image suit this model? Bands, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from jobs.loading import load_spec
from jobs.plan_report import plan
from jobs.planning import prepare
from schemas.errors import SpecError
from tests import runs

RGB = {"count": 3, "photometric": "RGB"}

PLANES = """
class Planes:
    kind, window, overlap, classes = "dense", (1, 32, 32), (0, 0, 0), ("a",)
    {more}
    def __init__(self, device): ...
    def predict(self, windows):
        return (windows[:, 0] > 1e9).astype("uint8")
"""


def raster(path: Path, **profile: Any) -> Path:
    """A raster of 64 x 70 random pixels."""
    body = {"driver": "GTiff", "height": 64, "width": 70, "count": 1, "dtype": "uint8"} | profile
    pixels = np.random.default_rng(0).integers(1, 255, (body["count"], 64, 70), np.uint8)
    with rasterio.open(path, "w", **body) as file:
        file.write(pixels)
    return path


def spec(*inputs: Path, model: str = "nuclei", **more: Any) -> Any:
    crosswalk = {"crosswalk": str(inputs[0].parent / "crosswalk")}
    body = {"inputs": [str(each) for each in inputs], "model": {"reference": model} | more, "output": {"path": "out"}}
    return load_spec(values=body | {"dicom": crosswalk})


def own(folder: Path, more: str = "pass") -> str:
    (folder / "planes.py").write_text(PLANES.format(more=more))
    return f"python:{folder}/planes.py:Planes"


def test_an_image_with_other_bands_than_the_network_takes_is_refused_for_itself_alone(tmp_path: Path) -> None:
    colour, grey = raster(tmp_path / "colour.tif", **RGB), raster(tmp_path / "grey.tif")
    planned = prepare(spec(colour, grey))
    assert [Path(each.source.uri).name for each in planned.plans] == ["grey.tif"]
    (refused,) = planned.skipped
    assert (refused.uri, refused.reason) == (str(colour), "wrong_bands")
    assert refused.message == f"nuclei takes 1 band; {colour} has 3: red, green, blue."
    assert refused.hint.startswith("Choose with --set model.bands=[…], by name or 0-based index, such as [0]; or")
    report = plan(spec(colour, grey))
    assert [each.reason for each in report.skipped] == ["wrong_bands"] and len(report.sources) == 1


def test_the_bands_that_a_message_proposes_are_those_that_work(tmp_path: Path) -> None:
    colour, grey = raster(tmp_path / "colour.tif", **RGB), raster(tmp_path / "grey.tif")
    assert [each.bands for each in prepare(spec(colour, grey, bands=[0])).plans] == [(0,), (0,)]
    three = own(tmp_path, "channels = 3")
    (refused,) = prepare(spec(grey, model=three)).skipped
    assert "such as [0, 0, 0]" in refused.hint
    assert runs.segment([grey], tmp_path / "out", three, model__bands=[0, 0, 0]) == 0
    pair = raster(tmp_path / "pair.tif", count=2)
    (refused,) = prepare(spec(pair, model=three)).skipped
    assert "such as" not in refused.hint


def test_alpha_is_no_band_and_one_band_may_be_shown_as_all(tmp_path: Path) -> None:
    alpha = raster(tmp_path / "rgba.tif", count=4, photometric="RGB", alpha="YES")
    assert [each.bands for each in prepare(spec(alpha, model=own(tmp_path, "channels = 3"))).plans] == [(0, 1, 2)]
    (refused,) = prepare(spec(alpha)).skipped
    assert "has 3 beside alpha: red, green, blue." in refused.message
    grey, five = raster(tmp_path / "grey.tif"), raster(tmp_path / "five.tif", count=5)
    planned = prepare(spec(grey, alpha, five, model=own(tmp_path, "channels = 1, 3")))
    assert sorted(each.bands for each in planned.plans) == [(0,), (0, 1, 2)]
    (refused,) = planned.skipped
    assert "takes 1 or 3 bands" in refused.message and "such as [0, 1, 2]" in refused.hint


def test_many_bands_are_told_in_short(tmp_path: Path) -> None:
    (refused,) = prepare(spec(raster(tmp_path / "many.tif", count=40))).skipped
    assert "has 40: " in refused.message and refused.message.endswith(", ….") and len(refused.message) < 300


def test_what_a_model_does_not_say_is_not_refused(tmp_path: Path) -> None:
    assert len(prepare(spec(raster(tmp_path / "a.tif", count=7), model=own(tmp_path))).plans) == 1


def test_a_job_that_names_too_many_bands_is_refused_as_a_whole(tmp_path: Path) -> None:
    colour = raster(tmp_path / "colour.tif", **RGB)
    with pytest.raises(SpecError, match=r"model\.bands=\[0, 1, 2\]: nuclei takes 1 band, found 3"):
        prepare(spec(colour, bands=[0, 1, 2]))
    with pytest.raises(SpecError, match="threshold takes 1 band"):
        prepare(spec(colour, model="threshold", bands=["red", "green"]))


def test_a_run_says_it_before_it_starts_and_goes_on(tmp_path: Path) -> None:
    model = own(tmp_path, "channels = 1")
    inputs = [raster(tmp_path / "colour.tif", **RGB), raster(tmp_path / "grey.tif")]
    events = runs.Recorder()
    runs.run(inputs, tmp_path / "out", model, events=events)
    (row,) = runs.rows(tmp_path / "out", "failures")
    assert (row["reason"], row["scope"]) == ("wrong_bands", "input") and row["hint"].startswith("Choose with --set")
    assert any("Planes takes 1 band" in each for each in events.warnings)
    done = {Path(each["source_uri"]).name: each["status"] for each in runs.rows(tmp_path / "out", "images")}
    assert done == {"colour.tif": "failed", "grey.tif": "done"}
