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
from segworkers.runs import RunTable, bounding_boxes, concatenate
from segworkers.splitting import split_at_cells
from segworkers.views import Views, near_by


def assemble(views: Views, groups: Groups, lattice: Lattice) -> Objects:
    """Whole objects from grouped views; views of group -1 are left out."""
    count = groups.count
    member = np.flatnonzero(groups.group >= 0)
    group = groups.group[member]
    n_views = np.bincount(group, minlength=count).astype(np.int64)
    masks = _never_empty(_masks(views, groups.group, n_views, lattice), views, groups).canonical()
    score = np.full(count, -np.inf)
    np.maximum.at(score, group, views.score[member])
    label = np.zeros(count, np.int64)
    label[group] = views.label[member]
    seen_whole = np.zeros(count, bool)
    seen_whole[group[_spans(views, masks, groups.group, count, lattice)[member]]] = True
    return Objects(label, score, masks, n_views, groups.min_overlap, ~seen_whole)


def _masks(views: Views, group: NDArray[np.int64], n_views: NDArray[np.int64], lattice: Lattice) -> RunTable:
    """What the objects' cells take of their views; owners are the objects, in no order."""
    member = np.flatnonzero(group >= 0)
    # An object's only view is the best one in each cell.
    is_shared = n_views[group[member]] > 1
    alone, shared = member[~is_shared], member[is_shared]
    first, last = lattice.cells_of_boxes(views.extents.boxes[shared])
    # Only what lies in several cells must be cut.
    is_cut = first != last
    uncut, cut = shared[~is_cut], shared[is_cut]
    pieces, piece_cell = split_at_cells(views.masks.gather(cut, views.extents), lattice)
    fragment, view, cell = _fragments(pieces.owner, piece_cell)
    boxes = np.concatenate((views.extents.boxes[uncut], RunTable(pieces.runs, fragment).extents(len(view)).boxes))
    view, cell = np.concatenate((uncut, cut[view])), np.concatenate((first[~is_cut], cell))
    chosen = _chosen(boxes, view, cell, views, group, lattice)
    whole = np.concatenate((alone, uncut[chosen[: len(uncut)]]))
    pieces = pieces.take(chosen[len(uncut) :][fragment])
    return concatenate([_named(views, whole, group), RunTable(pieces.runs, group[cut][pieces.owner])])


def _named(views: Views, rows: NDArray[np.int64], group: NDArray[np.int64]) -> RunTable:
    """The masks at `rows`; owners are their objects."""
    masks = views.masks.gather(rows, views.extents)
    return RunTable(masks.runs, group[rows][masks.owner])


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
    boxes: NDArray[np.int64],
    view: NDArray[np.int64],
    cell: NDArray[np.int64],
    views: Views,
    group: NDArray[np.int64],
    lattice: Lattice,
) -> NDArray[np.bool_]:
    """(n,) whether what lies in a cell of a view is its object's there; boxes: (n, 6) of these fragments."""
    cells = int(np.prod(lattice.shape))
    place = group[view] * cells + cell
    chosen = views.window[view] == cell
    unowned = np.flatnonzero(~_contains(np.sort((group * cells + views.window)[group >= 0]), place))
    if not len(unowned):
        return chosen
    place, view = place[unowned], view[unowned]
    depth = _depth(boxes[unowned], views.window[view], lattice)
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
    return concatenate([masks, _named(views, largest, groups.group)])
