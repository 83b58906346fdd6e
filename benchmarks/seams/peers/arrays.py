"""Cases for peers that know label arrays only: each window's detections painted, and the cells that windows own.

Such peers have neither overlapping masks nor classes, so every class is painted and merged alone, and within a window
the better scored detection is on top. An image's z axis of one plane is left out.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# scipy comes without types.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from benchmarks.seams.cases import Case, Mask, Outcome, Zyx
from benchmarks.seams.peers.meter import Meter

Index = tuple[int, ...]
Slices = tuple[slice, ...]
Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Tiling:
    """Windows and cells of a case, in the image's own number of axes (2 or 3)."""

    shape: Index
    """Of the image."""
    grid: Index
    """Number of windows in each axis."""
    window: Index
    overlap: Index

    @staticmethod
    def of(case: Case) -> Tiling:
        """The tiling of a case."""
        shape = case.world.truth.shape
        grid = tuple(int(n) + 1 for n in np.max(list(case.windows), axis=0))
        axes = slice(1 if shape[0] == 1 and case.window[0] == 1 else 0, None)
        return Tiling(shape[axes], grid[axes], case.window[axes], case.overlap[axes])

    @property
    def edges(self) -> tuple[list[int], ...]:
        """In each axis the n + 1 borders of the cells: the middles of overlaps, and the image's ends."""
        return tuple(
            [0, *(i * (w - o) + o // 2 for i in range(1, n)), extent]
            for extent, n, w, o in zip(self.shape, self.grid, self.window, self.overlap, strict=True)
        )

    def real(self, index: Index) -> Slices:
        """A window's region of the image, less what reaches past it."""
        starts = [i * (w - o) for i, w, o in zip(index, self.window, self.overlap, strict=True)]
        return tuple(slice(a, min(a + w, n)) for a, w, n in zip(starts, self.window, self.shape, strict=True))

    def cell(self, index: Index) -> Slices:
        """A window's cell in the image."""
        return tuple(slice(edges[i], edges[i + 1]) for i, edges in zip(index, self.edges, strict=True))

    def core(self, index: Index) -> Slices:
        """A window's cell in the window."""
        both = zip(self.real(index), self.cell(index), strict=True)
        return tuple(slice(cell.start - real.start, cell.stop - real.start) for real, cell in both)


Stitch = Callable[[Tiling, Mapping[Index, Labels], Meter], NDArray[Any]]
"""Label arrays of windows, numbered 1..n each, to one of the image, in the meter's time."""


def by_class(case: Case, stitch: Stitch) -> Outcome:
    """`stitch` on each class of a case alone; `notes['hidden']` counts detections that others painted over wholly."""
    tiling, meter = Tiling.of(case), Meter()
    masks, label, hidden = list[Mask](), list[int](), 0
    for k in sorted({d.label for said in case.windows.values() for d in said}):
        with meter.constructing():
            windows = {index[3 - len(tiling.shape) :]: painted(case, tiling, index, k) for index in case.windows}
        hidden += sum(int(a.max(initial=0)) - np.count_nonzero(np.unique(a)) for a in windows.values())
        found = masks_of(stitch(tiling, windows, meter))
        masks += found
        label += [k] * len(found)
    return meter.outcome(masks, label, hidden=int(hidden))


def painted(case: Case, tiling: Tiling, index: Zyx, label: int) -> Labels:
    """What a window says of one class; numbers follow scores, so that the best is painted last."""
    flat = len(tiling.shape) == 2
    place = tiling.real(index[1:] if flat else index)
    canvas = np.zeros([s.stop - s.start for s in place], np.int32)
    said = sorted((d for d in case.windows[index] if d.label == label), key=lambda d: d.score)
    for number, detection in enumerate(said, start=1):
        mask = detection.mask
        start, pixels = (mask.start[1:], mask.pixels[0]) if flat else (mask.start, mask.pixels)
        corner = [a - s.start for a, s in zip(start, place, strict=True)]
        canvas[tuple(slice(a, a + n) for a, n in zip(corner, pixels.shape, strict=True))][pixels] = number
    return canvas


def masks_of(labels: NDArray[Any]) -> list[Mask]:
    """Objects of a label array of 2 or 3 axes."""
    cube = labels[(None,) * (3 - labels.ndim)]
    # Numbers may be large and far apart; find_objects makes a list as long as the largest.
    numbers, dense = np.unique(cube, return_inverse=True)
    dense = dense.reshape(cube.shape) + int(numbers.size == 0 or numbers[0] != 0)
    boxes = scipy.ndimage.find_objects(dense)
    return [
        Mask((z.start, y.start, x.start), dense[z, y, x] == number) for number, (z, y, x) in enumerate(boxes, start=1)
    ]
