"""Heads of instance models: boxes, Mask R-CNN as torchvision gives it, prototype masks, star-convex maps.

Boxes are pixels of the window, x to the right and y down, corners of pixels; windows are planes. Labels of a network
count from `first_label`, or are the positions of `names`; what has no class in the manifest is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.models import ModelKind, ModelManifest
from segworkers.segmenters.base import WindowMasks
from segworkers.segmenters.checks import tight_crop
from segworkers.segmenters.heads import Form, Outputs, bad, sigmoid, whole
from segworkers.segmenters.sampling import Crop, filled_box, linear_weights, paste, suppressed
from segworkers.segmenters.star_decoding import StarSettings, decode

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
BoxShape = Literal["ellipse", "rectangle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What heads of boxes have in common: which boxes count, and as which class."""

    class_of: Mapping[int, int]
    """The network's label to the index of the manifest's class; others are dropped."""
    score_threshold: float
    nms: float | None
    """IoU above which the weaker of two boxes of one class goes; None: the network has done it."""
    limit: int | None
    """Detections at which a window counts as capped."""

    def chosen(
        self, boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any], manifest: ModelManifest
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
        """Indices of the detections that count, best first, the class of each, and whether the limit was reached."""
        k = len(boxes)
        if boxes.shape != (k, 4) or scores.shape != (k,) or labels.shape != (k,):
            found = f"shapes {boxes.shape}, {scores.shape} and {labels.shape}"
            bad(manifest, "the network's output", "boxes (k, 4), scores (k,) and labels (k,)", found)
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            bad(manifest, "the network's boxes and scores", "finite numbers", "NaN or infinity")
        classes = np.array([self.class_of.get(int(v), -1) for v in whole(labels, manifest, "labels")], np.int64)
        capped = self.limit is not None and k >= self.limit
        kept = np.flatnonzero((scores >= self.score_threshold) & (classes >= 0))
        if self.nms is not None:
            kept = kept[suppressed(boxes[kept].astype(np.float32), scores[kept], classes[kept], self.nms)]
        else:
            kept = kept[np.argsort(-scores[kept], kind="stable")]
        return kept, classes[kept], capped


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxesHead:
    """`boxes` (k, 4), `scores` (k,), `labels` (k,) of a detector; the masks are the boxes, or the ellipses in them."""

    detections: Detections
    shape: BoxShape
    format: BoxFormat
    relative: bool
    """Whether boxes are parts of the window's sides, 0 to 1."""
    kind: ModelKind = "instance"
    single: bool = True

    @property
    def roles(self) -> Mapping[str, Form]:
        """Two tables."""
        return {"boxes": "table", "scores": "table"}

    @property
    def optional_roles(self) -> Mapping[str, Form]:
        """Labels; without them all are the first."""
        return {"labels": "table"}

    def decode(self, outputs: Outputs, valid: NDArray[np.bool_], manifest: ModelManifest) -> list[WindowMasks]:
        """The boxes of one window."""
        boxes, scores = _rows(outputs["boxes"], 2), _rows(outputs["scores"], 1)
        first = min(self.detections.class_of)
        labels = _rows(outputs["labels"], 1) if "labels" in outputs else np.full(scores.shape, first)
        boxes = corners(boxes, self.format, manifest, relative=self.relative)
        kept, classes, capped = self.detections.chosen(boxes, scores, labels, manifest)
        crops = [filled_box(box, manifest.window, self.shape) for box in boxes[kept]]
        return [masks_of(classes, scores[kept], crops, capped)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRcnnHead:
    """`boxes`, `labels`, `scores` and `masks` as torchvision's detection models give them.

    masks: (k, 1, y, x) probabilities of the window's size, or (k, 1, m, m) of their boxes.
    """

    detections: Detections
    mask_threshold: float
    kind: ModelKind = "instance"
    single: bool = True

    @property
    def roles(self) -> Mapping[str, Form]:
        """Four tables, in the order that torchvision exports them."""
        return {"boxes": "table", "labels": "table", "scores": "table", "masks": "table"}

    @property
    def optional_roles(self) -> Mapping[str, Form]:
        """None."""
        return {}

    def decode(self, outputs: Outputs, valid: NDArray[np.bool_], manifest: ModelManifest) -> list[WindowMasks]:
        """The detections of one window; those without a pixel above the mask threshold are left out."""
        boxes, scores, labels = _rows(outputs["boxes"], 2), _rows(outputs["scores"], 1), _rows(outputs["labels"], 1)
        kept, classes, capped = self.detections.chosen(boxes, scores, labels, manifest)
        masks = outputs["masks"]
        if masks.ndim < 3 or masks.size != len(boxes) * masks.shape[-2] * masks.shape[-1]:
            bad(manifest, "the network's masks", f"{len(boxes)} masks (k, 1, y, x)", f"shape {masks.shape}")
        masks = masks.reshape(len(boxes), *masks.shape[-2:])[kept]
        if masks.shape[1:] == manifest.window[1:]:
            whole_window = Box.of_shape(manifest.window)
            crops = [tight_crop(whole_window, (mask >= self.mask_threshold)[None]) for mask in masks]
        elif masks.shape[1] == masks.shape[2]:
            pairs = zip(masks, boxes[kept].astype(np.float32), strict=True)
            crops = [paste(mask, box, manifest.window, self.mask_threshold) for mask, box in pairs]
        else:
            bad(manifest, "the network's masks", "the window's size, or squares in the boxes", f"{masks.shape[1:]}")
        return [masks_of(classes, scores[kept], crops, capped)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrototypeHead:
    """`predictions` (n, 4 + classes + m, k) and `prototypes` (n, m, y, x), as YOLO networks for segmentation give them.

    A column is a box (centre, width, height), a score for each class, and m coefficients: its mask is where the sum of
    the prototypes so weighted is above 0, in the box (YOLACT: Bolya et al., ICCV 2019).
    """

    detections: Detections
    outputs_count: int
    """Classes that the network knows."""
    kind: ModelKind = "instance"
    single: bool = False

    @property
    def roles(self) -> Mapping[str, Form]:
        """Two tables."""
        return {"predictions": "table", "prototypes": "table"}

    @property
    def optional_roles(self) -> Mapping[str, Form]:
        """None."""
        return {}

    def decode(self, outputs: Outputs, valid: NDArray[np.bool_], manifest: ModelManifest) -> list[WindowMasks]:
        """Window by window."""
        predictions, prototypes = outputs["predictions"], outputs["prototypes"]
        rows = 4 + self.outputs_count + (prototypes.shape[1] if prototypes.ndim == 4 else 0)
        if prototypes.ndim != 4 or predictions.ndim != 3 or predictions.shape[1] != rows:
            expected = f"predictions (n, {rows}, k) and prototypes (n, m, y, x)"
            bad(manifest, "the network's output", expected, f"{predictions.shape} and {prototypes.shape}")
        return [self._window(*one, manifest) for one in zip(predictions, prototypes, strict=True)]

    def _window(self, columns: NDArray[Any], prototypes: NDArray[Any], manifest: ModelManifest) -> WindowMasks:
        per_class = columns[4 : 4 + self.outputs_count]
        labels, scores = per_class.argmax(0), per_class.max(0)
        likely = scores >= self.detections.score_threshold
        boxes = corners(columns[:4, likely].T, "cxcywh", manifest)
        kept, classes, capped = self.detections.chosen(boxes, scores[likely], labels[likely], manifest)
        weights = columns[4 + self.outputs_count :, likely][:, kept]
        crops = [
            _prototype_mask(box, np.tensordot(weight, prototypes, 1), manifest)
            for box, weight in zip(boxes[kept], weights.T, strict=True)
        ]
        return masks_of(classes, scores[likely][kept], crops, capped)


@dataclass(frozen=True, slots=True, kw_only=True)
class StarHead:
    """`middle` (n, y / 2, x / 2), `rays` (n, k, y / 2, x / 2) and `foreground` (n, y, x) of a star-convex network."""

    settings: StarSettings
    logits: bool
    """Whether middle and foreground are logits."""
    kind: ModelKind = "instance"
    single: bool = False

    @property
    def roles(self) -> Mapping[str, Form]:
        """Three tables."""
        return {"middle": "table", "rays": "table", "foreground": "table"}

    @property
    def optional_roles(self) -> Mapping[str, Form]:
        """None."""
        return {}

    def decode(self, outputs: Outputs, valid: NDArray[np.bool_], manifest: ModelManifest) -> list[WindowMasks]:
        """Window by window, all of the first class."""
        height, width = manifest.window[1:]
        half = ((height + 1) // 2, (width + 1) // 2)
        middle = _plane(outputs["middle"], half, manifest, "middle")
        foreground = _plane(outputs["foreground"], (height, width), manifest, "foreground")
        rays = outputs["rays"].astype(np.float32)
        if rays.ndim != 4 or rays.shape[2:] != half or not np.isfinite(rays).all():
            bad(manifest, "the network's rays", f"finite numbers (n, rays, {half[0]}, {half[1]})", f"{rays.shape}")
        if self.logits:
            middle, foreground = sigmoid(middle), sigmoid(foreground)
        answers: list[WindowMasks] = []
        for one in zip(middle, rays, foreground, valid[:, 0], strict=True):
            scores, crops = decode(*one, self.settings)
            answers.append(WindowMasks(np.zeros(len(scores), np.int64), scores, crops))
        return answers


def corners(
    boxes: NDArray[Any], form: BoxFormat, manifest: ModelManifest, *, relative: bool = False
) -> NDArray[np.float32]:
    """Boxes (k, 4) of any format as x0, y0, x1, y1 in pixels."""
    result = np.array(boxes, np.float32)
    if result.ndim != 2 or result.shape[1] != 4:
        bad(manifest, "the network's boxes", "shape (k, 4)", f"{result.shape}")
    if form == "cxcywh":
        result[:, :2] -= result[:, 2:] / 2
    if form != "xyxy":
        result[:, 2:] += result[:, :2]
    if relative:
        result *= np.array([manifest.window[2], manifest.window[1]] * 2, np.float32)
    return result


def masks_of(
    labels: Sequence[int] | NDArray[Any],
    scores: Sequence[float] | NDArray[Any],
    crops: Sequence[Crop | None],
    capped: bool,
) -> WindowMasks:
    """Detections that have an extent."""
    there = np.array([crop is not None for crop in crops], bool)
    return WindowMasks(
        np.asarray(labels, np.int64)[there],
        np.asarray(scores, np.float64)[there],
        [crop for crop in crops if crop is not None],
        capped,
    )


def _prototype_mask(box: NDArray[np.float32], logits: NDArray[Any], manifest: ModelManifest) -> Crop | None:
    """Where the upsampled map is above 0, in the box."""
    inside = filled_box(box, manifest.window, "rectangle")
    if inside is None:
        return None
    place = inside[0]
    rows = linear_weights(logits.shape[0], manifest.window[1])[place.start[1] : place.stop[1]]
    columns = linear_weights(logits.shape[1], manifest.window[2])[place.start[2] : place.stop[2]]
    return tight_crop(place, (rows @ logits.astype(np.float32) @ columns.T > 0)[None])


def _plane(values: NDArray[Any], sides: tuple[int, int], manifest: ModelManifest, role: str) -> NDArray[np.float32]:
    """(n, y, x) of a map with or without an axis of one channel."""
    plane = values[:, 0] if values.ndim == 4 and values.shape[1] == 1 else values
    if plane.ndim != 3 or plane.shape[1:] != sides or not np.isfinite(plane).all():
        bad(manifest, f"the network's {role}", f"finite numbers (n, {sides[0]}, {sides[1]})", f"shape {values.shape}")
    return plane.astype(np.float32)


def _rows(values: NDArray[Any], axes: int) -> NDArray[Any]:
    """Without a leading axis of one window."""
    return values[0] if values.ndim == axes + 1 and len(values) == 1 else values
