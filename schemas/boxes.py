"""Box: a half-open integer region in (z, y, x) order, and its algebra.

There is no empty box: operations that may leave nothing return None, so that nobody has to ask where nothing lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

Zyx = tuple[int, int, int]
"""Three integers in (z, y, x) order: an index, a shape or a step."""


def zyx(values: Sequence[int]) -> Zyx:
    """Three integers as a (z, y, x) tuple. Raises ValueError unless there are exactly three."""
    z, y, x = (int(value) for value in values)
    return (z, y, x)


@dataclass(frozen=True, slots=True)
class Box:
    """Voxels p with start <= p < stop in every axis; (z, y, x), 0-based. A 2-D raster has z = 0..1."""

    start: Zyx
    """First voxel, inclusive."""
    stop: Zyx
    """Last voxel, exclusive; greater than `start` in every axis."""

    def __post_init__(self) -> None:
        if (
            len(self.start) != 3
            or len(self.stop) != 3
            or any(a >= b for a, b in zip(self.start, self.stop, strict=True))
        ):
            raise ValueError(f"a box needs start < stop in z, y and x, got start={self.start} stop={self.stop}")

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Box:
        """The box [0, shape)."""
        return cls((0, 0, 0), zyx(shape))

    @property
    def shape(self) -> Zyx:
        """Extent in voxels, (z, y, x)."""
        return zyx([b - a for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def volume(self) -> int:
        """Number of voxels."""
        return prod(self.shape)

    def __and__(self, other: Box) -> Box | None:
        """The common part, None where the boxes are disjoint (a meet: commutative, associative, idempotent)."""
        start = zyx([max(a, b) for a, b in zip(self.start, other.start, strict=True)])
        stop = zyx([min(a, b) for a, b in zip(self.stop, other.stop, strict=True)])
        return Box(start, stop) if all(a < b for a, b in zip(start, stop, strict=True)) else None

    def __or__(self, other: Box) -> Box:
        """The smallest box that contains both (a join)."""
        return Box(
            zyx([min(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            zyx([max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )

    def __contains__(self, other: object) -> bool:
        """Whether every voxel of `other`, a Box, lies in this box."""
        return isinstance(other, Box) and (self & other) == other

    def shift(self, offset: Sequence[int]) -> Box:
        """The box moved by `offset` (z, y, x)."""
        return Box(
            zyx([a + d for a, d in zip(self.start, offset, strict=True)]),
            zyx([b + d for b, d in zip(self.stop, offset, strict=True)]),
        )

    def grow(self, margin: Sequence[int]) -> Box:
        """The box with `margin` (z, y, x) voxels added on both sides of each axis."""
        return Box(
            zyx([a - m for a, m in zip(self.start, margin, strict=True)]),
            zyx([b + m for b, m in zip(self.stop, margin, strict=True)]),
        )

    def round_out(self, block: Sequence[int]) -> Box:
        """The smallest box on the grid of `block` (z, y, x) voxels that contains this one."""
        return Box(
            zyx([a // k * k for a, k in zip(self.start, block, strict=True)]),
            zyx([-(-b // k) * k for b, k in zip(self.stop, block, strict=True)]),
        )

    def within(self, origin: Sequence[int]) -> tuple[slice, slice, slice]:
        """Slices that cut this box out of an array whose voxel (0, 0, 0) lies at `origin` (z, y, x)."""
        z, y, x = (slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, origin, strict=True))
        return (z, y, x)
