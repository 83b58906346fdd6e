"""The Segmenter port: windows in, masks out, and the checks that every model's answer must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.models import ModelManifest


@dataclass(frozen=True, slots=True, eq=False)
class DenseMaps:
    """A dense model's answer for a batch."""

    classes: NDArray[np.unsignedinteger[Any]]
    """(n, z, y, x), 0 = background, k = manifest.classes[k - 1]."""
    probability: NDArray[np.float32] | None
    """(n, z, y, x): probability of the winning class; None where the model gives classes only."""


@dataclass(frozen=True, slots=True, eq=False)
class DenseProbabilities:
    """A dense model's answer for a batch as probabilities, of which blended maps or class maps are made."""

    values: NDArray[np.floating[Any]]
    """(n, classes + 1, z, y, x) in 0..1, channel 0 = background; float32 where the manifest asks for blending."""

    def winners(self) -> DenseMaps:
        """The class of the largest probability, the lowest of several, in the smallest unsigned type that holds it."""
        winner = np.argmax(self.values, axis=1)
        probability = np.take_along_axis(self.values, winner[:, None], axis=1)[:, 0].astype(np.float32)
        dtype = np.min_scalar_type(self.values.shape[1] - 1)
        return DenseMaps(winner.astype(dtype), np.clip(probability, 0.0, 1.0, out=probability))


DenseAnswer = DenseMaps | DenseProbabilities
"""What a dense model says about a batch."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowMasks:
    """An instance model's answer for one window, best first as the model gave them."""

    labels: NDArray[np.int64]
    """(k,) index into manifest.classes."""
    scores: NDArray[np.float64]
    """(k,) in 0..1 by convention; finite."""
    crops: Sequence[tuple[Box, NDArray[np.bool_]]]
    """(k,) box in window coordinates and mask of the box's shape; may have several parts; may overlap others."""
    capped: bool = False
    """Whether the model's own limit of detections was reached, so that some may be missing."""


class Segmenter(Protocol):
    """A loaded model. One per process; `predict` is called under a lock."""

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties, available before any prediction."""
        ...

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseAnswer | Sequence[WindowMasks]:
        """Segment a batch.

        windows: (n, channels, z, y, x), the image's dtype or float32 where the manifest declares a normalisation.
        valid: (n, z, y, x), True where a pixel is real: neither padding nor nodata.
        Returns DenseMaps or DenseProbabilities for `dense` (the latter where the manifest's `blend` is not `none`),
        n WindowMasks for `instance`. Raises TileError (`bad_prediction`) where the model's answer is unusable.
        """
        ...
