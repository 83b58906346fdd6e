"""The star-convex U-Net behind the port: shapes, places, batches, refusals; weights in and out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.checks import check_instances
from segworkers.segmenters.star_decoding import StarSettings
from segworkers.segmenters.star_options import StarShape, plan, star_parameters
from segworkers.segmenters.torch_star_unet import StarMaps, StarSegmenter, StarUNet, load, star_maps

SHAPE = StarShape(widths=(4, 6, 8), rays=8)
SETTINGS = StarSettings(middle=0.2, core=1.0, least=1)
MANIFEST = ModelManifest(
    name="tiny", kind="instance", window=(1, 50, 70), overlap=(0, 10, 10), classes=("nucleus",), normalise="percentile"
)


def network(seed: int = 0) -> StarUNet:
    """Random weights and statistics that say something everywhere."""
    torch.manual_seed(seed)
    made = StarUNet(SHAPE)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return made.eval()


def windows(count: int = 3, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    valid = np.ones((count, 1, 50, 70), bool)
    valid[0, 0, :, 60:] = False
    return rng.random((count, 1, 1, 50, 70), np.float32), valid


def test_answers_pass_the_ports_checks_and_keep_to_what_is_valid() -> None:
    segmenter = StarSegmenter(network(), SHAPE, SETTINGS, MANIFEST)
    images, valid = windows()
    answers = segmenter.predict(images, valid)
    assert sum(len(answer.labels) for answer in answers) > 5, "or nothing was tested"
    check_instances(answers, MANIFEST, 3)
    for answer, real in zip(answers, valid, strict=True):
        for box, mask in answer.crops:
            assert real[box.within((0, 0, 0))][mask].all()


def test_a_window_is_answered_alike_in_every_batch() -> None:
    segmenter = StarSegmenter(network(), SHAPE, SETTINGS, MANIFEST)
    images, valid = windows()
    together = segmenter.predict(images, valid)
    backwards = segmenter.predict(images[::-1], valid[::-1])[::-1]
    alone = [segmenter.predict(images[k : k + 1], valid[k : k + 1])[0] for k in range(3)]
    for a, b, c in zip(together, backwards, alone, strict=True):
        for other in (b, c):
            assert [box for box, _ in a.crops] == [box for box, _ in other.crops]
            assert a.scores == pytest.approx(other.scores, abs=1e-5)


def test_what_is_not_valid_is_not_seen() -> None:
    segmenter = StarSegmenter(network(), SHAPE, SETTINGS, MANIFEST)
    images, valid = windows(1)
    changed = images.copy()
    changed[0, 0, 0, :, 60:] = np.nan
    assert np.array_equal(segmenter.predict(images, valid)[0].scores, segmenter.predict(changed, valid)[0].scores)


def test_maps_have_the_windows_size_whatever_it_is() -> None:
    for height, width in ((50, 70), (49, 7), (64, 64)):
        middle, rays, foreground = star_maps(network(), SHAPE, torch.rand(2, 1, height, width))
        assert middle.shape == (2, (height + 1) // 2, (width + 1) // 2)
        assert rays.shape == (2, 8, *middle.shape[1:]) and rays.min() > 0
        assert foreground.shape == (2, height, width)


@pytest.mark.parametrize("bad", ["nan", "bands", "network"])
def test_refusals(bad: str) -> None:
    images, valid = windows(1)
    made: Any = network()
    if bad == "nan":
        images[0, 0, 0, 3, 3] = np.nan
    if bad == "bands":
        images = np.repeat(images, 3, axis=1)
    if bad == "network":
        with torch.no_grad():
            made.middle.bias.fill_(float("nan"))
    segmenter = StarSegmenter(made, SHAPE, SETTINGS, MANIFEST)
    with pytest.raises(TileError, match="wrong_bands|sees 1 bands" if bad == "bands" else "finite"):
        segmenter.predict(images, valid)


def test_weights_of_half_precision_load_and_answer(tmp_path) -> None:
    made = network()
    state = {name: value.half() if value.is_floating_point() else value for name, value in made.state_dict().items()}
    save_file(state, str(tmp_path / "tiny.safetensors"))
    parameters = {"shape": {"widths": [4, 6, 8], "rays": 8}, "weights": "tiny.safetensors", "middle": 0.4}
    segmenter = load(MANIFEST, parameters, tmp_path, "cpu")
    with torch.inference_mode():
        said: StarMaps = segmenter._network(torch.ones(1, 1, 64, 64))
        meant: StarMaps = made(torch.ones(1, 1, 64, 64))
    assert said.middle.dtype == torch.float32
    assert torch.allclose(said.middle, meant.middle, atol=0.05)
    with pytest.raises(SpecError, match="do not fit"):
        load(MANIFEST, parameters | {"shape": {"widths": [4, 6], "rays": 8}}, tmp_path, "cpu")
    with pytest.raises(SpecError, match="name of a file"):
        load(MANIFEST, parameters | {"weights": "other.safetensors"}, tmp_path, "cpu")


def test_parameters_are_read_and_refused_all_at_once() -> None:
    shape, settings = star_parameters(MANIFEST, {"shape": {"widths": [8, 16]}, "middle": "0.3", "least": 5})
    assert shape.widths == (8, 16) and shape.multiple == 4 and settings.middle == 0.3 and settings.least == 5
    assert plan(MANIFEST, {}) == replace(MANIFEST, channels=(1,))
    with pytest.raises(SpecError) as caught:
        star_parameters(MANIFEST, {"shape": {"depth": 3}, "middel": 0.3, "reach": "far"})
    text = str(caught.value)
    assert "depth" in text and "did you mean 'middle'" in text and "far" in text
    with pytest.raises(SpecError, match="reach"):
        star_parameters(MANIFEST, {"reach": 0.1})


@pytest.mark.parametrize(
    "change", [{"kind": "dense"}, {"classes": ("a", "b")}, {"window": (2, 50, 70)}, {"bands": (0, 1)}]
)
def test_what_the_network_cannot_do_is_refused(change: dict[str, Any]) -> None:
    from dataclasses import replace

    with pytest.raises(SpecError, match="tiny"):
        plan(replace(MANIFEST, **change), {})
