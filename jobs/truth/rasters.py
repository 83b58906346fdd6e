"""Label rasters (each object one value, 0 is background) of the same size as their source; and arrays of that kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from jobs.truth.base import Target, Truth, TruthBlock, TruthItem
from jobs.truth.files import TruthFile
from schemas.boxes import Box, Zyx
from schemas.errors import InputError, SpecError
from schemas.sources import Source
from segworkers.evaluation.blocks import blocks_of
from segworkers.readers.base import Reader
from segworkers.runs import label_runs

_Read = TypeVar("_Read")

MOST_VOXELS = 1 << 30
"""Pixels of a source that may be labelled as a whole; it takes eight bytes for each."""
_MOST_TABLED = 1 << 24
"""Values of labels up to which they are looked up in a table."""


@dataclass(frozen=True, slots=True, eq=False)
class RasterTruth:
    """A label raster, read block by block; pixels that it calls invalid are background."""

    reader: Reader
    source: Source
    file: TruthFile

    @property
    def known(self) -> Sequence[int]:
        """Nothing is known before the pixels are read."""
        return ()

    def item(self, key: int) -> TruthItem:
        """See `Truth`."""
        return TruthItem(name=str(key))

    def block(self, box: Box) -> TruthBlock:
        """See `Truth`."""
        block = _unless_discreet(self.file, lambda: self.reader.read(self.source, box, (0,)))
        return labelled(np.where(block.valid, block.pixels[0], 0), box)


def open_raster(reader: Reader, file: TruthFile, target: Target) -> RasterTruth:
    """Raises SpecError where the raster is not one band of whole numbers on the source's pixels."""
    source = _unless_discreet(file, lambda: reader.describe(str(file.path.absolute())))
    what = file.name if file.is_discreet else source.uri
    if source.grid.shape != target.shape:
        _, rows, columns = source.grid.shape
        _, height, width = target.shape
        raise SpecError(f"{what}: has {rows} x {columns} pixels (rows x columns), {target.name} has {height} x {width}")
    if len(source.bands) != 1 or np.dtype(source.dtype).kind not in "iu":
        raise SpecError(
            f"{what}: expected one band of whole numbers, a value for each object; found {len(source.bands)} bands of "
            f"{source.dtype}; colours are no labels"
        )
    return RasterTruth(reader, source, file)


def _unless_discreet(file: TruthFile, read: Callable[[], _Read]) -> _Read:
    """What is read. Raises InputError, or SpecError without the path where that must not be shown."""
    try:
        return read()
    except InputError as error:
        if not file.is_discreet:
            raise
        raise SpecError(f"{file.name}: cannot be read as an image ({error.reason})") from None


def labelled(labels: NDArray[Any], box: Box) -> TruthBlock:
    """The objects of a label image (z, y, x) of `box`; keys are values above 0."""
    labels = np.maximum(labels, 0)
    most = int(labels.max(initial=0))
    if most <= _MOST_TABLED:  # a table of values is several times faster than sorting the pixels
        present = np.zeros(most + 1, np.bool_)
        present[labels] = True
        present[0] = False
        keys = np.flatnonzero(present)
        place = np.zeros(most + 1, np.int32)
        place[keys] = np.arange(1, len(keys) + 1)
        compact = place[labels]
    else:
        values, inverse = np.unique(labels, return_inverse=True)
        keys = values[values > 0].astype(np.int64)
        compact = inverse.reshape(labels.shape).astype(np.int32) + int(values[0] > 0)
    return TruthBlock(keys.astype(np.int64), label_runs(compact, box.start))


@dataclass(frozen=True, slots=True, eq=False)
class ArrayTruth:
    """Labels of a whole source in memory."""

    labels: NDArray[Any]
    """(z, y, x)."""
    describe: Callable[[int], TruthItem]

    @property
    def known(self) -> Sequence[int]:
        """See `RasterTruth`."""
        return ()

    def item(self, key: int) -> TruthItem:
        """See `Truth`."""
        return self.describe(key)

    def block(self, box: Box) -> TruthBlock:
        """See `Truth`."""
        return labelled(self.labels[box.within((0, 0, 0))], box)


def components(truth: Truth, shape: Zyx) -> ArrayTruth:
    """Each connected piece of each object (edges and corners connect) as an object of its own.

    Where objects overlap the later one is on top. Raises SpecError where the source is too large to be labelled whole.
    """
    import cc3d

    if int(np.prod(shape)) > MOST_VOXELS:
        raise SpecError(
            f"--components labels a source as a whole, up to {MOST_VOXELS:,} pixels, this one has "
            f"{int(np.prod(shape)):,}; give truth in which each object has a value of its own"
        )
    values = np.zeros(shape, np.uint32)
    numbers: dict[int, int] = {}
    for box in blocks_of(shape):
        block = truth.block(box)
        for (z, x, y0, y1), owner in zip(block.masks.runs, block.masks.owner, strict=True):
            key = int(block.keys[owner])
            values[z, y0:y1, x] = numbers.setdefault(key, len(numbers) + 1)
    pieces: Any = cc3d.connected_components(values, connectivity=26)
    present, first = np.unique(pieces, return_index=True)
    value_of = dict(zip(present.tolist(), values.ravel()[first].tolist(), strict=True))
    key_of = {number: key for key, number in numbers.items()}

    def describe(piece: int) -> TruthItem:
        whole = truth.item(key_of[value_of[piece]])
        return TruthItem(name=f"{whole.name}/{piece}", label=whole.label, told=whole.told, crowd=whole.crowd)

    return ArrayTruth(pieces, describe)
