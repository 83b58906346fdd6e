"""Worlds with exact truth: label images (y, x) int64, 0 = background, each object one value and one connected piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Zyx
from segworkers.segmenters.base import WindowMasks
from tests.fakes import TruthMasks

World = Callable[[np.random.Generator, int], NDArray[np.int64]]


def cars(rng: np.random.Generator, side: int) -> NDArray[np.int64]:
    """Small rectangles, some touching."""
    image = np.zeros((side, side), np.int64)
    for number in range(1, side * side // 300):
        y, x = rng.integers(0, side, 2)
        h, w = rng.integers(1, 14, 2)
        part = image[y : y + h, x : x + w]
        if not part.any():
            part[...] = number
    return image


def rivers(rng: np.random.Generator, side: int) -> NDArray[np.int64]:
    """Thin lines that wander through the whole image; a later one is cut where an earlier one flows."""
    image = np.zeros((side, side), np.int64)
    for number in range(1, 7):
        y = rng.integers(0, side) + np.cumsum(rng.integers(-1, 2, side))
        width = int(rng.integers(1, 5))
        x = np.arange(side)
        for k in range(width):
            inside = (y + k >= 0) & (y + k < side)
            rows, columns = (y + k)[inside], x[inside]
            free = image[rows, columns] == 0
            image[rows[free], columns[free]] = number
    return connected(image)


def touching_cells(rng: np.random.Generator, side: int) -> NDArray[np.int64]:
    """A full tessellation: every pixel belongs to a cell, neighbours touch."""
    seeds = rng.integers(0, side, (max(4, side * side // 700), 2))
    marks = np.zeros((side, side), np.int64)
    marks[seeds[:, 0], seeds[:, 1]] = np.arange(1, len(seeds) + 1)
    _, (y, x) = ndimage.distance_transform_edt(marks == 0, return_indices=True)
    return connected(marks[y, x])


def rings(rng: np.random.Generator, side: int) -> NDArray[np.int64]:
    """Rings with something inside, the something sometimes a ring again."""
    image = np.zeros((side, side), np.int64)
    yy, xx = np.mgrid[:side, :side]
    number = 1
    for _ in range(6):
        cy, cx = rng.integers(0, side, 2)
        radius = int(rng.integers(10, 90))
        for r in range(radius, 2, -7):
            distance = np.hypot(yy - cy, xx - cx)
            ring = (distance <= r) & (distance > r - 4)
            image[ring] = number
            number += 1
    return connected(image)


def specks(rng: np.random.Generator, side: int) -> NDArray[np.int64]:
    """Single pixels and tiny shapes at high density."""
    return connected((rng.random((side, side)) < 0.25).astype(np.int64) * rng.integers(1, 4, (side, side)))


def blobs(rng: np.random.Generator, side: int) -> NDArray[np.int64]:
    """Large shapes with concave, U-like outlines over many windows."""
    noise = ndimage.gaussian_filter(rng.standard_normal((side, side)), 9)
    return connected((noise > 0.01).astype(np.int64))


def connected(image: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every connected piece of one value its own object."""
    return cc3d.connected_components(image.astype(np.uint32), connectivity=8).astype(np.int64)


ALL: list[World] = [cars, rivers, touching_cells, rings, specks, blobs]


class Jittered(TruthMasks):
    """A model whose windows disagree: outlines move and objects go missing, by a hash of the window's content."""

    def __init__(self, window: Zyx, overlap: Zyx) -> None:
        super().__init__(window, overlap)

    def _masks(self, ids: NDArray[Any]) -> WindowMasks:
        rng = np.random.default_rng(int(np.asarray(ids, np.int64).sum()) % 2**32)
        moved = np.roll(ids, tuple(rng.integers(-2, 3, 2)), (1, 2))
        gone = rng.choice(np.unique(moved), 2)
        answer = super()._masks(np.where(np.isin(moved, gone), 0, moved))
        return WindowMasks(answer.labels, rng.random(len(answer.labels)).round(3), answer.crops)
