"""The dense U-Net in the training loop: a class for each pixel, cross-entropy and Dice."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy.ndimage has no complete types)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from schemas.boxes import Box
from schemas.models import ModelManifest
from segworkers.segmenters.base import WindowMasks
from segworkers.segmenters.torch_unet import UNet
from segworkers.segmenters.unet_options import UNetShape
from segworkers.training.samples import Crop

_IGNORED = -1
"""Class of pixels that teach nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetFamily:
    """Implements `segworkers.training.families.TrainingFamily` for planes."""

    manifest: ModelManifest
    """What the trained model will declare."""
    shape: UNetShape = field(default_factory=UNetShape)

    def build(self) -> nn.Module:
        """A new network, on the CPU."""
        return UNet(self.shape, len(self.manifest.classes))

    def targets(self, crop: Crop) -> NDArray[np.int64]:
        """(side, side) 0 = background, k = class k - 1, -1 = nothing to be learnt."""
        values = np.concatenate([[0], crop.classes + 1])[crop.labels]
        return np.where(crop.ignored, _IGNORED, values).astype(np.int64)

    def loss(
        self, network: nn.Module, crops: Sequence[Crop], targets: Sequence[NDArray[np.int64]], device: str
    ) -> Mapping[str, Tensor]:
        """Cross-entropy, and one minus the mean Dice of the classes (Milletari et al., 3DV 2016)."""
        images = torch.from_numpy(np.stack([crop.image for crop in crops])).to(device)
        wanted = torch.from_numpy(np.stack(targets)).to(device)
        logits = network(images).float()
        learnt = wanted != _IGNORED
        entropy = functional.cross_entropy(logits, wanted, ignore_index=_IGNORED, reduction="sum")
        share = torch.softmax(logits, 1)[:, 1:] * learnt[:, None]
        hot = torch.stack([wanted == k + 1 for k in range(share.shape[1])], 1).float()
        both = (share * hot).sum((0, 2, 3))
        dice = (2 * both + 1) / (share.sum((0, 2, 3)) + hot.sum((0, 2, 3)) + 1)
        return {"entropy": entropy / learnt.sum().clamp(min=1), "dice": 1 - dice.mean()}

    def predict(self, network: nn.Module, image: NDArray[np.float32], device: str) -> WindowMasks:
        """The connected components of each class in an image (bands, y, x), 8 neighbours."""
        said = torch.softmax(network(torch.from_numpy(image[None]).to(device)).float(), 1)[0].cpu().numpy()
        winner = said.argmax(0)
        labels, scores, crops = list[int](), list[float](), list[tuple[Box, NDArray[np.bool_]]]()
        for index in range(len(self.manifest.classes)):
            parts, _ = cast("tuple[NDArray[np.int32], int]", ndimage.label(winner == index + 1, np.ones((3, 3))))
            for number, place in enumerate(ndimage.find_objects(parts), start=1):
                rows, columns = cast("tuple[slice, slice]", place)
                mask = parts[place] == number
                labels.append(index)
                scores.append(float(said[index + 1][place][mask].mean()))
                crops.append((Box((0, rows.start, columns.start), (1, rows.stop, columns.stop)), mask[None]))
        return WindowMasks(np.array(labels, np.int64), np.array(scores, np.float64), crops)
