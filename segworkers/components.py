"""Connected groups of anything, from pairs: union-find whose answer does not depend on the order of the pairs."""

# scipy ships no type stubs for its graph routines.
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def groups_of(members: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """(members,) group of each member, where left[k] and right[k] belong together.

    Groups are numbered 0.. by their smallest member, so equal partitions have equal numbers. About 0.2 µs a pair
    (scipy's connected components on dense ids).
    """
    if not len(left):
        return np.arange(members, dtype=np.int64)
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(members, members))
    _, raw = cast("tuple[int, NDArray[np.int32]]", connected_components(graph, directed=False))
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
