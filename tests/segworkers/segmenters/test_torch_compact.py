"""The small Mask R-CNN says what torchvision's own forward pass says, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402
from torchvision.models.detection import roi_heads  # noqa: E402

from schemas.errors import SpecError, TileError  # noqa: E402
from schemas.models import ModelManifest  # noqa: E402
from segworkers.segmenters import torch_compact  # noqa: E402
from segworkers.segmenters.compact_options import CompactShape, compact_parameters, plan  # noqa: E402

MANIFEST = ModelManifest(
    name="cells",
    kind="instance",
    window=(1, 64, 96),
    overlap=(0, 16, 16),
    classes=("small", "large"),
    normalise="percentile",
)
TINY = {"widths": [8, 16, 16, 16, 16], "blocks": [1, 1, 1, 1], "features": 16, "hidden": 32, "mask_layers": 1}
PARAMETERS: dict[str, Any] = {
    "shape": {**TINY, "bands": 1, "anchors": [8, 16, 32, 64]},
    "score_threshold": 0.05,
    "detections_per_image": 40,
    "proposals_per_image": 80,
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(4)
    shape, settings = compact_parameters(MANIFEST, PARAMETERS)
    return torch_compact.compact_network(shape, 2, (64, 96), **torch_compact.inference_choices(settings)).eval()


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    save_file(network.state_dict(), folder / "weights.safetensors")
    return folder


def _windows(count: int) -> np.ndarray:
    return np.random.default_rng(7).random((count, 1, 1, 64, 96), np.float32)


def _whole(answer: Any) -> np.ndarray:
    masks = np.zeros((len(answer.crops), 64, 96), bool)
    for mask, (box, crop) in zip(masks, answer.crops, strict=True):
        mask[box.within((0, 0, 0))[1:]] = crop[0]
    return masks


def test_it_says_what_torchvision_says(network, weights):
    model = torch_compact.load(MANIFEST, PARAMETERS, weights, "cpu")
    windows = _windows(2)
    answers = model.predict(windows, np.ones((2, 1, 64, 96), bool))
    with torch.inference_mode():
        own = network([torch.from_numpy(window[:, 0]) for window in windows])
    assert sum(len(answer.labels) for answer in answers) > 20
    for answer, said in zip(answers, own, strict=True):
        masks = (said["masks"][:, 0] >= 0.5).numpy()
        there = masks.any((1, 2))
        assert np.array_equal(answer.labels, said["labels"].numpy()[there] - 1)
        assert np.allclose(answer.scores, said["scores"].numpy()[there], atol=1e-6)
        assert np.array_equal(_whole(answer), masks[there])
    assert roi_heads  # torchvision's pasting is what `said` went through


def test_windows_are_seen_at_their_own_size(network):
    images, _ = network.transform([torch.zeros(1, 64, 96)])
    assert images.tensors.shape == (1, 1, 64, 96)


def test_a_window_does_not_notice_its_batch(weights):
    model = torch_compact.load(MANIFEST, PARAMETERS, weights, "cpu")
    windows, valid = _windows(3), np.ones((3, 1, 64, 96), bool)
    together = model.predict(windows, valid)
    for k, answer in enumerate(together):
        (alone,) = model.predict(windows[k : k + 1], valid[k : k + 1])
        assert np.array_equal(alone.labels, answer.labels) and np.allclose(alone.scores, answer.scores, atol=1e-5)
        assert (_whole(alone) == _whole(answer)).mean() > 0.9999
        (again,) = model.predict(windows[k : k + 1], valid[k : k + 1])
        assert np.array_equal(again.scores, alone.scores) and np.array_equal(_whole(again), _whole(alone))


def test_what_is_not_valid_is_as_dark_as_what_lies_beyond_an_image(weights):
    model = torch_compact.load(MANIFEST, PARAMETERS, weights, "cpu")
    windows, valid = _windows(1), np.ones((1, 1, 64, 96), bool)
    valid[..., 60:] = False
    dark = windows.copy()
    dark[..., 60:] = 0
    (one,), (two,) = model.predict(windows, valid), model.predict(dark, np.ones_like(valid))
    assert np.array_equal(one.scores, two.scores)


def test_half_precision_weights_are_enough(network, tmp_path, weights):
    save_file({name: value.half() for name, value in network.state_dict().items()}, tmp_path / "half.safetensors")
    half = torch_compact.load(MANIFEST, {**PARAMETERS, "weights": "half.safetensors"}, tmp_path, "cpu")
    full = torch_compact.load(MANIFEST, PARAMETERS, weights, "cpu")
    windows, valid = _windows(1), np.ones((1, 1, 64, 96), bool)
    (a,), (b,) = half.predict(windows, valid), full.predict(windows, valid)
    assert abs(len(a.scores) - len(b.scores)) <= 2 and np.allclose(a.scores[:5], b.scores[:5], atol=2e-3)


def test_other_bands_are_refused(weights):
    model = torch_compact.load(MANIFEST, PARAMETERS, weights, "cpu")
    with pytest.raises(TileError, match="sees one band, this image has 3"):
        model.predict(np.zeros((1, 3, 1, 64, 96), np.float32), np.ones((1, 1, 64, 96), bool))


def test_weights_of_another_shape_are_refused(weights):
    other = {**PARAMETERS, "shape": {**PARAMETERS["shape"], "features": 24}}
    with pytest.raises(SpecError, match="cells: the weights do not fit its shape"):
        torch_compact.load(MANIFEST, other, weights, "cpu")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shape": {"width": 3}}, "expected bands, widths, .* found width"),
        ({"shape": 3}, "found 3"),
        ({"shape": {"widths": [8, 8, 8, 8, 9]}}, "multiples of 8"),
        ({"shape": {"blocks": [1]}}, "4 blocks"),
        ({"score_threshold": 2}, "score_threshold"),
        ({"threshold": 0.5}, "no such option"),
    ],
)
def test_wrong_parameters_are_refused_before_work_starts(parameters, message):
    with pytest.raises(SpecError, match=message):
        plan(MANIFEST, parameters)


def test_the_default_is_small():
    network = torch_compact.compact_network(CompactShape(), 1, (256, 256))
    assert sum(value.numel() for value in network.state_dict().values()) * 2 < 20_000_000
