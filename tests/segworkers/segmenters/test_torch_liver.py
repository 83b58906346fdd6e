"""The liver networks' segmenters, with small networks of random weights: what they are shown and what they answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters import torch_unets
from segworkers.segmenters.morphology import EDGES, dilated
from segworkers.segmenters.torch_liver import LesionSegmenter, LiverSegmenter, load_liver, scaled_hu
from segworkers.segmenters.torch_unets import LesionNet, OrganNet
from segworkers.segmenters.two_stage import AROUND, ORGAN, OUTSIDE

DOWN, UP = ((2, 3), (3, 4), (4, 5), (5, 6)), ((3, 2), (4, 3), (5, 4))
FIRST = ModelManifest(
    name="liver", kind="dense", window=(28, 28, 28), context=(13, 13, 13), overlap=(0, 0, 0), classes=("liver",)
)
SECOND = ModelManifest(
    name="lesions", kind="dense", window=(2, 4, 4), context=(24, 46, 46), overlap=(0, 0, 0), classes=("lesion",)
)


class Seen(nn.Module):
    """Answers one half everywhere; remembers what it was shown."""

    def __init__(self, window: tuple[int, int, int], answer: float = 0.5) -> None:
        super().__init__()
        self.window, self.answer = window, answer
        self.shown: list[NDArray[Any]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x[0, 0].numpy().copy())
        return torch.full((1, 1, *self.window), self.answer)


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.mark.parametrize("shape", [(27, 27, 27), (54, 27, 81)])
def test_the_organ_network_answers_for_the_middle_of_what_it_sees(shape: tuple[int, int, int]) -> None:
    with torch.inference_mode():
        answer = OrganNet(DOWN, UP)(torch.randn(2, 1, *shape))
    assert tuple(answer.shape) == (2, 1, *(side - 26 for side in shape))
    assert ((answer > 0) & (answer < 1)).all()


def test_the_lesion_network_answers_for_the_middle_of_what_it_sees() -> None:
    with torch.inference_mode():
        answer = LesionNet(DOWN, UP)(torch.randn(2, 1, 54, 92, 100))
    assert tuple(answer.shape) == (2, 1, 10, 4, 12)
    assert ((answer > 0) & (answer < 1)).all()


@pytest.mark.parametrize("net", [OrganNet(DOWN, UP), LesionNet(DOWN, UP)])
def test_norms_are_over_the_window_so_windows_do_not_know_each_other(net: nn.Module) -> None:
    shape = (1, 54, 108, 108)
    a, b = torch.randn(shape), 3 * torch.randn(shape) + 1
    with torch.inference_mode():
        both, alone = net(torch.stack([a, b])), net(b[None])
    # sums run in another order where windows come together; a norm over both would differ by tenths
    assert torch.allclose(both[1], alone[0], atol=1e-4)


def test_networks_leave_their_input_as_it_was() -> None:
    x = torch.randn(1, 1, 54, 108, 108)
    before = x.clone()
    with torch.inference_mode():
        OrganNet(DOWN, UP)(x)
        LesionNet(DOWN, UP)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("depth", [1, 3, torch_unets.SLAB, torch_unets.SLAB + 1, 2 * torch_unets.SLAB + 5])
@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3)])
def test_a_convolution_by_slabs_is_the_convolution(depth: int, kernel: tuple[int, int, int]) -> None:
    layer = nn.Conv3d(5, 2, kernel, padding="same")
    parts = torch.randn(2, 2, depth, 6, 7), torch.randn(2, 3, depth, 6, 7)
    with torch.inference_mode():
        expected = layer(torch.cat(parts, 1))
        found = torch_unets._padded_convolution(layer, *parts)
        assert torch.allclose(found, expected, atol=1e-6)
        over = torch_unets._padded_convolution(layer, *parts, over_first=True)
        assert over is parts[0]
        assert torch.equal(over, found)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6, 7, 13])
def test_upsampling_by_slabs_is_repeating_and_averaging(depth: int) -> None:
    x = torch.randn(2, 3, depth, 4, 5)
    expected = functional.avg_pool3d(functional.interpolate(x, scale_factor=3.0), 3, 1)
    assert torch.allclose(torch_unets._upsampled(x), expected, atol=1e-6)


def test_the_norm_is_keras_norm_and_a_leaky_relu() -> None:
    x = torch.randn(2, 3, 4, 5, 6) * 7 + 3
    mean = x.mean((2, 3, 4), keepdim=True)
    expected = (x - mean) / (((x - mean) ** 2).mean((2, 3, 4), keepdim=True).sqrt() + 1e-7)
    assert torch.allclose(torch_unets._normalised(x.clone()), functional.leaky_relu(expected, 0.01), atol=1e-5)


def test_hu_are_clipped_to_soft_tissue() -> None:
    assert scaled_hu(np.array([-1000, -200, -100, 0, 40, 200, 3000], np.int16)).tolist() == pytest.approx(
        [-0.5, -0.5, -0.25, 0.0, 0.1, 0.5, 0.5]
    )


def test_the_liver_network_sees_air_where_the_region_has_no_value_and_nothing_around_it() -> None:
    seen = Seen(FIRST.window)
    windows = np.full((1, 1, 54, 54, 54), 100, np.int16)
    valid = np.zeros((1, 54, 54, 54), bool)
    valid[0, 10:40, 20:30, 5:50] = True
    valid[0, 15, 25, 25] = False
    LiverSegmenter(seen, FIRST, "cpu").predict(windows, valid)
    expected = np.zeros((54, 54, 54), np.float32)
    expected[10:40, 20:30, 5:50] = 0.25
    expected[15, 25, 25] = -0.5
    assert np.array_equal(seen.shown[0], expected)


def lesion_windows() -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    windows = np.zeros((1, 2, *SECOND.shown), np.int16)
    windows[0, 0] = 80
    windows[0, 1] = OUTSIDE
    windows[0, 1, 5:45, 10:90, 10:90] = AROUND
    windows[0, 1, 8:42, 20:60, 20:60] = ORGAN
    return windows, np.ones((1, *SECOND.shown), bool)


def test_the_lesion_network_sees_the_dilated_liver_and_no_more() -> None:
    seen = Seen(SECOND.window)
    windows, valid = lesion_windows()
    LesionSegmenter(seen, SECOND, "cpu").predict(windows, valid)
    codes = windows[0, 1]
    expected = np.full(SECOND.shown, 0.0, np.float32)
    expected[codes != OUTSIDE] = -0.5
    expected[dilated(dilated(codes == ORGAN, EDGES), EDGES) & (codes != OUTSIDE)] = 0.2
    assert np.allclose(seen.shown[0], expected[2:-2, 2:-2, 2:-2])


def test_pixels_beyond_the_series_are_outside_whatever_mirrors_show() -> None:
    seen = Seen(SECOND.window)
    windows, valid = lesion_windows()
    valid[0, :, :30] = False
    windows[0, 1, :, :30] = ORGAN
    LesionSegmenter(seen, SECOND, "cpu").predict(windows, valid)
    assert (seen.shown[0][:, :26] == 0).all()


def test_no_lesion_is_told_outside_the_livers_box() -> None:
    windows, valid = lesion_windows()
    windows[0, 1, :, :, 48:] = OUTSIDE
    answer = LesionSegmenter(Seen(SECOND.window, 0.75), SECOND, "cpu").predict(windows, valid)
    assert answer.values.shape == (1, 2, *SECOND.window) and answer.values.dtype == np.float32
    assert (answer.values[0, 1, :, :, :2] == 0.75).all() and (answer.values[0, 1, :, :, 2:] == 0).all()
    assert np.allclose(answer.values.sum(1), 1)


def test_windows_without_liver_are_asked_about_too_and_nothing_is_told_outside_the_box() -> None:
    seen = Seen(SECOND.window, 0.9)
    windows, valid = lesion_windows()
    windows[0, 1] = np.where(windows[0, 1] == ORGAN, AROUND, windows[0, 1])
    cut = windows.copy()
    cut[0, 1, :, :, 47:] = OUTSIDE  # the box ends in the middle of the window's own part
    answer = LesionSegmenter(seen, SECOND, "cpu").predict(np.concatenate([windows, cut]), np.repeat(valid, 2, 0))
    assert len(seen.shown) == 2 and set(np.unique(seen.shown[0])) == {-0.5, 0.0}
    assert (answer.values[0, 1] > 0.8).all()
    assert (answer.values[1, 1, :, :, 0] > 0.8).all() and (answer.values[1, 1, :, :, 1:] == 0).all()


def test_the_same_window_gives_the_same_bytes() -> None:
    windows, valid = lesion_windows()
    windows[0, 0] = np.random.default_rng(0).integers(-300, 300, SECOND.shown)
    network = LesionNet(DOWN, UP)
    answers = [LesionSegmenter(network, SECOND, "cpu").predict(windows, valid).values.tobytes() for _ in range(2)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (LiverSegmenter(Seen(FIRST.window), FIRST, "cpu"), (1, 3, 54, 54, 54)),
        (LiverSegmenter(Seen(FIRST.window), FIRST, "cpu"), (1, 1, 54, 54, 53)),
        (LesionSegmenter(Seen(SECOND.window), SECOND, "cpu"), (1, 1, *SECOND.shown)),
    ],
)
def test_windows_of_another_shape_are_refused(model: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(TileError, match="expected windows of shape") as caught:
        model.predict(np.zeros(shape, np.int16), np.ones((1, *shape[2:]), bool))
    assert caught.value.reason == "wrong_bands"


def test_an_answer_that_is_no_number_is_refused() -> None:
    windows, valid = lesion_windows()
    with pytest.raises(TileError, match="finite") as caught:
        LesionSegmenter(Seen(SECOND.window, float("nan")), SECOND, "cpu").predict(windows, valid)
    assert caught.value.reason == "not_finite"
    with pytest.raises(TileError, match=r"\(1, 2, 4, 4\)") as caught:
        LesionSegmenter(Seen((1, 4, 4)), SECOND, "cpu").predict(windows, valid)
    assert caught.value.reason == "bad_prediction"


def test_weights_of_another_network_are_refused() -> None:
    state = {name: value.numpy() for name, value in LesionNet(DOWN, UP).state_dict().items()}
    with pytest.raises(SpecError, match="do not fit OrganNet"):
        load_liver(state, FIRST, "cpu")
