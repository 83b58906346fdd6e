"""Statistics of the calibrated values inside masks, exact, from slices that come one at a time and in any order.

The values of each object are collected and sorted, so nothing depends on the order in which slices, runs or objects
came. Memory is one slice and the objects' own values. Means and deviations of integers come from exact integer sums;
those of floating-point numbers from compensated sums (Neumaier 1974) over the sorted values, in double precision.

- mean, and **population** standard deviation (divided by n): all voxels of the object are known, none is a sample.
- Percentiles interpolate linearly between the two nearest values (type 7 of Hyndman and Fan 1996, NumPy's default).
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# numba is untyped.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from schemas.masks import Runs

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

STATISTICS = ("mean", "sd", "median", "p10", "p90", "min", "max")
"""What is taken of the values of an object, in the order of the columns that `_statistics` gives."""

NO_VALID_VALUES = "no_valid_values"
"""Reason: every voxel of the object is padding, or not a finite number."""

VALUES_UNREADABLE = "values_unreadable"
"""Reason: a slice that the object lies in could not be read."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ValueMeasurements:
    """Statistics of the values inside m masks, in the unit of the values; NaN where `reason` says why."""

    mean: _Floats
    sd: _Floats
    """Population standard deviation."""
    median: _Floats
    p10: _Floats
    p90: _Floats
    min: _Floats
    max: _Floats
    reason: NDArray[np.object_]
    """(m,) code of why the statistics are NaN; None where they are not."""


class ValueAccumulator:
    """Collects the values of a batch of masks slice by slice; `finish` measures them.

    runs, offsets: canonical masks one after another (n, 4) and (m + 1). dtype: of the values; integers of up to 32
    bits and floats.
    """

    def __init__(self, runs: Runs, offsets: NDArray[np.integer[Any]], dtype: DTypeLike) -> None:
        offsets = offsets.astype(np.int64)
        order = np.argsort(runs[:, 0], kind="stable")
        self._runs = np.ascontiguousarray(runs[order])
        self._owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[order]
        voxels = np.concatenate([[0], np.cumsum(runs[:, 3] - runs[:, 2], dtype=np.int64)])[offsets]
        self._first = voxels
        self._values = np.empty(int(voxels[-1]), dtype)
        self._kept = np.zeros(len(offsets) - 1, np.int64)
        self._seen = np.zeros(len(offsets) - 1, np.int64)
        self._todo = {int(z) for z in np.unique(runs[:, 0])}

    @property
    def slices(self) -> list[int]:
        """Slices z that hold voxels of a mask and were not added yet, rising."""
        return sorted(self._todo)

    def extent(self, z: int) -> tuple[int, int, int, int]:
        """Smallest y0, x0, y1, x1 (half-open) around all masks in slice z."""
        runs = self._runs[self._rows(z)]
        return int(runs[:, 2].min()), int(runs[:, 1].min()), int(runs[:, 3].max()), int(runs[:, 1].max()) + 1

    def add(self, z: int, values: NDArray[Any], valid: NDArray[np.bool_], at: tuple[int, int] = (0, 0)) -> None:
        """Take one slice: values and valid (y, x), whose first pixel is row and column `at` of the volume.

        Raises ValueError where slice z was added before or holds no mask, where the plane does not cover all masks in
        it, and where the values are of another type.
        """
        if z not in self._todo:
            raise ValueError(f"slice {z} was added before, or holds no mask")
        if values.dtype != self._values.dtype or values.shape != valid.shape:
            raise ValueError(f"expected {self._values.dtype} values, one validity each, got {values.dtype}")
        y0, x0, y1, x1 = self.extent(z)
        if y0 < at[0] or x0 < at[1] or y1 > at[0] + values.shape[0] or x1 > at[1] + values.shape[1]:
            raise ValueError(f"masks reach over {(y0, x0, y1, x1)} of slice {z}; {values.shape} at {at} is less")
        self._todo.remove(z)
        rows = self._rows(z)
        ends = self._first, self._kept, self._seen
        _gather(self._runs[rows], self._owner[rows], np.array(at), values, valid, self._values, *ends)

    def finish(self) -> ValueMeasurements:
        """Measure what was added; a mask with voxels in a slice that was not has no statistics. Ends collecting."""
        voxels = np.diff(self._first)
        table = np.full((len(voxels), len(STATISTICS)), np.nan)
        reason = np.full(len(voxels), None, object)
        for mask, first in enumerate(self._first[:-1].tolist()):
            if self._seen[mask] < voxels[mask]:
                reason[mask] = VALUES_UNREADABLE
            elif not self._kept[mask]:
                reason[mask] = NO_VALID_VALUES
            else:
                values = self._values[first : first + int(self._kept[mask])]
                values.sort(
                    kind="stable" if values.itemsize <= 2 else None
                )  # short integers: radix sort, in linear time
                table[mask] = _statistics(values)
        columns = dict(zip(STATISTICS, table.T, strict=True))
        return ValueMeasurements(**columns, reason=reason)

    def _rows(self, z: int) -> slice:
        """Runs in slice z."""
        first, last = np.searchsorted(self._runs[:, 0], (z, z + 1))
        return slice(int(first), int(last))


def _statistics(ordered: NDArray[Any]) -> list[float]:
    """`STATISTICS` of sorted values."""
    count = len(ordered)
    if ordered.dtype.kind in "iu":
        total, squares = _integer_sums(ordered)
        # Integers of any size: neither the difference nor the quotient loses a digit before the last step.
        mean, sd = total / count, math.sqrt(count * squares - total * total) / count
    else:
        mean, variance = _float_moments(ordered)
        sd = math.sqrt(variance)
    middle = [_percentile(ordered, share) for share in (50, 10, 90)]
    # A zero has no sign here: sorting leaves zeros of both signs in the order in which they came.
    return [value + 0.0 for value in (mean, sd, *middle, float(ordered[0]), float(ordered[-1]))]


def _percentile(ordered: NDArray[Any], percent: int) -> float:
    """Linear between the two nearest of the sorted values."""
    below, rest = divmod(percent * (len(ordered) - 1), 100)
    low = float(ordered[below])
    return low if rest == 0 else low + (float(ordered[below + 1]) - low) * (rest / 100)


def _integer_sums(values: NDArray[np.integer[Any]]) -> tuple[int, int]:
    """Sum and sum of squares, exact."""
    low = int(values[0])
    total, squares_low, squares_high = _offset_sums(values, low)
    rest = int(total)  # Σ (v − low), and Σ (v − low)² in two halves
    squares = int(squares_low) + (int(squares_high) << 32)
    count = len(values)
    return rest + count * low, squares + 2 * low * rest + count * low * low


@njit(nogil=True, cache=True)
def _offset_sums(values: NDArray[Any], low: int) -> tuple[Any, Any, Any]:
    """Of v − low: the sum, and the sum of the lower and upper 32 bits of the squares."""
    total, squares_low, squares_high = np.uint64(0), np.uint64(0), np.uint64(0)
    for value in values:
        rest = np.uint64(np.int64(value) - low)
        square = rest * rest
        total += rest
        squares_low += square & np.uint64(0xFFFFFFFF)
        squares_high += square >> np.uint64(32)
    return total, squares_low, squares_high


@njit(nogil=True, cache=True)
def _float_moments(values: NDArray[Any]) -> tuple[float, float]:
    """Mean and population variance in double precision, by compensated sums."""
    total = lost = 0.0
    for each in values:
        value = np.float64(each)
        new = total + value
        lost += (total - new) + value if abs(total) >= abs(value) else (value - new) + total
        total = new
    mean = (total + lost) / len(values)
    squares = lost = 0.0
    for each in values:
        square = (np.float64(each) - mean) ** 2
        new = squares + square
        lost += (squares - new) + square if squares >= square else (square - new) + squares
        squares = new
    return mean, (squares + lost) / len(values)


@njit(nogil=True, cache=True)
def _gather(
    runs: Runs,
    owner: _Ints,
    at: _Ints,
    plane: NDArray[Any],
    valid: NDArray[np.bool_],
    values: NDArray[Any],
    first: _Ints,
    kept: _Ints,
    seen: _Ints,
) -> None:
    """Append the valid, finite values under each run to those of its owner."""
    for run in range(len(runs)):
        mask = owner[run]
        slot = first[mask] + kept[mask]
        x = runs[run, 1] - at[1]
        for y in range(runs[run, 2] - at[0], runs[run, 3] - at[0]):
            value = plane[y, x]
            if valid[y, x] and np.isfinite(value):
                values[slot] = value
                slot += 1
        kept[mask] = slot - first[mask]
        seen[mask] += runs[run, 3] - runs[run, 2]
