"""The Reader port and PixelBlock, what a read returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.sources import Source


@dataclass(frozen=True, slots=True, eq=False)
class PixelBlock:
    """Pixels of one box."""

    pixels: NDArray[Any]
    """(bands, z, y, x), the source's dtype, bands as asked for."""
    valid: NDArray[np.bool_]
    """(z, y, x), True where the dataset mask (nodata, alpha, mask band) calls the pixel valid."""
    box: Box
    """The region, on the source's own grid."""

    def __post_init__(self) -> None:
        if self.pixels.shape[1:] != self.box.shape or self.valid.shape != self.box.shape:
            raise ValueError(
                f"pixels (bands, z, y, x) and valid (z, y, x) must have the box's shape {self.box.shape}, "
                f"got {self.pixels.shape} and {self.valid.shape}"
            )


class Reader(Protocol):
    """Opens sources and reads boxes. Safe to call from several threads; keeps a bounded number of files open."""

    def describe(self, uri: str) -> Source:
        """Read the header. Raises InputError with a reason code where the input cannot be used."""
        ...

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """Read `bands` (0-based) of `box`, on the source's own grid and at full resolution.

        Law: any two reads agree where their boxes overlap. The caller owns the arrays.
        Raises InputError (`read_failed`, `changed`) where the bytes cannot be had or are no longer the same file.
        """
        ...

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        """The whole source reduced to at most `max_side` pixels a side, from overviews where there are any.

        `box` is that of the reduced grid. For statistics and previews; never shown to a model.
        """
        ...
