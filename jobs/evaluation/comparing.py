"""One source: its predictions beside its true objects, block by block, without more masks than those of a block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.evaluation.gathering import ClassOf, Seen, Surroundings
from jobs.evaluation.predictions import Predictions
from jobs.truth.base import Target, Truth, TruthItem
from schemas.boxes import Box
from segworkers.evaluation.blocks import blocks_of
from segworkers.evaluation.outcomes import Side
from segworkers.evaluation.pairs import Pairs, box_areas, box_pairs_by_iou, mask_pairs, shared_in_block
from segworkers.runs import RunTable, box_runs, concatenate

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What there is of one source, for counting it and for showing it."""

    target: Target
    predictions: Side
    truth: Side
    pairs: Pairs
    names: NDArray[np.bytes_]
    """(n,) instance_id of the predictions."""
    items: tuple[TruthItem, ...]
    """(m,) true objects, crowds left out."""


def compare(
    target: Target,
    truth: Truth,
    found: Predictions,
    around: Surroundings,
    classes: tuple[_Ints, ClassOf],
    *,
    boxes_only: bool,
    least: float,
) -> Compared:
    """Overlaps and facts of one source.

    classes: (n,) of the predictions, and where those of the truth are found. boxes_only: boxes are compared instead of
    masks. least: the lowest threshold; what has a partner above it was found, however much of it is not valid.
    """
    seen = Seen(truth, classes)
    shared: list[tuple[_Ints, _Ints, _Ints]] = []
    if not boxes_only:
        for box in blocks_of(target.shape):
            masks, true = found.block(box), truth.block(box)
            table = seen.add(true)
            shared.append(shared_in_block(masks, table))
            seen.mark(box, masks, table, seen.crowds(true), around)
        boxes, areas = found.boxes.astype(np.float64), found.pixels.astype(np.float64)
        true_boxes, true_areas = seen.boxes(), seen.areas()
        pairs = mask_pairs(shared, areas, true_areas)
    else:
        boxes, true_boxes = found.boxes.astype(np.float64), _true_boxes(seen, target)
        areas, true_areas = box_areas(boxes), box_areas(true_boxes)
        pairs = box_pairs_by_iou(boxes, true_boxes)
        _mark_boxes(seen, target, (boxes, true_boxes), around)
    here, labels = seen.flags(areas, true_areas), seen.labels()
    predictions = Side(classes[0], areas, boxes, here.ignored, here.unknown, found.score)
    truth_side = Side(labels, true_areas, true_boxes, here.true_ignored, here.true_unknown, np.zeros(len(labels)))
    if around.valid is not None:
        truth_side.unknown[:] |= seen.invalid(true_areas) & (_best(pairs, len(labels)) < least)
    # Crowds have a place among the true objects only until here.
    kept = np.flatnonzero(~seen.is_crowd())
    return Compared(target, predictions, _taken(truth_side, kept), _renumbered(pairs, kept, len(labels)), found.names,
                    tuple(seen.items[k] for k in kept))  # fmt: skip


def _true_boxes(seen: Seen, target: Target) -> _Floats:
    """(m, 6) boxes as the truth has them, else those of its masks."""
    if not seen.items or any(item.box is None for item in seen.items):
        for box in blocks_of(target.shape):
            seen.add(seen.truth.block(box))
    boxes = seen.boxes()
    for k, item in enumerate(seen.items):
        if item.box is not None:
            boxes[k] = item.box
    return boxes


def _mark_boxes(seen: Seen, target: Target, boxes: tuple[_Floats, _Floats], around: Surroundings) -> None:
    """Surroundings of boxes, which stand for their objects."""
    crowd = seen.is_crowd()
    if not (around.mask or around.failed or around.valid is not None or crowd.any()):
        return
    for box in blocks_of(target.shape):
        masks, true = (_as_runs(each, box) for each in boxes)
        crowds = {
            int(label): true.take((crowd & (seen.labels() == label))[true.owner])
            for label in np.unique(seen.labels()[crowd])
        }
        seen.mark(box, masks, true, crowds, around)


def _as_runs(boxes: _Floats, within: Box) -> RunTable:
    """Boxes as masks, to the nearest pixel."""
    parts: list[RunTable] = []
    for k, (z0, y0, x0, z1, y1, x1) in enumerate(np.rint(boxes).astype(np.int64).tolist()):
        if z0 < z1 and y0 < y1 and x0 < x1 and (inside := Box((z0, y0, x0), (z1, y1, x1)) & within) is not None:
            runs = box_runs(inside)
            parts.append(RunTable(runs, np.full(len(runs), k, np.int64)))
    return concatenate(parts)


def _best(pairs: Pairs, count: int) -> _Floats:
    """(m,) the largest IoU of each true object; 0 without any."""
    best = np.zeros(count)
    np.maximum.at(best, pairs.truth, pairs.iou)
    return best


def _taken(side: Side, rows: _Ints) -> Side:
    return Side(
        side.label[rows], side.area[rows], side.boxes[rows], side.ignored[rows], side.unknown[rows], side.score[rows]
    )


def _renumbered(pairs: Pairs, kept: _Ints, count: int) -> Pairs:
    place = np.full(count, -1, np.int64)
    place[kept] = np.arange(len(kept))
    there = pairs.take(place[pairs.truth] >= 0)
    return Pairs(there.prediction, place[there.truth], there.iou)
