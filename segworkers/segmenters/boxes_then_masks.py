"""Detect, then segment inside: a detector's boxes, then a dense model inside each box, one mask for each box.

    window ──▶ detector ──▶ boxes ──▶ crops of one size ──▶ dense model ──▶ class maps ──▶ masks in the window

The `parameters` of a bundle of the family `two-stage`:

    "detector", "segmenter": {"family", "manifest", "parameters", "folder"}: models of any family, of kind instance and
                dense, as their own bundles describe them; `folder` holds their files, whose names in `weights` begin
                with it
    "margin":   part of a box's sides by which it grows on either side before it is looked into, default 0.1
    "fit":      "resize" (default): what is in the box fills the dense model's window; "native": the dense model's
                window is laid around the box's middle at the image's own scale; boxes that do not fit are resized
    "part":     "largest" (default): of what is found, the part that fills most of the box before it grew; "all"
    "labels":   "detector" (default) or "segmenter": whose classes the objects have
    "detector_bands", "segmenter_bands": positions among the window's channels, default all
    "batch":    boxes that the dense model is shown at once, default 8

Both stages see the windows that this model declares: `normalise` and `resolution` are its own. What is said of a window
depends on the window alone: its boxes are shown in the order of their places, in batches of one size filled up with 0.
"""
# SciPy is partly untyped.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Box, Zyx, zyx
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseAnswer, DenseProbabilities, Segmenter, WindowMasks
from segworkers.segmenters.checks import tight_crop
from segworkers.segmenters.families import load_family
from segworkers.segmenters.sampling import Crop, resized
from segworkers.segmenters.stages import TwoStages, read_stages

Fit = Literal["resize", "native"]


@dataclass(frozen=True, slots=True)
class Look:
    """What the dense model is shown of one box."""

    region: Box
    """What fills its view, in the window's coordinates; may reach outside the window where it is not resized."""
    mask: Box
    """Where the mask may lie: the grown box, inside the window."""
    box: Box
    """The detector's."""


class TwoStageSegmenter:
    """The detector's boxes, each with the mask that the dense model finds in it."""

    def __init__(self, detector: Segmenter, segmenter: Segmenter, stages: TwoStages, manifest: ModelManifest) -> None:
        """detector: of kind instance, its window that of `manifest`; segmenter: of kind dense, without context."""
        self._detector = detector
        self._segmenter = segmenter
        self._stages = stages
        self._manifest = manifest

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> list[WindowMasks]:
        """Masks of each window in the detector's order; boxes in which nothing is found are left out.

        windows: (n, channels, z, y, x); valid: (n, z, y, x). Raises TileError as either stage does.
        """
        found = self._detector.predict(_bands(windows, self._stages.detector_bands), valid)
        shown = _bands(windows, self._stages.segmenter_bands)
        boxes = cast(Sequence[WindowMasks], found)
        return [self._window(*one) for one in zip(shown, valid, boxes, strict=True)]

    def _window(self, window: NDArray[Any], valid: NDArray[np.bool_], found: WindowMasks) -> WindowMasks:
        boxes = [box for box, _ in found.crops]
        looks = [self._look(box) for box in boxes]
        order = sorted(range(len(boxes)), key=lambda index: (boxes[index].start, boxes[index].stop))
        classes: dict[int, NDArray[np.integer[Any]]] = {}
        for first in range(0, len(order), self._stages.batch):
            group = order[first : first + self._stages.batch]
            answers = self._ask(window, valid, [looks[index] for index in group])
            classes |= dict(zip(group, answers, strict=True))
        masks = [self._mask(looks[index], classes[index]) for index in range(len(boxes))]
        kept = [index for index, mask in enumerate(masks) if mask is not None]
        labels = [
            int(found.labels[index])
            if self._stages.labels == "detector"
            else _commonest(looks[index], masks[index], classes[index])
            for index in kept
        ]
        crops = [mask for mask in masks if mask is not None]
        return WindowMasks(np.array(labels, np.int64), found.scores[kept], crops, found.capped)

    def _look(self, box: Box) -> Look:
        whole = Box.of_shape(self._manifest.window)
        # A plane has no margin above and below it.
        margin = [
            round(side * self._stages.margin) if room > 1 else 0
            for side, room in zip(box.shape, whole.shape, strict=True)
        ]
        grown = box.grow(margin) & whole
        assert grown is not None, "boxes lie in the window"
        view = self._segmenter.manifest.window
        if self._stages.fit == "resize" or any(a > b for a, b in zip(grown.shape, view, strict=True)):
            return Look(grown, grown, box)
        return Look(_around(grown, view, whole.shape), grown, box)

    def _ask(
        self, window: NDArray[Any], valid: NDArray[np.bool_], looks: Sequence[Look]
    ) -> list[NDArray[np.integer[Any]]]:
        """Class maps of the looks' masks' boxes."""
        view = self._segmenter.manifest.window
        images = np.zeros((self._stages.batch, len(window), *view), window.dtype)
        real = np.zeros((self._stages.batch, *view), bool)
        for image, there, look in zip(images, real, looks, strict=False):
            image[:], there[:] = _view(window, valid, look.region, view)
        answer = cast(DenseAnswer, self._segmenter.predict(images, real))
        return [_classes(answer, index, look) for index, look in enumerate(looks)]

    def _mask(self, look: Look, classes: NDArray[np.integer[Any]]) -> Crop | None:
        mask = classes > 0
        if self._stages.part == "largest":
            parts, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(mask, np.ones((3, 3, 3))))
            # Counted in the detector's own box: in the grown one a neighbour may show more of itself.
            sizes = np.bincount(parts[look.box.within(look.mask.start)].ravel(), minlength=count + 1)
            sizes[0] = 0
            mask = (parts == int(np.argmax(sizes))) & mask
        return tight_crop(look.mask, mask)


def load(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> TwoStageSegmenter:
    """The model of a bundle, both stages on `device`. Raises SpecError where either cannot be loaded."""
    stages = read_stages(manifest, parameters)
    first, second = (
        load_family(stage.family, stage.manifest, stage.parameters, weights / stage.folder, device)
        for stage in (stages.detector, stages.segmenter)
    )
    return TwoStageSegmenter(first, second, stages, manifest)


def _bands(windows: NDArray[Any], chosen: tuple[int, ...] | None) -> NDArray[Any]:
    return windows if chosen is None else windows[:, list(chosen)]


def _around(box: Box, view: Zyx, window: Zyx) -> Box:
    """A box of the view's size around the middle of `box`, inside the window as far as it fits there."""
    start = [a + (side - room) // 2 for a, side, room in zip(box.start, box.shape, view, strict=True)]
    inside = [
        min(max(a, 0), w - room) if room <= w else (w - room) // 2
        for a, room, w in zip(start, view, window, strict=True)
    ]
    return Box(zyx(inside), zyx([a + room for a, room in zip(inside, view, strict=True)]))


def _view(
    window: NDArray[Any], valid: NDArray[np.bool_], region: Box, view: Zyx
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A region of a window (channels, z, y, x) at the view's size; 0 and not valid outside the window."""
    inside = region & Box.of_shape(valid.shape)
    assert inside is not None, "a region overlaps its window"
    part = inside.within((0, 0, 0))
    values, real = window[(slice(None), *part)], valid[part]
    if region.shape != view:
        image = resized(values, view, antialias=True)
        there = resized(real, view, antialias=True) >= 0.5
        return np.rint(image) if window.dtype.kind in "iu" else image, there
    image, there = np.zeros((len(window), *view), window.dtype), np.zeros(view, bool)
    place = inside.within(region.start)
    image[(slice(None), *place)], there[place] = values, real
    return image, there


def _classes(answer: DenseAnswer, index: int, look: Look) -> NDArray[np.integer[Any]]:
    """The class map of a look's mask box, in the window's pixels."""
    if isinstance(answer, DenseProbabilities):
        values = answer.values[index]
        if values.shape[1:] != look.region.shape:
            values = resized(values, look.region.shape)
        classes = np.argmax(values, axis=0)
    else:
        classes = _nearest(answer.classes[index], look.region.shape)
    return classes[look.mask.within(look.region.start)]


def _nearest(classes: NDArray[Any], shape: Zyx) -> NDArray[Any]:
    """A class map at another size: each pixel has the class at its middle."""
    for axis, side in enumerate(shape):
        if classes.shape[axis] != side:
            places = ((np.arange(side) + 0.5) * classes.shape[axis] / side).astype(np.int64)
            classes = classes.take(places, axis=axis)
    return classes


def _commonest(look: Look, mask: Crop | None, classes: NDArray[np.integer[Any]]) -> int:
    """The index of the class that most of the mask's pixels have, the lowest of several."""
    assert mask is not None, "asked for masks that are there"
    box, pixels = mask
    inside = classes[box.within(look.mask.start)][pixels]
    return int(np.argmax(np.bincount(inside)[1:]))
