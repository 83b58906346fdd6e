"""Random pieces of samples: place, size, turn, contrast, blur, noise and dark borders, from one seeded generator."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy.ndimage has no complete types)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segworkers.training.clumps import paste
from segworkers.training.samples import Crop, Sample, median_diameter

Rng = np.random.Generator
Span = tuple[float, float]
_DRAWS = 256
"""Places that are tried for one on an object."""
_STRIPS = 0.15
"""Share of the cut borders that may leave a strip only, as a window does that begins near an image's edge."""
_COARSE = 3
"""Every this many-th pixel is enough to know how large objects are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How samples are cut and changed. Spans are drawn from evenly, those of factors evenly in their logarithm."""

    side: int = 192
    """px of the square crops."""
    diameters: Span | None = None
    """px: the sample's median object is scaled to a diameter drawn from here; None: `zoom` is drawn instead."""
    zoom: Span = (0.6, 1.7)
    """Scale factor; with `diameters`, its limits."""
    rotate: bool = True
    """Any angle and mirrored; False: quarter turns and mirrored."""
    gain: Span = (0.5, 2.2)
    """Factor on all values, which are clipped to 0..1 afterwards where `clip` is set."""
    gamma: Span = (0.6, 1.6)
    """Exponent of values in 0..1."""
    offset: Span = (-0.03, 0.08)
    """Added to all values."""
    blur: Span = (0.0, 1.5)
    """px, standard deviation; applied to half of the crops."""
    noise: Span = (0.0, 0.06)
    """Standard deviation of Gaussian noise; applied to half of the crops."""
    border: float = 0.25
    """Chance that the crop ends inside, at a straight line beyond which all is 0, as at an image's edge."""
    clump: float = 0.0
    """Chance that copies of the sample's objects are laid against those in the crop."""
    on_object: float = 0.85
    """Chance that the crop is centred near an object, else anywhere."""
    clip: bool = True
    """Whether values are clipped to 0..1."""

    def crop(self, sample: Sample, rng: Rng) -> Crop:
        """A random piece of the sample. Beyond the sample's edge lies nothing: values 0, no objects."""
        zoom = self._zoom(sample, rng)
        image, labels, ignored = self._piece(sample, zoom, rng)
        if rng.random() < self.clump:
            count = int(sample.labels.max(initial=0)) if sample.classes is None else len(sample.classes)
            paste(image, labels, self._piece(sample, zoom, rng)[:2], count, rng)
        image = self._contrast(image, rng)
        if rng.random() < self.border:
            cut_border(rng, image, labels, ignored)
        return as_crop(image, labels, sample.classes, ignored)

    def _zoom(self, sample: Sample, rng: Rng) -> float:
        zoom = factor(rng, self.zoom)
        diameter = _COARSE * median_diameter(sample.labels[::_COARSE, ::_COARSE])
        if self.diameters is not None and diameter > 0:
            zoom = float(np.clip(factor(rng, self.diameters) / diameter, *self.zoom))
        return zoom

    def _piece(
        self, sample: Sample, zoom: float, rng: Rng
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
        """Image (bands, side, side), labels and what is ignored (side, side) at a random place, turned and scaled."""
        matrix, centre = self._transform(zoom, rng), self._centre(sample, rng)
        offset = centre - matrix @ np.full(2, (self.side - 1) / 2)
        image = np.stack([self._resampled(band, matrix, offset, 1 / zoom) for band in sample.image])
        labels = _nearest(sample.labels, matrix, offset, self.side)
        ignored = np.zeros(labels.shape, np.bool_)
        if sample.ignored is not None:
            ignored = _nearest(sample.ignored.view(np.uint8), matrix, offset, self.side).astype(np.bool_)
        return image, labels, ignored

    def _transform(self, zoom: float, rng: Rng) -> NDArray[np.float64]:
        """(2, 2) matrix from crop to sample coordinates (y, x): turn, mirror and scale."""
        angle = rng.uniform(0, 2 * np.pi)
        if not self.rotate:
            angle = np.round(angle / (np.pi / 2)) * np.pi / 2
        cos, sin = np.cos(angle), np.sin(angle)
        mirror = np.diag([1.0, rng.choice([-1.0, 1.0])])
        return np.array([[cos, -sin], [sin, cos]]) @ mirror / zoom

    def _centre(self, sample: Sample, rng: Rng) -> NDArray[np.float64]:
        """The crop's middle in the sample (y, x)."""
        height, width = sample.labels.shape
        places = np.stack([rng.integers(0, height, _DRAWS), rng.integers(0, width, _DRAWS)])
        there = np.flatnonzero(sample.labels[*places])
        if there.size == 0 or rng.random() >= self.on_object:
            return places[:, 0].astype(np.float64)
        return places[:, there[0]] + rng.uniform(-0.35, 0.35, 2) * self.side

    def _resampled(
        self, band: NDArray[np.float32], matrix: NDArray[np.float64], offset: NDArray[np.float64], shrink: float
    ) -> NDArray[np.float32]:
        """Bilinear; what is made smaller is blurred first, in the part that the crop shows."""
        reach = shrink * self.side * 0.75 + 4
        middle = offset + matrix @ np.full(2, (self.side - 1) / 2)
        low = np.maximum(np.floor(middle - reach), 0).astype(int)
        high = np.minimum(np.ceil(middle + reach), band.shape).astype(int)
        part = band[low[0] : max(high[0], low[0] + 1), low[1] : max(high[1], low[1] + 1)]
        if shrink > 1.15:
            part = ndimage.gaussian_filter(part, 0.4 * shrink, mode="nearest")
        shape = (self.side, self.side)
        seen = cast("Any", ndimage.affine_transform)(part, matrix, offset - low, shape, order=1, mode="grid-constant")
        return np.asarray(seen, np.float32)

    def _contrast(self, image: NDArray[np.float32], rng: Rng) -> NDArray[np.float32]:
        """Gamma, gain and offset, then the microscope's or camera's blur and noise."""
        power, gain = np.float32(factor(rng, self.gamma)), np.float32(factor(rng, self.gain))
        image = np.asarray(np.sign(image) * np.abs(image) ** power * gain + rng.uniform(*self.offset), np.float32)
        if rng.random() < 0.5:
            sigma = rng.uniform(*self.blur)
            image = np.stack([np.asarray(ndimage.gaussian_filter(band, sigma), np.float32) for band in image])
        if rng.random() < 0.5:
            image += np.float32(rng.uniform(*self.noise)) * rng.standard_normal(image.shape, np.float32)
        return np.clip(image, 0, 1) if self.clip else image


def factor(rng: Rng, span: Span) -> float:
    """A factor drawn evenly in its logarithm."""
    return float(np.exp(rng.uniform(np.log(span[0]), np.log(span[1]))))


def cut_border(rng: Rng, image: NDArray[np.float32], labels: NDArray[np.int32], ignored: NDArray[np.bool_]) -> None:
    """Set all beyond one or two straight lines to nothing, in place: mostly near the border, at times nearly all."""
    side = labels.shape[0]
    for axis in rng.permutation(2)[: rng.integers(1, 3)]:
        width = 1 + int(side * rng.random() * (0.8 if rng.random() < _STRIPS else 0.33))
        gone = slice(0, width) if rng.random() < 0.5 else slice(side - width, side)
        place = (gone, slice(None)) if axis == 0 else (slice(None), gone)
        image[:, *place], labels[place], ignored[place] = 0, 0, False


def as_crop(
    image: NDArray[np.float32],
    labels: NDArray[np.int32],
    classes: NDArray[np.int64] | None,
    ignored: NDArray[np.bool_],
) -> Crop:
    """The crop with its objects numbered without gaps.

    classes: (n,) of the sample's objects, as in `Sample`; copies of object k have numbers k + a multiple of n.
    """
    there, numbers = np.unique(labels, return_inverse=True)
    if there[0] != 0:
        there, numbers = np.concatenate([[0], there]), numbers + 1
    found = there[1:].astype(np.int64) - 1
    kinds = np.zeros(len(found), np.int64) if classes is None else classes[found % len(classes)].astype(np.int64)
    return Crop(image=image, labels=numbers.reshape(labels.shape).astype(np.int32), classes=kinds, ignored=ignored)


def _nearest(values: NDArray[Any], matrix: NDArray[np.float64], offset: NDArray[np.float64], side: int) -> NDArray[Any]:
    """Values at the nearest pixels (side, side); 0 beyond the edge."""
    rows, columns = np.indices((side, side), np.float64)
    y = np.rint(matrix[0, 0] * rows + matrix[0, 1] * columns + offset[0]).astype(np.int64)
    x = np.rint(matrix[1, 0] * rows + matrix[1, 1] * columns + offset[1]).astype(np.int64)
    inside = (y >= 0) & (y < values.shape[0]) & (x >= 0) & (x < values.shape[1])
    return np.where(inside, values[np.clip(y, 0, values.shape[0] - 1), np.clip(x, 0, values.shape[1] - 1)], 0)
