"""Training of the star-convex U-Net: targets from an instance map, the loss, and the masks of a whole image."""

# numba publishes no types, scipy.ndimage no complete ones.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from segworkers.segmenters.base import WindowMasks
from segworkers.segmenters.star_decoding import STEP, StarSettings
from segworkers.segmenters.star_options import StarShape
from segworkers.segmenters.torch_star_unet import StarMaps, StarUNet, star_maps, star_masks
from segworkers.training.samples import Crop

_FINE = 0.25
"""px: rays are followed in steps of this."""


class StarTargets(NamedTuple):
    """What one crop of side x side px teaches."""

    middle: NDArray[np.float32]
    """(side / 2, side / 2), 0..1: distance to the border of the object over the largest in it."""
    rays: NDArray[np.float32]
    """(rays, side / 2, side / 2) px to the object's border; 0 on background."""
    foreground: NDArray[np.float32]
    """(side, side) 0 or 1."""
    learnt: NDArray[np.float32]
    """(side, side) 0 where nothing is to be learnt, else 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StarFamily:
    """A TrainingFamily. Objects smaller than `least` px teach nothing: they are crumbs that outlining left behind."""

    shape: StarShape = field(default_factory=StarShape)
    settings: StarSettings = field(default_factory=StarSettings)
    least: int = 30

    def build(self) -> nn.Module:
        """A network with random weights."""
        return StarUNet(self.shape)

    def targets(self, crop: Crop) -> StarTargets:
        """Middles, rays and foreground of the crop's objects."""
        crumbs = np.bincount(crop.labels.ravel()) < self.least
        crumbs[0] = False
        away = crumbs[crop.labels]
        labels = np.where(away, 0, crop.labels)
        rays = cast("NDArray[np.float32]", border_distances(labels, self.shape.rays, STEP))
        learnt = ~(crop.ignored | away)
        return StarTargets(
            middles(labels)[::STEP, ::STEP].copy(), rays, (labels > 0).astype(np.float32), learnt.astype(np.float32)
        )

    def loss(
        self, network: nn.Module, crops: Sequence[Crop], targets: Sequence[StarTargets], device: str
    ) -> Mapping[str, Tensor]:
        """Cross-entropy of middles and foreground, Dice, polar IoU of rays (Xie et al., PolarMask, CVPR 2020)."""
        images = torch.from_numpy(np.stack([crop.image for crop in crops])).to(device)
        middle, rays, foreground, learnt = (
            torch.from_numpy(np.stack([getattr(target, name) for target in targets])).to(device)
            for name in StarTargets._fields
        )
        said: StarMaps = network(images)
        coarse = learnt[:, ::STEP, ::STEP]
        parts = {"middle": _mean(_entropy(said.middle, middle) - _entropy_of(middle), coarse)}
        parts["foreground"] = _mean(_entropy(said.foreground, foreground), learnt)
        share = torch.sigmoid(said.foreground.float()) * learnt
        parts["dice"] = 0.25 * (1 - (2 * (share * foreground).sum() + 1) / ((share + foreground * learnt).sum() + 1))
        weight = middle * coarse
        wrong = _polar_loss(said.rays, rays) + 0.3 * _ratio_loss(said.rays, rays)
        parts["rays"] = 0.5 * (wrong * weight).sum() / weight.sum().clamp(min=1)
        return parts

    def predict(self, network: nn.Module, image: NDArray[np.float32], device: str) -> WindowMasks:
        """Masks in a whole image (bands, y, x)."""
        middle, rays, foreground = star_maps(network, self.shape, torch.from_numpy(image[None]).to(device))
        return star_masks(middle[0], rays[0], foreground[0], np.ones(image.shape[1:], np.bool_), self.settings)


def middles(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Distance of each pixel to the border of its object over the largest in it: 1 in its middle, 0 on background.

    labels: (y, x). The crop's border is a border too: objects are what is seen of them.
    """
    out = np.zeros(labels.shape, np.float32)
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        inside = labels[place] == number
        distance = np.asarray(ndimage.distance_transform_edt(np.pad(inside, 1)), np.float32)[1:-1, 1:-1]
        out[place][inside] = distance[inside] / distance.max()
    return out


@njit(cache=True, nogil=True)
def border_distances(labels: Any, rays: int, step: int) -> Any:
    """(rays, y / step, x / step) px from every `step`-th pixel to where the ray leaves its object or the crop.

    labels: (y, x); rays at angles 2 π k / rays from the x axis towards y. 0 on background.
    """
    height, width = labels.shape
    rows, columns = (height + step - 1) // step, (width + step - 1) // step
    out = np.zeros((rays, rows, columns), np.float32)
    for k in range(rays):
        dy, dx = math.sin(2 * math.pi * k / rays) * _FINE, math.cos(2 * math.pi * k / rays) * _FINE
        for i in range(rows):
            for j in range(columns):
                number = labels[i * step, j * step]
                if number == 0:
                    continue
                y, x, count = i * step + 0.5, j * step + 0.5, 0
                while 0 <= y < height and 0 <= x < width and labels[int(y), int(x)] == number:
                    y, x, count = y + dy, x + dx, count + 1
                out[k, i, j] = (count - 0.5) * _FINE
    return out


def _entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")


def _entropy_of(wanted: Tensor) -> Tensor:
    """What a perfect answer's cross-entropy would be, so that the loss of a perfect answer is 0."""
    return -torch.xlogy(wanted, wanted) - torch.xlogy(1 - wanted, 1 - wanted)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _polar_loss(said: Tensor, wanted: Tensor) -> Tensor:
    """(n, y, x) −log of the IoU of two shapes given by their rays (n, rays, y, x), areas as sums of squared rays."""
    inner = torch.minimum(said, wanted).square().sum(1)
    outer = torch.maximum(said, wanted).square().sum(1)
    return -torch.log((inner + 1) / (outer + 1))


def _ratio_loss(said: Tensor, wanted: Tensor) -> Tensor:
    """(n, y, x) mean magnitude of the logarithm of the rays' ratio, so that short rays count as much as long ones."""
    return (torch.log(said + 1) - torch.log(wanted + 1)).abs().mean(1)
