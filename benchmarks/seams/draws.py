"""Random numbers that depend on what they are about, never on the order in which they are asked for."""

# scipy publishes no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

REACH = 10.0
"""px; standard deviation of the bumps that smooth fields are made of. Their correlation falls to 1/e at twice that."""

_GOLDEN, _A, _B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 0xFFFFFFFFFFFFFFFF


def uniform(key: Sequence[int], *ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) numbers in [0, 1), each a function of `key` and of one entry of each of `ids`.

    The hash is SplitMix64's finaliser (Steele, Lea, Flood, 2014), chained over the words.
    """
    state = 0
    for word in key:
        state = int(_mix(np.array([(state ^ word) + _GOLDEN & _WORD], np.uint64))[0])
    mixed = np.full(len(ids[0]), state, np.uint64)
    for column in ids:
        mixed = _mix((mixed ^ column.astype(np.uint64)) + np.uint64(_GOLDEN))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def stream(key: Sequence[int]) -> np.random.Generator:
    """A generator of its own for `key`."""
    return np.random.default_rng(list(key))


def smooth_field(rng: np.random.Generator, shape: Sequence[int]) -> NDArray[np.float32]:
    """A random field of `shape` with mean 0, standard deviation 1 and a correlation length of 2 `REACH`.

    Gaussian bumps with normal weights on a grid of half their width: white noise under a Gaussian filter, without
    filtering at full resolution. Axes of one pixel are left alone.
    """
    bases = [_bumps(n) for n in shape]
    field = rng.standard_normal([cast("tuple[int, int]", base.shape)[1] for base in bases], np.float32)
    for base in bases:  # each turn takes the first axis and appends its full-size one
        rest = field.shape[1:]
        grown = cast("NDArray[np.float32]", base @ field.reshape(len(field), -1))
        field = np.moveaxis(grown.reshape(-1, *rest), 0, -1)
    return field


def _bumps(n: int) -> csr_array:
    """(n, knots) of each bump at each pixel; rows have norm 1, so that sums with normal weights have variance 1.

    Sparse because bumps end after 4 `REACH`, and because sparse products run in one thread: the sums of a threaded one
    could depend on the machine.
    """
    knots = np.arange(-4 * REACH, n + 4 * REACH, REACH / 2) if n > 1 else np.zeros(1)
    away = np.arange(n)[:, None] - knots
    bumps = np.where(np.abs(away) < 4 * REACH, np.exp(-(away**2) / (2 * REACH**2)), 0)
    return csr_array((bumps / np.linalg.norm(bumps, axis=1, keepdims=True)).astype(np.float32))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_A)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_B)
    return x ^ (x >> np.uint64(31))
