"""The second stage of pyliverlesionseg 0.3 as its own source does it, with its own weights: what ours is held to.

`cnn_liver_lesion_seg_CT_MR_main`, `DeepVoxNet.predict` and, of pymirc, `zoom3d`, restated for a CT whose axes point
right, anterior and to the head, given the liver. Arrays are (z, y, x); the package's are (x, y, z).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy has no complete types)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tests.package_tiling import predict

SPACING_MM = (3.0, 1.0, 1.0)
INPUT_SIZE, OUTPUT_SIZE = (86, 172, 180), (42, 84, 92)

Volume = NDArray[Any]


def zoom3d(volume: Volume, factors: Sequence[float]) -> Volume:
    """pymirc's: bins that hold the centre in common with the volume, area-weighted, or linear with zeros beyond."""
    for axis, factor in enumerate(factors):
        if factor != 1:
            matrix = _enlarging(volume.shape[axis], factor) if factor > 1 else _reducing(volume.shape[axis], factor)
            volume = np.moveaxis(np.tensordot(matrix, volume, (1, axis)), 0, axis)
    return volume


def _enlarging(side: int, factor: float) -> NDArray[np.float64]:
    delta = 1.0 / factor
    new = int(np.ceil(side / delta))
    place = delta * (np.arange(new) - 0.5 * new + 0.5) + 0.5 * side - 0.5
    left = np.floor(place).astype(int)
    matrix = np.zeros((new, side))
    for row, (at, low) in enumerate(zip(place, left, strict=True)):
        if low >= 0:
            matrix[row, low] += low + 1 - at
        if low + 1 < side:
            matrix[row, low + 1] += at - low
    return matrix


def _reducing(side: int, factor: float) -> NDArray[np.float64]:
    delta = 1.0 / factor
    new = int(np.ceil(side / delta))
    matrix = np.zeros((new, side))
    for small in range(side):
        low, high = ((small + end - 0.5 * side) / delta + 0.5 * new for end in (0, 1))
        first, last = int(np.floor(low)), int(np.ceil(high)) - 1
        if first == last:
            matrix[first, small] += 1 / delta
        else:
            matrix[first, small] += np.ceil(low) - low
            matrix[last, small] += high - np.ceil(low)
    return matrix


def shown_to_lesions(hu: Volume, liver: Volume, spacing_mm: Sequence[float]) -> tuple[Volume, tuple[slice, ...], Any]:
    """What the network is shown: the liver's box out of the resampled volume; where it lies, and in what shape."""
    factors = [mm / wanted for mm, wanted in zip(spacing_mm, SPACING_MM, strict=True)]
    values = zoom3d(np.clip(hu / 1000, -0.2, 0.2) * 2.5, factors)
    mask = zoom3d(liver.astype(np.float64), factors) > 0.5
    around = ndimage.binary_dilation(mask, ndimage.iterate_structure(ndimage.generate_binary_structure(3, 2), 2))
    image = np.where(around, values, -0.5).clip(-0.5, 0.5)
    (box,) = ndimage.find_objects(around.astype(int))
    return image[box].astype(np.float32), box, image.shape


def lesions(
    hu: Volume, liver: Volume, spacing_mm: Sequence[float], network: Callable[[NDArray[np.float32]], Volume]
) -> tuple[Volume, Volume]:
    """Lesions on the scan's grid: by the voxel that a centre lies in, as ours, and by the package's own zoom.

    network: the lesion network, an input (z, y, x) of `INPUT_SIZE` to probabilities of `OUTPUT_SIZE`.
    """
    shown, box, shape = shown_to_lesions(hu, liver, spacing_mm)
    found = np.zeros(shape, bool)
    found[box] = predict(shown, network, INPUT_SIZE, OUTPUT_SIZE) > 0.5
    nearest = np.ix_(*((2 * np.arange(n) + 1) * m // (2 * n) for n, m in zip(hu.shape, shape, strict=True)))
    factors = np.array(hu.shape) / np.array(shape)
    return found[nearest], ndimage.zoom(found.astype(float), factors, order=1, prefilter=False) > 0
