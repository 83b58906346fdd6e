"""Positions along a Hilbert curve: rows sorted by them lie near each other in the file when they do in the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL = 16
"""The curve's grid has 2^16 cells a side."""


def hilbert_distances(xy: NDArray[np.float64], extent: float) -> NDArray[np.int64]:
    """Distance along the curve (n,) of positions (n, 2) of (x, y) in 0..extent.

    The iterative form of J. Skilling, "Programming the Hilbert curve", AIP Conf. Proc. 707 (2004), in two dimensions.
    """
    scaled = np.clip(xy / extent * (1 << LEVEL), 0, (1 << LEVEL) - 1).astype(np.int64)
    x, y = scaled[:, 0].copy(), scaled[:, 1].copy()
    distance = np.zeros(len(xy), np.int64)
    side = 1 << (LEVEL - 1)
    while side:
        right, upper = (x & side) > 0, (y & side) > 0
        distance += side * side * ((3 * right) ^ upper)
        flip = ~upper & right
        x, y = (
            np.where(flip, side - 1 - (x & (side - 1)), x & (side - 1)),
            np.where(flip, side - 1 - (y & (side - 1)), y & (side - 1)),
        )
        x, y = np.where(upper, x, y), np.where(upper, y, x)
        side >>= 1
    return distance
