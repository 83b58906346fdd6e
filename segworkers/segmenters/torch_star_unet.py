"""The star-convex U-Net behind the Segmenter port: where objects have their middles, how far they reach, foreground.

A U-Net (Ronneberger et al., MICCAI 2015) that works at half the window's resolution and below, with the heads of
StarDist (Schmidt et al., MICCAI 2018) at half resolution and a foreground map at full resolution. Its norms are those
of training (batch norm), so what it says of a pixel depends on what is around it and on nothing else of the window.
"""
# pyright: reportUnknownMemberType=false
# torch's functional interface is partly untyped.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import WindowMasks
from segworkers.segmenters.families import weights_path
from segworkers.segmenters.star_decoding import STEP, StarSettings, decode
from segworkers.segmenters.star_options import StarShape, star_parameters
from segworkers.segmenters.torch_state import read_state

_RADIUS = 12.0
"""px: what the rays' head says before it has learnt anything."""
_SPAN = 3.5
"""Largest magnitude of the logarithm of a ray over `_RADIUS`."""


class StarMaps(NamedTuple):
    """What the network says of windows (n, bands, y, x)."""

    middle: Tensor
    """(n, y / 2, x / 2) logits: is pixel (2 i, 2 j) an object's middle."""
    rays: Tensor
    """(n, rays, y / 2, x / 2) px from that pixel to the object's border."""
    foreground: Tensor
    """(n, y, x) logits: is the pixel part of an object."""


class StarUNet(nn.Module):
    """Windows (n, bands, y, x) to StarMaps; sides must be multiples of `StarShape.multiple`."""

    def __init__(self, shape: StarShape) -> None:
        """With random weights."""
        super().__init__()
        widths = shape.widths
        self.down = nn.ModuleList(
            _block(4 * shape.bands if level == 0 else widths[level - 1], width) for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _block(widths[level] + widths[level + 1], widths[level]) for level in reversed(range(len(widths) - 1))
        )
        self.features = nn.Sequential(nn.Conv2d(widths[0], 2 * widths[0], 3, padding=1), nn.ReLU(inplace=True))
        self.middle = nn.Conv2d(2 * widths[0], 1, 1)
        self.rays = nn.Conv2d(2 * widths[0], shape.rays, 1)
        self.foreground = nn.Conv2d(2 * widths[0], 4, 1)

    def forward(self, x: Tensor) -> StarMaps:
        """See the class."""
        x = functional.pixel_unshuffle(x, 2)
        skips = list[Tensor]()
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(torch.cat([skips.pop(), functional.interpolate(x, scale_factor=2.0, mode="nearest")], 1))
        x = self.features(x)
        rays = _RADIUS * torch.exp(self.rays(x).float().clamp(-_SPAN, _SPAN))
        return StarMaps(self.middle(x)[:, 0], rays, functional.pixel_shuffle(self.foreground(x), 2)[:, 0])


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, each with batch norm and ReLU."""
    layers = list[nn.Module]()
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class StarSegmenter:
    """The network and its decoding on windows (n, bands, 1, y, x).

    Pixels that are not valid are shown as 0. Windows whose sides the network cannot see are padded with 0.
    """

    def __init__(self, network: StarUNet, shape: StarShape, settings: StarSettings, manifest: ModelManifest) -> None:
        """network: in evaluation mode, on its device."""
        self._network = network
        self._shape = shape
        self._settings = settings
        self._manifest = manifest
        self._device = next(network.parameters()).device

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    @property
    def network(self) -> StarUNet:
        """The network, in evaluation mode, on its device."""
        return self._network

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[WindowMasks, ...]:
        """Detections of each window, best first; masks of a window share no pixel.

        Raises TileError: `wrong_bands` where there are other channels than the network sees, `not_finite` where valid
        pixels or the network's answer are not finite numbers.
        """
        with torch.inference_mode():
            maps = star_maps(self._network, self._shape, self._images(windows, valid))
        if not all(bool(np.isfinite(values).all()) for values in maps):
            raise self._not_finite("the network's answer")
        return tuple(
            star_masks(middle, rays, foreground, real[0], self._settings)
            for middle, rays, foreground, real in zip(*maps, valid, strict=True)
        )

    def _images(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> Tensor:
        """(n, bands, y, x) float32 on the device, 0 where not valid."""
        if windows.shape[1] != self._shape.bands:
            raise TileError(
                "wrong_bands",
                f"{self._manifest.name}: the network sees {self._shape.bands} bands, "
                f"this image has {windows.shape[1]}.",
                "Choose with model.bands, such as [0].",
            )
        images = torch.from_numpy(np.ascontiguousarray(windows[:, :, 0], np.float32)).to(self._device)
        real = torch.from_numpy(np.ascontiguousarray(valid[:, 0])).to(self._device)
        images = torch.where(real[:, None], images, 0.0)
        if not bool(torch.isfinite(images).all()):
            raise self._not_finite("the image's valid pixels")
        return images

    def _not_finite(self, what: str) -> TileError:
        return TileError(
            "not_finite",
            f"{self._manifest.name}: expected finite numbers in {what}, found NaN or infinity.",
            "Check the image's nodata value and the normalisation, then the weights.",
        )


def star_maps(network: nn.Module, shape: StarShape, images: Tensor) -> tuple[NDArray[np.float32], ...]:
    """Middles (n, h, w), rays (n, rays, h, w) and foreground (n, y, x) as `star_decoding.decode` wants them.

    images: (n, bands, y, x) of any size, on the network's device.
    """
    height, width = images.shape[2:]
    down, right = ((-side) % shape.multiple for side in (height, width))
    said: StarMaps = network(functional.pad(images, (0, right, 0, down)))
    rows, columns = slice(-(-height // STEP)), slice(-(-width // STEP))
    middle = torch.sigmoid(said.middle.float())[:, rows, columns]
    rays = said.rays.float()[:, :, rows, columns]
    foreground = torch.sigmoid(said.foreground.float())[:, :height, :width]
    return tuple(values.detach().cpu().numpy() for values in (middle, rays, foreground))


def star_masks(
    middle: NDArray[np.float32],
    rays: NDArray[np.float32],
    foreground: NDArray[np.float32],
    valid: NDArray[np.bool_],
    settings: StarSettings,
) -> WindowMasks:
    """The objects of one window, of class 0; arguments as of `star_decoding.decode`."""
    scores, crops = decode(middle, rays, foreground, valid, settings)
    return WindowMasks(np.zeros(len(scores), np.int64), scores, crops)


def load(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> StarSegmenter:
    """The model of a bundle, as `segworkers.segmenters.families` asks.

    Raises SpecError where a parameter is wrong or the weights do not fit.
    """
    shape, settings = star_parameters(manifest, parameters)
    path = weights_path(weights, parameters)
    network = StarUNet(shape)
    try:
        # half-precision weights are stored, float32 is what they are used in
        network.load_state_dict({name: value.float() for name, value in read_state(path).items()})
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise SpecError(f"{manifest.name}: the weights do not fit its shape: {' '.join(lines)[:500]}") from error
    return StarSegmenter(network.eval().to(device), shape, settings, manifest)
