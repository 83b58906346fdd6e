"""Statistics of one image and the normalisations built on them.

A model sees windows, but contrast belongs to the image: statistics are taken once from a reduced view of the whole
image and then applied to every window alike, so that no window or work tile border ever shows in the values.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.models import Normalisation
from segworkers.readers.base import PixelBlock

LOW_PERCENTILE = 1.0
HIGH_PERCENTILE = 99.0
OTSU_VALUE = 0.5
"""Where `otsu` puts the Otsu level: objects are above it."""

_HISTOGRAM_BINS = 4096
_EXACT_RANGE = 65536
_TABLE_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


@dataclass(frozen=True, slots=True, kw_only=True)
class BandStatistics:
    """Values of the valid, finite pixels of one band, in the band's own unit."""

    low: float
    """1st percentile."""
    high: float
    """99th percentile."""
    mean: float
    std: float
    """Standard deviation of the pixels themselves (divided by n)."""
    minimum: float
    maximum: float
    otsu: float
    """Level that separates the two classes of greatest between-class variance: the upper class is `> otsu`."""
    pixels: int
    """How many pixels these numbers come from; 0 where none was valid, and then the numbers are 0 and 1 by fiat."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of one image, one entry for each band in the order that was read."""

    bands: tuple[BandStatistics, ...]

    def to_json(self) -> str:
        """JSON text with sorted keys; floats keep all their digits."""
        return json.dumps({"bands": [asdict(band) for band in self.bands]}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Statistics:
        """The inverse of `to_json`."""
        return cls(tuple(BandStatistics(**band) for band in json.loads(text)["bands"]))


def image_statistics(thumbnail: PixelBlock) -> Statistics:
    """Statistics of each band over the pixels that are valid and finite.

    A band without such pixels gets the neutral values 0 and 1 with `pixels` = 0.
    """
    integral = thumbnail.pixels.dtype.kind in "iub"
    bands: list[BandStatistics] = []
    for band in thumbnail.pixels:
        values = band[thumbnail.valid].astype(np.float64)
        bands.append(_band_statistics(values[np.isfinite(values)], integral))
    return Statistics(tuple(bands))


def _band_statistics(values: NDArray[np.float64], integral: bool) -> BandStatistics:
    if values.size == 0:
        return BandStatistics(low=0.0, high=1.0, mean=0.0, std=1.0, minimum=0.0, maximum=1.0, otsu=0.5, pixels=0)
    low, high = np.percentile(values, (LOW_PERCENTILE, HIGH_PERCENTILE))
    return BandStatistics(
        low=float(low),
        high=float(high),
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        otsu=otsu_level(values, integral),
        pixels=int(values.size),
    )


def otsu_level(values: NDArray[np.float64], integral: bool) -> float:
    """Otsu's threshold (IEEE Trans. SMC 9, 1979) of finite values: the upper class is `> level`.

    values: (n,), n >= 1. integral: whole numbers, which get one histogram bin each while their range allows it;
    otherwise 4096 equal bins. Between two classes with a gap the level lies in the middle of the gap, so that values
    which the reduced view did not show still fall on the nearer side. Constant values are their own level.
    """
    lowest, highest = float(values.min()), float(values.max())
    if lowest == highest:
        return lowest
    if integral and highest - lowest < _EXACT_RANGE:
        bins, width, edge = int(highest - lowest) + 1, 1.0, lowest - 0.5
    else:
        bins, width, edge = _HISTOGRAM_BINS, (highest - lowest) / _HISTOGRAM_BINS, lowest
    if not 0.0 < width < math.inf:
        return lowest / 2 + highest / 2
    index = np.minimum((values - lowest) / width, bins - 1).astype(np.int64)
    counts = np.bincount(index, minlength=bins)
    below = np.cumsum(counts)
    moment = np.cumsum(counts * np.arange(bins, dtype=np.float64))
    weight, rest = below[:-1].astype(np.float64), (below[-1] - below[:-1]).astype(np.float64)
    between = weight * rest * (moment[:-1] / weight - (moment[-1] - moment[:-1]) / rest) ** 2
    first = int(np.argmax(between))
    upper = first + 1 + int(np.argmax(counts[first + 1 :] > 0))
    return edge + ((first + upper - 1) / 2 + 1) * width


@dataclass(frozen=True, slots=True)
class _Affine:
    """value -> (value - centre) * scale + base."""

    centre: float
    scale: float
    base: float = 0.0
    clip: bool = False

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        out = np.subtract(values, self.centre, dtype=np.float64)
        out *= self.scale
        out += self.base
        if self.clip:
            np.clip(out, 0.0, 1.0, out=out)
        return out.astype(np.float32)


def normalise(pixels: NDArray[Any], kind: Normalisation, statistics: Statistics | None, dtype: str) -> NDArray[Any]:
    """Bring pixels to the values that a model declared with `normalise`.

    pixels: (n, channels, z, y, x). statistics: one band for each channel; may be None for `none` and `unit`.
    dtype: the source's own dtype, which decides what `unit` divides by even where pixels were resampled to float.
    Returns `pixels` itself for `none`, else a new float32 array of the same shape, in which values that were not
    finite are 0. A degenerate band (percentiles or standard deviation without extent) falls back on its minimum and
    maximum; a constant one becomes 0 everywhere, or 0.5 for `otsu` (nothing is above the level).
    Raises InputError (`bad_statistics`) where the numbers of channels and bands differ.
    """
    if kind == "none":
        return pixels
    channels = pixels.shape[1]
    if kind != "unit" and (statistics is None or len(statistics.bands) != channels):
        raise InputError(
            "bad_statistics",
            f"normalise={kind!r} needs statistics of {channels} bands, "
            f"got {'none' if statistics is None else len(statistics.bands)}.",
        )
    out = np.empty(pixels.shape, np.float32)
    for channel in range(channels):
        affine = _affine(kind, None if statistics is None else statistics.bands[channel], np.dtype(dtype))
        _apply(affine, pixels[:, channel], out[:, channel])
    return out


def _apply(affine: _Affine, pixels: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Write the affine image of `pixels` (n, z, y, x) to `out`, with one window of float64 scratch at most."""
    if pixels.dtype in _TABLE_TYPES:
        table = affine(np.arange(np.iinfo(pixels.dtype).max + 1))
        for window, target in zip(pixels, out, strict=True):
            np.take(table, window, out=target, mode="clip")
        return
    for window, target in zip(pixels, out, strict=True):
        target[...] = affine(window)
    if pixels.dtype.kind == "f":
        np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _affine(kind: Normalisation, band: BandStatistics | None, dtype: np.dtype[Any]) -> _Affine:
    if kind == "unit" or band is None:
        return _Affine(0.0, 1.0 / np.iinfo(dtype).max if dtype.kind in "iu" else 1.0)
    if kind == "zscore":
        return _Affine(band.mean, 1.0 / band.std if band.std > 0 else 0.0)
    if kind == "percentile":
        low, high = (band.low, band.high) if band.high > band.low else (band.minimum, band.maximum)
        return _Affine(low, 1.0 / (high - low) if high > low else 0.0, clip=True)
    spread = next((s for s in (band.otsu - band.low, band.maximum - band.otsu) if s > 0), 0.0)
    return _Affine(band.otsu, OTSU_VALUE / spread if spread else 0.0, OTSU_VALUE)


def needs_statistics(kind: Normalisation) -> bool:
    """Whether a normalisation depends on the image as a whole."""
    return kind not in ("none", "unit")
