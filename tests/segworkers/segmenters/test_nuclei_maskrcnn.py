"""The bundle `nuclei-maskrcnn`: it comes along, finds bright blobs on dark ground, and its jobs do not show tiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy import ndimage

from segworkers.rasters import write_tiled_geotiff
from segworkers.segmenters.bundles import open_bundle
from segworkers.segmenters.compact_options import compact_parameters
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.torch_compact import compact_network, inference_choices
from tests.annotated import discs
from tests.runs import files, rows, segment

NAME = "nuclei-maskrcnn"
SIDE = 640


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _field(side: int = SIDE) -> tuple[NDArray[np.uint16], int]:
    """Blurred discs of 28 to 48 px across, apart from each other, with noise; and how many."""
    rng = np.random.default_rng(8)
    placed = [(2 * y, 2 * x, 2 * r) for y, x, r in discs(rng, side // 2, 60)]
    yy, xx = np.mgrid[:side, :side] + 0.5
    image = np.zeros((side, side))
    for y, x, r in placed:
        image[(yy - y) ** 2 + (xx - x) ** 2 < r * r] = rng.uniform(0.5, 1.0)
    image = ndimage.gaussian_filter(image, 1.5) + rng.normal(0.05, 0.02, image.shape)
    return (np.clip(image, 0, 1) * 50_000).astype(np.uint16), len(placed)


def test_it_comes_along_small_and_with_a_card():
    bundle = open_bundle(NAME).definition
    assert bundle.family == "maskrcnn-compact" and bundle.manifest.classes == ("nucleus",)
    assert sum(each.size or 0 for each in bundle.weights) <= 20_000_000
    assert bundle.card.licence == "MIT" and "validation" in bundle.card.accuracy
    assert (open_bundle(NAME).folder / "NOTICE.txt").is_file()


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(resolve_model(NAME, {}, device="cpu")[1])


def test_it_finds_what_looks_like_nuclei_and_nothing_in_noise(model):
    field, count = _field(512)
    window = np.clip(field / 50_000, 0, 1).astype(np.float32)[None, None, None]
    valid = np.ones((1, 1, 512, 512), bool)
    (said,) = model.predict(window, valid)
    assert abs(len(said.labels) - count) <= 0.1 * count and not said.capped
    (again,) = model.predict(window, valid)
    assert np.array_equal(said.scores, again.scores)
    (nothing,) = model.predict(np.random.default_rng(0).normal(0.1, 0.03, window.shape).astype(np.float32), valid)
    assert len(nothing.labels) <= 1


@pytest.mark.slow
def test_trained_weights_say_what_torchvisions_own_forward_pass_says(model):
    bundle = open_bundle(NAME)
    shape, settings = compact_parameters(bundle.definition.manifest, bundle.definition.parameters)
    own = compact_network(shape, 1, (512, 512), **inference_choices(settings)).eval()
    tensors = load_file(bundle.folder / bundle.definition.weights[0].file)
    own.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    field = _field(1024)[0]
    windows = np.stack([field[y : y + 512, x : x + 512] for y in (0, 512) for x in (0, 512)])[:, None, None] / 50_000
    windows = windows.astype(np.float32)
    answers = model.predict(windows, np.ones((4, 1, 512, 512), bool))
    assert sum(len(answer.labels) for answer in answers) >= 50
    with torch.inference_mode():
        expected = own([torch.from_numpy(window[:, 0]) for window in windows])
    for answer, said in zip(answers, expected, strict=True):
        assert np.allclose(answer.scores, said["scores"].numpy(), atol=1e-5)
        for mask, (box, crop) in zip((said["masks"][:, 0] >= 0.5).numpy(), answer.crops, strict=True):
            whole = np.zeros((1, 512, 512), bool)
            whole[box.within((0, 0, 0))] = crop
            assert np.array_equal(whole[0], mask)


@pytest.mark.slow
def test_a_job_with_it_does_not_depend_on_tiles(tmp_path: Path):
    field, count = _field()
    write_tiled_geotiff(tmp_path / "field.tif", field)
    small, large = tmp_path / "small", tmp_path / "large"
    assert segment([tmp_path / "field.tif"], small, NAME, tiling__tile=512, model__device="cpu") == 0
    assert segment([tmp_path / "field.tif"], large, NAME, tiling__tile=4096, model__device="cpu") == 0
    assert files(small, "instances", "images") == files(large, "instances", "images")
    assert abs(len(rows(small, "instances")) - count) <= 0.1 * count
