"""What is gathered over the blocks of a source: extents of true objects, and what lies in ignored or failed places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jobs.truth.base import Truth, TruthBlock, TruthItem
from schemas.boxes import Box
from segworkers.evaluation.pairs import shared_in_block
from segworkers.runs import RunTable, box_runs, empty_runs, mask_runs

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]

HALF = 0.5
"""Share of an object's pixels in what is ignored, or not valid, from which it is not counted."""

ClassOf = Callable[[str | None, str | None], int]
"""Place of a class by its name in the truth, and by what messages call it."""

Valid = Callable[[Box], NDArray[np.bool_] | None]
"""(z, y, x) which pixels of the image in a box are valid; None where the image cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is around the objects of a source."""

    ignore: tuple[Truth, ...] = ()
    """Regions in which nothing counts."""
    within: tuple[Truth, ...] | None = None
    """Regions outside of which nothing counts, nowhere where there are none of them; None does not restrict."""
    failed: tuple[Box, ...] = ()
    """Boxes that could not be processed."""
    valid: Valid | None = None
    """Where the image has pixels that are not valid."""

    @property
    def mask(self) -> bool:
        """Whether there are regions in which nothing counts."""
        return bool(self.ignore) or self.within is not None


@dataclass(frozen=True, slots=True, eq=False)
class Flags:
    """What is not counted, of both sides."""

    ignored: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    true_ignored: NDArray[np.bool_]
    true_unknown: NDArray[np.bool_]


@dataclass(slots=True)
class Seen:
    """What is gathered of the true objects, and of both sides' surroundings, over blocks."""

    truth: Truth
    classes: tuple[_Ints, ClassOf]
    items: list[TruthItem] = field(default_factory=list[TruthItem])
    keys: list[int] = field(default_factory=list[int])
    _place: dict[int, int] = field(default_factory=dict[int, int])
    _label: list[int] = field(default_factory=list[int])
    _area: list[_Ints] = field(default_factory=list[_Ints])
    _extent: list[tuple[_Ints, _Ints]] = field(default_factory=list[tuple[_Ints, _Ints]])
    _ignored: list[tuple[_Ints, _Ints]] = field(default_factory=list[tuple[_Ints, _Ints]])
    _true_ignored: list[tuple[_Ints, _Ints]] = field(default_factory=list[tuple[_Ints, _Ints]])
    _true_invalid: list[tuple[_Ints, _Ints]] = field(default_factory=list[tuple[_Ints, _Ints]])
    _unknown: list[_Ints] = field(default_factory=list[_Ints])
    _true_unknown: list[_Ints] = field(default_factory=list[_Ints])

    def __post_init__(self) -> None:
        for key in self.truth.known:
            self.place(key)

    def place(self, key: int) -> int:
        """Where an object is listed."""
        if key not in self._place:
            self._place[key] = len(self.items)
            item = self.truth.item(key)
            self.items.append(item)
            self.keys.append(key)
            self._label.append(self.classes[1](item.label, item.told))
        return self._place[key]

    def add(self, block: TruthBlock) -> RunTable:
        """Gather a block's objects; returns their masks under their places, canonical."""
        places = np.array([self.place(int(key)) for key in block.keys], np.int64)
        masks = block.masks.canonical()
        extents = masks.extents(len(places))
        self._extent.append((places, extents.boxes))
        self._area.append(np.stack([places, extents.pixels]) if len(places) else np.empty((2, 0), np.int64))
        return masks.renumber(places) if len(places) else empty_runs()

    def crowds(self, block: TruthBlock) -> Mapping[int, RunTable]:
        """Crowd regions of a block, by class."""
        places = np.array([self.place(int(key)) for key in block.keys], np.int64)
        made: dict[int, RunTable] = {}
        for label in {self._label[int(k)] for k in places if self.items[int(k)].crowd}:
            of_it = np.array([self.items[int(k)].crowd and self._label[int(k)] == label for k in places], np.bool_)
            made[label] = block.masks.take(of_it[block.masks.owner])
        return made

    def mark(
        self, box: Box, masks: RunTable, true: RunTable, crowds: Mapping[int, RunTable], around: Surroundings
    ) -> None:
        """Count what of each object in the block lies in what is ignored or not valid, or touches what failed."""
        failed = _failed_runs(box, around.failed)
        if len(failed):
            self._unknown.append(shared_in_block(masks, failed)[0])
            self._true_unknown.append(shared_in_block(true, failed)[0])
        if around.valid is not None and len(true) and (valid := around.valid(box)) is not None:
            inside, _, shared = shared_in_block(true, _as_table(~valid, box))
            self._true_invalid.append((inside, shared))
        if not (around.mask or crowds):
            return
        everywhere = _region(box, around)
        inside, _, shared = shared_in_block(true, _as_table(everywhere, box))
        self._true_ignored.append((inside, shared))
        labels = self.classes[0][masks.owner]
        for label in np.unique(labels):
            region = everywhere
            if label in crowds:  # of predictions only: the truth there was told apart
                region = everywhere.copy()
                paint(region, crowds[int(label)], box)
            inside, _, shared = shared_in_block(masks.take(labels == label), _as_table(region, box))
            self._ignored.append((inside, shared))

    def labels(self) -> _Ints:
        """(m,) class of each true object."""
        return np.array(self._label, np.int64)

    def is_crowd(self) -> NDArray[np.bool_]:
        """(m,) which objects are regions of many."""
        return np.array([item.crowd for item in self.items], np.bool_)

    def areas(self) -> _Floats:
        """(m,) pixels of each true object."""
        place, pixels = np.concatenate([np.empty((2, 0), np.int64), *self._area], axis=1)
        return np.bincount(place, weights=pixels, minlength=len(self.items)).astype(np.float64)

    def boxes(self) -> _Floats:
        """(m, 6) box of each mask; zeros without pixels."""
        low = np.full((len(self.items), 3), np.iinfo(np.int64).max)
        high = np.full((len(self.items), 3), np.iinfo(np.int64).min)
        for places, boxes in self._extent:
            np.minimum.at(low, places, boxes[:, :3])
            np.maximum.at(high, places, boxes[:, 3:])
        boxes = np.concatenate([low, high], axis=1).astype(np.float64)
        boxes[(low >= high).any(axis=1)] = 0
        return boxes

    def flags(self, areas: _Floats, true_areas: _Floats) -> Flags:
        """Who lies at least half in what is ignored, and who touches what failed."""
        return Flags(
            _mostly(self._ignored, areas),
            _touched(self._unknown, len(areas)),
            _mostly(self._true_ignored, true_areas),
            _touched(self._true_unknown, len(true_areas)),
        )

    def invalid(self, true_areas: _Floats) -> NDArray[np.bool_]:
        """(m,) of which true objects at least half is not valid in the image."""
        return _mostly(self._true_invalid, true_areas)


def _mostly(parts: Sequence[tuple[_Ints, _Ints]], areas: _Floats) -> NDArray[np.bool_]:
    inside = np.zeros(len(areas))
    for places, pixels in parts:
        np.add.at(inside, places, pixels)
    return (areas > 0) & (inside >= HALF * areas)


def _touched(parts: Sequence[_Ints], count: int) -> NDArray[np.bool_]:
    touched = np.zeros(count, np.bool_)
    for places in parts:
        touched[places] = True
    return touched


def _region(box: Box, around: Surroundings) -> NDArray[np.bool_]:
    """(z, y, x) of `box`: where nothing counts, whatever its class."""
    region = np.zeros(box.shape, np.bool_)
    if around.within is not None:
        for each in around.within:
            paint(region, each.block(box).masks, box)
        region = ~region
    for each in around.ignore:
        paint(region, each.block(box).masks, box)
    return region


def _as_table(region: NDArray[np.bool_], box: Box) -> RunTable:
    runs = mask_runs(region, box.start)
    return RunTable(runs, np.zeros(len(runs), np.int64))


def paint(image: NDArray[np.bool_], masks: RunTable, box: Box) -> None:
    """Set the pixels of masks in the image (z, y, x) of `box`; they lie inside it."""
    z0, y0, x0 = box.start
    for z, x, start, stop in masks.runs:
        image[z - z0, start - y0 : stop - y0, x - x0] = True


def _failed_runs(box: Box, failed: Sequence[Box]) -> RunTable:
    """What could not be processed, with one pixel around it: what is cut off there touches it."""
    runs = [box_runs(part) for each in failed if (part := each.grow((1, 1, 1)) & box) is not None]
    if not runs:
        return empty_runs()
    table = np.concatenate(runs)
    return RunTable(table, np.zeros(len(table), np.int64)).canonical()
