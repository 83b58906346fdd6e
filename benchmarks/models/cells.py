"""Perfect models of `benchmarks.scale`'s rasters, as users write them: loaded by path, never imported."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects


class Cells:
    """Every connected patch of one value above 0 is a cell: touching cells have different values."""

    kind = "instance"
    classes = ("cell",)
    window = (1, 1024, 1024)
    overlap = (0, 64, 64)

    def __init__(self, device: str) -> None:
        del device

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> list[tuple[Any, ...]]:
        """Boxes and masks of each window's cells; all scores are 1."""
        return [self._cells(window[0, 0] * real[0]) for window, real in zip(windows, valid, strict=True)]

    def _cells(self, values: NDArray[Any]) -> tuple[Any, ...]:
        labels = cc3d.connected_components(values, connectivity=4)
        crops = [
            ([0, y.start, x.start, 1, y.stop, x.stop], (labels[y, x] == number)[None])
            for number, (y, x) in enumerate(find_objects(labels), start=1)
        ]
        return np.zeros(len(crops), np.int64), np.ones(len(crops)), crops
