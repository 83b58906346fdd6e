"""Work tiles: groups of neighbouring windows, small enough for memory, large enough that each block is read once.

A plan is arithmetic: nothing is listed, any tile can be had by its index, and equal input gives equal plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from schemas.boxes import Box, Zyx, zyx
from segworkers.lattice import Lattice


@dataclass(frozen=True, slots=True)
class WorkTile:
    """What one task processes. Windows `start`..`stop` (half-open lattice indices) belong to it."""

    index: Zyx
    """Position among the tiles of its source."""
    start: Zyx
    stop: Zyx
    core: Box
    """Union of the windows' cells: what the tile answers for."""
    read: Box
    """What must be read: the windows, clipped to the image and rounded out to storage blocks."""

    @property
    def name(self) -> str:
        """The index as z-y-x, for people, file names and the ledger."""
        return "-".join(str(i) for i in self.index)


@dataclass(frozen=True, slots=True)
class TilePlan:
    """All work tiles of one source."""

    lattice: Lattice
    group: Zyx
    """Windows of a tile in each axis; a multiple of the model's batch, so that batches never straddle tiles."""
    block: Zyx
    """Storage block of the file, on the lattice's grid."""

    def __post_init__(self) -> None:
        if any(g < 1 for g in self.group) or any(b < 1 for b in self.block):
            raise ValueError(f"group and block must be at least 1, got {self.group} and {self.block}")

    @property
    def shape(self) -> Zyx:
        """Number of tiles in each axis."""
        return zyx([-(-n // g) for n, g in zip(self.lattice.shape, self.group, strict=True)])

    def __len__(self) -> int:
        return prod(self.shape)

    def __iter__(self) -> Iterator[WorkTile]:
        for index in self.lattice.indices((0, 0, 0), self.shape):
            yield self.tile(index)

    def tile(self, index: Zyx) -> WorkTile:
        """The tile at `index`."""
        lattice = self.lattice
        start = zyx([i * g for i, g in zip(index, self.group, strict=True)])
        stop = zyx([min(a + g, n) for a, g, n in zip(start, self.group, lattice.shape, strict=True)])
        last = zyx([b - 1 for b in stop])
        image = Box.of_shape(lattice.extent)
        read = (lattice.window_box(start) | lattice.window_box(last)).round_out(self.block) & image
        assert read is not None, "every window starts on the image"
        return WorkTile(index, start, stop, lattice.cell_box(start) | lattice.cell_box(last), read)


def group_for(lattice: Lattice, batch: Zyx, target_pixels: int) -> Zyx:
    """Windows of a tile in each axis, so that its core has about `target_pixels` and the shape of a cube (or square).

    Always whole batches: axes grow by one batch at a time, the shortest first, while the core stays within the target.
    """
    group = list(batch)
    limit = lattice.shape
    while True:
        grown = [(group[axis] * lattice.stride[axis], axis) for axis in range(3) if group[axis] < limit[axis]]
        for _, axis in sorted(grown):
            candidate = [g + (batch[a] if a == axis else 0) for a, g in enumerate(group)]
            if prod(min(c, n) * s for c, n, s in zip(candidate, limit, lattice.stride, strict=True)) <= target_pixels:
                group = candidate
                break
        else:
            return zyx(group)
