"""Tree crowns in RGB aerial images of about 10 cm per pixel: greener than their surroundings, and round.

A plugin file: `--model python:jobs/demo_models/tree_crowns.py:TreeCrowns`. One cue says how crown-like a pixel is
(green minus blue against the surroundings: shade is blue, soil and rock are grey), maxima of the scale-normalised
Laplacian of Gaussian (Lindeberg 1998) find blobs of it, and pixels go to the blob they are nearest to in units of its
radius. The parameters come from two images of one site (Yellowstone): this shows the pipeline, it surveys no trees.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy.ndimage has no complete types)

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ZyxBox = tuple[int, int, int, int, int, int]
Floats = NDArray[np.float32]

GAIN = 9.01
BIAS = -1.36
"""Logistic regression of crown against ground on the cue of `crown_probability`, for values in 0..1."""
SIGMAS = (5.0, 7.0, 10.0, 14.0)
"""Blob scales in pixels of the halved image; a disc of radius r answers most strongly at r / sqrt(2)."""


class TreeCrowns:
    """Round crowns, greener than what is around them."""

    kind = "instance"
    window = (1, 512, 512)
    overlap = (0, 192, 192)
    classes = ("tree",)
    bands = (0, 1, 2)
    normalise = "percentile"

    def __init__(self, device: str = "cpu", *, min_response: float = 0.13, radius: float = 2.0) -> None:
        """device: ignored, the model runs on the CPU.

        min_response: of the scale-normalised Laplacian of the crown probability. radius: of a crown, in sigmas.
        """
        self.min_response = min_response
        self.radius = radius

    def predict(self, windows: Floats, valid: NDArray[np.bool_]) -> list[dict[str, Any]]:
        """windows: (n, 3, 1, y, x), red, green, blue in 0..1; valid: (n, 1, y, x)."""
        return [self._segment(w[:, 0], v[0]) for w, v in zip(windows, valid, strict=True)]

    def _segment(self, image: Floats, valid: NDArray[np.bool_]) -> dict[str, Any]:
        probability = crown_probability(halve(image))
        blobs = find_blobs(probability, self.min_response, self.radius)
        return paint(blobs, probability, valid)


def halve(image: Floats) -> Floats:
    """(bands, y, x) averaged over 2 x 2 pixels; an odd last row or column is repeated first."""
    _, height, width = image.shape
    even = np.pad(image, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) * np.float32(0.25)


def blur(layer: Floats, sigma: float) -> Floats:
    """Gaussian smoothing with a support of 3 sigma: the reach of the model stays within the overlap."""
    return np.asarray(ndimage.gaussian_filter(layer, sigma, truncate=3.0), np.float32)


def crown_probability(image: Floats) -> Floats:
    """How crown-like each pixel of red, green, blue (3, y, x) is, (y, x) in 0..1."""
    _, green, blue = image
    cue = blur(green - blue, 2) - blur(green - blue, 10)
    return (1 / (1 + np.exp(-(GAIN * cue + BIAS)))).astype(np.float32)


def find_blobs(probability: Floats, min_response: float, radius: float) -> list[tuple[float, float, float]]:
    """(row, column, radius) in halved pixels, strongest first; a blob that reaches half into a stronger one goes."""
    stack = np.stack([-(s**2) * ndimage.gaussian_laplace(probability, s, truncate=3.0) for s in SIGMAS])
    peaks = (stack == ndimage.maximum_filter(stack, size=(3, 5, 5))) & (stack > min_response)
    scale, row, column = np.nonzero(peaks)
    order = np.lexsort((column, row, -stack[peaks]))
    size = radius * np.array(SIGMAS)[scale]
    kept: list[int] = []
    for k in order:
        distance = np.hypot(row[kept] - row[k], column[kept] - column[k])
        if np.all(distance >= 0.5 * (size[kept] + size[k])):
            kept.append(int(k))
    return [(float(row[k]), float(column[k]), float(size[k])) for k in kept]


def paint(blobs: list[tuple[float, float, float]], probability: Floats, valid: NDArray[np.bool_]) -> dict[str, Any]:
    """Discs that yield to their neighbours, doubled back to the window's pixels; the score is the mean probability."""
    owner = np.zeros(probability.shape, np.int32)
    nearest = np.full(probability.shape, 1.0)
    height, width = probability.shape
    for number, (row, column, size) in enumerate(blobs, start=1):
        rows = slice(max(int(row - size), 0), int(row + size) + 2)
        columns = slice(max(int(column - size), 0), int(column + size) + 2)
        y, x = np.arange(*rows.indices(height)), np.arange(*columns.indices(width))
        distance = ((y[:, None] - row) ** 2 + (x - column) ** 2) / size**2
        closer = distance < nearest[rows, columns]
        nearest[rows, columns][closer] = distance[closer]
        owner[rows, columns][closer] = number
    crowns = owner.repeat(2, axis=0).repeat(2, axis=1)[: valid.shape[0], : valid.shape[1]] * valid
    scores: list[float] = []
    masks: list[tuple[ZyxBox, NDArray[np.bool_]]] = []
    for number, where in enumerate(ndimage.find_objects(crowns), start=1):
        if where is None:
            continue
        rows, columns = cast("tuple[slice, slice]", where)
        scores.append(float(probability[owner == number].mean()))
        masks.append(((0, rows.start, columns.start, 1, rows.stop, columns.stop), (crowns[where] == number)[None]))
    return {"labels": np.zeros(len(scores), np.int64), "scores": np.array(scores, np.float64), "masks": masks}
