"""Planning: does this image suit this model? Bands before any work, and volumes shown to models made for images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from jobs.cli import main
from jobs.loading import load_spec
from jobs.plan_report import plan
from jobs.planning import prepare
from schemas.errors import SpecError
from tests import runs
from tests.dicom_slides import Tiling, level
from tests.volume_truth import ellipsoids

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


def test_an_image_of_alpha_alone_has_no_bands(tmp_path: Path) -> None:
    only = raster(tmp_path / "alpha.tif")
    with rasterio.open(only, "r+") as file:
        file.colorinterp = [ColorInterp.alpha]
    (refused,) = prepare(spec(only)).skipped
    assert refused.message == f"nuclei takes 1 band; {only} has 0 beside alpha." and "such as" not in refused.hint


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


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CT series."""
    folder = tmp_path_factory.mktemp("archive")
    ellipsoids((6, 40, 44), 2, seed=1).save(folder / "a")
    replace(ellipsoids((5, 40, 44), 2, seed=2), name="b", study={"series": "2"}).save(folder / "b")
    return folder


def said(*inputs: Path, model: str) -> list[str]:
    return [each for each in plan(spec(*inputs, model=model)).warnings if each.startswith("modality")]


@pytest.mark.parametrize("model", ["nuclei", "nuclei-maskrcnn"])
def test_volumes_shown_to_a_model_made_for_images_are_warned_about_once(archive: Path, model: str) -> None:
    (warning,) = said(archive / "a", archive / "b", model=model)
    assert f"2 of 2 inputs are volumes (2 CT); {model} sees one slice at a time" in warning
    assert "made for images, not volumes" in warning


@pytest.mark.parametrize(
    "more", ["modalities = ('CT',)", "context = (1, 0, 0)", "spacing = (2, 1, 1)", "orientation = 'LPS'"]
)
def test_a_model_that_says_something_of_volumes_is_not_warned_about(archive: Path, tmp_path: Path, more: str) -> None:
    assert said(archive / "a", model=own(tmp_path, more)) == []
    assert len(said(archive / "a", model=own(tmp_path))) == 1


def test_a_volume_has_one_band(archive: Path, tmp_path: Path) -> None:
    assert len(prepare(spec(archive / "a", model=own(tmp_path, "channels = 1"))).plans) == 1
    planned = prepare(spec(archive / "a", model=own(tmp_path, "channels = 3; modalities = ('CT',)")))
    assert [(each.reason, planned.plans) for each in planned.skipped] == [("wrong_bands", ())]
    assert "such as [0, 0, 0]" in planned.skipped[0].hint


def test_models_for_volumes_images_and_levels_are_not_warned_about(archive: Path, tmp_path: Path) -> None:
    assert said(archive / "a", model="threshold") == []
    (tmp_path / "boxes.py").write_text(PLANES.format(more="pass").replace("(1, 32, 32)", "(4, 32, 32)"))
    assert said(archive / "a", model=f"python:{tmp_path}/boxes.py:Planes") == []
    assert said(raster(tmp_path / "grey.tif"), model="nuclei") == []


def test_whole_slide_images_are_images(tmp_path: Path) -> None:
    (tmp_path / "slide").mkdir()
    level(np.zeros((70, 100, 3), np.uint8), Tiling()).save_as(tmp_path / "slide" / "0.dcm", enforce_file_format=True)
    report = plan(spec(tmp_path / "slide", model=own(tmp_path)))
    assert len(report.sources) == 1 and not any(each.startswith("modality") for each in report.warnings)


def test_a_run_and_a_plan_on_the_terminal_say_so(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crosswalk = tmp_path / "crosswalk"
    sets = ["--set", f"dicom.crosswalk={crosswalk}", "--set", "model.device=cpu"]
    assert main(["plan", str(archive), "--model", "nuclei", *sets, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"]["channels"] == [1] and sum("made for images" in each for each in told["warnings"]) == 1
    events = runs.Recorder()
    runs.run([archive], tmp_path / "out", own(tmp_path), events=events, dicom__crosswalk=str(crosswalk))
    assert sum("made for images, not volumes" in each for each in events.warnings) == 1
