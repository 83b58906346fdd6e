"""Geometry: positions of ordered slices to a `VolumeGeometry`, with what was noticed. Pure.

A stack is regular (equal steps along the normal), sheared (equal steps that are not along it: gantry tilt), has slices
missing (gaps of a whole number of steps) or is of variable spacing; see `docs/dicom.md`. SliceThickness,
SpacingBetweenSlices and SliceLocation are never used: they are not positions (PS3.3 C.7.6.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.volumes import VolumeGeometry, Xyz

EVEN = 0.01
"""Steps are equal when none differs by more than this part from their median."""

DRIFT = 0.1
"""... and no slice lies farther than this part of a step from where equal steps put it."""

ROUNDING_MM = 0.1
"""Coarsest rounding of decimal strings that may excuse uneven steps."""

ROUNDING_STEPS = 0.2
"""... and the coarsest, as part of a step."""

LATERAL_PIXELS = 0.1
"""How far the slices' corners may lie off a straight line, as part of the larger pixel spacing."""

_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The geometry of a stack and what a careful person would want to know of it."""

    geometry: VolumeGeometry
    notes: tuple[str, ...] = ()
    missing: int = 0
    """Slices that are missing in gaps."""
    tilt_deg: float = 0.0
    """Between the slices' normal and the way from slice to slice."""


def normal_of(iop: tuple[float, ...]) -> NDArray[np.float64]:
    """(3,) row × column cosines: slices are sorted along it."""
    return np.cross(iop[:3], iop[3:])


def rounding_of(positions: NDArray[np.float64], ways: NDArray[np.float64]) -> float:
    """The unit, millimetres, to which files round `positions` (n, 3), as far as it may excuse uneven steps.

    0.01 where all have two decimal places at most; no more than `ROUNDING_MM` and `ROUNDING_STEPS` of a step.
    """
    unit = 10.0**-_DECIMALS
    for decimals in range(1, _DECIMALS):
        scaled = positions * 10.0**decimals
        if np.abs(scaled - np.rint(scaled)).max() <= 1e-6:
            unit = 10.0**-decimals
            break
    return min(unit, ROUNDING_MM, ROUNDING_STEPS * float(np.median(ways)))


def place(
    positions: NDArray[np.float64], iop: tuple[float, ...], pixel_spacing: tuple[float, ...], matrix: tuple[int, int]
) -> Placed:
    """Geometry of slices whose `positions` (z, 3), ImagePositionPatient, ascend along the normal.

    `iop` must be orthonormal, `matrix` is (rows, columns). Raises InputError: `single_slice`, `displaced_slices` where
    the slices do not lie on a line.
    """
    if len(positions) < 2:
        raise InputError(
            "single_slice",
            "one slice has no thickness that could be measured: SliceThickness is nominal",
            "Nothing to do if it is a localizer or a screen shot; else export the whole series.",
        )
    along = positions @ normal_of(iop)
    ways = np.diff(along)
    rounding = rounding_of(positions, ways)
    _check_line(positions, along, max(pixel_spacing), rounding)
    base, gaps = _gaps(ways, rounding)
    is_even = not gaps.size and _is_even(along, rounding)
    missing = int((np.rint(ways[gaps] / base) - 1).sum())
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    geometry = VolumeGeometry(
        shape=(len(positions), *matrix),
        origin=_xyz(positions[0]),
        slice_step=_xyz(step),
        row_step=_xyz(np.array(iop[3:]) * pixel_spacing[0]),
        column_step=_xyz(np.array(iop[:3]) * pixel_spacing[1]),
        slice_origins=() if is_even else tuple(map(_xyz, positions)),
        gaps=tuple(int(gap) for gap in gaps),
    )
    cosine = abs(float(geometry.normal @ step)) / float(np.linalg.norm(step))
    tilted = cosine < 1 - 1e-3
    spacing_note = "missing_slices" if gaps.size else "" if is_even else "variable_spacing"
    return Placed(
        geometry=geometry,
        notes=tuple(filter(None, (spacing_note, "gantry_tilt" if tilted else ""))),
        missing=missing,
        tilt_deg=float(np.degrees(np.arccos(min(cosine, 1.0)))),
    )


def is_variable(positions: NDArray[np.float64], along: NDArray[np.float64]) -> bool:
    """Whether slices are neither at equal steps nor have whole steps missing.

    `positions` (n, 3) ascend by `along` (n,), their places on the normal.
    """
    if len(along) < 3:
        return False
    ways = np.diff(along)
    rounding = rounding_of(positions, ways)
    return not _gaps(ways, rounding)[1].size and not _is_even(along, rounding)


def _gaps(ways: NDArray[np.float64], rounding: float) -> tuple[float, NDArray[np.intp]]:
    """The ordinary step, and the indices of the steps that are whole multiples of it, two and more.

    None where any step is no multiple, or where the greater ones are not the exception: then spacing is variable.
    """
    base = float(np.median(ways))
    times = np.rint(ways / base)
    off = np.abs(ways - times * base)
    wide = np.flatnonzero(times >= 2)
    whole = times.min() >= 1 and bool((off <= np.maximum(EVEN * base * times, rounding)).all())
    return base, wide if whole else wide[:0]


def _is_even(along: NDArray[np.float64], rounding: float) -> bool:
    ways = np.diff(along)
    median = float(np.median(ways))
    line = np.linspace(float(along[0]), float(along[-1]), len(along))
    drift = float(np.abs(along - line).max())
    steps_agree = float(np.abs(ways - median).max()) <= EVEN * median
    return drift <= rounding or (steps_agree and drift <= DRIFT * median)


def _check_line(positions: NDArray[np.float64], along: NDArray[np.float64], pixel: float, rounding: float) -> None:
    ends = along[[0, -1]]
    line = np.stack([np.interp(along, ends, positions[[0, -1], axis]) for axis in range(3)], axis=1)
    off = np.linalg.norm(positions - line, axis=1)
    if off.max() > LATERAL_PIXELS * pixel + rounding:
        raise InputError(
            "displaced_slices",
            f"slices must lie on a line, slice {int(off.argmax())} of {len(off)} lies {off.max():.2f} mm off it",
            "The patient or the table moved, or two scans share the series: separate them at the source.",
        )


def _xyz(values: NDArray[np.float64]) -> Xyz:
    return float(values[0]), float(values[1]), float(values[2])
