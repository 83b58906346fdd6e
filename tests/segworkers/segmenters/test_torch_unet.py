"""The dense U-Net in planes and volumes: windows of any size, one window at a time or several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from schemas.errors import SpecError, TileError  # noqa: E402
from schemas.models import ModelManifest  # noqa: E402
from segworkers.segmenters import torch_unet  # noqa: E402
from segworkers.segmenters.unet_options import UNetShape, plan  # noqa: E402


def _manifest(window: tuple[int, int, int], **given: Any) -> ModelManifest:
    return ModelManifest(
        **{"name": "fields", "kind": "dense", "window": window, "overlap": (0, 8, 8), "classes": ("a", "b")} | given
    )


def _saved(folder: Path, shape: UNetShape) -> Any:
    torch.manual_seed(2)
    network = torch_unet.UNet(shape, 2).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, folder / "weights.safetensors"
    )
    return network


@pytest.mark.parametrize(("axes", "window"), [(2, (1, 37, 50)), (3, (11, 21, 30)), (3, (1, 20, 20))])
def test_probabilities_of_every_pixel(tmp_path, axes, window):
    shape = UNetShape(bands=2, widths=(4, 8, 8), axes=axes)
    network = _saved(tmp_path, shape)
    parameters = {"shape": {"bands": 2, "widths": [4, 8, 8], "axes": axes}}
    model = torch_unet.load(_manifest(window), parameters, tmp_path, "cpu")
    windows = np.random.default_rng(1).random((3, 2, *window), np.float32)
    said = model.predict(windows, np.ones((3, *window), bool)).values
    assert said.shape == (3, 3, *window) and np.allclose(said.sum(1), 1, atol=1e-5)
    with torch.inference_mode():
        shown = torch.from_numpy(windows[:, :, 0] if axes == 2 else windows)
        assert np.allclose(torch.softmax(network(shown), 1).numpy().reshape(said.shape), said, atol=1e-6)
    alone = model.predict(windows[1:2], np.ones((1, *window), bool)).values
    assert np.allclose(alone[0], said[1], atol=1e-5)


def test_far_pixels_do_not_matter(tmp_path):
    shape = UNetShape(widths=(4, 8), axes=2)
    _saved(tmp_path, shape)
    model = torch_unet.load(_manifest((1, 64, 64)), {"shape": {"widths": [4, 8]}}, tmp_path, "cpu")
    windows = np.random.default_rng(1).random((1, 1, 1, 64, 64), np.float32)
    other = windows.copy()
    other[..., :20] = 0
    valid = np.ones((1, 1, 64, 64), bool)
    a, b = model.predict(windows, valid).values, model.predict(other, valid).values
    assert np.array_equal(a[..., 40:], b[..., 40:]) and not np.array_equal(a, b)


def test_pixels_that_are_not_valid_are_shown_as_0(tmp_path):
    _saved(tmp_path, UNetShape(widths=(4, 8), axes=2))
    model = torch_unet.load(_manifest((1, 32, 32)), {"shape": {"widths": [4, 8]}}, tmp_path, "cpu")
    windows, valid = np.ones((1, 1, 1, 32, 32), np.float32), np.ones((1, 1, 32, 32), bool)
    valid[..., 10:] = False
    windows[..., 10:] = np.nan
    assert np.isfinite(model.predict(windows, valid).values).all()
    with pytest.raises(TileError, match="expected finite numbers"):
        model.predict(windows, np.ones_like(valid))
    with pytest.raises(TileError, match="sees 1 bands, this image has 2"):
        model.predict(np.ones((1, 2, 1, 32, 32), np.float32), valid)


@pytest.mark.parametrize(
    ("given", "parameters", "message"),
    [
        ({"kind": "instance"}, {}, "expected kind dense"),
        ({"window": (4, 32, 32)}, {}, "a window of 1 in z"),
        ({"bands": (0, 1)}, {}, "sees 1 bands"),
        ({}, {"shape": {"axes": 4}}, "2 or 3 axes"),
        ({}, {"shape": {"depth": 4}}, "found depth"),
        ({}, {"threshold": 0.3}, "no such option"),
    ],
)
def test_wrong_parameters_are_refused_before_work_starts(given, parameters, message):
    window = given.pop("window", (1, 32, 32))
    with pytest.raises(SpecError, match=message):
        plan(_manifest(window, **given), parameters)


def test_weights_of_another_shape_are_refused(tmp_path):
    _saved(tmp_path, UNetShape(widths=(4, 8), axes=2))
    with pytest.raises(SpecError, match="the weights do not fit its shape"):
        torch_unet.load(_manifest((1, 32, 32)), {"shape": {"widths": [4, 12]}}, tmp_path, "cpu")
