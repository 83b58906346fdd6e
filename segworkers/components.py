"""Connected groups of anything, from pairs: union-find whose answer does not depend on the order of the pairs."""
# numba has no type stubs: what its decorator returns is unknown to the type checker.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray


def groups_of(members: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """(members,) group of each member, where left[k] and right[k] belong together.

    Groups are numbered 0.. by their smallest member, so equal partitions have equal numbers.
    """
    return _groups(members, left, right)


@numba.njit(cache=True, nogil=True)
def _leader(above: Any, member: int) -> int:  # pragma: no cover - compiled
    """The smallest member of a group; halves the way there for whoever asks next."""
    while above[member] != member:
        above[member] = above[above[member]]
        member = above[member]
    return member


@numba.njit(cache=True, nogil=True)
def _groups(members: int, left: Any, right: Any) -> Any:  # pragma: no cover - compiled
    above = np.arange(members)
    for k in range(len(left)):
        a, b = _leader(above, left[k]), _leader(above, right[k])
        above[max(a, b)] = min(a, b)
    group = np.empty(members, np.int64)
    count = 0
    for member in range(members):
        if above[member] == member:
            group[member] = count
            count += 1
        else:
            group[member] = group[above[member]]
    return group
