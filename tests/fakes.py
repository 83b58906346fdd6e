"""Small real implementations of the ports, for tests: an array as a file, the truth as a model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from schemas.errors import InputError
from schemas.grids import PixelGrid
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.readers.base import PixelBlock
from segworkers.segmenters.base import DenseMaps, WindowMasks


class ArrayReader:
    """One source, held in memory. `broken` boxes cannot be read."""

    def __init__(
        self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None, broken: Sequence[Box] = ()
    ) -> None:
        self.pixels = pixels if pixels.ndim == 4 else pixels[None]
        self.valid = np.ones(self.pixels.shape[1:], bool) if valid is None else valid
        self.broken = tuple(broken)

    def describe(self, uri: str) -> Source:
        """A source with the array's shape."""
        z, y, x = self.pixels.shape[1:]
        grid = PixelGrid(shape=(z, y, x))
        bands = tuple(f"band_{i + 1}" for i in range(len(self.pixels)))
        return Source(uri=uri, fingerprint="0", grid=grid, dtype=str(self.pixels.dtype), bands=bands)

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """A copy of the box; InputError where it meets a broken one."""
        if any(box & broken for broken in self.broken):
            raise InputError("read_failed", f"broken block inside {box}", "Restore the file from a backup.")
        place = box.within((0, 0, 0))
        return PixelBlock(self.pixels[list(bands)][(slice(None), *place)].copy(), self.valid[place].copy(), box)

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        """Every pixel: the arrays of tests are small."""
        return self.read(source, Box.of_shape(source.grid.shape), bands)


class MemoryStore:
    """The few verbs of a Store that workers and the merge use, without a disk."""

    url = "memory://"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def create(self, name: str, data: bytes) -> bool:
        """Whether it was new."""
        return self.files.setdefault(name, data) is data

    def read(self, name: str) -> bytes:
        """KeyError where it is not there."""
        return self.files[name]

    def open(self, name: str) -> BinaryIO:
        """The same as a file."""
        return io.BytesIO(self.files[name])

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        return name in self.files


class TruthClasses:
    """A perfect dense model: the pixel value is the class."""

    def __init__(
        self, window: Zyx, overlap: Zyx, *, classes: int = 3, connectivity: Any = 8, batch: Zyx = (1, 1, 1)
    ) -> None:
        names = tuple(f"class_{i + 1}" for i in range(classes))
        self.manifest = ModelManifest(
            name="truth",
            kind="dense",
            window=window,
            overlap=overlap,
            classes=names,
            connectivity=connectivity,
            batch=batch,
        )

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseMaps:
        """The first channel."""
        return DenseMaps(windows[:, 0].astype(np.uint8), None)


class TruthMasks:
    """A perfect instance model: the pixel value is the object; value modulo the number of classes its label.

    A mask is truth ∩ window, one mask however many parts it has.
    """

    def __init__(self, window: Zyx, overlap: Zyx, *, classes: int = 1, batch: Zyx = (1, 1, 1)) -> None:
        names = tuple(f"class_{i + 1}" for i in range(classes))
        self.manifest = ModelManifest(
            name="truth", kind="instance", window=window, overlap=overlap, classes=names, batch=batch
        )

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> list[WindowMasks]:
        """One mask for each value above 0 among the real pixels of the first channel."""
        return [self._masks(window[0] * real) for window, real in zip(windows, valid, strict=True)]

    def _masks(self, ids: NDArray[Any]) -> WindowMasks:
        from scipy.ndimage import find_objects

        values, compact = np.unique(np.concatenate(([0], ids.ravel())), return_inverse=True)
        compact = compact[1:].reshape(ids.shape)
        crops: list[tuple[Box, NDArray[np.bool_]]] = []
        for number, place in enumerate(find_objects(compact), start=1):
            start, stop = zip(*((s.start, s.stop) for s in place), strict=True)
            crops.append((Box(start, stop), compact[place] == number))
        return WindowMasks(values[1:].astype(np.int64) % len(self.manifest.classes), np.ones(len(crops)), crops)
