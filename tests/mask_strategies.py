"""Hypothesis strategies for masks: small bitmaps of any texture, and their runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from schemas.masks import Runs, to_runs

BitmapArray = NDArray[np.bool_]


def bitmaps(max_depth: int = 1, max_side: int = 9) -> st.SearchStrategy[BitmapArray]:
    """Bitmaps (z, y, x); any may be empty or full."""
    sides = st.integers(1, max_side)
    shapes = st.tuples(st.integers(1, max_depth), sides, sides)
    return shapes.flatmap(lambda shape: hnp.arrays(np.bool_, shape))


def filled_bitmaps(max_depth: int = 1, max_side: int = 9) -> st.SearchStrategy[BitmapArray]:
    """Bitmaps with at least one pixel."""
    return bitmaps(max_depth, max_side).filter(lambda bitmap: bool(bitmap.any()))


def origins() -> st.SearchStrategy[Zyx]:
    """Where a bitmap's first voxel lies."""
    return st.tuples(st.integers(0, 5), st.integers(0, 70_000), st.integers(0, 70_000))


def runs_masks(max_depth: int = 3, max_side: int = 6) -> st.SearchStrategy[Runs]:
    """Masks near the origin, so that two of them often meet."""
    near = st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 5))
    return st.builds(to_runs, bitmaps(max_depth, max_side), near)


def boxes(limit: int = 12) -> st.SearchStrategy[Box]:
    """Boxes near the origin."""
    starts = st.tuples(*[st.integers(0, limit - 2)] * 3)
    shapes = st.tuples(*[st.integers(1, limit)] * 3)

    def build(start: Zyx, shape: Zyx) -> Box:
        z, y, x = (a + n for a, n in zip(start, shape, strict=True))
        return Box(start, (z, y, x))

    return st.builds(build, starts, shapes)


def batch(masks: list[Runs]) -> tuple[Runs, NDArray[np.int64]]:
    """Masks one after another, with offsets (m + 1)."""
    offsets = np.concatenate([[0], np.cumsum([len(mask) for mask in masks])]).astype(np.int64)
    empty: NDArray[Any] = np.empty((0, 4), np.int32)
    return np.concatenate([empty, *masks]), offsets
