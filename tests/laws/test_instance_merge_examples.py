"""What the merge makes of a few views, rule by rule, by the real worker and merge, whatever the work tiles.

    window 0: x 0..64      window 1: x 32..96      window 2: x 64..128      cells meet at x = 48 and 80

Columns 40..56 and 72..88 are trusted; 4 pixels is the tolerance of slivers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segworkers.lattice import Lattice
from tests.merges import Case, Mask, Merged, mask, merged, whole_image

PAIR = Lattice((1, 64, 64), (0, 32, 32), (1, 64, 96))
ROW = Lattice((1, 64, 64), (0, 32, 32), (1, 64, 128))
WIDE = Lattice((1, 64, 128), (0, 32, 64), (1, 64, 192))
SQUARE = Lattice((1, 64, 64), (0, 32, 32), (1, 128, 128))

Rectangle = tuple[int, int, int, int]


def outcome(*said: tuple[int, Mask], lattice: Lattice = ROW) -> Merged:
    """What becomes of (window, mask) rows, best first in each window; the same for every work tile."""
    by_window: dict[tuple[int, int, int], list[Mask]] = {}
    for window, view in said:
        index = next(i for i in lattice.indices((0, 0, 0), lattice.shape) if lattice.flat(i) == window)
        by_window.setdefault(index, []).append(view)
    case = Case(lattice, by_window)
    whole = merged(case, whole_image(case))
    for group in ((1, 1, 1), (1, 1, 2), (1, 2, 1)):
        assert merged(case, group).rows == whole.rows
    return whole


def rectangles(*boxes: Rectangle) -> frozenset[tuple[int, int, int]]:
    return frozenset((0, y, x) for y0, x0, y1, x1 in boxes for y in range(y0, y1) for x in range(x0, x1))


def masks(*said: tuple[int, Mask], lattice: Lattice = ROW) -> set[frozenset[tuple[int, int, int]]]:
    """The objects' pixels."""
    found = outcome(*said, lattice=lattice).masks
    assert len(set(found)) == len(found)
    return set(found)


def test_a_crumb_within_the_tolerance_of_what_the_owner_saw_is_no_object() -> None:
    """Window 1 saw it 4 px farther right, so not one pixel is common."""
    assert masks((0, mask((10, 58, 30, 64))), (1, mask((8, 64, 32, 90)))) == {rectangles((8, 64, 32, 90))}


def test_what_covers_a_crumb_stays_open_though_no_other_window_sees_it() -> None:
    """It begins where window 0 ends: work tiles of one window must keep it for the crumb of the tile beside."""
    crumb, whole = mask((10, 58, 30, 64)), mask((8, 64, 32, 90))
    assert masks((0, crumb), (1, whole), lattice=PAIR) == {rectangles((8, 64, 32, 90))}


def test_the_same_crumb_of_another_class_is_an_object() -> None:
    assert masks((0, mask((10, 58, 30, 64), label=1)), (1, mask((8, 64, 32, 90)))) == {
        rectangles((10, 58, 30, 64)),
        rectangles((8, 64, 32, 90)),
    }


def test_a_crumb_in_the_cell_of_its_own_window_is_an_object() -> None:
    """Window 0 is nearer to it than window 1, and it is not in window 1's margin. Cells meet at x = 96."""
    whole = (1, mask((8, 84, 31, 180)))
    assert len(masks((0, mask((33, 86, 35, 94))), whole, lattice=WIDE)) == 2
    assert len(masks((0, mask((33, 98, 35, 106))), whole, lattice=WIDE)) == 1


@given(overlap=st.integers(4, 32), stops=st.tuples(st.floats(0, 1), st.floats(0, 1)), size=st.integers(1, 12))
def test_an_object_is_one_though_masks_stop_short_of_borders_by_half_the_overlap(
    overlap: int, stops: tuple[float, float], size: int
) -> None:
    """A bar along z through two windows of a volume, whose masks may meet without a voxel in common."""
    depth = 2 * overlap
    lattice = Lattice((depth, 16, 16), (overlap, 0, 0), (depth + overlap, 16, 16))
    near, far = (round(stop * (overlap // 2)) for stop in stops)
    first = mask((0, 2, 2, depth - near, 2 + size, 2 + size))
    second = mask((overlap + far, 2, 2, depth + overlap, 2 + size, 2 + size))
    case = Case(lattice, {(0, 0, 0): [first], (1, 0, 0): [second]})
    whole = merged(case, whole_image(case))
    assert len(whole.masks) == 1
    assert len(whole.masks[0]) == (depth + overlap) * size**2
    assert merged(case, (1, 1, 1)).rows == whole.rows


def test_a_sliver_that_only_several_objects_cover_together_stays() -> None:
    """Window 0 glued what its border cut off objects of window 1: too little of each to be linked to it.

    It may as well be an object that window 1 missed between the three, so it is one. Of two objects one covers it.
    """
    tall = Lattice((1, 192, 128), (0, 0, 64), (1, 192, 192))
    for rows, kept in ((((0, 64), (64, 128), (128, 192)), 4), (((0, 100), (100, 192)), 2)):
        wholes = [(1, mask((top, 65, bottom, 150))) for top, bottom in rows]
        assert len(masks((0, mask((0, 127, 192, 128))), *wholes, lattice=tall)) == kept


def test_neighbours_that_another_window_glued_both_stay() -> None:
    """Window 0 sees two that touch, window 1 one; its mask counts in its own cell, for the larger one."""
    upper, lower, glued = mask((10, 36, 20, 64)), mask((20, 50, 26, 62)), mask((10, 36, 26, 64))
    assert masks((0, upper), (0, lower), (1, glued)) == {
        rectangles((10, 36, 20, 48), (10, 48, 26, 64)),
        rectangles((20, 50, 26, 62)),
    }


def test_an_object_that_leaves_a_window_and_comes_back_is_one_though_that_window_says_two() -> None:
    """A fork: window 0 sees two arms of it, each an object to it, window 1 where they meet."""
    upper, lower = (10, 20, 20, 64), (40, 20, 50, 64)
    fork = ((10, 32, 20, 90), (40, 32, 50, 90), (10, 80, 50, 90))
    assert masks((0, mask(upper)), (0, mask(lower)), (1, mask(*fork))) == {rectangles(upper, lower, *fork)}


def test_a_marginal_view_that_its_owner_missed_is_kept_whole() -> None:
    """Window 1 was to say what lies there and said nothing; it saw another object."""
    assert masks((0, mask((10, 52, 20, 62))), (1, mask((40, 50, 60, 92)))) == {
        rectangles((10, 52, 20, 62)),
        rectangles((40, 50, 60, 92)),
    }


def test_a_continuation_with_little_in_common_is_one_object() -> None:
    """Both windows stop short of their borders: in the strip they agree on 2 columns of 20, in its middle too."""
    found = outcome((0, mask((10, 4, 20, 50))), (1, mask((10, 48, 20, 92))))
    assert found.masks == [rectangles((10, 4, 20, 48), (10, 48, 20, 92))]
    assert found.objects.n_views.tolist() == [2]
    assert found.objects.min_overlap.tolist() == [0.125]
    assert found.objects.assembled.tolist() == [True], "neither view is cut, but neither is the whole"


def test_a_continuation_with_a_fiftieth_in_common_is_one_object_with_less_it_is_two() -> None:
    """Window 1 saw two rows of 100 that window 0 saw, then one."""
    tall = Lattice((1, 128, 64), (0, 32, 32), (1, 128, 96))
    upper = mask((0, 40, 52, 56))
    assert len(masks((0, upper), (1, mask((50, 40, 100, 56))), lattice=tall)) == 1, "2 rows of 100"
    assert len(masks((0, upper), (1, mask((51, 40, 102, 56))), lattice=tall)) == 2, "1 row of 102"


def test_a_chain_of_links_does_not_join_two_views_of_one_window() -> None:
    """Window 1 says of both of window 0's what is one thing; around the corner, windows 2 and 3 close the ring."""
    upper, lower = mask((34, 36, 44, 60)), mask((46, 36, 56, 60))
    both = mask((34, 36, 56, 60))
    found = masks((0, upper), (0, lower), (1, upper), (2, lower), (3, both), lattice=SQUARE)
    assert len(found) == 2
    # Cells meet at y = 48 and x = 48; what window 3 says in its own cell goes to the one that it is linked to.
    assert {min(pixels) for pixels in found} == {(0, 34, 36), (0, 46, 36)}


def test_of_two_masks_of_one_thing_in_one_window_the_better_scored_stays() -> None:
    better, worse = mask((10, 4, 20, 24), score=0.8), mask((10, 4, 20, 22), score=0.6)
    assert masks((0, worse), (0, better)) == {rectangles((10, 4, 20, 24))}
    assert len(masks((0, worse), (0, replace(better, label=1)))) == 2, "two classes are two things"


def test_nested_objects_of_one_class_stay_apart_across_a_seam() -> None:
    """A ring over three windows, with something inside it on a seam."""
    ring = ((10, 20, 12, 110), (50, 20, 52, 110), (12, 20, 50, 22), (12, 108, 50, 110))
    inner = (20, 40, 40, 70)
    said = [(w, mask(*_clipped((*ring,), x0, x0 + 64))) for w, x0 in ((0, 0), (1, 32), (2, 64))]
    said += [(w, mask(*_clipped((inner,), x0, x0 + 64))) for w, x0 in ((0, 0), (1, 32), (2, 64))]
    assert masks(*said) == {rectangles(*ring), rectangles(inner)}


def _clipped(boxes: tuple[Rectangle, ...], x0: int, x1: int) -> list[Rectangle]:
    cut = [(a, max(b, x0), c, min(d, x1)) for a, b, c, d in boxes]
    return [box for box in cut if box[1] < box[3]]


def test_an_object_that_every_window_cut_is_assembled_one_that_a_window_saw_whole_is_not() -> None:
    long = outcome((0, mask((10, 4, 20, 64))), (1, mask((10, 32, 20, 92))))
    assert long.objects.assembled.tolist() == [True]
    short = outcome((0, mask((10, 40, 20, 64))), (1, mask((10, 40, 20, 92))))
    assert short.objects.assembled.tolist() == [False]
    assert short.objects.n_views.tolist() == [2]


def test_pixels_without_data_belong_to_no_object_and_a_mask_of_nothing_else_is_none() -> None:
    valid = np.ones((1, 64, 128), bool)
    valid[0, 14:40, :50] = False
    case = Case(ROW, {(0, 0, 0): [mask((10, 4, 20, 14)), mask((20, 4, 30, 14))]}, valid)
    for group in ((1, 1, 1), whole_image(case)):
        assert merged(case, group).masks == [rectangles((10, 4, 14, 14))]


def test_an_uncut_view_of_a_window_alone_is_final_where_it_is() -> None:
    found = outcome((0, mask((10, 4, 20, 14), score=0.75)))
    assert found.masks == [rectangles((10, 4, 20, 14))]
    assert found.objects.score.tolist() == [0.75]
    assert found.objects.n_views.tolist() == [1]
    assert found.objects.assembled.tolist() == [False]
