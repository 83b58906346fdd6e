"""Positions along the Hilbert curve."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segworkers.hilbert import LEVEL, hilbert_distances

CELL = 1.0 / (1 << LEVEL)


def _centres(x: list[int], y: list[int]) -> np.ndarray:
    return (np.stack([x, y], axis=1) + 0.5) * CELL


def test_the_curve_visits_every_cell_of_a_corner_once_without_gaps() -> None:
    side = 64
    y, x = (part.ravel() for part in np.mgrid[:side, :side])
    distance = hilbert_distances(_centres(x, y), 1.0)
    assert sorted(distance) == list(range(side * side))


@given(st.integers(0, 4094))
def test_cells_that_follow_each_other_on_the_curve_are_neighbours(start: int) -> None:
    side = 64
    y, x = (part.ravel() for part in np.mgrid[:side, :side])
    order = np.argsort(hilbert_distances(_centres(x, y), 1.0))
    a, b = order[start], order[start + 1]
    assert abs(x[a] - x[b]) + abs(y[a] - y[b]) == 1


def test_positions_on_the_far_edge_stay_on_the_curve() -> None:
    assert (hilbert_distances(np.array([[1.0, 1.0], [0.0, 1.0]]), 1.0) < 4**LEVEL).all()
