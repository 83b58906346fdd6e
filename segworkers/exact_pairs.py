"""Views of two windows that agree to the last pixel, and which of them are parts of one object.

A model whose masks are connected components of what it sees (`scipy.ndimage.label` of each window) says several masks
of an object that leaves the window and comes back, and another window says another number. One-to-one links miss that.
But where outlines stand still the masks tell: of views that share pixels, directly or by way of each other, neither
window saw a pixel in the strip that the other one has in none of them. If of such views no two of one window touch by
a side of a pixel, as components never do, whether 4- or 8-connected, they are parts of one object, however many there
are in each window.

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
from segworkers.views import Pairs, Views


def exact_pairs(
    views: Views, lattice: Lattice, compared: Pairs, full: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(k,) which pairs are the same pixels in the strip, and (k,) which of these are among several that are.

    None in volumes. compared, full: of `views.compare`, all pairs of the two windows. What is said of a pair depends on
    its two windows only.
    """
    exact, several = np.zeros((2, len(compared)), bool)
    rows = np.flatnonzero(full & (lattice.window[0] == 1))
    if not len(rows):
        return exact, several
    window = views.window
    windows = int(window.max(initial=0)) + 1
    node, number = np.unique(_ends(compared.take(rows), window, windows), return_inverse=True)
    view, (first, second) = node // windows, number.reshape(2, -1)
    group = groups_of(len(node), first, second)
    is_several = np.bincount(group, minlength=len(node))[group] > 2

    known = np.zeros(len(views), bool)
    known[view] = True
    others = compared.take(~full & (known[compared.i] | known[compared.j]))
    _, side, count = np.unique(group * windows + window[view], return_inverse=True, return_counts=True)
    inexact = np.zeros(len(node), bool)
    # A pair with a pixel left out may share a view with one that has none.
    inexact[group[np.isin(node, _ends(others, window, windows))]] = True
    inexact[group[(count[side] > 1) & ~views.cut[view]]] = True
    asked = np.flatnonzero(is_several & ~inexact[group])
    i, _ = _touching(views, lattice, view[asked], side[asked])
    inexact[group[asked[i]]] = True
    exact[rows] = ~inexact[group[first]]
    several[rows] = exact[rows] & is_several[first]
    return exact, several


def _ends(pairs: Pairs, window: NDArray[np.int64], windows: int) -> NDArray[np.int64]:
    """(2 k) numbers of what is compared: of a view what another window saw. Those of i, then those of j."""
    i, j = pairs.i, pairs.j
    return np.concatenate((i * windows + window[j], j * windows + window[i]))


def touching_cut(views: Views, lattice: Lattice, asked: NDArray[np.int64]) -> Pairs:
    """Pairs of cut views of one window and label that touch by a pixel's side; one of them at least is in `asked`."""
    is_asked = np.zeros(len(views), bool)
    is_asked[asked] = True
    place = views.window * (int(views.label.max(initial=0)) + 1) + views.label
    cut = np.flatnonzero(views.cut & np.isin(place, place[is_asked]))
    i, j = _touching(views, lattice, cut, place[cut], is_asked[cut])
    none = np.zeros(len(i))
    return Pairs(cut[i], cut[j], none, none.astype(np.int64))


def _touching(
    views: Views,
    lattice: Lattice,
    view: NDArray[np.int64],
    place: NDArray[np.int64],
    is_asked: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of entries of `view` with one place whose masks touch by a side of a pixel, of which one is asked for."""
    i, j = box_pairs(views.extents.boxes[view], np.arange(len(view)), place, lattice.step)
    if is_asked is not None:
        rows = np.flatnonzero(is_asked[i] | is_asked[j])
        i, j = i[rows], j[rows]
    sides = ((0, 1, 0), (0, 0, 1))
    near = [near_pixels(views.masks, views.extents, view[i], view[j], np.tile(side, (len(i), 1))) for side in sides]
    touch = (np.array(near) > 0).any(axis=0)
    return i[touch], j[touch]
