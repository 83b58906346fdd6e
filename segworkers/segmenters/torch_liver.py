"""The two stages of the liver-lesion model behind the Segmenter port: the liver at 3 mm, then lesions inside it.

Windows are CT in HU on the models' grids, axes pointing right, anterior and to the head. They are those of
`cnn_liver_lesion_seg_CT_MR_main` of pyliverlesionseg: of the first stage one around the abdomen, of the second those
that cover the liver's box (`segworkers.window_rows`). The networks are shown what the package shows them, but for what
comes from reading a volume in tiles, each slice once: HU are averaged before they are clipped instead of after it, on a
grid that spans the series exactly, and the liver's input is not median-filtered at 1.5 mm.
"""
# pyright: reportUnknownMemberType=false
# torch's load_state_dict is partly untyped.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from schemas.boxes import Zyx
from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseProbabilities
from segworkers.segmenters.morphology import EDGES, bounds_of, dilated
from segworkers.segmenters.torch_unets import LesionNet, OrganNet
from segworkers.segmenters.two_stage import ORGAN, OUTSIDE

MARGIN: Zyx = (2, 2, 2)
"""Voxels around the liver that the lesion network sees too: the package dilates the liver twice."""
_AIR_HU = -1000.0
_NOT_LIVER = -0.5
"""Value that the lesion network sees between the liver and the border of its box."""


class LiverSegmenter:
    """The liver, class 1. What is not valid within the box of valid voxels is air, beyond it there is nothing: 0."""

    def __init__(self, network: nn.Module, manifest: ModelManifest, device: str) -> None:
        """network: takes (n, 1, z, y, x), gives the window without its context."""
        self._network = network.to(device).eval()
        self._manifest = manifest
        self._device = device

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseProbabilities:
        """Probabilities of background and liver.

        windows: (n, 1, z, y, x) HU, window and context; valid: (n, z, y, x). Raises TileError as the port says.
        """
        _require_channels(windows, 1, self._manifest)
        shown = np.zeros((len(windows), 1, *windows.shape[2:]), np.float32)
        for window, real, out in zip(windows[:, 0], valid, shown[:, 0], strict=True):
            box = bounds_of(real)
            if box is not None:
                inside = box.within((0, 0, 0))
                out[inside] = scaled_hu(np.where(real[inside], window[inside], _AIR_HU))
        return _probabilities([_ask(self._network, one, self._device, self._manifest) for one in shown])


class LesionSegmenter:
    """Lesions, class 1, in windows whose last channel tells where the liver is (`segworkers.segmenters.two_stage`).

    Lesions are told inside the liver's box: the package does not look elsewhere.
    """

    def __init__(self, network: nn.Module, manifest: ModelManifest, device: str) -> None:
        """network: takes (n, 1, z, y, x); the manifest's context is its own and that of dilating the liver."""
        self._network = network.to(device).eval()
        self._manifest = manifest
        self._device = device

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseProbabilities:
        """Probabilities of background and lesion.

        windows: (n, 2, z, y, x) HU and codes, window and context; valid: (n, z, y, x). Raises TileError as the port
        says.
        """
        _require_channels(windows, 2, self._manifest)
        answers: list[NDArray[np.float32]] = []
        for window, real in zip(windows, valid, strict=True):
            codes = np.where(real, window[1], OUTSIDE)
            liver = dilated(codes == ORGAN, EDGES, MARGIN[0])
            shown = lesion_input(window[0], codes, liver)
            answer = _ask(self._network, shown[None], self._device, self._manifest)
            answer[0][_middle(codes, self._manifest.context) == OUTSIDE] = 0.0
            answers.append(answer)
        return _probabilities(answers)


def scaled_hu(hu: NDArray[Any]) -> NDArray[np.float32]:
    """HU clipped to -200..200, as -0.5..0.5."""
    return (np.clip(hu.astype(np.float32) / 1000, -0.2, 0.2) * 2.5).astype(np.float32)


def lesion_input(hu: NDArray[Any], codes: NDArray[Any], liver: NDArray[np.bool_]) -> NDArray[np.float32]:
    """What the lesion network sees of a window: the dilated liver, a constant around it, 0 outside its box.

    All (z, y, x); the answer has `MARGIN` voxels less on every side, where dilation does not see enough.
    """
    values = np.where(_middle(liver, MARGIN), scaled_hu(_middle(hu, MARGIN)), np.float32(_NOT_LIVER))
    values[_middle(codes, MARGIN) == OUTSIDE] = 0.0
    return np.ascontiguousarray(values)


def load_liver(state: Mapping[str, NDArray[Any]], manifest: ModelManifest, device: str) -> LiverSegmenter:
    """The liver network with its weights on `device`. Raises SpecError where they do not fit."""
    return LiverSegmenter(_filled(OrganNet(), state), manifest, device)


def load_lesions(state: Mapping[str, NDArray[Any]], manifest: ModelManifest, device: str) -> LesionSegmenter:
    """The lesion network with its weights on `device`. Raises SpecError where they do not fit."""
    return LesionSegmenter(_filled(LesionNet(), state), manifest, device)


def _filled(network: nn.Module, state: Mapping[str, NDArray[Any]]) -> nn.Module:
    try:
        network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    except RuntimeError as error:
        raise SpecError(f"the weights do not fit {type(network).__name__}: {str(error)[:500]}") from error
    return network


def _ask(network: nn.Module, shown: NDArray[np.float32], device: str, manifest: ModelManifest) -> NDArray[np.float32]:
    """One window (1, z, y, x) alone: two at once would not be faster, and take twice the memory."""
    with torch.inference_mode():
        answer: Tensor = network(torch.from_numpy(shown)[None].to(device))
    values = answer[0].cpu().numpy()
    if values.shape != (1, *manifest.window) or not np.isfinite(values).all():
        raise TileError(
            "not_finite" if values.shape == (1, *manifest.window) else "bad_prediction",
            f"{manifest.name}: expected finite probabilities of shape {(1, *manifest.window)}, found {values.shape}.",
            "Check the values of the series, then the weights.",
        )
    return values


def _probabilities(answers: list[NDArray[np.float32]]) -> DenseProbabilities:
    """Background and class 1 from the latter's probabilities, (1, z, y, x) each."""
    values = np.stack(answers)
    return DenseProbabilities(np.concatenate([1 - values, values], axis=1))


def _middle(array: NDArray[Any], margin: Zyx) -> NDArray[Any]:
    """The array (z, y, x) without `margin` voxels on every side."""
    return array[tuple(slice(m, n - m) for m, n in zip(margin, array.shape, strict=True))]


def _require_channels(windows: NDArray[Any], count: int, manifest: ModelManifest) -> None:
    expected = (count, *manifest.shown)
    if windows.shape[1:] != expected:
        raise TileError(
            "wrong_bands",
            f"{manifest.name}: expected windows of shape {expected} (channels, z, y, x), found {windows.shape[1:]}.",
            "It segments single-channel CT volumes; colour images have other models.",
        )
