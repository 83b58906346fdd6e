from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.boxes import Box
from segworkers.lattice import Lattice
from segworkers.window_rows import most_windows


@given(st.integers(1, 9), st.data(), st.integers(1, 60), st.booleans())
def test_no_region_meets_more_windows_than_the_most(window: int, data: st.DataObject, extent: int, mirrored: bool):
    overlap = data.draw(st.integers(0, window // 2))
    low = data.draw(st.integers(0, extent - 1))
    high = data.draw(st.integers(low + 1, extent))
    region = Box((0, 0, low), (1, 1, high))
    lattice = Lattice((1, 1, window), (0, 0, overlap), (1, 1, extent), region, (False, False, mirrored))
    asked = sum(lattice.sees((0, 0, index)) for index in range(lattice.shape[2]))
    assert 1 <= asked <= most_windows(window, overlap, extent)


def test_the_most_windows_are_those_of_a_region_that_fills_the_image_where_they_do_not_overlap():
    assert [most_windows(10, 0, extent) for extent in (1, 10, 11, 50)] == [1, 1, 2, 5]
    assert most_windows(10, 2, 26) == 4, "a region from pixel 7 on"
