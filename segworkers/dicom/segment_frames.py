"""Lesions as the pixel array that highdicom asks for, made frame by frame.

`highdicom.seg.Segmentation` takes planes × rows × columns (× segments) and reads it one plane and one segment at a
time; as an array, 300 lesions in a CT would be 80 GB. These classes answer the same questions from runs: they are what
is used of `numpy.ndarray` there, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx
from segworkers.dicom.lesions import Lesion, by_slice, overlap, paint

_NOTHING = np.zeros((1, 1), np.uint8)
"""Stands for a frame without a pixel: such frames are not written, so their size does not matter."""


class BinaryFrames:
    """Stacked segments: (z, y, x, segment) of 0 and 1, uint8."""

    ndim = 4
    dtype = np.dtype(np.uint8)

    def __init__(self, lesions: Sequence[Lesion], shape: Zyx) -> None:
        self.shape = (*shape, len(lesions))
        self._lesions = lesions
        self._slices = by_slice(lesions)

    def __getitem__(self, z: int) -> BinaryPlane:
        there = {index: self._lesions[index] for index in self._slices.get(int(z), ())}
        return BinaryPlane(there, int(z), (self.shape[1], self.shape[2]))

    def __iter__(self) -> Iterator[BinaryPlane]:
        return (self[z] for z in range(self.shape[0]))

    def max(self) -> int:
        """The largest value."""
        return 1

    def sum(self, axis: int) -> NDArray[np.uint8]:
        """The largest sum over segments, which is all that the question whether segments overlap needs."""
        assert axis == -1
        return np.array([2 if overlap(self._lesions) else 1], np.uint8)


class BinaryPlane:
    """One plane of `BinaryFrames`: (y, x, segment)."""

    ndim = 3
    dtype = BinaryFrames.dtype

    def __init__(self, lesions: dict[int, Lesion], z: int, size: tuple[int, int]) -> None:
        self._lesions = lesions
        self._z = z
        self._size = size

    def any(self, axis: None = None, out: None = None) -> bool:
        """Whether any segment has a pixel here."""
        return bool(self._lesions)

    def __getitem__(self, key: tuple[slice, slice, int]) -> NDArray[np.uint8]:
        lesion = self._lesions.get(int(key[2]))
        if lesion is None:
            return _NOTHING
        frame = np.zeros(self._size, np.uint8)
        paint(frame, lesion.plane(self._z), 1)
        return frame


class LabelFrames:
    """Label map: (z, y, x) of 0 or the lesion's number, 1 and up in their order; lesions must not overlap."""

    ndim = 3

    def __init__(self, lesions: Sequence[Lesion], shape: Zyx) -> None:
        self.shape = shape
        self.dtype = np.dtype(np.uint8 if len(lesions) < 256 else np.uint16)
        self._lesions = lesions
        self._slices = by_slice(lesions)

    def __getitem__(self, z: int) -> NDArray[Any]:
        frame = np.zeros(self.shape[1:], self.dtype)
        for index in self._slices.get(int(z), ()):
            paint(frame, self._lesions[index].plane(int(z)), index + 1)
        return frame

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[z] for z in range(self.shape[0]))

    def max(self) -> int:
        """The largest value."""
        return len(self._lesions)

    def astype(self, dtype: Any) -> LabelFrames:
        """The same label map; highdicom asks for the smallest unsigned type, which this has."""
        assert np.dtype(dtype) == self.dtype
        return self
