"""A case made by hand: a first call that takes a library's one-time costs, and a test that needs no world."""

from __future__ import annotations

import numpy as np

from benchmarks.seams.cases import Case, Detection, Mask, World, Zyx

_OBJECTS = ((8, 16, 6, 14), (6, 18, 20, 34), (10, 20, 46, 56))
"""y0, y1, x0, x1: in the first window only, in both and cut by the second one, in the second window only."""


def tiny(dims: int = 2) -> Case:
    """Three boxes of one class in an image of 32 x 60 px, in two windows of 32 x 36 px that share 12 columns.

    `dims` = 3: 24 such planes, of which the middle 12 show the boxes. Each window sees exactly what is in it.
    """
    depth, window, overlap = (1, (1, 32, 36), (0, 0, 12)) if dims == 2 else (24, (24, 32, 36), (0, 0, 12))
    truth = np.zeros((depth, 32, 60), np.int32)
    for number, (y0, y1, x0, x1) in enumerate(_OBJECTS, start=1):
        truth[depth // 4 : depth // 4 + max(depth // 2, 1), y0:y1, x0:x1] = number
    world = World("tiny", truth, np.zeros(len(_OBJECTS) + 1, np.int64))
    windows: dict[Zyx, list[Detection]] = {(0, 0, 0): _seen(truth, 0, 36), (0, 0, 1): _seen(truth, 24, 60)}
    return Case(world, "perfect", 0, window, overlap, windows)


def _seen(truth: np.ndarray, left: int, right: int) -> list[Detection]:
    """What a perfect model says of the columns from `left` to `right`."""
    said = list[Detection]()
    for number in np.unique(truth[..., left:right])[1:].tolist():
        where = np.add(np.argwhere(truth[..., left:right] == number), (0, 0, left))
        (z0, y0, x0), (z1, y1, x1) = where.min(axis=0).tolist(), (where.max(axis=0) + 1).tolist()
        mask = Mask((z0, y0, x0), truth[z0:z1, y0:y1, x0:x1] == number)
        said.append(Detection(mask, 0.9 - 0.01 * number - 0.001 * left, 0, number))
    return said
