"""From a model's answers for one work tile to what its shard keeps: finished objects and what neighbours must settle.

Dense:     assemble each cell from its own window, clip to valid pixels, label the core (`segworkers.dense`).
Instance:  1. masks to views in source coordinates, clipped to valid pixels (`views_of`);
           2. duplicates within a window go;
           3. views of overlapping windows are compared; sets of views that belong together, or compete, form;
           4. a set that no window of another work tile can have seen is grouped and assembled now, the others are open.
What is decided here is decided by the same functions, on the same data, as in the merge: the tile makes no difference.
"""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx
from schemas.models import ModelKind
from segworkers.assembly import assemble
from segworkers.components import groups_of
from segworkers.dense import Fragments, label_core
from segworkers.lattice import Lattice
from segworkers.linking import TOUCH, ViewFacts, group_views
from segworkers.objects import Objects, no_objects
from segworkers.runs import RunTable, column_major, empty_runs, pixels_in_boxes
from segworkers.segmenters.base import WindowMasks
from segworkers.slivers import relations
from segworkers.splitting import split_at_cells
from segworkers.tiling import WorkTile
from segworkers.views import Pairs, Views, is_marginal, near_by, without_duplicates


@dataclass(frozen=True, slots=True, eq=False)
class OpenViews:
    """Views that windows of other work tiles may have seen too, and how they compare among themselves."""

    views: Views
    pixels: NDArray[np.int64]
    pairs: Pairs
    kind: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.views)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedTile:
    """All that a work tile found."""

    objects: Objects
    open: OpenViews | Fragments
    detections: int
    """Views after step 2, or components of the core."""
    busy_cells: frozenset[Zyx]
    """Cells with at least one pixel of an object, seen by their own window."""


def nothing_found(kind: ModelKind) -> EncodedTile:
    """The outcome of a tile in which nothing was seen, or nothing could be."""
    none = np.empty(0, np.int64)
    if kind == "dense":
        return EncodedTile(no_objects(), Fragments(none, none, empty_runs(), {}), 0, frozenset())
    pairs = Pairs(none, none, none.astype(float), none)
    return EncodedTile(no_objects(), OpenViews(_no_views(), none, pairs, none.astype(np.int8)), 0, frozenset())


def encode_dense(
    maps: Mapping[Zyx, tuple[NDArray[Any], NDArray[np.float32] | None]],
    valid: NDArray[np.bool_],
    tile: WorkTile,
    lattice: Lattice,
    connectivity: int,
) -> EncodedTile:
    """maps: for each window that was segmented its cell's classes and probabilities, (z, y, x) of the cell's shape.

    valid: (z, y, x) of the core. Cells without a map stay background.
    """
    core = tile.core
    any_map = next(iter(maps.values()), None)
    classes = column_major(core.shape, np.dtype(np.uint8) if any_map is None else any_map[0].dtype)
    has_probability = any_map is not None and any_map[1] is not None
    probability = column_major(core.shape, np.dtype(np.float32)) if has_probability else None
    for index, (cell_classes, cell_probability) in maps.items():
        place = lattice.cell_box(index).within(core.start)
        classes[place] = cell_classes
        if probability is not None and cell_probability is not None:
            probability[place] = cell_probability
    if not valid.all():
        classes[~valid] = 0
    busy = frozenset(index for index in maps if classes[lattice.cell_box(index).within(core.start)].any())
    objects, fragments = label_core(classes, probability, core, lattice, connectivity)
    return EncodedTile(objects, fragments, len(objects) + len(fragments), busy)


def encode_instances(
    answers: Mapping[Zyx, WindowMasks],
    valid: NDArray[np.bool_],
    origin: Zyx,
    tile: WorkTile,
    lattice: Lattice,
) -> EncodedTile:
    """answers: for each window that was segmented its masks. valid: (z, y, x) with voxel (0, 0, 0) at `origin`."""
    views = without_duplicates(views_of(answers, valid, origin, lattice))
    n = len(views)
    pixels = views.masks.pixel_counts(n)
    pairs, kind = relations(views, pixels, lattice, views.window)
    joins = pairs.take(kind != TOUCH)
    group = groups_of(n, joins.i, joins.j)
    exposed = _exposed(views, pixels, tile, lattice)
    is_open = np.zeros(n, bool)
    is_open[group[exposed]] = True
    is_open = is_open[group]
    # That two touch matters in a set, or where both may come to be in one elsewhere.
    kept = (kind != TOUCH) | (group[pairs.i] == group[pairs.j]) | (is_open[pairs.i] & is_open[pairs.j])
    pairs, kind = pairs.take(kept), kind[kept]
    closed, waiting = np.flatnonzero(~is_open), np.flatnonzero(is_open)
    objects = _close(views, pixels, pairs, kind, closed, lattice)
    rest = views.take(waiting)
    kept = is_open[pairs.i]
    open_pairs = _renumber(pairs.take(kept), waiting, n)
    still_open = OpenViews(rest, pixels[waiting], open_pairs, kind[kept])
    return EncodedTile(objects, still_open, n, _busy_cells(views, lattice))


def views_of(answers: Mapping[Zyx, WindowMasks], valid: NDArray[np.bool_], origin: Zyx, lattice: Lattice) -> Views:
    """Step 1: all masks of all windows as views, ranked as the model gave them; those without a valid pixel go."""
    crops = [crop for answer in answers.values() for crop in answer.crops]
    if not crops:
        return _no_views()
    counts = np.array([len(answer.crops) for answer in answers.values()])
    seen_from = np.repeat(np.array([lattice.flat(index) for index in answers], np.int64), counts)
    rank = np.arange(len(crops)) - np.repeat(np.cumsum(counts) - counts, counts)
    window = lattice.window_boxes(seen_from)
    bits = [np.ascontiguousarray(mask).ravel() for _, mask in crops]
    offsets = np.zeros(len(bits) + 1, np.int64)
    np.cumsum([len(b) for b in bits], out=offsets[1:])
    boxes = np.array([(*box.start, *box.stop) for box, _ in crops], np.int64) + np.tile(window[:, :3], 2)
    real = np.minimum(window, np.tile(lattice.extent, 2))
    pixels = np.concatenate(bits)
    cut = _clip(pixels, offsets, boxes, real, lattice.internal_sides(seen_from), valid, np.array(origin, np.int64))
    masks = RunTable(*_crop_runs(pixels, offsets, boxes, real))
    views = Views(
        seen_from,
        rank,
        np.concatenate([answer.labels for answer in answers.values()]).astype(np.int64),
        np.concatenate([answer.scores for answer in answers.values()]).astype(np.float64),
        cut,
        is_marginal(masks, seen_from, lattice),
        masks,
    )
    return views.take(np.flatnonzero(views.extents.pixels)) if (views.extents.pixels == 0).any() else views


def _no_views() -> Views:
    none = np.empty(0, np.int64)
    flags = none.astype(bool)
    return Views(none, none, none, none.astype(float), flags, flags, empty_runs())


def _exposed(views: Views, pixels: NDArray[np.int64], tile: WorkTile, lattice: Lattice) -> NDArray[np.bool_]:
    """(n,) which views have a pixel that a window of another work tile sees too, or nearly sees."""
    own: list[int] = []
    stop: list[int] = []
    for axis in range(3):
        first, last, n = tile.start[axis], tile.stop[axis], lattice.shape[axis]
        stride, window = lattice.stride[axis], lattice.window[axis]
        reach = near_by(lattice)[axis]
        own.append((first - 1) * stride + window + reach if first > 0 else 0)
        stop.append(last * stride - reach if last < n else lattice.extent[axis])
    boxes = np.tile(np.array([*own, *stop], np.int64), (len(views), 1))
    return pixels_in_boxes(views.masks, views.extents, np.arange(len(views)), boxes) < pixels


def _close(
    views: Views,
    pixels: NDArray[np.int64],
    pairs: Pairs,
    kind: NDArray[np.int8],
    closed: NDArray[np.int64],
    lattice: Lattice,
) -> Objects:
    inside = np.zeros(len(views), bool)
    inside[closed] = True
    here = inside[pairs.i] & inside[pairs.j]
    own = views.take(closed)
    facts = ViewFacts(own.window, own.rank, pixels[closed], own.marginal, own.cut)
    return assemble(own, group_views(facts, _renumber(pairs.take(here), closed, len(views)), kind[here]), lattice)


def _renumber(pairs: Pairs, kept: NDArray[np.int64], total: int) -> Pairs:
    """Pairs in terms of positions in `kept`."""
    name = np.full(total, -1, np.int64)
    name[kept] = np.arange(len(kept))
    return Pairs(name[pairs.i], name[pairs.j], pairs.overlap, pairs.shared)


def _busy_cells(views: Views, lattice: Lattice) -> frozenset[Zyx]:
    pieces, cell = split_at_cells(views.masks, lattice)
    own = np.unique(cell[cell == views.window[pieces.owner]])
    index = np.stack(np.unravel_index(own, lattice.shape), axis=1)
    return frozenset((int(z), int(y), int(x)) for z, y, x in index)


@numba.njit(cache=True, nogil=True)
def _clip(
    bits: Any, offsets: Any, boxes: Any, real: Any, inner: Any, valid: Any, origin: Any
) -> Any:  # pragma: no cover - compiled
    """Which masks touch an internal border of their window; clears the bits of voxels that are not valid."""
    cut = np.zeros(len(boxes), np.bool_)
    for m in range(len(boxes)):
        z0, y0, x0, z1, y1, x1 = boxes[m]
        left, right = max(x0, real[m, 2]), min(x1, real[m, 5])
        if left >= right:
            continue
        for z in range(max(z0, real[m, 0]), min(z1, real[m, 3])):
            z_border = (inner[m, 0] and z == real[m, 0]) or (inner[m, 3] and z == real[m, 3] - 1)
            for y in range(max(y0, real[m, 1]), min(y1, real[m, 4])):
                border = z_border or (inner[m, 1] and y == real[m, 1]) or (inner[m, 4] and y == real[m, 4] - 1)
                row = offsets[m] + ((z - z0) * (y1 - y0) + (y - y0)) * (x1 - x0) - x0
                cut[m] |= border and bits[row + left : row + right].any()
                cut[m] |= inner[m, 2] and left == real[m, 2] and bits[row + left]
                cut[m] |= inner[m, 5] and right == real[m, 5] and bits[row + right - 1]
                for x in range(left, right):
                    bits[row + x] &= valid[z - origin[0], y - origin[1], x - origin[2]]
    return cut


@numba.njit(cache=True, nogil=True)
def _crop_runs(bits: Any, offsets: Any, boxes: Any, real: Any) -> Any:  # pragma: no cover - compiled
    capacity, k = max(64, 32 * len(boxes)), 0
    runs, owner = np.empty((capacity, 4), np.int32), np.empty(capacity, np.int64)
    for m in range(len(boxes)):
        z0, y0, x0, z1, y1, x1 = boxes[m]
        top, bottom, width = max(y0, real[m, 1]), min(y1, real[m, 4]), x1 - x0
        for z in range(max(z0, real[m, 0]), min(z1, real[m, 3])):
            for x in range(max(x0, real[m, 2]), min(x1, real[m, 5])):
                # A column has a run for every other pixel at most.
                if k + (y1 - y0) > capacity:
                    runs = np.concatenate((runs, np.empty((capacity + y1 - y0, 4), np.int32)))
                    owner = np.concatenate((owner, np.empty(capacity + y1 - y0, np.int64)))
                    capacity = len(owner)
                place = offsets[m] + ((z - z0) * (y1 - y0) + (top - y0)) * width + (x - x0)
                previous = False
                for y in range(top, bottom):
                    inside = bits[place]
                    if inside and not previous:
                        runs[k, 0], runs[k, 1], runs[k, 2] = z, x, y
                        owner[k] = m
                        k += 1
                    elif previous and not inside:
                        runs[k - 1, 3] = y
                    previous = inside
                    place += width
                if previous:
                    runs[k - 1, 3] = bottom
    return runs[:k].copy(), owner[:k].copy()
