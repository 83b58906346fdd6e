"""Trees over a scene: ragged crowns beside the vehicles, and their shade, which falls on vehicles too."""

# scipy.ndimage has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.models.vehicle_drawing import FINE, Floats

Rng = np.random.Generator


def noise(side: int, coarse: int, rng: Rng) -> Floats:
    """(side, side) smooth noise of deviation near 1 whose spots are about `coarse` pixels wide."""
    small = rng.normal(0, 1, (side // coarse + 2,) * 2)
    large = cast("Any", ndimage.zoom)(small, coarse, order=1)
    return np.asarray(large[:side, :side], np.float32)


def plant_trees(image: Floats, taken: NDArray[np.uint8], sun: tuple[float, float], depth: float, rng: Rng) -> None:
    """Draw some trees, alone or in a row, in place. No crown covers what is taken; shade may.

    image: (y, x) at `FINE` metres per pixel. taken: (y, x), not 0 where vehicles, roofs and other things are. sun:
    metres (y, x) that the shadow of something 1 m high is long. depth: factor of shade.
    """
    side = image.shape[0]
    crown = np.zeros(image.shape, np.bool_)
    ragged = np.asarray(1 + 0.35 * noise(side, 16, rng) + 0.12 * noise(side, 5, rng), np.float32)
    for y, x, radius in _places(side * FINE, rng):
        _disc(crown, ragged, y / FINE, x / FINE, radius / FINE)
    height = rng.uniform(2, 6)
    shift = [round(height * length / FINE) for length in sun]
    shade = np.asarray(cast("Any", ndimage.shift)(crown.view(np.uint8), shift, order=0), np.bool_)
    image[shade] *= depth
    texture = np.exp(0.25 * noise(side, 12, rng) + rng.uniform(0.1, 0.45) * noise(side, 4, rng))
    crown &= taken == 0
    image[crown] = rng.uniform(0.08, 0.5) * texture[crown]


def _places(side: float, rng: Rng) -> list[tuple[float, float, float]]:
    """Middles (y, x) and radii in metres."""
    count, radius = int(rng.integers(1, 14)), rng.uniform(1.2, 5.5)
    y, x, angle = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, math.pi)
    step = radius * rng.uniform(1.2, 4)
    row = rng.random() < 0.5
    found = list[tuple[float, float, float]]()
    for k in range(count):
        cy, cx = y + (k - count / 2) * step * math.sin(angle), x + (k - count / 2) * step * math.cos(angle)
        if not row:
            cy, cx = rng.uniform(0, side, 2)
        found.append((cy, cx, radius * rng.uniform(0.6, 1.3)))
    return found


def _disc(crown: NDArray[np.bool_], ragged: Floats, y: float, x: float, radius: float) -> None:
    """Set the pixels that lie nearer than `radius`, here more and there less, all in pixels."""
    reach = 2 * radius
    rows, columns = (slice(max(int(c - reach), 0), max(int(c + reach) + 1, 0)) for c in (y, x))
    part = crown[rows, columns]
    rows_at, columns_at = np.ogrid[: part.shape[0], : part.shape[1]]
    distance = np.hypot(rows_at + rows.start + 0.5 - y, columns_at + columns.start + 0.5 - x)
    part |= distance < radius * ragged[rows, columns]
