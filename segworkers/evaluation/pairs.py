"""Which predictions and which true objects overlap, and by how much: only pairs with something in common are listed.

Masks are compared block by block, each side cut to the block. Pixels in common add up over blocks, so no more masks
than those of one block are held, and the sums are exact wherever blocks end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segworkers.box_pairs import box_pairs
from segworkers.overlaps import shared_pixels
from segworkers.runs import RunTable, concatenate

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Overlaps of one source, sorted by (prediction, truth). Each pair is listed once; IoU is above 0."""

    prediction: _Ints
    """(k,) index of the prediction."""
    truth: _Ints
    """(k,) index of the true object."""
    iou: _Floats
    """(k,) intersection over union, 0..1."""

    def __post_init__(self) -> None:
        if not len(self.prediction) == len(self.truth) == len(self.iou):
            raise ValueError("a pair is a prediction, a true object and their IoU")

    def __len__(self) -> int:
        return len(self.iou)

    def take(self, rows: NDArray[Any]) -> Pairs:
        """The pairs that an index or a boolean array names."""
        return Pairs(self.prediction[rows], self.truth[rows], self.iou[rows])


def shared_in_block(predictions: RunTable, truth: RunTable) -> tuple[_Ints, _Ints, _Ints]:
    """(k,) owners of masks that have pixels in common, prediction and truth, and (k,) how many.

    predictions, truth: cut to one block; owners are any numbers from 0.
    """
    left, left_owner = np.unique(predictions.owner, return_inverse=True)
    right, right_owner = np.unique(truth.owner, return_inverse=True)
    both = [RunTable(predictions.runs, left_owner), RunTable(truth.runs, right_owner + len(left))]
    masks = concatenate(both).canonical()
    count = len(left) + len(right)
    extents = masks.extents(count)
    side = np.repeat(np.array([0, 1], np.int64), [len(left), len(right)])
    i, j = box_pairs(extents.boxes, side, np.zeros(count, np.int64))
    shared = shared_pixels(masks, extents, i, j)
    found = shared > 0
    return left[i[found]], right[j[found] - len(left)], shared[found]


def mask_pairs(
    blocks: Iterable[tuple[_Ints, _Ints, _Ints]], prediction_area: NDArray[Any], truth_area: NDArray[Any]
) -> Pairs:
    """Pairs by IoU of masks.

    blocks: what `shared_in_block` gives, of blocks that do not overlap; areas: (n,) and (m,) pixels of whole masks.
    """
    listed = list(blocks)
    empty = np.empty(0, np.int64)
    i, j, shared = (np.concatenate([empty, *(block[k] for block in listed)]) for k in range(3))
    keys, place = np.unique(i * max(len(truth_area), 1) + j, return_inverse=True)
    total = np.bincount(place, weights=shared, minlength=len(keys))
    p, t = np.divmod(keys, max(len(truth_area), 1))
    return Pairs(p, t, total / (prediction_area[p] + truth_area[t] - total))


def box_pairs_by_iou(predictions: _Floats, truth: _Floats) -> Pairs:
    """Pairs by IoU of boxes (n, 6) and (m, 6): z0, y0, x0, z1, y1, x1, in pixels or parts of them."""
    both = np.concatenate([predictions.reshape(-1, 6), truth.reshape(-1, 6)])
    whole = np.concatenate([np.floor(both[:, :3]), np.ceil(both[:, 3:])], axis=1).astype(np.int64)
    side = np.repeat(np.array([0, 1], np.int64), [len(predictions), len(truth)])
    i, j = box_pairs(whole, side, np.zeros(len(both), np.int64))
    sides = np.minimum(both[i, 3:], both[j, 3:]) - np.maximum(both[i, :3], both[j, :3])
    shared = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0.0)
    volume = box_areas(both)
    found = shared > 0
    i, j, shared = i[found], j[found], shared[found]
    return Pairs(i, j - len(predictions), shared / (volume[i] + volume[j] - shared))


def box_areas(boxes: _Floats) -> _Floats:
    """(n,) pixels, or parts of them, that boxes (n, 6) cover."""
    return (boxes[:, 3:] - boxes[:, :3]).prod(axis=1)
