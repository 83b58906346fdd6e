"""DeepMeta's segmenter: slices equalised, three classes, by slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseProbabilities
from segworkers.segmenters.torch_deepmeta import (
    DeepMetaNet,
    DeepMetaSegmenter,
    equalised,
    load_deepmeta,
    read_checkpoint,
)

MANIFEST = ModelManifest(
    name="mice", kind="dense", window=(1, 32, 48), overlap=(0, 0, 0), classes=("lung", "metastasis"), batch=(2, 1, 1)
)


@pytest.fixture(scope="module")
def model() -> DeepMetaSegmenter:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return DeepMetaSegmenter(DeepMetaNet(3), MANIFEST, "cpu")


def slices(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, (count, 1, 1, 32, 48)).astype(np.int16)


def test_probabilities_of_three_classes(model: DeepMetaSegmenter) -> None:
    answer = model.predict(slices(2), np.ones((2, 1, 32, 48), bool))
    assert isinstance(answer, DenseProbabilities)
    assert answer.values.shape == (2, 3, 1, 32, 48) and answer.values.dtype == np.float32
    assert np.allclose(answer.values.sum(1), 1, atol=1e-5)


def test_a_slice_does_not_know_the_others_and_gives_the_same_bytes_again(model: DeepMetaSegmenter) -> None:
    windows, valid = slices(2), np.ones((2, 1, 32, 48), bool)
    both = model.predict(windows, valid).values
    assert both.tobytes() == model.predict(windows, valid).values.tobytes()
    windows[0] = 0
    assert np.array_equal(both[1], model.predict(windows, valid).values[1])


def test_scale_and_offset_of_mr_values_do_not_matter() -> None:
    pixels = slices(1)[0, 0, 0]
    real = np.ones(pixels.shape, bool)
    first = equalised(pixels, real)
    assert first.min() >= 0 and first.max() == 1
    assert np.allclose(first, equalised(pixels.astype(np.float32) * 0.25 - 1000, real), atol=1 / 255)


def test_padding_counts_as_the_darkest_value() -> None:
    pixels = slices(1)[0, 0, 0].copy()
    real = np.ones(pixels.shape, bool)
    real[:, 40:] = False
    low = np.where(real, pixels, pixels[real].min())
    pixels[~real] = 30_000
    assert np.array_equal(equalised(pixels, real), equalised(low, np.ones_like(real)))


@pytest.mark.parametrize("real", [True, False])
def test_a_slice_without_contrast_is_black(real: bool) -> None:
    assert not equalised(np.full((32, 48), 7, np.int16), np.full((32, 48), real)).any()


def test_other_windows_and_values_that_are_no_numbers_are_refused(model: DeepMetaSegmenter) -> None:
    with pytest.raises(TileError, match="expected windows of shape") as caught:
        model.predict(np.zeros((1, 3, 1, 32, 48), np.uint8), np.ones((1, 1, 32, 48), bool))
    assert caught.value.reason == "wrong_bands"
    windows = slices(1).astype(np.float32)
    windows[0, 0, 0, 3, 3] = np.nan
    with pytest.raises(TileError, match="NaN") as caught:
        model.predict(windows, np.ones((1, 1, 32, 48), bool))
    assert caught.value.reason == "not_finite"


def test_checkpoints_are_read_as_tensors_only(tmp_path: Path) -> None:
    network = DeepMetaNet(3)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    state = read_checkpoint(tmp_path / "model.pth")
    assert load_deepmeta(state, MANIFEST, "cpu").manifest == MANIFEST
    state.pop("outc.conv.pointwise.weight")
    with pytest.raises(SpecError, match="do not fit"):
        load_deepmeta(state, MANIFEST, "cpu")
    torch.save({"run": print}, tmp_path / "code.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    for name in ("code.pth", "junk.pth", "none.pth"):
        with pytest.raises(SpecError, match="cannot be read"):
            read_checkpoint(tmp_path / name)
