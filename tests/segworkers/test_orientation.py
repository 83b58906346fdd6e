"""Windows flipped to the way a model was trained, and its answers flipped back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from schemas.boxes import Box
from schemas.volumes import VolumeGeometry
from segworkers.orientation import Flips, flipped, flips_for
from segworkers.segmenters.base import DenseMaps, WindowMasks
from segworkers.segmenters.turned import flipped_back

AXIAL = VolumeGeometry(
    shape=(4, 5, 6), origin=(0, 0, 0), slice_step=(0, 0, 2.0), row_step=(0, 1.0, 0), column_step=(1.0, 0, 0)
)
FLIPS = st.tuples(st.booleans(), st.booleans(), st.booleans())


@pytest.mark.parametrize(
    ("orientation", "flips"),
    [
        ("LPS", (False, False, False)),
        ("RAS", (False, True, True)),
        ("LPI", (True, False, False)),
        ("SPL", (False, False, False)),  # letters name axes, in whatever order they come
    ],
)
def test_axes_are_flipped_where_they_point_the_other_way(orientation: str, flips: Flips) -> None:
    assert flips_for(orientation, AXIAL) == flips


def test_direction_is_read_off_the_cosines_also_when_oblique() -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    tilted = VolumeGeometry(
        shape=(4, 5, 6), origin=(0, 0, 0), slice_step=(0, -2 * s, -2 * c), row_step=(0, -c, s), column_step=(-1, 0, 0)
    )
    assert flips_for("LPS", tilted) == (True, True, True)


@pytest.mark.parametrize(("degrees", "flips"), [(30, (False, False, False)), (30.1, None), (44, None), (60, None)])
def test_slices_far_off_the_wanted_plane_are_not_taken_for_it(degrees: float, flips: Flips | None) -> None:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = VolumeGeometry(
        shape=(4, 5, 6), origin=(0, 0, 0), slice_step=(-2 * s, 0, 2 * c), row_step=(0, 1, 0), column_step=(c, 0, s)
    )
    tilted = VolumeGeometry(
        shape=(4, 5, 6), origin=(0, 0, 0), slice_step=(0, 2 * s, 2 * c), row_step=(0, 1, 0), column_step=(1, 0, 0)
    )
    assert flips_for("LPS", turned) == flips_for("LPS", tilted) == flips


def test_other_planes_cannot_be_flipped_into_axial_ones() -> None:
    coronal = VolumeGeometry(
        shape=(4, 5, 6), origin=(0, 0, 0), slice_step=(0, 2.0, 0), row_step=(0, 0, -1.0), column_step=(1.0, 0, 0)
    )
    assert flips_for("LPS", coronal) is None


@given(flips=FLIPS, seed=st.integers(0, 9))
def test_what_a_model_says_of_flipped_windows_comes_back_in_place(flips: Flips, seed: int) -> None:
    window = (3, 4, 5)
    truth = np.random.default_rng(seed).random((2, *window)) > 0.5
    seen = flipped(truth, flips)
    dense = flipped_back(DenseMaps(seen.astype(np.uint8), seen.astype(np.float32)), flips, window)
    assert isinstance(dense, DenseMaps) and dense.probability is not None
    assert_array_equal(dense.classes, truth)
    assert_array_equal(dense.probability, truth)
    box = Box((0, 1, 2), (2, 4, 5))
    crops = [(box, one[box.within((0, 0, 0))]) for one in seen]
    masks = [WindowMasks(np.zeros(1, np.int64), np.ones(1), [crop]) for crop in crops]
    back = flipped_back(masks, flips, window)
    assert isinstance(back, list)
    for whole, one in zip(truth, back, strict=True):
        where, crop = one.crops[0]
        assert_array_equal(crop, whole[where.within((0, 0, 0))])
