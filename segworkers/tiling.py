"""Work tiles: groups of neighbouring windows, small enough for memory, large enough that each block is read once.

A plan is arithmetic: nothing is listed, any tile can be had by its index, and equal input gives equal plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from schemas.boxes import Box, Zyx, zyx
from schemas.models import ModelManifest
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
    shown_start: Zyx
    """Windows `shown_start`..`shown_stop` (half-open) are shown to the model: those that belong to the tile and, where
    windows are blended, whole batches around them."""
    shown_stop: Zyx
    read: Box
    """What must be read: the windows shown and their context, clipped to the image, rounded out to storage blocks.

    Where windows are laid around a region: `seen` and the core.
    """
    seen: Box | None
    """What the windows shown see: all that is read, or their part of the region; None where none of them meets it."""

    def owns(self, index: Zyx) -> bool:
        """Whether the window belongs to the tile."""
        return all(a <= i < b for a, i, b in zip(self.start, index, self.stop, strict=True))

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
    margin: Zyx = (0, 0, 0)
    """Windows that a tile shows to the model beyond its own, on either side of each axis (`margin_of`)."""
    context: Zyx = (0, 0, 0)
    """Pixels that the model is shown beyond each window, on either side of each axis."""

    def __post_init__(self) -> None:
        if any(g < 1 for g in self.group) or any(b < 1 for b in self.block) or any(m < 0 for m in self.margin):
            raise ValueError(
                "group and block must be at least 1, margin at least 0, "
                f"got {self.group}, {self.block} and {self.margin}"
            )

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
        shown_start = zyx([max(a - m, 0) for a, m in zip(start, self.margin, strict=True)])
        shown_stop = zyx([min(b + m, n) for b, m, n in zip(stop, self.margin, lattice.shape, strict=True)])
        core = lattice.cell_box(start) | lattice.cell_box(_last(stop))
        shown = lattice.window_box(shown_start) | lattice.window_box(_last(shown_stop))
        if lattice.region is None:
            read = seen = shown.grow(self.context).round_out(self.block) & Box.of_shape(lattice.extent)
            assert read is not None, "every window meets the image"
        else:
            seen = shown.grow(self.context) & lattice.region if shown & lattice.region else None
            read = core | seen if seen else core
        return WorkTile(index, start, stop, core, shown_start, shown_stop, read, seen)


def _last(stop: Zyx) -> Zyx:
    return zyx([b - 1 for b in stop])


def margin_of(manifest: ModelManifest) -> Zyx:
    """Windows beyond its own that a work tile must show to the model, on either side of each axis.

    None without blending. With it every window that meets the core is needed, which is one more where windows overlap;
    it comes with its whole batch, so that which windows share a batch never depends on the work tile.
    """
    if manifest.blend == "none":
        return (0, 0, 0)
    return zyx([b if o else 0 for b, o in zip(manifest.batch, manifest.overlap, strict=True)])


def group_for(
    lattice: Lattice,
    batch: Zyx,
    target_pixels: int,
    margin: Zyx = (0, 0, 0),
    shown_pixels: int | None = None,
) -> Zyx:
    """Windows of a tile in each axis, so that its core has about `target_pixels` and the shape of a cube (or square).

    Always whole batches: axes grow by one batch at a time, the shortest first, while the core stays within the target
    and the windows that the tile shows to the model, `margin` more on either side, within `shown_pixels`.
    """
    group = list(batch)
    limit = lattice.shape
    most_shown = target_pixels if shown_pixels is None else shown_pixels

    def fits(candidate: Sequence[int]) -> bool:
        core = [min(c, n) * s for c, n, s in zip(candidate, limit, lattice.stride, strict=True)]
        shown = [min(c + 2 * m, n) * s for c, m, n, s in zip(candidate, margin, limit, lattice.stride, strict=True)]
        return prod(core) <= target_pixels and prod(shown) <= most_shown

    while True:
        grown = [(group[axis] * lattice.stride[axis], axis) for axis in range(3) if group[axis] < limit[axis]]
        for _, axis in sorted(grown):
            candidate = [g + (batch[a] if a == axis else 0) for a, g in enumerate(group)]
            if fits(candidate):
                group = candidate
                break
        else:
            return zyx(group)


def slab_for(lattice: Lattice, batch: Zyx, side: int, fits: Callable[[Zyx], bool]) -> Zyx:
    """Windows of a tile of a volume in each axis: rows and columns first, so that a slice belongs to one tile.

    Always whole batches: rows and columns grow while they are at most `side` pixels, the shorter first, then slices
    while the core has at most `side` squared, and each only while the group `fits`.
    """
    group, strides = list(batch), lattice.stride

    def size(axis: int, candidate: Sequence[int]) -> int:
        return min(min(candidate[axis], lattice.shape[axis]) * strides[axis], lattice.extent[axis])

    def grown(axis: int) -> list[int]:
        return [g + (batch[a] if a == axis else 0) for a, g in enumerate(group)]

    def may(axis: int) -> bool:
        candidate = grown(axis)
        within = size(axis, candidate) <= side if axis else prod(size(a, candidate) for a in range(3)) <= side**2
        return group[axis] < lattice.shape[axis] and within and fits(zyx(candidate))

    while axis := next((a for a in sorted((1, 2), key=lambda a: group[a] * strides[a]) if may(a)), 0):
        group = grown(axis)
    while may(0):
        group = grown(0)
    return zyx(group)
