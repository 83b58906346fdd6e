"""The nouns of the seam benchmark. numpy only: peers import this module in an environment of their own.

World       an image whose objects are known exactly
Case        a world, a lattice of windows over it, and what a model said of each window
Outcome     what a merge rule made of a case: whole objects, with time and memory
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Zyx = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A mask somewhere in an image; may have several parts."""

    start: Zyx
    """First voxel of `pixels` in the image (z, y, x)."""
    pixels: NDArray[np.bool_]
    """(z, y, x), tight: no empty border."""

    @property
    def stop(self) -> Zyx:
        """One past the last voxel."""
        z, y, x = (a + n for a, n in zip(self.start, self.pixels.shape, strict=True))
        return (z, y, x)

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """Index of the mask's box in the image."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return (z, y, x)


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One object as one window's model sees it, in image coordinates, inside the window."""

    mask: Mask
    score: float
    label: int
    """Class index."""
    truth: int
    """Object of the world that it comes from (the larger one where two were glued); for the oracle and scores only."""


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """An image with exact truth."""

    name: str
    truth: NDArray[np.int32]
    """(z, y, x), 0 = background, object k has value k; z = 1 for plane images. Objects may have several parts only
    where the world says so."""
    label: NDArray[np.int64]
    """(objects + 1,) class index of each object; entry 0 unused."""

    @property
    def count(self) -> int:
        """Number of objects; ids are 1..count without gaps."""
        return len(self.label) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What a model said of every window of a world."""

    world: World
    noise: str
    """Name of the noise; `perfect` for truth ∩ window."""
    seed: int
    window: Zyx
    overlap: Zyx
    windows: Mapping[Zyx, Sequence[Detection]] = field(repr=False)
    """Window index (z, y, x) to detections, every window of the lattice."""

    def starts(self) -> Iterator[tuple[Zyx, Zyx]]:
        """Index and first voxel of each window."""
        for index in self.windows:
            z, y, x = (i * (w - o) for i, w, o in zip(index, self.window, self.overlap, strict=True))
            yield index, (z, y, x)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Whole objects after a merge."""

    masks: Sequence[Mask]
    label: NDArray[np.int64]
    """(n,) class index."""
    seconds: float
    """Spent merging: from detections in memory to whole objects in memory; preparing a rule's input is not counted."""
    peak_bytes: int = 0
    """Growth of the process's resident memory at its highest while merging; 0 where it was not measured."""
    notes: Mapping[str, Any] = field(default_factory=dict)
