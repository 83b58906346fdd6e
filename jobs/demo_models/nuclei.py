"""Fluorescence nuclei, bright on dark: background subtraction, threshold, and a watershed of the distance transform.

A plugin file: `--model python:jobs/demo_models/nuclei.py:Nuclei`. Every parameter is a fixed number of pixels or a
fixed fraction of the image's contrast, and nothing is computed per window, so a pixel further than about 75 px from a
window's border does not notice where the window lies. Tuned on the training images of the demo's data set only.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy.ndimage and scipy.sparse have no complete types)

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ZyxBox = tuple[int, int, int, int, int, int]
Crop = tuple[ZyxBox, NDArray[np.bool_]]


class Nuclei:
    """Separates touching nuclei by shape: what narrows to less than `neck` of either half's thickness is cut."""

    kind = "instance"
    window = (1, 1024, 1024)
    overlap = (0, 128, 128)
    classes = ("nucleus",)
    bands = (0,)
    normalise = "percentile"

    def __init__(
        self, device: str = "cpu", *, threshold: float = 0.14, neck: float = 0.7, min_pixels: int = 100
    ) -> None:
        """device: ignored, the model runs on the CPU.

        threshold: contrast above the local background, as a fraction of the image's 1st..99th percentile range.
        neck: depth of the waist between two nuclei, relative to the thinner one, above which they count as one.
        min_pixels: smaller objects are dropped.
        """
        self.threshold = threshold
        self.neck = neck
        self.min_pixels = min_pixels

    def predict(self, windows: NDArray[np.float32], valid: NDArray[np.bool_]) -> list[dict[str, Any]]:
        """windows: (n, 1, 1, y, x) in 0..1; valid: (n, 1, y, x). One dict of labels, scores and masks a window."""
        return [self._segment(w[0, 0], v[0]) for w, v in zip(windows, valid, strict=True)]

    def _segment(self, image: NDArray[np.float32], valid: NDArray[np.bool_]) -> dict[str, Any]:
        contrast = subtract_background(image)
        foreground = clean(contrast > self.threshold)
        distance = np.asarray(ndimage.distance_transform_edt(foreground), np.float32)
        thickness = np.asarray(ndimage.gaussian_filter(distance, 1.5, truncate=3.0), np.float32)
        basins, peaks = watershed(thickness, foreground)
        nuclei = join_shallow(basins, peaks, thickness, self.neck)
        # after the watershed: a nucleus mirrored into the padding keeps its shape until here
        nuclei[~valid] = 0
        return describe(nuclei, contrast, self.threshold, self.min_pixels)


def subtract_background(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smoothed image (y, x) minus its background: the smoothed minimum over 62 px, found at half resolution."""
    smooth = ndimage.gaussian_filter(image, 1.2, truncate=3.0)
    coarse = ndimage.gaussian_filter(smooth[::2, ::2], 1.0)
    low = ndimage.uniform_filter(ndimage.minimum_filter(coarse, size=31), 31)
    height, width = image.shape
    background = low.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return (smooth - background).astype(np.float32)


def clean(foreground: NDArray[np.bool_], largest_hole: int = 300) -> NDArray[np.bool_]:
    """Fill holes of at most `largest_hole` px (a ring of cells keeps its middle) and drop what 5 x 5 px do not fit."""
    filled = np.asarray(ndimage.binary_fill_holes(foreground), np.bool_)
    holes, _ = cast("tuple[NDArray[np.int32], int]", ndimage.label(filled & ~foreground))
    small = np.bincount(holes.ravel()) <= largest_hole
    small[0] = False
    return np.asarray(ndimage.binary_opening(foreground | small[holes], np.ones((5, 5))), np.bool_)


def watershed(
    relief: NDArray[np.float32], foreground: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Catchment basins by steepest ascent: every foreground pixel follows its highest neighbour up to a peak.

    relief: (y, x), at least 0. Returns basins (y, x), 0 outside the foreground and k within the basin of peak k, and
    the peaks' heights indexed by k. Paths are shortened by pointer jumping, so the cost is a few passes. Of equal
    neighbours the later in raster order wins: a plateau drains one way, and without cycles.
    """
    height, width = relief.shape
    padded = np.full((height + 2, width + 2), -1.0, np.float32)
    padded[1:-1, 1:-1] = np.where(foreground, relief, np.float32(-1))
    flat = padded.ravel()
    pixels = np.flatnonzero(flat >= 0)
    top, up = flat[pixels], pixels.copy()
    row = width + 2
    for step in (-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1):
        value = flat[pixels + step]
        higher = (value > top) | ((value == top) & (pixels + step > up))
        top, up = np.where(higher, value, top), np.where(higher, pixels + step, up)
    rank = np.zeros(flat.size, np.int32)
    rank[pixels] = np.arange(pixels.size, dtype=np.int32)
    path = rank[up]
    while not np.array_equal(further := path[path], path):
        path = further
    roots, basin = np.unique(path, return_inverse=True)
    basins = np.zeros(flat.size, np.int32)
    basins[pixels] = basin + 1
    inner = basins.reshape(height + 2, width + 2)[1:-1, 1:-1]
    return inner.copy(), np.concatenate([np.zeros(1, np.float32), flat[pixels[roots]]])


def join_shallow(
    basins: NDArray[np.int32], peaks: NDArray[np.float32], relief: NDArray[np.float32], neck: float
) -> NDArray[np.int32]:
    """Join neighbouring basins whose saddle is higher than `neck` times the lower of their peaks.

    The rule has no unit, so that small and large nuclei are split alike. Returns labels (y, x), 0 = background.
    """
    first, second, saddle = border_pairs(basins, relief)
    key, pair = np.unique(first.astype(np.int64) * peaks.size + second, return_inverse=True)
    height = np.zeros(key.size, np.float32)
    np.maximum.at(height, pair, saddle)
    a, b = key // peaks.size, key % peaks.size
    same = height > neck * np.minimum(peaks[a], peaks[b])
    graph = coo_array((np.ones(int(same.sum())), (a[same], b[same])), shape=(peaks.size, peaks.size))
    _, group = connected_components(graph, directed=False)
    return np.where(basins > 0, group[basins] + 1, 0).astype(np.int32)


def border_pairs(
    basins: NDArray[np.int32], relief: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Each pair of 4-neighbours in different basins: the smaller label, the larger, and the lower relief of the two."""
    found: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for axis in (0, 1):
        here = tuple(slice(None, -1) if k == axis else slice(None) for k in (0, 1))
        there = tuple(slice(1, None) if k == axis else slice(None) for k in (0, 1))
        a, b = basins[here], basins[there]
        meet = (a != b) & (a > 0) & (b > 0)
        low = np.minimum(relief[here][meet], relief[there][meet])
        found.append((np.minimum(a[meet], b[meet]), np.maximum(a[meet], b[meet]), low))
    first, second, saddle = (np.concatenate(column) for column in zip(*found, strict=True))
    return first, second, saddle


def describe(
    labels: NDArray[np.int32], contrast: NDArray[np.float32], threshold: float, min_pixels: int
) -> dict[str, Any]:
    """The plugin's answer for one window; the score is contrast / (contrast + threshold), in 0.5..1 by construction."""
    pixels = np.bincount(labels.ravel())
    total = np.bincount(labels.ravel(), weights=contrast.ravel())
    scores: list[float] = []
    masks: list[Crop] = []
    for label, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None or pixels[label] < min_pixels:
            continue
        rows, columns = where
        mean = max(float(total[label] / pixels[label]), 0.0)
        scores.append(mean / (mean + threshold))
        masks.append(((0, rows.start, columns.start, 1, rows.stop, columns.stop), (labels[where] == label)[None]))
    return {"labels": np.zeros(len(scores), np.int64), "scores": np.array(scores, np.float64), "masks": masks}
