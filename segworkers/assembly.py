"""The mask of an object that several windows saw: every cell takes one view of it.

A view is most reliable in the middle of its window, and the middle of a window is its cell. So for each cell an object
lies in, the view of the cell's own window counts; where that window did not see the object, the linked view that lies
farthest from its window's internal borders. Cells partition the image, so sums over cells are sums over the object.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segworkers.lattice import Lattice
from segworkers.linking import Groups
from segworkers.objects import Objects
from segworkers.runs import RunTable, bounding_boxes, split_at_cells
from segworkers.views import Views, near_by


def assemble(views: Views, groups: Groups, lattice: Lattice) -> Objects:
    """Whole objects from grouped views; views of group -1 are left out."""
    count = groups.count
    pieces, cell = split_at_cells(views.masks, lattice)
    alive = groups.group[pieces.owner] >= 0
    pieces, cell = pieces.take(alive), cell[alive]
    fragment, owner, cell_of = _fragments(pieces, cell)
    chosen = _chosen(RunTable(pieces.runs, fragment), owner, cell_of, views, groups.group, lattice)
    masks = RunTable(pieces.runs, groups.group[pieces.owner]).take(chosen[fragment])
    masks = _never_empty(masks, views, groups).canonical()
    member = groups.group >= 0
    group = groups.group[member]
    score = np.full(count, -np.inf)
    np.maximum.at(score, group, views.score[member])
    label = np.zeros(count, np.int64)
    label[group] = views.label[member]
    seen_whole = np.zeros(count, bool)
    np.logical_or.at(seen_whole, group, _spans(views, masks, groups.group, count, lattice)[member])
    n_views = np.bincount(group, minlength=count).astype(np.int64)
    return Objects(label, score, masks, n_views, groups.min_overlap, ~seen_whole)


def _spans(views: Views, masks: RunTable, group: NDArray[np.int64], count: int, lattice: Lattice) -> NDArray[np.bool_]:
    """(n,) whether a view is not cut and reaches as far as its object on every side, or nearly so.

    Not being cut is not enough: masks may stop short of a window's border.
    """
    if not count:
        return np.zeros(len(views), bool)
    whole, own = bounding_boxes(masks, count)[group], bounding_boxes(views.masks, len(views))
    reach = np.array(near_by(lattice))
    near = (own[:, :3] <= whole[:, :3] + reach) & (own[:, 3:] >= whole[:, 3:] - reach)
    return ~views.cut & near.all(axis=1)


def _fragments(
    pieces: RunTable, cell: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number the (view, cell) pairs: fragment of each piece, then view and cell of each fragment."""
    if not len(pieces):
        none = np.empty(0, np.int64)
        return none, none, none
    cells = int(cell.max()) + 1
    pairs, fragment = np.unique(pieces.owner * cells + cell, return_inverse=True)
    return fragment.astype(np.int64), pairs // cells, pairs % cells


def _chosen(
    fragments: RunTable,
    view: NDArray[np.int64],
    cell: NDArray[np.int64],
    views: Views,
    group: NDArray[np.int64],
    lattice: Lattice,
) -> NDArray[np.bool_]:
    """(fragments,) whether the fragment is its object's in its cell."""
    object_of = group[view]
    cells = int(np.prod(lattice.shape))
    member = group >= 0
    own = np.unique(group[member] * cells + views.window[member])
    has_owner = np.isin(object_of * cells + cell, own)
    is_owner = views.window[view] == cell
    depth = _depth(fragments, len(view), views.window[view], lattice)
    order = np.lexsort((views.rank[view], views.window[view], -depth, cell, object_of))
    if not len(view):
        return np.zeros(0, bool)
    # The deepest view of each object and cell decides on the window; all parts that the window saw count.
    begins = np.r_[True, (np.diff(object_of[order]) != 0) | (np.diff(cell[order]) != 0)]
    deepest = np.empty(len(view), np.int64)
    deepest[order] = views.window[view[order[begins]]][np.cumsum(begins) - 1]
    return np.asarray(np.where(has_owner, is_owner, views.window[view] == deepest), bool)


def _depth(fragments: RunTable, count: int, window: NDArray[np.int64], lattice: Lattice) -> NDArray[np.int64]:
    """(count,) twice the distance from a fragment's middle to the nearest internal border of its window."""
    boxes = bounding_boxes(fragments, count)
    middle = boxes[:, :3] + boxes[:, 3:]
    index = np.stack(np.unravel_index(window, lattice.shape), axis=1).astype(np.int64)
    start = index * np.array(lattice.stride)
    far_away = np.iinfo(np.int64).max
    near = np.where(index > 0, middle - 2 * start, far_away)
    far = np.where(index < np.array(lattice.shape) - 1, 2 * (start + np.array(lattice.window)) - middle, far_away)
    return np.minimum(near, far).min(axis=1, initial=far_away)


def _never_empty(masks: RunTable, views: Views, groups: Groups) -> RunTable:
    """Give objects that lost every pixel to owners who saw nothing there their largest view instead.

    Happens where two windows agree on an object but each places it in the other's cell.
    """
    missing = np.setdiff1d(np.arange(groups.count), masks.owner)
    if not len(missing):
        return masks
    pixels = views.masks.pixel_counts(len(views))
    rows = np.flatnonzero(np.isin(groups.group, missing))
    order = rows[np.lexsort((views.rank[rows], views.window[rows], -pixels[rows], groups.group[rows]))]
    largest = order[np.r_[True, np.diff(groups.group[order]) != 0]]
    name = np.full(len(views), -1, np.int64)
    name[largest] = groups.group[largest]
    extra = views.masks.renumber(name)
    return RunTable(np.concatenate((masks.runs, extra.runs)), np.concatenate((masks.owner, extra.owner)))
