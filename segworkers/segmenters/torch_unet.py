"""The dense U-Net (Ronneberger et al., MICCAI 2015; in volumes Çiçek et al., MICCAI 2016) behind the Segmenter port.

Its norms are those of training (batch norm), so what it says of a pixel depends on what is around it and on nothing
else of the window.
"""
# pyright: reportUnknownMemberType=false
# torch's functional interface is partly untyped.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseProbabilities
from segworkers.segmenters.families import weights_path
from segworkers.segmenters.torch_state import read_state
from segworkers.segmenters.unet_options import UNetShape, unet_shape


class UNet(nn.Module):
    """Windows (n, bands, y, x) or (n, bands, z, y, x) of any size to logits (n, classes + 1, ...); 0 is background."""

    def __init__(self, shape: UNetShape, classes: int) -> None:
        """With random weights. classes: without background."""
        super().__init__()
        widths, self._axes, self._multiple = shape.widths, shape.axes, shape.multiple
        self.down = nn.ModuleList(
            _block(shape.axes, shape.bands if level == 0 else widths[level - 1], width)
            for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _block(shape.axes, widths[level] + widths[level + 1], widths[level])
            for level in reversed(range(len(widths) - 1))
        )
        convolution = nn.Conv2d if shape.axes == 2 else nn.Conv3d
        self.head = convolution(widths[0], classes + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class. Sides that do not fit are padded with zeros at their ends."""
        sides = x.shape[2:]
        x = functional.pad(x, [n for side in reversed(sides) for n in (0, (-side) % self._multiple)])
        pool = functional.max_pool2d if self._axes == 2 else functional.max_pool3d
        skips = list[Tensor]()
        for level, block in enumerate(self.down):
            x = block(pool(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(torch.cat([skips.pop(), functional.interpolate(x, scale_factor=2.0, mode="nearest")], 1))
        return self.head(x)[(..., *(slice(side) for side in sides))]


def _block(axes: int, inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, each with batch norm and ReLU."""
    convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if axes == 2 else (nn.Conv3d, nn.BatchNorm3d)
    layers = list[nn.Module]()
    for before in (inputs, outputs):
        layers += [convolution(before, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNetSegmenter:
    """A class for each pixel, with probabilities."""

    def __init__(self, network: nn.Module, shape: UNetShape, manifest: ModelManifest) -> None:
        """network: in evaluation mode, on its device."""
        self._network = network
        self._shape = shape
        self._manifest = manifest
        self._device = next(network.parameters()).device

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    @property
    def network(self) -> nn.Module:
        """The network, in evaluation mode, on its device."""
        return self._network

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseProbabilities:
        """Softmax of the logits. Pixels that are not valid are shown as 0.

        Raises TileError: `wrong_bands`, or `not_finite` where the network's answer is no finite number.
        """
        if windows.shape[1] != self._shape.bands:
            raise TileError(
                "wrong_bands",
                f"{self._manifest.name}: sees {self._shape.bands} bands, this image has {windows.shape[1]}.",
                "Choose with model.bands, such as [0, 1, 2].",
            )
        shown = np.where(valid[:, None], windows, np.zeros((), windows.dtype)).astype(np.float32)
        plane = self._shape.axes == 2
        with torch.inference_mode():
            images = torch.from_numpy(shown[:, :, 0] if plane else shown).to(self._device)
            said = torch.softmax(self._network(images).float(), 1).cpu().numpy()
        if not np.isfinite(said).all():
            raise TileError(
                "not_finite",
                f"{self._manifest.name}: expected finite numbers in the network's output, found NaN or infinity.",
                "Check the image's nodata value and the normalisation, then the weights.",
            )
        return DenseProbabilities(said[:, :, None] if plane else said)


def load(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> UNetSegmenter:
    """A bundle's model, as `segworkers.segmenters.families` asks. Raises SpecError where the weights do not fit."""
    shape = unet_shape(manifest, parameters)
    network = UNet(shape, len(manifest.classes))
    try:
        # half-precision weights are stored, float32 is what they are used in
        state = {name: _single(value) for name, value in read_state(weights_path(weights, parameters)).items()}
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise SpecError(f"{manifest.name}: the weights do not fit its shape: {' '.join(lines)[:500]}") from error
    return UNetSegmenter(network.eval().to(device), shape, manifest)


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
