"""torchvision's Mask R-CNN with a ResNet-50-FPN backbone (He et al., ICCV 2017), v1 and v2, behind the Segmenter port.

The forward pass is torchvision's own, module by module, with two differences in how it is run: masks are computed in
groups of detections, and each is pasted into its own box instead of a full window. Both only bound the memory.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false, reportArgumentType=false
# torchvision ships without type information.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks, maskrcnn_inference
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import FrozenBatchNorm2d

from schemas.boxes import Box
from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import WindowMasks
from segworkers.segmenters.checks import tight_crop
from segworkers.segmenters.families import weights_path
from segworkers.segmenters.maskrcnn_options import MaskRcnnSettings, Version, bundle_settings, maskrcnn_manifest
from segworkers.segmenters.torch_weights import (
    class_count,
    coco_categories,
    frozen_epsilon,
    kept_names,
    output_names,
    read_weights,
    version_of,
)

MASK_GROUP = 128
"""Detections whose masks are computed at once: about 150 MB of activations."""
_TORCHVISION_SIZES = (800, 1333)

Crop = tuple[Box, NDArray[np.bool_]]


def plan_maskrcnn(path: Path, version: Version, settings: MaskRcnnSettings, name: str) -> ModelManifest:
    """The manifest, after checking the weights against the settings; builds no network.

    Raises SpecError where the file belongs to the other version or the names do not fit.
    """
    state = read_weights(path)
    if version_of(state) != version:
        other = "maskrcnn_v2" if version == "v1" else "maskrcnn"
        raise SpecError(f"{name}: {path} holds weights of the other architecture; use --model {other}:{path}")
    outputs = output_names(state, settings.classes, name)
    return maskrcnn_manifest(settings, name, kept_names(outputs, settings.keep, name))


def load_maskrcnn(
    path: Path, version: Version, settings: MaskRcnnSettings, manifest: ModelManifest, device: str
) -> MaskRcnnSegmenter:
    """Build the network, load the weights and bring it to `device`. Raises SpecError where they do not fit."""
    state = read_weights(path)
    eps = settings.norm_eps
    if eps is None and version == "v1":
        eps = frozen_epsilon(path, state)
    network = build_network(state, version, settings, eps)
    outputs = output_names(state, settings.classes, manifest.name)
    return MaskRcnnSegmenter(network.to(device), settings, manifest, outputs)


def load_bundle(
    manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str
) -> MaskRcnnSegmenter:
    """A bundle of the family `maskrcnn`, v1 or v2, whichever its weights are of; see `segmenters.families`.

    parameters: options of `maskrcnn_options`, and `weights`, the file's name. The names of the network's outputs are
    the bundle's classes, or COCO's where there are as many outputs as those have.
    """
    path = weights_path(weights, parameters)
    state = read_weights(path)
    settings = bundle_settings(manifest, parameters)
    coco = coco_categories()[1:]
    if class_count(state) == len(coco) and set(settings.classes or ()) <= set(coco):
        settings = replace(settings, classes=None)
    return load_maskrcnn(path, version_of(state), settings, manifest, device)


def build_network(
    state: Mapping[str, Tensor], version: Version, settings: MaskRcnnSettings, eps: float | None
) -> MaskRCNN:
    """torchvision's network with the weights in it, ready for inference, on the CPU."""
    sizes = _TORCHVISION_SIZES if settings.resize else (min(settings.window[1:]), max(settings.window[1:]))
    choices: dict[str, Any] = {
        "num_classes": class_count(state) + 1,
        "min_size": sizes[0],
        "max_size": sizes[1],
        "box_score_thresh": settings.score_threshold,
        "box_nms_thresh": settings.box_nms,
        "box_detections_per_img": settings.detections_per_image,
        "rpn_pre_nms_top_n_test": settings.proposals_per_image,
        "rpn_post_nms_top_n_test": settings.proposals_per_image,
    }
    if version == "v2":
        network = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **choices)
    else:
        # Training from pretrained weights freezes the batch norms, which then save no count of batches.
        trained = any(name.endswith("num_batches_tracked") for name in state)
        norm = nn.BatchNorm2d if trained else FrozenBatchNorm2d
        backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=norm)
        network = MaskRCNN(backbone, **choices)
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise SpecError(
            f"the weights do not fit torchvision's Mask R-CNN {version}: {' '.join(lines)[:500]}"
        ) from error
    for module in network.modules():
        if eps is not None and isinstance(module, FrozenBatchNorm2d):
            module.eps = eps
    return network.eval()


class MaskRcnnSegmenter:
    """Mask R-CNN on windows (n, channels, 1, y, x), values 0..1; one band is shown in each of the network's channels.

    Pixels that are not valid are shown as the mean colour that the network subtracts, as torchvision pads images.
    Detections whose mask has no pixel above the mask threshold are left out: they have no extent to report.
    """

    def __init__(
        self, network: MaskRCNN, settings: MaskRcnnSettings, manifest: ModelManifest, outputs: tuple[str, ...]
    ) -> None:
        """network: in evaluation mode, on its device. outputs: name of each of its classes, without background."""
        self._network = network
        self._settings = settings
        self._manifest = manifest
        self._outputs = outputs
        self._device = next(network.parameters()).device
        # torchvision's label (1 = first class) -> index into the manifest's classes, -1 = dropped.
        kept = {name: index for index, name in enumerate(manifest.classes)}
        self._index = torch.tensor([-1, *(kept.get(name, -1) for name in outputs)], device=self._device)

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    @property
    def network(self) -> MaskRCNN:
        """The network, in evaluation mode, on its device."""
        return self._network

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name of each of the network's classes, without background."""
        return self._outputs

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[WindowMasks, ...]:
        """Detections of each window, best first.

        Raises TileError: `wrong_bands` for other than one or three channels, `not_finite` where valid pixels or the
        network's output are not finite numbers.
        """
        with torch.inference_mode():
            return self._detect(self._images(windows, valid))

    def _images(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> Tensor:
        """(n, the network's channels, y, x) float32 on the device."""
        channels = windows.shape[1]
        mean = torch.tensor(self._network.transform.image_mean, device=self._device)
        if channels not in (1, len(mean)):
            wanted = {1: "one band", 3: "one band or three"}.get(len(mean), f"one band or {len(mean)}")
            raise TileError(
                "wrong_bands",
                f"{self._manifest.name}: this Mask R-CNN sees {wanted}, this image has {channels}.",
                "Choose with --set model.bands=[…], by name or 0-based index, such as [0, 1, 2].",
            )
        images = torch.from_numpy(np.ascontiguousarray(windows[:, :, 0], np.float32)).to(self._device)
        real = torch.from_numpy(np.ascontiguousarray(valid[:, 0])).to(self._device)
        images = torch.where(real[:, None], images.expand(-1, len(mean), -1, -1), mean[None, :, None, None])
        self._require_finite(images, "the image's valid pixels")
        return images

    def _detect(self, images: Tensor) -> tuple[WindowMasks, ...]:
        """torchvision's GeneralizedRCNN.forward and RoIHeads.forward for evaluation, up to the pasting."""
        network, heads = cast(Any, self._network), cast(Any, self._network.roi_heads)
        seen, _ = network.transform(list(images))
        features = network.backbone(seen.tensors)
        proposals, _ = network.rpn(seen, features)
        pooled = heads.box_head(heads.box_roi_pool(features, proposals, seen.image_sizes))
        logits, regression = heads.box_predictor(pooled)
        self._require_finite(logits, "the network's class scores")
        found = heads.postprocess_detections(logits, regression, proposals, seen.image_sizes)
        answers: list[WindowMasks] = []
        for index, detections in enumerate(zip(*found, strict=True)):
            capped = len(detections[0]) >= self._settings.detections_per_image
            kept = self._index[detections[2]] >= 0
            boxes, scores, labels = (column[kept] for column in detections)
            plane = {name: level[index : index + 1] for name, level in features.items()}
            size = seen.image_sizes[index]
            masks = self._masks(plane, boxes, labels, size)
            crops = self._paste(masks, resize_boxes(boxes, size, self._manifest.window[1:]).cpu())
            answers.append(_window_masks(self._index[labels].cpu().numpy(), scores.cpu().numpy(), crops, capped))
        return tuple(answers)

    def _masks(self, features: dict[str, Tensor], boxes: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """Mask probabilities (k, 1, 28, 28) on the host, of each detection's own class."""
        heads = cast(Any, self._network.roi_heads)
        groups: list[Tensor] = [torch.empty((0, 1, 28, 28))]
        for first in range(0, len(boxes), MASK_GROUP):
            group = slice(first, first + MASK_GROUP)
            pooled = heads.mask_roi_pool(features, [boxes[group]], [size])
            logits = heads.mask_predictor(heads.mask_head(pooled))
            groups.append(maskrcnn_inference(logits, [labels[group]])[0].cpu())
        return torch.cat(groups)

    def _paste(self, masks: Tensor, boxes: Tensor) -> list[Crop | None]:
        """Each mask at its box's size, as torchvision's paste_masks_in_image does in a full window.

        boxes: (k, 4) x0, y0, x1, y1 in the window. None where no pixel reaches the threshold.
        """
        padded, scale = expand_masks(masks, padding=1)
        _, height, width = self._manifest.window
        crops: list[Crop | None] = []
        for mask, (x0, y0, x1, y1) in zip(padded, expand_boxes(boxes, scale).to(torch.int64).tolist(), strict=True):
            shape = (max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1))
            image = functional.interpolate(mask[None], size=shape, mode="bilinear", align_corners=False)[0, 0]
            top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1 + 1, height), min(x1 + 1, width)
            if top >= bottom or left >= right:
                crops.append(None)
                continue
            inside = image[top - y0 : bottom - y0, left - x0 : right - x0] >= self._settings.mask_threshold
            crops.append(tight_crop(Box((0, top, left), (1, bottom, right)), inside.numpy()[None]))
        return crops

    def _require_finite(self, values: Tensor, what: str) -> None:
        if not bool(torch.isfinite(values).all()):
            raise TileError(
                "not_finite",
                f"{self._manifest.name}: expected finite numbers in {what}, found NaN or infinity.",
                "Check the image's nodata value and the normalisation, then the weights.",
            )


def _window_masks(
    labels: NDArray[np.int64], scores: NDArray[np.float32], crops: list[Crop | None], capped: bool
) -> WindowMasks:
    there = np.array([crop is not None for crop in crops], bool)
    return WindowMasks(
        labels[there].astype(np.int64),
        scores[there].astype(np.float64),
        [crop for crop in crops if crop is not None],
        capped,
    )
