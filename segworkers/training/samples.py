"""What a network is trained on: images with the objects in them, and the pieces that are cut out of these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """One annotated image. Checks itself; raises ValueError with what was expected and found."""

    name: str
    """For messages and reports, such as a path."""
    image: NDArray[np.float32]
    """(bands, y, x), finite, normalised as the trained model's manifest will say."""
    labels: NDArray[np.int32]
    """(y, x) instance map: 0 = background, k = the k-th object; numbers may be missing."""
    classes: NDArray[np.int64] | None = None
    """(largest label,) class index of object k at [k - 1]; None: one class, 0."""
    ignored: NDArray[np.bool_] | None = None
    """(y, x) True where nothing is to be learnt and nothing is counted; None: nowhere."""
    chance: float = 1.0
    """How often it is drawn, relative to other samples."""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[1:] != self.labels.shape:
            raise ValueError(
                f"{self.name}: expected an image (bands, y, x) and labels (y, x) of one size, "
                f"found {self.image.shape} and {self.labels.shape}"
            )
        if self.image.dtype != np.float32 or self.labels.dtype != np.int32:
            raise ValueError(
                f"{self.name}: expected a float32 image and int32 labels, found {self.image.dtype}, {self.labels.dtype}"
            )
        largest = int(self.labels.max(initial=0))
        if self.classes is not None and len(self.classes) < largest:
            raise ValueError(f"{self.name}: expected classes of {largest} objects, found {len(self.classes)}")
        if self.ignored is not None and self.ignored.shape != self.labels.shape:
            raise ValueError(f"{self.name}: expected ignored of {self.labels.shape}, found {self.ignored.shape}")
        if not self.chance > 0:
            raise ValueError(f"{self.name}: expected a chance above 0, found {self.chance}")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Crop:
    """A piece of a sample as the network sees it: turned, scaled, its contrast changed."""

    image: NDArray[np.float32]
    """(bands, side, side)."""
    labels: NDArray[np.int32]
    """(side, side), 0 = background, 1..k without gaps; an object that the border cuts is what is left of it."""
    classes: NDArray[np.int64]
    """(k,) class index of each object."""
    ignored: NDArray[np.bool_]
    """(side, side) True where nothing is to be learnt."""


def median_diameter(labels: NDArray[np.int32]) -> float:
    """Median diameter in pixels of circles that have the objects' areas; 0 without objects.

    labels: (y, x), 0 = background.
    """
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if areas.size else 0.0
