"""Near misses: views of one object of which each window missed, near its border, just what the other one saw.

Where masks stop short of both borders of a strip, the halves of an object end a pixel apart. Views that have no link in
each other's window are a near miss where

1. both have pixels in the strip that both windows saw, and most of these lie in a *margin* of either window;
2. of what each has there and could come near the other at all, as far as that one reaches, most lies within the
   tolerance of it: halves of an object face each other with all of the cut, neighbours in a tissue with a corner;
3. neither comes nearer to anything else that the other window saw, linked or not: of all views there the two agree
   best, by the share of their pixels in the strip that lies within the tolerance of each other.

They are linked one to one, and are the weakest links that there are. Nothing is a near miss of a model without error:
what has pixels in a strip has a link there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segworkers.linking import ViewFacts, links
from segworkers.sight import Sight
from segworkers.views import Pairs, near_by

FACING_SHARE = 0.4
"""Of what faces the other view more than this share lies near it, in both together.

0.3, 0.4 and 0.5 hardly differ on development seeds of benchmarks/seams, as only the nearest view is asked for.
"""


def near_misses(sight: Sight, facts: ViewFacts, i: NDArray[np.int64], j: NDArray[np.int64]) -> Pairs:
    """Further links, of overlap 0, from pairs of views that come near; i, j: all that do, linked or not."""
    a, b, there = _candidates(sight, i, j)
    near = _near(sight, a, b)
    facing = sight.facing_pixels(a, b) + sight.facing_pixels(b, a)
    pairs = Pairs(a, b, near / there, near).take(near > FACING_SHARE * facing)
    pairs = pairs.take(_nearest(sight, pairs, i, j))
    pairs = pairs.take(links(pairs, facts))
    return Pairs(pairs.i, pairs.j, np.zeros(len(pairs)), pairs.shared)


def _candidates(
    sight: Sight, i: NDArray[np.int64], j: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs without a link in each other's window that lie in margins, and pixels in the strip, of both together."""
    for _ in range(2):
        free = sight.partner(i, j) < 0
        i, j = j[free], i[free]
    there = np.stack((sight.pixels(i, j), sight.pixels(j, i)))
    seen = (there > 0).all(axis=0)
    i, j, there = i[seen], j[seen], there[:, seen]
    in_margin = (2 * sight.sure_pixels(i, j) <= there).all(axis=0)
    return i[in_margin], j[in_margin], there.sum(axis=0)[in_margin]


def _nearest(sight: Sight, pairs: Pairs, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(k,) whether nothing else that the other window saw comes as near to either view of a pair."""
    asked = np.zeros(len(sight.views), bool)
    asked[pairs.i], asked[pairs.j] = True, True
    rows = np.flatnonzero(asked[i] | asked[j])
    side = _sides(sight, pairs.i, pairs.j)
    rows = rows[np.isin(_sides(sight, i[rows], j[rows]), side).any(axis=0)]
    i, j = i[rows], j[rows]
    there = np.stack((sight.pixels(i, j), sight.pixels(j, i)))
    seen = (there > 0).all(axis=0)
    i, j = i[seen], j[seen]
    agreement = _near(sight, i, j) / there.sum(axis=0)[seen]
    sides, number = np.unique(_sides(sight, i, j).reshape(-1), return_inverse=True)
    best = np.zeros(len(sides))
    np.maximum.at(best, number, np.tile(agreement, 2))
    first, second = best[np.searchsorted(sides, side)]
    return (pairs.overlap >= first) & (pairs.overlap >= second)


def _near(sight: Sight, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
    """(k,) pixels of views i[k] and j[k] within the tolerance of the other one."""
    reach = np.tile(np.array(near_by(sight.lattice)), (len(i), 1))
    return sight.near(i, j, reach) + sight.near(j, i, reach)


def _sides(sight: Sight, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2, k) numbers of a view and a window: i[k] with the window of j[k], then the other way round."""
    windows, window = int(np.prod(sight.lattice.shape)), sight.views.window
    return np.stack((i * windows + window[j], j * windows + window[i]))
