"""From stored to calibrated values (PS3.3 C.11.1), and which of the stored ones are padding. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ModalityLut:
    """A table from stored to calibrated values (PS3.3 C.11.1.1); its first and last entry go on to both sides."""

    first: int
    """The stored value of the first entry."""
    table: NDArray[np.float64]

    def apply(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated values of stored ones, of the same shape."""
        return self.table[np.clip(stored.astype(np.int64) - self.first, 0, len(self.table) - 1)]


def calibrate(
    stored: NDArray[Any], slope: float, intercept: float, out: NDArray[Any], lut: ModalityLut | None = None
) -> None:
    """Fill `out`, int16 or float32, with slope · stored + intercept, or with what the table says; shapes are equal.

    int16 is for slices where every value that the stored bits can hold is exact in it; it is computed in 16 bits, whose
    arithmetic modulo 2¹⁶ is exact then. float32 is rounded once, from float64. Raises ValueError where slope, intercept
    or table are not whole although the dtype is.
    """
    whole = out.dtype == np.int16
    if lut is not None:
        if whole and not (lut.table == lut.table.astype(np.int16)).all():
            raise ValueError("the Modality LUT holds values that int16 does not")
        out[...] = lut.apply(stored)
    elif not whole:
        out[...] = stored if (slope, intercept) == (1, 0) else stored * np.float64(slope) + np.float64(intercept)
    elif stored.dtype.kind not in "iu" or slope % 1 or intercept % 1:
        raise ValueError("values of a fractional slope or intercept are not exact in int16")
    else:
        narrow = stored.view(np.int16) if stored.dtype.itemsize == 2 else stored.astype(np.int16)
        if slope != 1:
            narrow = narrow * _modulo(slope)
        np.add(narrow, _modulo(intercept), out=out)


def mark_valid(stored: NDArray[Any], padding: tuple[int, int] | None, out: NDArray[np.bool_]) -> None:
    """Fill `out` with False where stored values are in the closed range of padding, or are not numbers, else True.

    Padding is PixelPaddingValue to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2).
    """
    if padding is None:
        out[...] = True
    elif padding[0] == padding[1]:
        np.not_equal(stored, padding[0], out=out)
    else:
        np.logical_or(stored < padding[0], stored > padding[1], out=out)
    if stored.dtype.kind == "f":
        out &= ~np.isnan(stored)


def _modulo(value: float) -> np.int16:
    return np.int16((int(value) + (1 << 15)) % (1 << 16) - (1 << 15))
