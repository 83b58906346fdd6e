"""Heads: what the outputs of a foreign network mean, declared in a bundle, decoded here without any runtime.

    network ── outputs by role ──▶ head ──▶ DenseProbabilities, DenseMaps or WindowMasks

`segworkers.segmenters.head_reading` makes heads of declarations such as {"type": "semantic", "activation": "softmax"},
and says which of the network's outputs plays which role. Maps come in the pipeline's axes: batch, channels, z, y, x;
where a window is a plane, z = 1. Here are the heads of maps; `segworkers.segmenters.instance_heads` has those of boxes.
"""
# SciPy is partly untyped.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Box, zyx
from schemas.errors import TileError
from schemas.models import ModelKind, ModelManifest
from segworkers.segmenters.base import DenseAnswer, DenseMaps, DenseProbabilities, WindowMasks

Outputs = Mapping[str, NDArray[Any]]
"""A network's outputs by role."""

Activation = Literal["softmax", "sigmoid", "none"]

Form = Literal["map", "table"]
"""`map`: an array with an axis for each axis of the window, brought to (n, channels, z, y, x). `table`: as it comes."""


class Head(Protocol):
    """Turns a network's outputs into an answer."""

    @property
    def kind(self) -> ModelKind:
        """What the manifest must say."""
        ...

    @property
    def roles(self) -> Mapping[str, Form]:
        """Outputs that it needs, in the order that networks usually have them."""
        ...

    @property
    def optional_roles(self) -> Mapping[str, Form]:
        """Outputs that it can use."""
        ...

    @property
    def single(self) -> bool:
        """Whether the network must be shown one window at a time, because outputs of several have different lengths."""
        ...

    def decode(
        self, outputs: Outputs, valid: NDArray[np.bool_], manifest: ModelManifest
    ) -> DenseAnswer | list[WindowMasks]:
        """The answer for the windows.

        valid: (n, z, y, x), True where a pixel is real. Raises TileError (`bad_prediction`) for other shapes.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticHead:
    """`scores` (n, channels, [z], y, x): one channel for each class, with or without background."""

    activation: Activation = "softmax"
    """Default for more than one channel; `sigmoid` for one."""
    background: bool = True
    """Whether channel 0 is background. Without it a class must be above `threshold` to win."""
    threshold: float = 0.5
    kind: ModelKind = "dense"
    single: bool = False

    @property
    def roles(self) -> Mapping[str, Form]:
        """One map."""
        return {"scores": "map"}

    @property
    def optional_roles(self) -> Mapping[str, Form]:
        """None."""
        return {}

    def decode(self, outputs: Outputs, valid: NDArray[np.bool_], manifest: ModelManifest) -> DenseProbabilities:
        """Probabilities; without a background channel it has the threshold's height, so that `argmax` decides."""
        values = centred(outputs["scores"], manifest, len(manifest.classes) + self.background).astype(np.float32)
        if self.activation == "softmax":
            values = softmax(values)
        elif self.activation == "sigmoid":
            values = sigmoid(values)
        if self.background:
            return DenseProbabilities(values)
        level = np.full_like(values[:, :1], self.threshold)
        return DenseProbabilities(np.concatenate((level, values), axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassesHead:
    """`classes` (n, [z], y, x): whole numbers, 0 = background, k = classes[k - 1]."""

    kind: ModelKind = "dense"
    single: bool = False

    @property
    def roles(self) -> Mapping[str, Form]:
        """One map."""
        return {"classes": "map"}

    @property
    def optional_roles(self) -> Mapping[str, Form]:
        """None."""
        return {}

    def decode(self, outputs: Outputs, valid: NDArray[np.bool_], manifest: ModelManifest) -> DenseMaps:
        """The map itself, without probabilities."""
        values = whole(centred(outputs["classes"], manifest, 1)[:, 0], manifest, "classes")
        if values.size and not (values.min() >= 0 and values.max() <= len(manifest.classes)):
            bad(manifest, "classes", f"0 to {len(manifest.classes)}", f"{values.min()} to {values.max()}")
        return DenseMaps(values.astype(np.min_scalar_type(len(manifest.classes))), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsHead:
    """`labels` (n, [z], y, x): whole numbers, 0 = background, the same number for the pixels of one object.

    Optional: `scores` of the same shape, averaged over the object (else 1), and `classes`, of which the object has the
    most frequent, the lowest of several.
    """

    kind: ModelKind = "instance"
    single: bool = False

    @property
    def roles(self) -> Mapping[str, Form]:
        """One map."""
        return {"labels": "map"}

    @property
    def optional_roles(self) -> Mapping[str, Form]:
        """Two maps."""
        return {"scores": "map", "classes": "map"}

    def decode(self, outputs: Outputs, valid: NDArray[np.bool_], manifest: ModelManifest) -> list[WindowMasks]:
        """Objects in the order of their numbers."""
        labels = whole(centred(outputs["labels"], manifest, 1)[:, 0], manifest, "labels")
        if labels.size and labels.min() < 0:
            bad(manifest, "labels", "numbers of at least 0", f"{labels.min()}")
        scores = centred(outputs["scores"], manifest, 1)[:, 0] if "scores" in outputs else np.ones(labels.shape)
        classes = np.ones(labels.shape, np.int64)
        if "classes" in outputs:
            classes = whole(centred(outputs["classes"], manifest, 1)[:, 0], manifest, "classes")
            if not (classes.min(initial=0) >= 0 and classes.max(initial=0) <= len(manifest.classes)):
                bad(manifest, "classes", f"0 to {len(manifest.classes)}", f"{classes.min()} to {classes.max()}")
        return [label_masks(*window, len(manifest.classes)) for window in zip(labels, scores, classes, strict=True)]


def label_masks(labels: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], class_count: int) -> WindowMasks:
    """The objects of one label map, (z, y, x) each; pixels of class 0 vote for no class."""
    numbers, inverse = np.unique(labels, return_inverse=True)
    compact = inverse.reshape(labels.shape).astype(np.int32) + (1 if numbers[0] > 0 else 0)
    found: list[tuple[Box, NDArray[np.bool_]]] = []
    label: list[int] = []
    score: list[float] = []
    places = cast("list[tuple[slice, slice, slice]]", ndimage.find_objects(compact))  # numbers have no gaps
    for number, place in enumerate(places, start=1):
        mask = compact[place] == number
        votes = np.bincount(classes[place][mask], minlength=class_count + 1)[1:]
        found.append((Box(zyx([s.start for s in place]), zyx([s.stop for s in place])), mask))
        label.append(int(np.argmax(votes)))
        score.append(float(scores[place][mask].mean(dtype=np.float64)))
    return WindowMasks(np.array(label, np.int64), np.array(score, np.float64), found)


def softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over axis 1."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function, without overflow."""
    small = np.exp(-np.abs(values))
    return (np.where(values >= 0, 1, small) / (1 + small)).astype(np.float32)


def centred(values: NDArray[Any], manifest: ModelManifest, channels: int) -> NDArray[Any]:
    """(n, channels, *window) of a map (n, channels, z, y, x), which may show the window's context too."""
    sides = values.shape[2:]
    if values.ndim == 5 and values.shape[1] == channels and sides == manifest.shown != manifest.window:
        z, y, x = (slice(c, c + w) for c, w in zip(manifest.context, manifest.window, strict=True))
        values = values[:, :, z, y, x]
    if values.ndim != 5 or values.shape[1:] != (channels, *manifest.window):
        expected = f"a map with {channels} channels and sides {manifest.window} (z, y, x)"
        bad(manifest, "the network's output", expected, f"shape {values.shape} (n, channels, z, y, x)")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad(manifest, "the network's output", "finite numbers", "NaN or infinity")
    return values


def whole(values: NDArray[Any], manifest: ModelManifest, role: str) -> NDArray[np.int64]:
    """Whole numbers as int64, if they came as floating-point ones too."""
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        bad(manifest, role, "whole numbers", "fractions")
    return values.astype(np.int64)


def bad(manifest: ModelManifest, where: str, expected: str, found: str) -> NoReturn:
    """Raise TileError (`bad_prediction`)."""
    raise TileError("bad_prediction", f"{manifest.name}: {where}: expected {expected}, found {found}.")
