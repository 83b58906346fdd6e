"""How far the objects that a merge rule made are from the truth: counts of errors by kind, F1 and IoU.

Everything follows from a sparse table of the pixels that each object found shares with each true object, so the cost
grows with the masks' boxes. An object found and a true one *belong together* where they share at least half of the
true one's pixels or more than half of the found one's. True objects of which all that belongs to them covers less than
half are missed, and nothing belongs to them any more. Then, with no remainder and whatever overlaps,

    found_count - truth_count = split + duplicates + false_positives - merged - missed

for the pairs less what is merged plus the false positives are the objects found, and the pairs less what is split or
duplicated plus the missed ones are the true objects. So errors that cancel in the count are seen all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.seams.cases import Mask, Outcome, World, Zyx

Ints = NDArray[np.int64]
Place = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Score:
    """What a merge rule got right and wrong in one case. Classes matter to the last five fields only."""

    truth_count: int
    """True objects."""
    found_count: int
    """Objects found, those without pixels included."""
    count_error: float
    """(found_count - truth_count) / truth_count, a fraction; with no true object the divisor is 1."""
    split: int
    """Pieces too many: of the objects found that belong to one true object, all but the largest that show pixels of it
    which larger ones lack (at least half of what they share with it). An object cut in three counts 2."""
    merged: int
    """True objects too many: over the objects found, the true objects that belong to it beyond the first. Three fused
    into one count 2."""
    duplicates: int
    """Objects found again: of those that belong to one true object, the ones of whose pixels in it more than half are
    in larger ones that belong to it."""
    missed: int
    """True objects of which the union of the objects found that belong to them covers less than half."""
    false_positives: int
    """Objects found that belong to no true object: mostly background, a mixture without a majority, or the remains of
    an object that is missed."""
    f1_50: float
    """2 TP / (found + truth). TP are one-to-one matches of the same class with IoU > 0.5. The limit is strict because
    true objects are disjoint: then an object found has one candidate at most, and each true object's best candidate
    gives the largest matching, whatever the order. 1 where there is neither truth nor object."""
    f1_90: float
    """The same with IoU >= 0.9."""
    mean_iou: float
    """Mean IoU of the matches of `f1_50`; 0 where there is none."""
    wrong_label: int
    """True objects without a match that an object of another class fits with IoU > 0.5. No matches: they lower F1."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pixels shared; one row for each object found and true object that share any."""

    found: Ints
    truth: Ints
    shared: Ints
    found_area: Ints
    """(objects found,)"""
    truth_area: Ints
    """(true objects + 1,), entry 0 unused."""

    @property
    def iou(self) -> NDArray[np.float64]:
        return self.shared / (self.found_area[self.found] + self.truth_area[self.truth] - self.shared)


def score(outcome: Outcome, world: World) -> Score:
    """`outcome` against the truth of its world. Masks may overlap and may reach beyond the image.

    Raises ValueError where the outcome has not one label for each mask.
    """
    if len(outcome.label) != len(outcome.masks):
        raise ValueError(f"expected one label for each of the {len(outcome.masks)} masks, found {len(outcome.label)}")
    pairs = _pairs(outcome.masks, world)
    found, truth = len(outcome.masks), world.count
    split, duplicates, lost = _repeats(outcome.masks, world, pairs, together := _together(pairs))
    belongs = np.bincount(pairs.found[together & ~lost[pairs.truth]], minlength=found)

    iou, same = pairs.iou, outcome.label[pairs.found] == world.label[pairs.truth]
    best = np.zeros(truth + 1)
    np.maximum.at(best, pairs.truth[same], iou[same])
    matched = best > 0.5
    return Score(
        truth_count=truth,
        found_count=found,
        count_error=(found - truth) / max(truth, 1),
        split=split,
        merged=int(np.maximum(belongs - 1, 0).sum()),
        duplicates=duplicates,
        missed=int(lost[1:].sum()),
        false_positives=int((belongs == 0).sum()),
        f1_50=_f1(int(matched.sum()), found, truth),
        f1_90=_f1(int((best >= 0.9).sum()), found, truth),
        mean_iou=float(best[matched].mean()) if matched.any() else 0.0,
        wrong_label=len(np.unique(pairs.truth[~same & (iou > 0.5) & ~matched[pairs.truth]])),
    )


def _f1(matches: int, found: int, truth: int) -> float:
    return 2 * matches / (found + truth) if found + truth else 1.0


def _together(pairs: _Pairs) -> NDArray[np.bool_]:
    """Which pairs share half of the true object or more than half of the one found."""
    of_truth = 2 * pairs.shared >= pairs.truth_area[pairs.truth]
    return of_truth | (2 * pairs.shared > pairs.found_area[pairs.found])


def _pairs(masks: Sequence[Mask], world: World) -> _Pairs:
    ids: list[Ints] = []
    shared: list[Ints] = []
    found_area = np.zeros(len(masks), np.int64)
    for i, mask in enumerate(masks):
        place, pixels = _inside(mask, world.truth.shape)
        values, counts = np.unique(world.truth[place][pixels], return_counts=True)
        ids.append(values[values > 0].astype(np.int64))
        shared.append(counts[values > 0])
        found_area[i] = np.count_nonzero(mask.pixels)
    truth_area = np.zeros(world.count + 1, np.int64)
    for plane in world.truth:
        truth_area += np.bincount(plane.ravel(), minlength=world.count + 1)
    none = [np.zeros(0, np.int64)]
    found = np.repeat(np.arange(len(masks)), [len(part) for part in ids])
    return _Pairs(found, np.concatenate(none + ids), np.concatenate(none + shared), found_area, truth_area)


def _inside(mask: Mask, shape: tuple[int, ...]) -> tuple[Place, NDArray[np.bool_]]:
    """Index of the mask's box in the image, and its pixels, both less what lies beyond the image."""
    first = [min(max(a, 0), n) for a, n in zip(mask.start, shape, strict=True)]
    last = [min(max(b, a), n) for a, b, n in zip(first, mask.stop, shape, strict=True)]
    z, y, x = (slice(a, b) for a, b in zip(first, last, strict=True))
    cut = tuple(slice(a - s, b - s) for a, b, s in zip(first, last, mask.start, strict=True))
    return (z, y, x), mask.pixels[cut]


def _repeats(
    masks: Sequence[Mask], world: World, pairs: _Pairs, together: NDArray[np.bool_]
) -> tuple[int, int, NDArray[np.bool_]]:
    """Pieces too many, objects found again, and (true objects + 1,) which of them are lost."""
    rows = np.flatnonzero(together)
    rows = rows[np.argsort(pairs.truth[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(pairs.truth[rows])) + 1) if len(rows) else []
    split = duplicates = 0
    lost = np.ones(world.count + 1, np.bool_)
    lost[0] = False
    for group in groups:
        truth = int(pairs.truth[group[0]])
        if len(group) == 1:
            again, covered = 0, int(pairs.shared[group[0]])
        else:
            again, covered = _overlay([masks[int(i)] for i in pairs.found[group]], world.truth, truth)
        lost[truth] = 2 * covered < pairs.truth_area[truth]
        if not lost[truth]:
            duplicates += again
            split += len(group) - 1 - again
    return split, duplicates, lost


def _overlay(masks: Sequence[Mask], truth: NDArray[np.int32], number: int) -> tuple[int, int]:
    """How many of the objects found lie in larger ones, and what all cover of the true object `number`, in pixels."""
    views: list[tuple[int, Zyx, Place, NDArray[np.bool_]]] = []
    for mask in masks:
        place, pixels = _inside(mask, truth.shape)
        inside = pixels & (truth[place] == number)
        start = (place[0].start, place[1].start, place[2].start)
        views.append((int(np.count_nonzero(inside)), start, place, inside))
    # Equal ones go by what they are: the result must not depend on the order in which masks are listed.
    views.sort(key=lambda view: (-view[0], view[1], view[3].shape, view[3].tobytes()))
    low = [min(view[2][axis].start for view in views) for axis in range(3)]
    high = [max(view[2][axis].stop for view in views) for axis in range(3)]
    canvas = np.zeros([b - a for a, b in zip(low, high, strict=True)], np.bool_)
    again = 0
    for area, _, place, inside in views:
        seen = canvas[tuple(slice(s.start - a, s.stop - a) for s, a in zip(place, low, strict=True))]
        again += 2 * int(np.count_nonzero(seen & inside)) > area
        seen |= inside
    return again, int(np.count_nonzero(canvas))
