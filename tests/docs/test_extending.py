"""The models that docs/extending.md prints are complete: they run as they stand."""

from __future__ import annotations

import json
import pickle
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from jobs.cli import main
from jobs.results import open_results
from segworkers.segmenters.base import DenseMaps, DenseProbabilities
from segworkers.segmenters.bundle_json import parse_bundle
from segworkers.segmenters.declaration import OPTIONAL, REQUIRED
from segworkers.segmenters.families import FAMILIES, Family, plan_family
from segworkers.segmenters.loading import load_model, resolve_model
from tests.docs.conftest import write_survey
from tests.model_bundles import logistic

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in BLOCKS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_page_shows_a_model_for_each_purpose_in_about_20_lines() -> None:
    assert sorted(BLOCKS) == ["cells.py", "fields.py", "water.py"]
    assert all(len([line for line in text.splitlines() if line.strip()]) <= 22 for text in BLOCKS.values())


def test_page_documents_every_attribute() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert {*REQUIRED, *OPTIONAL, "files"} == rows


def test_the_bundle_on_the_page_is_accepted_and_has_every_part() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    bundle = parse_bundle(text, "the page")
    plan_family(bundle.family, bundle.manifest, bundle.parameters | {"classes": ["cell"]}, "the page")
    assert bundle.codes and bundle.parameters and bundle.manifest.resolution
    shown = set(json.loads(text))
    assert shown == {"format", *(each.name for each in fields(bundle) if each.name != "codes")}
    assert {each.name for each in fields(bundle.card)} - set(json.loads(text)["card"]) == {"sources", "task"}


def test_the_family_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text()
    (code,) = re.findall(r"```python\n# segworkers/segmenters/torch_brightness.py\n(.*?)```", page, re.DOTALL)
    (entry,) = re.findall(r"```python\n# in FAMILIES\n(.*?)```", page, re.DOTALL)
    module = ModuleType("segworkers.segmenters.torch_brightness")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name, family in eval(f"{{{entry}}}", {"Family": Family}).items():
        monkeypatch.setitem(FAMILIES, name, family)
    logistic(tmp_path / "bright", family="brightness")
    _, spec = resolve_model(str(tmp_path / "bright"), {"bias": -2.0}, device="cpu")
    windows = np.full((1, 1, 1, 32, 32), 0.3, np.float32)
    answer = load_model(spec).predict(windows, np.ones((1, 1, 32, 32), bool))
    assert isinstance(answer, DenseProbabilities)
    assert np.allclose(answer.values[0, :, 0, 0, 0], [1 / (1 + np.e), np.e / (1 + np.e)])


def test_instance_example_finds_each_cell_with_its_class(folder: Path) -> None:
    manifest, spec = resolve_model(f"python:{folder}/cells.py:Cells", {"level": "0.4"})
    (folder / "cells.py").unlink()
    windows = np.zeros((2, 1, *manifest.window), np.float32)
    windows[0, 0, 0, 10:20, 30:50] = 0.6
    windows[0, 0, 0, 100:104, 7:9] = 1.0
    windows[0, 0, 0, 200:210, 200:210] = 1.0
    valid = np.ones((2, *manifest.window), bool)
    valid[0, 0, 200:, 200:] = False

    first, second = load_model(pickle.loads(pickle.dumps(spec))).predict(windows, valid)

    assert [manifest.classes[label] for label in first.labels] == ["cell", "cell"]
    assert [(box.start, box.stop) for box, _ in first.crops] == [
        ((0, 10, 30), (1, 20, 50)),
        ((0, 100, 7), (1, 104, 9)),
    ]
    assert np.allclose(first.scores, [0.6, 1.0])
    assert len(second.labels) == 0


def test_dense_example_marks_water(folder: Path) -> None:
    manifest, spec = resolve_model(f"python:{folder}/water.py:Water", {})
    windows = np.zeros((1, 2, *manifest.window), np.float32)
    windows[0, 0, 0, :100] = 0.5

    answer = load_model(spec).predict(windows, np.ones((1, *manifest.window), bool))

    assert manifest.bands == ("green", "nir")
    assert isinstance(answer, DenseMaps)
    assert answer.classes.sum() == 100 * 512 and answer.probability is None


def test_instance_example_runs_as_the_model_of_a_job(folder: Path) -> None:
    survey = write_survey(folder / "survey.tif")
    arguments = ["segment", str(survey), "--model", f"python:{folder}/cells.py:Cells", "-o", str(folder / "out")]
    assert main([*arguments, "--engine", "inline"]) == 0
    found = open_results(str(folder / "out")).sql("SELECT pixel_count, label FROM instances").to_pylist()
    assert found == [{"pixel_count": 400, "label": "cell"}] * 12


def test_instance_example_counts_blurred_cells_of_many_windows(folder: Path) -> None:
    truth = write_discs(folder / "discs.tif")
    arguments = ["segment", str(folder / "discs.tif"), "--model", f"python:{folder}/cells.py:Cells"]
    assert main([*arguments, "-o", str(folder / "out"), "--engine", "inline", "--set", "tiling.tile=256"]) == 0
    results = open_results(str(folder / "out"))
    found = results.sql("SELECT label, min(pixel_count) > 100 AS whole, count(*) AS n FROM instances GROUP BY label")
    assert found.to_pylist() == [{"label": "cell", "whole": True, "n": truth}]
    (tiles,) = results.sql("SELECT sum(windows) AS windows FROM tiles").to_pylist()
    assert tiles["windows"] >= 36


def write_discs(path: Path) -> int:
    """Writes blurred discs of different brightness, apart from each other; how many."""
    side, step = 1200, 80
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    places = [(y, x) for y in range(40, side, step) for x in range(40, side, step)]
    for row, column in places:
        y, x = row + rng.integers(-8, 9), column + rng.integers(-8, 9)
        radius, bright = rng.uniform(12, 24), rng.uniform(0.7, 1.0)
        near = (slice(max(y - 40, 0), y + 40), slice(max(x - 40, 0), x + 40))
        image[near][np.hypot(rows[near] - y, columns[near] - x) <= radius] = bright
    shown = np.rint(ndimage.gaussian_filter(image, 3) * 250).astype(np.uint8)
    with rasterio.open(path, "w", driver="GTiff", height=side, width=side, count=1, dtype="uint8") as file:
        file.write(shown, 1)
    return len(places)


@pytest.mark.parametrize("blend", [None, "none"])
def test_blending_example_runs_as_the_model_of_a_job_and_can_be_switched_off(folder: Path, blend: str | None) -> None:
    survey, out = write_survey(folder / "survey.tif"), folder / "out"
    arguments = ["segment", str(survey), "--model", f"python:{folder}/fields.py:Fields", "-o", str(out)]
    switch = ["--set", f"model.blend={blend}"] if blend else []
    assert main([*arguments, "--engine", "inline", *switch]) == 0
    found = open_results(str(out)).sql("SELECT label, pixel_count FROM instances ORDER BY pixel_count").to_pylist()
    assert found == [*[{"label": "crop", "pixel_count": 400}] * 12, {"label": "bare", "pixel_count": 235_200}]
    (windows,) = open_results(str(out)).sql("SELECT sum(windows) AS n FROM tiles").to_pylist()
    assert windows["n"] == 3 * 4


def test_blending_example_gives_probabilities_that_sum_to_one(folder: Path) -> None:
    manifest, spec = resolve_model(f"python:{folder}/fields.py:Fields", {})
    windows = np.random.default_rng(0).random((1, 1, *manifest.window)).astype(np.float32)
    answer = load_model(spec).predict(windows, np.ones((1, *manifest.window), bool))
    assert manifest.blend == "gaussian"
    assert isinstance(answer, DenseProbabilities) and answer.values.dtype == np.float32
    assert np.allclose(answer.values.sum(axis=1), 1, atol=1e-6)
