"""Linear resizing of small maps, and masks pasted into their boxes. Pure NumPy, so that every runtime gives the same.

Sample positions are those of `torch.nn.functional.interpolate(align_corners=False)`: pixel centres, edges repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from segworkers.segmenters.checks import tight_crop

Crop = tuple[Box, NDArray[np.bool_]]
"""A box in the window and a mask of its shape."""


@lru_cache(maxsize=4096)
def linear_weights(inputs: int, outputs: int, *, antialias: bool = False) -> NDArray[np.float32]:
    """Weights (outputs, inputs) that resize one axis linearly; each row sums to 1.

    antialias: where the axis shrinks, widen the triangle to the step, so that every input pixel counts.
    """
    step = inputs / outputs
    centres = (np.arange(outputs) + 0.5) * step - 0.5
    if antialias and step > 1:
        weights = np.maximum(0.0, 1.0 - np.abs(np.arange(inputs)[None] - centres[:, None]) / step)
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    centres = np.clip(centres, 0.0, inputs - 1)
    low = np.floor(centres).astype(np.int64)
    high = np.minimum(low + 1, inputs - 1)
    part = (centres - low).astype(np.float32)
    weights = np.zeros((outputs, inputs), np.float32)
    rows = np.arange(outputs)
    np.add.at(weights, (rows, low), 1 - part)
    np.add.at(weights, (rows, high), part)
    return weights


def resized(values: NDArray[Any], shape: Sequence[int], *, antialias: bool = False) -> NDArray[np.float32]:
    """The last axes of `values` brought to `shape`, linearly; float32. An axis of the same length is left as it is."""
    result = np.asarray(values, np.float32)
    first = result.ndim - len(shape)
    for axis, side in enumerate(shape, start=first):
        if result.shape[axis] != side:
            weights = linear_weights(result.shape[axis], int(side), antialias=antialias)
            result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result)


def paste(mask: NDArray[Any], box: NDArray[np.floating[Any]], window: Zyx, threshold: float) -> Crop | None:
    """A square mask of a box at the box's own size, as torchvision's `paste_masks_in_image` does; cut to the window.

    mask: (m, m) probabilities; box: x0, y0, x1, y1 in pixels. None where no pixel in the window reaches the threshold.
    """
    side = mask.shape[0]
    # A frame of zeros, one pixel wide, and the box that grows with it: masks may end at the box's border.
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * np.float32((side + 2) / side)
    x0, y0, x1, y1 = (int(v) for v in np.concatenate((centre - half, centre + half)).astype(np.int64))
    image = resized(np.pad(mask, 1), (max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)))
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1 + 1, window[1]), min(x1 + 1, window[2])
    if top >= bottom or left >= right:
        return None
    inside = image[top - y0 : bottom - y0, left - x0 : right - x0] >= threshold
    return tight_crop(Box((0, top, left), (1, bottom, right)), inside[None])


def suppressed(
    boxes: NDArray[np.floating[Any]], scores: NDArray[Any], labels: NDArray[Any], iou: float
) -> NDArray[np.int64]:
    """Indices of the boxes that stay, best first: the weaker of two of one label whose IoU is above `iou` goes.

    boxes: (k, 4) x0, y0, x1, y1. Greedy, as `torchvision.ops.batched_nms`; ties in score keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    gone = np.zeros(len(boxes), bool)
    kept: list[int] = []
    for place, index in enumerate(order):
        if gone[index]:
            continue
        kept.append(int(index))
        rest = order[place + 1 :]
        rest = rest[(labels[rest] == labels[index]) & ~gone[rest]]
        low, high = np.maximum(boxes[rest, :2], boxes[index, :2]), np.minimum(boxes[rest, 2:], boxes[index, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        gone[rest[shared > iou * (areas[rest] + areas[index] - shared)]] = True
    return np.array(kept, np.int64)


def filled_box(box: NDArray[np.floating[Any]], window: Zyx, shape: str) -> Crop | None:
    """The pixels of a box, or of the ellipse that it encloses, whose centres lie inside; None where there are none.

    box: x0, y0, x1, y1 in pixels, pixel corners; shape: `rectangle` or `ellipse`.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    low_y, low_x = max(0, int(np.ceil(y0 - 0.5))), max(0, int(np.ceil(x0 - 0.5)))
    high_y, high_x = min(window[1], int(np.ceil(y1 - 0.5))), min(window[2], int(np.ceil(x1 - 0.5)))
    if low_y >= high_y or low_x >= high_x:
        return None
    place = Box((0, low_y, low_x), (1, high_y, high_x))
    if shape == "rectangle":
        return place, np.ones(place.shape, bool)
    y = (np.arange(low_y, high_y) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    x = (np.arange(low_x, high_x) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    return tight_crop(place, (y[:, None] ** 2 + x[None] ** 2 <= 1)[None])
