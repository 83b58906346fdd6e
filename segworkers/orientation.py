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

_POSITIVE = "LPS"
"""Where x, y and z of the patient's coordinates increase."""


def flips_for(orientation: str, geometry: VolumeGeometry) -> Flips | None:
    """The axes to flip so that x, y and z of the array point as `orientation` says; None where that is not enough.

    orientation: three letters for x, y, z, such as LPS or RAS. None where, say, the slices are coronal and axial ones
    are wanted: rows, columns and slices would have to be swapped.
    """
    steps = geometry.steps()[:, ::-1]  # columns: along the array's x, y and z
    cosines = steps / np.linalg.norm(steps, axis=0)
    if np.abs(cosines).argmax(axis=0).tolist() != [0, 1, 2]:
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
