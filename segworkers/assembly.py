"""The mask of an object that several windows saw: every cell takes one view of it.

A view is most reliable in the middle of its window, and the middle of a window is its cell. So for each cell an object
lies in, the view of the cell's own window counts; where that window did not see the object, the linked view that lies
farthest from its window's internal borders. Cells partition the image, so sums over cells are sums over the object.
"""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segworkers.lattice import Lattice
from segworkers.linking import Groups
from segworkers.objects import Objects
from segworkers.runs import RunTable, bounding_boxes, concatenate, split_at_cells
from segworkers.views import Views, near_by


def assemble(views: Views, groups: Groups, lattice: Lattice) -> Objects:
    """Whole objects from grouped views; views of group -1 are left out."""
    count = groups.count
    member = np.flatnonzero(groups.group >= 0)
    group = groups.group[member]
    n_views = np.bincount(group, minlength=count).astype(np.int64)
    alone = n_views[group] == 1
    # The only view of an object is the best one in every cell.
    whole = _named(views.masks.gather(member[alone], views.extents), group[alone])
    pieces = _pieces(views.take(member[~alone]), group[~alone], lattice)
    masks = _never_empty(concatenate([whole, pieces]), views, groups).canonical()
    score = np.full(count, -np.inf)
    np.maximum.at(score, group, views.score[member])
    label = np.zeros(count, np.int64)
    label[group] = views.label[member]
    seen_whole = np.zeros(count, bool)
    seen_whole[group[_spans(views, masks, groups.group, count, lattice)[member]]] = True
    return Objects(label, score, masks, n_views, groups.min_overlap, ~seen_whole)


def _named(masks: RunTable, name: NDArray[np.int64]) -> RunTable:
    return RunTable(masks.runs, name[masks.owner])


def _pieces(views: Views, group: NDArray[np.int64], lattice: Lattice) -> RunTable:
    """What objects take of their views, cell by cell; owners are the objects."""
    pieces, cell = split_at_cells(views.masks, lattice)
    fragment, view, cell_of = _fragments(pieces.owner, cell)
    chosen = _chosen(RunTable(pieces.runs, fragment), view, cell_of, views, group, lattice)
    return _named(pieces.take(chosen[fragment]), group)


def _spans(views: Views, masks: RunTable, group: NDArray[np.int64], count: int, lattice: Lattice) -> NDArray[np.bool_]:
    """(n,) whether a view is not cut and reaches as far as its object on every side, or nearly so.

    Not being cut is not enough: masks may stop short of a window's border.
    """
    if not count:
        return np.zeros(len(views), bool)
    whole, own = bounding_boxes(masks, count)[group], views.extents.boxes
    reach = np.array(near_by(lattice))
    near = (own[:, :3] <= whole[:, :3] + reach) & (own[:, 3:] >= whole[:, 3:] - reach)
    return ~views.cut & near.all(axis=1)


@numba.njit(cache=True, nogil=True)
def _fragments(owner: Any, cell: Any) -> Any:  # pragma: no cover - compiled
    """Number the (view, cell) pairs: fragment of each piece, then view and cell of each fragment.

    Pieces come view by view, and a view lies in few cells: they are looked through from the latest on.
    """
    fragment = np.empty(len(owner), np.int64)
    first, count = 0, 0
    view_of, cell_of = np.empty(len(owner), np.int64), np.empty(len(owner), np.int64)
    for k in range(len(owner)):
        if count > 0 and view_of[count - 1] != owner[k]:
            first = count
        known = count - 1
        while known >= first and cell_of[known] != cell[k]:
            known -= 1
        if known < first:
            known = count
            view_of[known], cell_of[known] = owner[k], cell[k]
            count += 1
        fragment[k] = known
    return fragment, view_of[:count].copy(), cell_of[:count].copy()


def _chosen(
    fragments: RunTable,
    view: NDArray[np.int64],
    cell: NDArray[np.int64],
    views: Views,
    group: NDArray[np.int64],
    lattice: Lattice,
) -> NDArray[np.bool_]:
    """(fragments,) whether the fragment is its object's in its cell."""
    cells = int(np.prod(lattice.shape))
    place = group[view] * cells + cell
    chosen = views.window[view] == cell
    unowned = np.flatnonzero(~_contains(np.sort(group * cells + views.window), place))
    if not len(unowned):
        return chosen
    name = np.full(len(view), -1, np.int64)
    name[unowned] = np.arange(len(unowned))
    depth = _depth(bounding_boxes(fragments.renumber(name), len(unowned)), views.window[view[unowned]], lattice)
    place, view = place[unowned], view[unowned]
    order = np.lexsort((views.rank[view], views.window[view], -depth, place))
    # The deepest view of each object and cell decides on the window; all parts that the window saw count.
    begins = np.r_[True, np.diff(place[order]) != 0]
    deepest = np.empty(len(view), np.int64)
    deepest[order] = views.window[view[order[begins]]][np.cumsum(begins) - 1]
    chosen[unowned] = views.window[view] == deepest
    return chosen


def _contains(ordered: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(k,) whether wanted[k] is among sorted numbers."""
    at = np.searchsorted(ordered, wanted)
    return ordered[np.minimum(at, len(ordered) - 1)] == wanted if len(ordered) else np.zeros(len(wanted), bool)


def _depth(boxes: NDArray[np.int64], window: NDArray[np.int64], lattice: Lattice) -> NDArray[np.int64]:
    """(n,) twice the distance from a box's middle to the nearest internal border of its window."""
    middle, seen = boxes[:, :3] + boxes[:, 3:], 2 * lattice.window_boxes(window)
    distance = np.hstack((middle - seen[:, :3], seen[:, 3:] - middle))
    far_away = np.iinfo(np.int64).max
    return np.where(lattice.internal_sides(window), distance, far_away).min(axis=1, initial=far_away)


def _never_empty(masks: RunTable, views: Views, groups: Groups) -> RunTable:
    """Give objects that lost every pixel to owners who saw nothing there their largest view instead.

    Happens where two windows agree on an object but each places it in the other's cell.
    """
    lost = np.ones(groups.count, bool)
    lost[masks.owner] = False
    if not lost.any():
        return masks
    pixels = views.extents.pixels
    rows = np.flatnonzero((groups.group >= 0) & lost[groups.group])
    order = rows[np.lexsort((views.rank[rows], views.window[rows], -pixels[rows], groups.group[rows]))]
    largest = order[np.r_[True, np.diff(groups.group[order]) != 0]]
    return concatenate([masks, _named(views.masks.gather(largest, views.extents), groups.group[largest])])
