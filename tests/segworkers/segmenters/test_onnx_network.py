"""ONNX files answer as the network they were made of; what they may not do is refused. Needs the extra `onnx`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseProbabilities
from segworkers.segmenters.families import load_family, plan_family

HEAD = {"head": {"type": "semantic"}}


def manifest(**more: Any) -> ModelManifest:
    settings: dict[str, Any] = {"kind": "dense", "window": (1, 16, 24), "overlap": (0, 0, 0), "classes": ("a", "b")}
    return ModelManifest(name="m", **{**settings, **more})


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "model.onnx").write_bytes(b"")
    assert plan_family("onnx", manifest(), HEAD, "bundle") == manifest(), "the driver needs neither"
    with pytest.raises(SpecError, match=r"segworkers\[onnx\]"):
        load_family("onnx", manifest(), HEAD, tmp_path, "cpu")


def test_the_driver_checks_parameters() -> None:
    with pytest.raises(SpecError, match=r"parameters\.data"):
        plan_family("onnx", manifest(), {**HEAD, "data": "one.bin"}, "bundle")
    with pytest.raises(SpecError, match=r"parameters\.dat: unknown"):
        plan_family("onnx", manifest(), {**HEAD, "dat": ["one.bin"]}, "bundle")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A folder with model.onnx, and the network."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("onnx")
    torch.manual_seed(0)
    network = Net().eval()
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 2, 16, 24),),
        dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        output_names=["scores"],
        verbose=False,
    )
    assert program is not None
    program.save(folder / "model.onnx")
    return folder, network


def windows(count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(0).random((count, 2, 1, 16, 24)).astype(np.float32)
    return values, np.ones((count, 1, 16, 24), bool)


@pytest.mark.parametrize("outputs", [None, {"scores": "scores"}])
def test_it_answers_as_the_network(outputs: Any, bundle: tuple[Path, nn.Module]) -> None:
    folder, network = bundle
    model = load_family("onnx", manifest(), {**HEAD, "outputs": outputs}, folder, "cpu")
    values, valid = windows()
    with torch.inference_mode():
        expected = torch.softmax(network(torch.from_numpy(values[:, :, 0])), 1).numpy()[:, :, None]
    answers = [model.predict(values, valid) for _ in range(3)]
    for answer in answers:
        assert isinstance(answer, DenseProbabilities)
        np.testing.assert_allclose(answer.values, expected, atol=1e-5)
        assert (answer.values == answers[0].values).all()  # type: ignore[union-attr]


def test_wrong_windows_and_outputs_fail_the_windows(bundle: tuple[Path, nn.Module]) -> None:
    folder, _ = bundle
    model = load_family("onnx", manifest(), HEAD, folder, "cpu")
    with pytest.raises(TileError, match="failed on shape"):
        model.predict(np.zeros((1, 3, 1, 16, 24), np.float32), np.ones((1, 1, 16, 24), bool))
    model = load_family("onnx", manifest(), {**HEAD, "outputs": {"scores": 4}}, folder, "cpu")
    with pytest.raises(TileError, match="at least 5 outputs"):
        model.predict(*windows())


def test_a_device_that_onnxruntime_has_not(bundle: tuple[Path, nn.Module]) -> None:
    with pytest.raises(SpecError, match="cannot run on mps"):
        load_family("onnx", manifest(), HEAD, bundle[0], "mps")


def test_bytes_that_are_no_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(b"\xff\xff no graph")
    with pytest.raises(SpecError, match=r"ONNX|onnxruntime"):
        load_family("onnx", manifest(), HEAD, tmp_path, "cpu")


def outside(folder: Path, source: Path, location: str) -> Path:
    """The graph with all weights in a file at `location`, which is written there."""
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    model = onnx.load(str(source))
    convert_model_to_external_data(model, location="plain.bin", size_threshold=0, convert_attribute=True)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, str(folder / "model.onnx"))
    if location != "plain.bin":
        (folder / "plain.bin").rename((folder / location).resolve())
        model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                entry.value = location if entry.key == "location" else entry.value
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def test_weights_beside_the_graph(bundle: tuple[Path, nn.Module], tmp_path: Path) -> None:
    folder = outside(tmp_path / "b", bundle[0] / "model.onnx", "plain.bin")
    with pytest.raises(SpecError, match=r"parameters\.data does not list"):
        load_family("onnx", manifest(), HEAD, folder, "cpu")
    model = load_family("onnx", manifest(), {**HEAD, "data": ["plain.bin"]}, folder, "cpu")
    whole = load_family("onnx", manifest(), HEAD, bundle[0], "cpu")
    one, two = model.predict(*windows()), whole.predict(*windows())
    assert isinstance(one, DenseProbabilities) and isinstance(two, DenseProbabilities)
    assert (one.values == two.values).all()


@pytest.mark.parametrize("place", ["../secret.bin", "absolute", "link.bin"])
def test_weights_outside_the_bundle_are_refused(place: str, bundle: tuple[Path, nn.Module], tmp_path: Path) -> None:
    location = str(tmp_path / "secret.bin") if place == "absolute" else place
    if place == "link.bin":
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "link.bin").symlink_to(tmp_path / "secret.bin")
    folder = outside(tmp_path / "b", bundle[0] / "model.onnx", location)
    with pytest.raises(SpecError, match="outside the bundle"):
        load_family("onnx", manifest(), {**HEAD, "data": [location]}, folder, "cpu")
