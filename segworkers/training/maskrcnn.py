"""The small Mask R-CNN in the training loop: boxes and masks of a crop's objects, torchvision's own losses."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# torchvision and scipy.ndimage ship without type information.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from schemas.models import ModelManifest
from segworkers.segmenters.base import WindowMasks
from segworkers.segmenters.compact_options import CompactShape, compact_parameters
from segworkers.segmenters.torch_compact import compact_network, compact_segmenter, inference_choices
from segworkers.training.samples import Crop

_SAMPLING: dict[str, Any] = {
    "rpn_pre_nms_top_n_train": 500,
    "rpn_post_nms_top_n_train": 200,
    "rpn_batch_size_per_image": 128,
    "box_batch_size_per_image": 40,
}
"""Proposals that one window's loss is taken over; torchvision's defaults are for images of 800 to 1333 pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What one crop teaches."""

    boxes: NDArray[np.float32]
    """(k, 4) x0, y0, x1, y1 in pixels, half-open."""
    labels: NDArray[np.int64]
    """(k,) class index + 1; 0 is torchvision's background."""
    masks: NDArray[np.uint8]
    """(k, side, side), 1 inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRcnnFamily:
    """Implements `segworkers.training.families.TrainingFamily`."""

    manifest: ModelManifest
    """What the trained model will declare; `predict` cuts nothing and ignores its window."""
    shape: CompactShape = field(default_factory=CompactShape)
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Choices made when it runs: `compact_options.OPTIONS`."""
    side: int = 256
    """px of the crops."""
    smallest: int = 20
    """px: what is left of an object is learnt from this size on."""

    def build(self) -> MaskRCNN:
        """A new network in training mode, on the CPU."""
        size = (self.side, self.side)
        _, settings = compact_parameters(self.manifest, self.parameters)
        choices = _SAMPLING | inference_choices(settings)
        return compact_network(self.shape, len(self.manifest.classes), size, **choices)

    def targets(self, crop: Crop) -> Objects:
        """Boxes, labels and masks of the crop's objects, but for those too small or mostly where nothing is learnt."""
        boxes: list[tuple[int, int, int, int]] = []
        labels: list[int] = []
        masks: list[NDArray[np.uint8]] = []
        for index, place in enumerate(ndimage.find_objects(crop.labels)):
            if place is None:
                continue
            rows, columns = place
            mask = crop.labels == index + 1
            pixels = int(np.count_nonzero(mask))
            thin = min(rows.stop - rows.start, columns.stop - columns.start) < 3
            if pixels < self.smallest or thin or 2 * int(np.count_nonzero(mask & crop.ignored)) > pixels:
                continue
            boxes.append((columns.start, rows.start, columns.stop, rows.stop))
            labels.append(int(crop.classes[index]) + 1)
            masks.append(mask.view(np.uint8))
        shape = (len(boxes), *crop.labels.shape)
        return Objects(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(labels, np.int64),
            np.array(masks, np.uint8).reshape(shape),
        )

    def loss(
        self, network: nn.Module, crops: Sequence[Crop], targets: Sequence[Objects], device: str
    ) -> Mapping[str, Tensor]:
        """torchvision's five losses: of the proposals and of classes, boxes and masks."""
        images = [torch.from_numpy(crop.image).to(device) for crop in crops]
        truth = [
            {
                "boxes": torch.from_numpy(one.boxes).to(device),
                "labels": torch.from_numpy(one.labels).to(device),
                "masks": torch.from_numpy(one.masks).to(device),
            }
            for one in targets
        ]
        return cast("Mapping[str, Tensor]", network(images, truth))

    def predict(self, network: nn.Module, image: NDArray[np.float32], device: str) -> WindowMasks:
        """Detections in an image seen at once, at its own size."""
        size = (image.shape[1], image.shape[2])
        manifest = replace(self.manifest, window=(1, *size), overlap=(0, 0, 0))
        detector = cast(MaskRCNN, network)
        seen = cast(Any, detector.transform)
        trained = seen.min_size, seen.max_size
        seen.min_size, seen.max_size = (min(size),), max(size)
        try:
            segmenter = compact_segmenter(detector, manifest, self.parameters)
            return segmenter.predict(image[None, :, None], np.ones((1, 1, *size), np.bool_))[0]
        finally:
            seen.min_size, seen.max_size = trained
