"""Views of two windows that agree to the last pixel, and which of them are parts of one object.

A model whose masks are connected components of what it sees (`scipy.ndimage.label` of each window) says several masks
of an object that leaves the window and comes back, and another window says another number. One-to-one links miss that.
But where outlines stand still the masks tell: of views that share pixels, directly or by way of each other, neither
window saw a pixel in the strip that the other one has in none of them. If of such views no two of one window touch, as
components never do, they are parts of one object, however many there are in each window.

A model that says one mask of all that a window shows of an object has no such parts. Where one window glues two
objects, the other one shows them touching; only if they touch outside of that one do they look like parts. In volumes,
whose windows overlap by few planes, that happens too often, so this is for planes (decision 11).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segworkers.box_pairs import box_pairs
from segworkers.components import groups_of
from segworkers.lattice import Lattice
from segworkers.overlaps import near_pixels
from segworkers.sight import Sight
from segworkers.views import Pairs, Views


def exact_pairs(sight: Sight, compared: Pairs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(k,) which pairs are the same pixels in the strip, and (k,) which of these are among several that are.

    compared: all pairs of the two windows that share pixels. What is said of a pair depends on its two windows only.
    """
    views, window = sight.views, sight.views.window
    # A node is what one window saw of a view of another one.
    windows = int(window.max(initial=0)) + 1
    near, far = compared.i * windows + window[compared.j], compared.j * windows + window[compared.i]
    node, number = np.unique(np.concatenate((near, far)), return_inverse=True)
    first, second = number[: len(compared)], number[len(compared) :]
    view, seen_by = node // windows, node % windows
    group = groups_of(len(node), first, second)
    several = np.bincount(group, minlength=len(node))[group] > 2

    shared = np.bincount(number, np.tile(compared.shared, 2), len(node))
    differs = shared != sight.pixels_in(view, seen_by)
    inexact = np.zeros(len(node), bool)
    _, side, count = np.unique(group * windows + window[view], return_inverse=True, return_counts=True)
    inexact[group[differs | ((count[side] > 1) & ~views.cut[view])]] = True
    rows = np.flatnonzero(several & ~inexact[group])
    place = group[rows] * windows + window[view[rows]]
    i, _ = _touching(views, sight.lattice, view[rows], place)
    inexact[group[rows[i]]] = True
    exact = ~inexact[group[first]]
    return exact, exact & several[first]


def touching_cut(views: Views, lattice: Lattice) -> Pairs:
    """Pairs of views of one window and label that borders cut and that touch, if by a corner; none in volumes."""
    cut = np.flatnonzero(views.cut & (lattice.window[0] == 1))
    place = views.window[cut] * (int(views.label.max(initial=0)) + 1) + views.label[cut]
    i, j = _touching(views, lattice, cut, place)
    none = np.zeros(len(i))
    return Pairs(cut[i], cut[j], none, none.astype(np.int64))


def _touching(
    views: Views, lattice: Lattice, view: NDArray[np.int64], place: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of entries of `view` with one place whose masks touch."""
    step = lattice.step
    i, j = box_pairs(views.extents.boxes[view], np.arange(len(view)), place, step)
    near = near_pixels(views.masks, views.extents, view[i], view[j], np.tile(np.array(step), (len(i), 1)))
    return i[near > 0], j[near > 0]
