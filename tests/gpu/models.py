"""One small job for each kind of model, in which it finds something."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from segworkers.segmenters import bundles, keras_weights, torch_liver, torch_unets
from segworkers.segmenters.bundle_weights import missing_files
from segworkers.segmenters.bundles import open_bundle
from segworkers.segmenters.stages import join_bundles
from segworkers.segmenters.torch_export import Target, export_bundle
from tests.devices import Allowed
from tests.gpu import generated, scenes
from tests.gpu.generated import DOWN, UP
from tests.model_bundles import CARD, rewritten

SMALL: dict[str, Any] = {"model__window": [256, 256], "model__overlap": [64, 64]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run, on whatever device."""

    inputs: Path
    model: str
    least: int
    """Objects that it finds at least: less would compare nothing."""
    sets: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Keys of the spec, as `tests.runs.run` takes them."""
    allowed: Allowed = field(default_factory=Allowed)
    in_torch: bool = True


Build = Callable[[Path, pytest.MonkeyPatch], Job]


def nuclei(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    return Job(inputs=scenes.cells(folder), model="nuclei", least=15, sets=SMALL, allowed=_shipped("nuclei", "middle"))


def nuclei_maskrcnn(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    allowed = _shipped("nuclei-maskrcnn", "score_threshold")
    return Job(inputs=scenes.cells(folder), model="nuclei-maskrcnn", least=15, sets=SMALL, allowed=allowed)


def vehicles(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    return Job(
        inputs=scenes.cars(folder), model="vehicles", least=5, sets=SMALL, allowed=_shipped("vehicles", "middle")
    )


def tree_crowns(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    allowed = _shipped("tree-crowns", "middle")
    return Job(inputs=scenes.trees(folder), model="tree-crowns", least=10, sets=SMALL, allowed=allowed)


def coco_objects(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    if missing_files(open_bundle("coco-objects")):
        pytest.skip("its weights are not on this machine: segworkers models fetch coco-objects")
    from skimage.data import astronaut

    path = scenes.write_raster(folder / "astronaut.tif", astronaut().transpose(2, 0, 1))
    allowed = _shipped("coco-objects", "score_threshold")
    return Job(inputs=path, model="coco-objects", least=1, allowed=allowed)


def unet_planes(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    return Job(inputs=scenes.cells(folder), model=generated.unet(folder / "unet", 2), least=15)


def unet_volumes(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    return _volume(folder, generated.unet(folder / "unet", 3))


def monai(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    pytest.importorskip("monai")
    return _volume(folder, generated.monai(folder / "monai"))


def torchscript(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    return _exported(folder, "torchscript")


def torch_export(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    return _exported(folder, "torch-export")


def onnx(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return replace(_exported(folder, "onnx"), in_torch=False)


def two_stages(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    detector, segmenter = _smaller(folder, "nuclei"), generated.unet(folder / "unet", 2, window=(1, 64, 64))
    join_bundles("pair", str(detector), segmenter, folder / "pair", CARD, {"fit": "native"})
    allowed = _shipped("nuclei", "middle")
    return Job(inputs=scenes.cells(folder), model=str(folder / "pair"), least=15, allowed=allowed)


def mr_metastases(folder: Path, _patch: pytest.MonkeyPatch) -> Job:
    model = generated.deepmeta(folder / "deepmeta")
    return replace(_volume(folder, model), inputs=scenes.series(folder, scenes.organ((6, 128, 128))[0]))


def liver_lesions(folder: Path, patch: pytest.MonkeyPatch) -> Job:
    """Both stages, with smaller windows and networks and with weights of the tests."""
    states = dict(zip(("liver", "liver-lesions"), generated.liver_states(), strict=True))
    for name, sides in (("liver", (28, 82, 82)), ("liver-lesions", (18, 36, 36))):
        copy = folder / "shipped" / name
        copy.mkdir(parents=True)
        (copy / "weights.hdf5").write_bytes(name.encode())
        own = open_bundle(name).definition
        changes = {"weights": "weights.hdf5"} | ({"prior": PRIOR} if name == "liver-lesions" else {})
        shown = replace(own.manifest, window=sides, spacing=(2.5, 1.0, 1.0))
        files = (bundles.weights_file(copy, "weights.hdf5"),)
        bundles.write_bundle(replace(own, manifest=shown, weights=files, parameters=changes), copy)
    patch.setattr(bundles, "SHIPPED", folder / "shipped")
    patch.setattr(keras_weights, "read_keras", lambda path: states[path.read_bytes().decode()])
    patch.setattr(torch_liver, "OrganNet", lambda: torch_unets.OrganNet(DOWN, UP))
    patch.setattr(torch_liver, "LesionNet", lambda: torch_unets.LesionNet(DOWN, UP))
    return _volume(folder, "liver-lesions")


PRIOR = {"reference": "liver", "region": "whole", "opened": True, "margin": [2, 2, 2]}

JOBS: Mapping[str, Build] = {
    build.__name__.replace("_", "-"): build
    for build in (
        *(nuclei, nuclei_maskrcnn, vehicles, tree_crowns, coco_objects, unet_planes, unet_volumes, monai),
        *(torchscript, torch_export, onnx, two_stages, mr_metastases, liver_lesions),
    )
}


def _volume(folder: Path, model: str, least: int = 5) -> Job:
    sets = {"dicom__crosswalk": str(folder / "ids")}
    return Job(inputs=scenes.series(folder, scenes.organ()[0]), model=model, least=least, sets=sets)


def _shipped(name: str, threshold: str) -> Allowed:
    """The thresholds of a shipped model."""
    parameters = open_bundle(name).definition.parameters
    return Allowed(least_score=parameters[threshold], least_pixels=parameters.get("least", 1))


def _smaller(folder: Path, name: str) -> Path:
    """A shipped bundle with windows of 256 px."""
    copy = Path(shutil.copytree(open_bundle(name).folder, folder / name))
    rewritten(copy, manifest__window=[1, 256, 256], manifest__overlap=[0, 64, 64])
    assert json.loads((copy / "model.json").read_text())["manifest"]["window"] == [1, 256, 256]
    return copy


def _exported(folder: Path, target: Target) -> Job:
    export_bundle(str(_smaller(folder, "nuclei")), target, folder / "exported")
    allowed = _shipped("nuclei", "middle")
    return Job(inputs=scenes.cells(folder), model=str(folder / "exported"), least=15, allowed=allowed)
