"""Bundles in whole jobs: folder and zip give the same tables on every engine, and models are loaded once a process."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
import torch

from jobs.loading import load_spec
from jobs.verify import verify
from schemas.bundles import ClassCodes, Code
from segworkers.segmenters.bundles import weights_file, write_bundle
from segworkers.segmenters.families import FAMILIES
from tests import runs
from tests.dicom_files import Layout
from tests.model_bundles import FAMILY, MANIFEST, logistic, zipped
from tests.segworkers.readers.rasters import write_raster
from tests.volume_truth import World

if TYPE_CHECKING:
    from jobs.engines.cluster import RayEngine

RAY: dict[str, Any] = {
    "engine__kind": "ray",
    "engine__address": "auto",
    "engine__gpus_per_worker": 0,
    "engine__workers": 2,
    "engine__chunk_tiles": 1,
}
TILES: dict[str, Any] = {"tiling__tile": 32, "model__device": "cpu"}


class Curve(torch.nn.Module):
    """Logits of what is brighter than a half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 20 * (x - 0.5)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright discs, some across the borders of tiles."""
    y, x = np.mgrid[:100, :140]
    pixels = np.full((1, 100, 140), 20, np.uint8)
    for k, (cy, cx, radius) in enumerate(((20, 20, 9), (50, 60, 20), (31, 100, 7), (80, 120, 12), (90, 20, 5))):
        pixels[0][(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = 160 + 15 * k
    return write_raster(tmp_path_factory.mktemp("in") / "discs.tif", pixels)


def torchscript(folder: Path) -> Path:
    """A bundle of the family `torchscript`."""
    bundle = logistic(folder)
    torch.jit.script(Curve()).save(str(folder / "model.pt"))
    parameters = {"head": {"type": "semantic", "background": False, "activation": "sigmoid"}}
    entry = weights_file(folder, "model.pt")
    write_bundle(replace(bundle, family="torchscript", weights=(entry,), parameters=parameters), folder)
    return folder


@pytest.mark.long
@pytest.mark.cluster
def test_a_folder_and_its_zip_on_the_other_engine_give_the_same_tables(
    image: Path, tmp_path: Path, ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    folder = torchscript(tmp_path / "bright")
    archive = zipped(folder, tmp_path / "bright.zip", "bright/")
    expected = None
    for place, engine in ((folder, {}), (archive, RAY)):
        out = tmp_path / f"{place.name}-{len(engine)}"
        summary = runs.run([image], out, str(place), **TILES, **engine)
        assert summary.pixels_failed == 0
        verify(out, everything=True).raise_if_bad()
        tables = runs.files(out)
        expected = expected or tables
        assert tables == expected
    assert sorted(row["pixel_count"] for row in runs.rows(tmp_path / "bright-0", "instances")) == sorted(
        int((np.asarray((y - 0) ** 2 + x**2) <= radius**2).sum())
        for radius in (9, 20, 7, 12, 5)
        for y, x in [np.mgrid[-radius : radius + 1, -radius : radius + 1]]
    )


COUNTING = """
import os

class Counting:
    kind = "dense"
    window = (1, 32, 32)
    overlap = (0, 8, 8)
    classes = ("bright",)
    normalise = "unit"

    def __init__(self, device, log):
        self.log = log
        with open(log, "a") as file:
            file.write(f"loaded {os.getpid()}\\n")

    def predict(self, windows):
        with open(self.log, "a") as file:
            file.write(f"asked {os.getpid()}\\n")
        return (windows[:, 0] > 0.5).astype("uint8")
"""


@pytest.mark.cluster
@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_a_model_is_loaded_once_a_process(engine: str, image: Path, tmp_path: Path, ray_engine: RayEngine) -> None:
    folder, log = tmp_path / "counting", tmp_path / "log"
    bundle = logistic(folder, name="counting")
    (folder / "model.py").write_text(COUNTING)
    code = replace(
        bundle,
        family="python",
        weights=(weights_file(folder, "model.py"),),
        parameters={"file": "model.py", "class": "Counting"},
    )
    write_bundle(code, folder)
    options = {"trust_code": True, "log": str(log)}
    runs.run([image], tmp_path / "out", str(folder), options, **TILES, **(RAY if engine == "ray" else {}))
    told = Counter(log.read_text().splitlines())
    loaded = {line.split()[1] for line in told if line.startswith("loaded")}
    asked = {line.split()[1] for line in told if line.startswith("asked")}
    assert all(told[f"loaded {process}"] == 1 for process in loaded)
    assert asked <= loaded and 1 <= len(loaded) <= (2 if engine == "ray" else 1)
    assert sum(told[f"asked {process}"] for process in asked) > 2 * len(loaded), (
        "there was more than one tile to load for"
    )


OWN_FILES = """
class OwnFiles:
    kind = "dense"
    window = (1, 32, 32)
    overlap = (0, 8, 8)
    classes = ("bright",)
    normalise = "unit"

    def __init__(self, device, level, log):
        with open(level) as file:
            self.level = float(file.read())
        with open(log, "a") as file:
            file.write(f"{level}\\n")

    def predict(self, windows):
        return (windows[:, 0] > self.level).astype("uint8")
"""


@pytest.mark.long
@pytest.mark.cluster
def test_workers_read_files_of_a_zip_from_their_own_caches(
    image: Path, tmp_path: Path, ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    folder, log = tmp_path / "own", tmp_path / "log"
    bundle = logistic(folder, name="own")
    (folder / "model.py").write_text(OWN_FILES)
    (folder / "level.txt").write_text("0.5")
    code = replace(
        bundle,
        family="python",
        weights=(weights_file(folder, "model.py"), weights_file(folder, "level.txt")),
        parameters={"file": "model.py", "class": "OwnFiles", "options": {"level": "level.txt"}},
    )
    write_bundle(code, folder)
    archive = zipped(folder, tmp_path / "own.zip")
    runs.run([image], tmp_path / "out", str(archive), {"trust_code": True, "log": str(log)}, **TILES, **RAY)
    assert len(runs.rows(tmp_path / "out", "instances")) == 5
    read = {Path(line) for line in log.read_text().splitlines()}
    assert read and not any(path.is_relative_to(tmp_path / "cache") for path in read)


def test_codes_of_a_bundle_are_in_the_segmentation_unless_the_job_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.full((4, 40, 48), -100)
    values[1:3, 10:20, 10:24] = 300
    World(values=values, layout=Layout(shape=(4, 40, 48)), study={"study": "S1"}).save(tmp_path / "in" / "S1")
    monkeypatch.setitem(FAMILIES, "logistic", FAMILY)
    code = {"value": "52250000", "scheme": "SCT", "meaning": "X-ray stain"}
    codes = {"bright": ClassCodes(type=Code(**code), sites=(Code(value="10200004", scheme="SCT", meaning="Liver"),))}
    manifest = replace(MANIFEST, normalise="none", connectivity=26)
    logistic(tmp_path / "bright", slope=1.0, manifest=manifest, codes=codes, parameters={"bias": -100.0})
    found: list[tuple[str, str]] = []
    for name, terms in (("own", {}), ("job", {"bright": {"type": code | {"value": "1", "meaning": "Other"}}})):
        sets = {"output__seg": "binary", "output__terms": terms, "dicom__crosswalk": str(tmp_path / "ids")}
        runs.run([tmp_path / "in"], tmp_path / name, str(tmp_path / "bright"), model__device="cpu", **sets)
        (path,) = (tmp_path / name / "dicom").rglob("*.dcm")
        (segment,) = pydicom.dcmread(path).SegmentSequence
        (kind,), (site,) = segment.SegmentedPropertyTypeCodeSequence, segment.AnatomicRegionSequence
        found.append((str(kind.CodeValue), str(site.CodeValue)))
    assert found == [("52250000", "10200004"), ("1", "10200004")]


def test_a_bundle_is_the_same_run_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spec(reference: str) -> Any:
        return load_spec(values={"inputs": ["a.tif"], "model": reference, "output": {"path": "out"}})

    monkeypatch.chdir(tmp_path)
    assert spec("models/bright").model.reference == str(tmp_path / "models" / "bright")
    assert spec("bright.zip").model.reference == str(tmp_path / "bright.zip")
    assert spec("bright").model.reference == "bright"
    assert spec("models/bright").digest() == spec("elsewhere/bright/").digest() != spec("models/dull").digest()
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.yaml").write_text("{inputs: [a.tif], model: ../models/bright, output: {path: out}}")
    assert load_spec(tmp_path / "jobs" / "job.yaml").model.reference == str(tmp_path / "models" / "bright")


def test_a_run_with_a_damaged_bundle_does_not_begin(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = torchscript(tmp_path / "bright")
    content = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(content[:-1])
    from jobs.cli import main

    assert main(["segment", str(image), "--model", str(folder), "-o", str(tmp_path / "out"), "--engine", "inline"]) == 2
    told = capsys.readouterr().err
    assert f"model.pt: expected {len(content):,} bytes, found {len(content) - 1:,}" in told and "get it again" in told
    assert not (tmp_path / "out").exists() and MANIFEST.name == "bright"
