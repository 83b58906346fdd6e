"""Drawn trees: crowns beside what is there, shade on it too."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.models.vehicle_trees import plant_trees


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), length=st.floats(0, 1.5), angle=st.floats(0, 6.3))
def test_crowns_spare_what_is_taken_and_shade_falls_on_it(seed: int, length: float, angle: float) -> None:
    taken = np.zeros((512, 512), np.uint8)
    taken[100:300, 200:400] = 1
    images = [np.full(taken.shape, 0.5, np.float32) for _ in range(2)]
    sun = (length * np.sin(angle), length * np.cos(angle))
    for image in images:
        plant_trees(image, taken, sun, 0.4, np.random.default_rng(seed))
    assert np.array_equal(images[0], images[1])
    assert set(np.unique(images[0][taken > 0])) <= {np.float32(0.5), np.float32(0.5) * np.float32(0.4)}


def test_there_are_crowns_and_shade() -> None:
    grown = shaded = 0
    for seed in range(6):
        image = np.full((512, 512), 0.5, np.float32)
        plant_trees(image, np.zeros(image.shape, np.uint8), (0.5, 0.5), 0.4, np.random.default_rng(seed))
        values, counts = np.unique(image, return_counts=True)
        grown += image.size - int(counts[np.isin(values, np.array([0.5, 0.2], np.float32))].sum())
        shaded += int((image == np.float32(0.5) * np.float32(0.4)).sum())
    assert grown > 10_000
    assert shaded > 2000
