"""Random colours and contrast of crops, so that a model of one site sees other light, seasons and cameras.

Per crop, after the geometry of `Augmentation` and before its own contrast: the contrast of the crop alone (as a small
image of its own would be stretched), a saturation from none (one band three times) to strong, and a gamma, gain and
offset for each band.
"""

# NumPy knows no more of these values.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.models.crowns_data import Floats
from segworkers.training.augment import Augmentation, Rng, Span, factor

_STRETCHED = (1.0, 99.0)
"""Percentiles that become 0 and 1, as those of a whole image do with `normalise: percentile`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourAugmentation(Augmentation):
    """An Augmentation of images (3, y, x) in 0..1 that changes their colours too."""

    own_contrast: float = 0.3
    """Chance that the crop is stretched by its own percentiles."""
    grey: float = 0.15
    """Chance of no colour at all, from random weights of the bands; else `saturation` says how much."""
    saturation: Span = (0.4, 1.6)
    """Factor on what the bands differ from their mean by."""
    band_gamma: Span = (0.8, 1.25)
    """Exponent for each band."""
    band_gain: Span = (0.8, 1.2)
    """Factor for each band."""
    band_offset: Span = (-0.06, 0.06)
    """Added to each band."""

    def _contrast(self, image: Floats, rng: Rng) -> Floats:
        """The colours, then what every Augmentation does."""
        if rng.random() < self.own_contrast and image.any():
            low, high = np.percentile(image[:, image.any(axis=0)], _STRETCHED, axis=1)
            image = (image - low[:, None, None]) / np.maximum(high - low, 0.1)[:, None, None]
        seen = np.clip(self._coloured(image, rng), 0, 1)
        gamma, gain = (np.array([[[factor(rng, span)]] for _ in image]) for span in (self.band_gamma, self.band_gain))
        changed = seen**gamma * gain + rng.uniform(*self.band_offset, (len(image), 1, 1))
        return Augmentation._contrast(self, np.asarray(changed, np.float32), rng)  # noqa: SLF001

    def _coloured(self, image: Floats, rng: Rng) -> Floats:
        weights = rng.dirichlet((2.0, 2.0, 2.0)).astype(np.float32)
        if rng.random() < self.grey:
            return np.repeat(np.tensordot(weights, image, 1)[None], len(image), axis=0)
        mean = image.mean(axis=0, keepdims=True)
        return mean + np.float32(factor(rng, self.saturation)) * (image - mean)
