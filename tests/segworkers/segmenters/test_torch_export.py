"""A native model and its exports give the same instances."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jobs.exchange import exchange_text
from jobs.models import model_text
from schemas.bundles import Card, ModelBundle
from schemas.errors import SpecError, VerifyError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseProbabilities, Segmenter, WindowMasks
from segworkers.segmenters.bundles import open_bundle, shipped_names, weights_file, write_bundle
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.star_options import StarShape
from segworkers.segmenters.torch_export import TARGETS, export_bundle
from segworkers.segmenters.torch_star_unet import StarUNet
from tests.model_bundles import rewritten

CARD = Card(
    summary="a test",
    licence="CC0-1.0",
    attribution="nobody",
    training_data="none",
    accuracy="none",
    use="tests",
    limits="all.",
)
SHAPE = {"bands": 1, "widths": [8, 16, 16], "rays": 16}


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Blobs on noise; a corner is not real."""
    random = np.random.default_rng(0)
    windows = random.random((3, 1, 1, 92, 120), np.float32) * 0.2
    y, x = np.mgrid[:92, :120]
    for window in windows:
        for _ in range(12):
            cy, cx = random.uniform(0, 92), random.uniform(0, 120)
            window[0, 0] += 0.6 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 60)
    valid = np.ones((3, 1, 92, 120), bool)
    valid[0, 0, :20, :30] = False
    return windows, valid


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small star-convex U-Net with random weights, whose maps nevertheless hold objects."""
    folder = tmp_path_factory.mktemp("native")
    torch.manual_seed(1)
    network = StarUNet(StarShape(bands=1, widths=(8, 16, 16), rays=16)).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
        said = network(torch.nn.functional.pad(torch.from_numpy(pictures()[0][:, :, 0]), (0, 0, 0, 4)))
        for head, values in ((network.middle, said.middle), (network.foreground, said.foreground)):
            head.bias.sub_(values.mean())  # type: ignore[union-attr]
            head.weight.mul_(2 / values.std())
            head.bias.mul_(2 / values.std())  # type: ignore[union-attr]
    save_file(network.state_dict(), str(folder / "weights.safetensors"))
    manifest = ModelManifest(
        name="tiny", kind="instance", window=(1, 92, 120), overlap=(0, 20, 20), classes=("cell",), normalise="unit"
    )
    bundle = ModelBundle(
        name="tiny",
        family="star-unet",
        manifest=manifest,
        card=CARD,
        weights=(weights_file(folder, "weights.safetensors"),),
        parameters={"shape": SHAPE, "least": 4, "middle": 0.6},
    )
    write_bundle(bundle, folder)
    return folder


def loaded(reference: str, **options: Any) -> Segmenter:
    _, spec = resolve_model(reference, options, "cpu", 1)
    return load_model(spec)


def instances(model: Segmenter, windows: np.ndarray, valid: np.ndarray) -> list[list[tuple[Any, ...]]]:
    """Score, box and mask of each window's objects, in an order of their own."""
    answers = model.predict(windows, valid)
    assert isinstance(answers, (list, tuple))
    found: list[list[tuple[Any, ...]]] = []
    for answer in answers:
        assert isinstance(answer, WindowMasks)
        rows = zip(answer.scores.tolist(), answer.crops, strict=True)
        found.append(sorted(((box.start, box.stop, crop.tobytes(), score) for score, (box, crop) in rows)))
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_an_export_gives_the_same_instances(target: Any, native: Path, tmp_path: Path) -> None:
    if target == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    windows, valid = pictures()
    theirs = instances(loaded(str(native)), windows, valid)
    assert sum(map(len, theirs)) > 10, "there is something to compare"
    bundle = export_bundle(str(native), target, tmp_path / "out")
    assert bundle == open_bundle(str(tmp_path / "out")).definition
    assert bundle.manifest.channels == (1,), "nobody opens the file to plan a run"
    ours = instances(loaded(str(tmp_path / "out")), windows, valid)
    assert [[row[:3] for row in window] for window in ours] == [[row[:3] for row in window] for window in theirs]
    for mine, native_rows in zip(ours, theirs, strict=True):
        np.testing.assert_allclose([row[3] for row in mine], [row[3] for row in native_rows], atol=1e-5)
    stricter = instances(loaded(str(tmp_path / "out"), middle=0.99), windows, valid)
    assert stricter == instances(loaded(str(tmp_path / "out"), middle=0.99), windows, valid)
    assert sum(map(len, stricter)) < sum(map(len, ours)), "a job may set the head's options"


@pytest.mark.parametrize("target", TARGETS)
def test_exports_do_not_tell_where_they_were_made(target: Any, native: Path, tmp_path: Path) -> None:
    if target == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    export_bundle(str(native), target, tmp_path)
    path = tmp_path / TARGETS[target]
    parts = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            parts = [file.read(name) for name in file.namelist()]
    places = {str(Path(torch.__file__).parents[1]).encode(), str(Path(__file__).parents[3]).encode()}
    assert not [place for place in places for part in parts if place in part]


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small U-Net with random weights; its window is no multiple of what the network wants."""
    from segworkers.segmenters.torch_unet import UNet
    from segworkers.segmenters.unet_options import UNetShape

    folder = tmp_path_factory.mktemp("unet")
    torch.manual_seed(0)
    shape = {"axes": 2, "bands": 1, "widths": [4, 8]}
    save_file(UNet(UNetShape(axes=2, bands=1, widths=(4, 8)), 2).state_dict(), str(folder / "weights.safetensors"))
    manifest = ModelManifest(name="u", kind="dense", window=(1, 91, 120), overlap=(0, 20, 20), classes=("a", "b"))
    files = (weights_file(folder, "weights.safetensors"),)
    parameters = {"shape": shape}
    write_bundle(
        ModelBundle(name="u", family="unet", manifest=manifest, card=CARD, weights=files, parameters=parameters), folder
    )
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_an_export_of_a_dense_model_gives_the_same_probabilities(target: Any, unet: Path, tmp_path: Path) -> None:
    if target == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    export_bundle(str(unet), target, tmp_path)
    windows, valid = (values[..., :91, :] for values in pictures())
    theirs, ours = loaded(str(unet)).predict(windows, valid), loaded(str(tmp_path)).predict(windows, valid)
    assert isinstance(theirs, DenseProbabilities) and isinstance(ours, DenseProbabilities)
    np.testing.assert_allclose(ours.values, theirs.values, atol=1e-5)
    assert theirs.values.std() > 0.01


@pytest.mark.parametrize("target", TARGETS)
def test_an_export_of_several_bands_is_verified_as_the_printed_command_says(
    target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names no bands, as the original: which three of many are meant nobody knows."""
    from segworkers.segmenters.torch_unet import UNet
    from segworkers.segmenters.unet_options import UNetShape

    if target == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    state = UNet(UNetShape(axes=2, bands=3, widths=(4, 8)), 1).state_dict()
    save_file(state, str(folder / "weights.safetensors"))
    manifest = ModelManifest(name="mine", kind="dense", window=(1, 64, 64), overlap=(0, 16, 16), classes=("a",))
    files = (weights_file(folder, "weights.safetensors"),)
    parameters = {"shape": {"axes": 2, "bands": 3, "widths": [4, 8]}}
    write_bundle(
        ModelBundle(name="mine", family="unet", manifest=manifest, card=CARD, weights=files, parameters=parameters),
        folder,
    )
    assert model_text("verify", "./mine") == "mine: as it says"
    printed = exchange_text("export", "./mine", Path("out.net"), target, None, ())
    assert printed.endswith("; segworkers models verify ./out.net")
    path = printed.split()[-1]
    made = open_bundle(path).definition
    assert made.manifest.bands is None and made.manifest.channels == (3,)
    assert model_text("verify", path) == f"{made.name}: as it says"
    write_bundle(replace(made, manifest=replace(made.manifest, bands=(0,))), tmp_path / "out.net")
    with pytest.raises(VerifyError) as caught:
        model_text("verify", path)
    assert str(caught.value).count(made.name) == 1


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of torchvision's Mask R-CNN with random weights, of whose two classes one is kept."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    folder = tmp_path_factory.mktemp("detector")
    torch.manual_seed(0)
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.weight.mul_(40)  # type: ignore[operator, union-attr]
    save_file(network.state_dict(), str(folder / "weights.safetensors"))
    manifest = ModelManifest(
        name="d", kind="instance", window=(1, 92, 120), overlap=(0, 20, 20), classes=("a", "b"), normalise="unit"
    )
    parameters = {"score_threshold": 0.1, "detections_per_image": 20, "norm_eps": 1e-5}
    files = (weights_file(folder, "weights.safetensors"),)
    write_bundle(
        ModelBundle(name="d", family="maskrcnn", manifest=manifest, card=CARD, weights=files, parameters=parameters),
        folder,
    )
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:RCNN always returns")
def test_mask_rcnn_as_torchscript_gives_the_same_instances(detector: Path, tmp_path: Path) -> None:
    assert export_bundle(str(detector), "torchscript", tmp_path / "out").manifest.channels == (1, 3)
    windows, valid = pictures()
    theirs, ours = (instances(loaded(str(each)), windows, valid) for each in (detector, tmp_path / "out"))
    assert sum(map(len, theirs)) >= 10
    assert [[row[:3] for row in window] for window in ours] == [[row[:3] for row in window] for window in theirs]
    with pytest.raises(SpecError, match="torchscript only"):
        export_bundle(str(detector), "onnx", tmp_path / "other")
    shutil.copytree(detector, tmp_path / "colour")
    rewritten(tmp_path / "colour", manifest__channels=[3])
    narrow = export_bundle(str(tmp_path / "colour"), "torchscript", tmp_path / "narrow")
    assert narrow.manifest.channels == (3,), "what the bundle declares of itself"


def test_the_window_of_an_export_is_fixed(native: Path, tmp_path: Path) -> None:
    export_bundle(str(native), "torchscript", tmp_path)
    text = json.loads((tmp_path / "model.json").read_text())
    text["manifest"]["window"] = [1, 64, 64]
    (tmp_path / "model.json").write_text(json.dumps(text))
    with pytest.raises(SpecError, match=r"windows of \(1, 92, 120\) "):
        resolve_model(str(tmp_path), {})


def test_what_cannot_be_exported(native: Path, tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(SpecError, match="empty folder"):
        export_bundle(str(native), "torchscript", tmp_path)
    export_bundle(str(native), "torchscript", tmp_path / "one")
    with pytest.raises(SpecError, match="star-unet"):
        export_bundle(str(tmp_path / "one"), "torchscript", tmp_path / "two")


def test_an_export_that_says_something_else_leaves_nothing(
    native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segworkers.segmenters.torch_export._TOLERANCE", -1.0)
    with pytest.raises(SpecError, match="differs from the original's"):
        export_bundle(str(native), "torchscript", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif("nuclei" not in shipped_names(), reason="the package has no bundle nuclei")
@pytest.mark.parametrize("target", TARGETS)
def test_nuclei(target: Any, tmp_path: Path) -> None:
    if target == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    export_bundle("nuclei", target, tmp_path)
    native, exported = loaded("nuclei"), loaded(str(tmp_path))
    _, height, width = native.manifest.window
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    image = random.normal(0.1, 0.02, (height, width))
    for cy in range(20, height, 48):
        for cx in range(20, width, 48):
            image += np.where((y - cy) ** 2 / 150 + (x - cx) ** 2 / random.uniform(80, 250) < 1, 0.6, 0)
    windows, valid = image.astype(np.float32)[None, None, None], np.ones((1, 1, height, width), bool)
    theirs, ours = instances(native, windows, valid), instances(exported, windows, valid)
    assert len(theirs[0]) > 10
    assert [row[:3] for row in ours[0]] == [row[:3] for row in theirs[0]]
