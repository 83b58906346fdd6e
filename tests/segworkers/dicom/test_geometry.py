"""Rounding, tolerances and lines of slices."""

import numpy as np
import pytest

from schemas.errors import InputError
from segworkers.dicom.geometry import place, rounding_of
from tests.dicom_files import AXIAL


def stack(heights, shift=0.0):
    """Positions of axial slices, moved to the side from slice to slice."""
    return np.array([[-100.0 + shift * k, -80.0, z] for k, z in enumerate(heights)])


def placed(heights, shift=0.0):
    return place(stack(heights, shift), AXIAL, (0.7, 0.7), (512, 512))


@pytest.mark.parametrize(("decimals", "unit"), [(1, 0.1), (2, 0.01), (4, 1e-4), (9, 1e-6)])
def test_the_rounding_of_files_is_seen_in_their_numbers(decimals, unit):
    heights = np.round(np.arange(40) * np.pi, decimals)
    assert rounding_of(stack(heights), np.diff(heights)) == pytest.approx(unit)


def test_rounding_excuses_no_more_than_a_fifth_of_a_step():
    heights = np.round(np.arange(40) * 0.2, 1)
    assert rounding_of(stack(heights), np.diff(heights)) == pytest.approx(0.04)


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_equal_steps_that_were_rounded_are_equal(decimals):
    assert placed(np.round(np.arange(200) * 0.625, decimals)).geometry.kind == "regular"


def test_steps_that_differ_by_more_than_rounding_are_variable():
    heights = np.cumsum(np.where(np.arange(60) % 2, 0.6, 0.625))
    assert placed(heights).notes == ("variable_spacing",)


@pytest.mark.parametrize(("off", "kind"), [(0.009, "regular"), (0.02, "variable")])
def test_one_percent(off, kind):
    heights = np.arange(30) * 2.5
    heights[11:] += off * 2.5
    assert placed(heights + np.pi / 1e4).geometry.kind == kind


def test_gaps_that_are_no_exception_are_variable_spacing_and_not_missing_slices():
    assert placed(np.cumsum([0.0, *[1.0] * 5, *[2.0] * 12])).notes == ("variable_spacing",)
    assert placed(np.cumsum([0.0, *[1.0] * 9, *[2.0] * 2])).notes == ("missing_slices",)


def test_a_shear_is_a_tilt_and_a_bend_is_refused():
    assert placed(np.arange(20) * 2.0, shift=0.5).notes == ("gantry_tilt",)
    bent = stack(np.arange(20) * 2.0)
    bent[10:, 0] += 3.0
    with pytest.raises(InputError) as refused:
        place(bent, AXIAL, (0.7, 0.7), (512, 512))
    assert refused.value.reason == "displaced_slices"


def test_missing_slices_of_a_tilted_stack_stay_on_its_line():
    heights = np.delete(np.arange(20) * 2.0, [4, 5])
    positions = np.stack([np.full(18, -100.0), -80 + 0.4 * heights, heights], axis=1)
    found = place(positions, AXIAL, (0.7, 0.7), (512, 512))
    assert found.notes == ("missing_slices", "gantry_tilt")
    assert found.missing == 2
    np.testing.assert_allclose(found.geometry.origins(), positions)
