"""Orientation: which axes of a volume must be flipped for a model that was trained on patients lying one way.

Which way an axis points is read off the direction cosines, never off a plane's name or PatientPosition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.volumes import VolumeGeometry

Flips = tuple[bool, bool, bool]
"""For z, y and x: whether the axis is read backwards."""

NO_FLIPS: Flips = (False, False, False)

MOST_OBLIQUE_DEG = 30.0
"""How far an axis may lie off the patient's for a model that wants an orientation: gantries tilt as far, and a network
that was trained on axial slices has not seen more."""

_POSITIVE = "LPS"
"""Where x, y and z of the patient's coordinates increase."""


def flips_for(orientation: str, geometry: VolumeGeometry) -> Flips | None:
    """The axes to flip so that x, y and z of the array point as `orientation` says; None where that is not enough.

    orientation: three letters for x, y, z, such as LPS or RAS. None where, say, the slices are coronal and axial ones
    are wanted (rows, columns and slices would have to be swapped), and where an axis lies more than `MOST_OBLIQUE_DEG`
    off the patient's.
    """
    steps = geometry.steps()[:, ::-1]  # columns: along the array's x, y and z
    cosines = steps / np.linalg.norm(steps, axis=0)
    if (np.abs(np.diag(cosines)) < np.cos(np.radians(MOST_OBLIQUE_DEG)) - 1e-6).any():
        return None
    wanted = [letter in _POSITIVE for letter in sorted(orientation, key=lambda letter: "LRPASI".index(letter) // 2)]
    x, y, z = (bool(cosines[axis, axis] > 0) != wanted[axis] for axis in range(3))
    return (z, y, x)


def flipped(array: NDArray[Any], flips: Flips) -> NDArray[Any]:
    """The array with its last three axes (z, y, x) flipped; contiguous."""
    if flips == NO_FLIPS:
        return array
    z, y, x = (slice(None, None, -1) if flip else slice(None) for flip in flips)
    return np.ascontiguousarray(array[..., z, y, x])
