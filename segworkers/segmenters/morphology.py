"""Masks of volumes: parts, erosion, dilation and boxes. scipy.ndimage with types."""
# scipy.ndimage ships without type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Box, zyx

_SCIPY = cast(Any, ndimage)

Mask = NDArray[np.bool_]
"""(z, y, x)."""

FACES: Mask = np.asarray(_SCIPY.generate_binary_structure(3, 1), bool)
"""A voxel and the 6 that share a face with it."""
EDGES: Mask = np.asarray(_SCIPY.generate_binary_structure(3, 2), bool)
"""A voxel and the 18 that share a face or an edge with it."""
CUBE: Mask = np.ones((3, 3, 3), bool)
"""A voxel and the 26 around it."""


def eroded(mask: Mask, element: Mask) -> Mask:
    """Voxels whose whole neighbourhood is in the mask; beyond the array nothing is."""
    return np.asarray(_SCIPY.binary_erosion(mask, element), bool)


def dilated(mask: Mask, element: Mask, times: int = 1) -> Mask:
    """Voxels whose neighbourhood meets the mask, `times` over."""
    return np.asarray(_SCIPY.binary_dilation(mask, element, iterations=times), bool)


def parts_of(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels of the parts that hang together by faces, numbered from 1, and (n + 1,) voxels of each; sizes[0] is 0."""
    labels, count = _SCIPY.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels, sizes


def largest_part(mask: Mask) -> Mask:
    """The part with most voxels, the first in index order of several; empty where the mask is."""
    labels, sizes = parts_of(mask)
    return (labels == np.argmax(sizes)) & mask


def bounds_of(mask: Mask) -> Box | None:
    """The smallest box around the True voxels; None where there is none."""
    sides = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not sides[0].size:
        return None
    return Box(zyx([int(side[0]) for side in sides]), zyx([int(side[-1]) + 1 for side in sides]))
