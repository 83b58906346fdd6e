"""Slivers: what a window saw of an object that another window saw well. Windows of 64 pixels with 32 in common.

window 0: x 0..64      window 1: x 32..96      window 2: x 64..128      cells meet at 48 and 80      tolerance: 4 pixels
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segworkers.lattice import Lattice
from segworkers.linking import (
    APART,
    COVER,
    EXACT,
    HELD,
    INSIDE,
    LINK,
    PART,
    PROVEN,
    SAME,
    TOUCH,
    Groups,
    ViewFacts,
    group_views,
)
from segworkers.runs import RunTable, mask_runs
from segworkers.slivers import near_by, relations
from segworkers.views import Pairs, Views, is_marginal
from tests.answers import lattice_in_plane, lattice_in_space, soup
from tests.merges import Mask, mask, windows_of

LATTICE = Lattice((1, 64, 64), (0, 32, 32), (1, 64, 160))
WIDE = Lattice((1, 64, 128), (0, 32, 64), (1, 64, 192))
"""Windows at x 0..128 and 64..192; cells meet at 96. Columns 80..112 lie in the margin of neither."""
Said = tuple[int, Mask]


def views(*said: Said, lattice: Lattice = LATTICE) -> Views:
    """(window, mask) rows as views; the rank is the position."""
    runs = [mask_runs(m.bits, m.start) for _, m in said]
    table = RunTable(np.concatenate(runs), np.repeat(np.arange(len(said)), [len(r) for r in runs]))
    window, n = np.array([w for w, _ in said]), len(said)
    label, score = np.array([m.label for _, m in said]), np.array([m.score for _, m in said])
    cut = np.array([is_cut(m, w, lattice) for w, m in said])
    return Views(window, np.arange(n), label, score, cut, is_marginal(table, window, lattice), table)


def is_cut(said: Mask, window: int, lattice: Lattice) -> bool:
    """Whether a mask touches a border of its window that lies inside the image."""
    index = next(i for i in windows_of(lattice) if lattice.flat(i) == window)
    box, borders = lattice.real_box(index), lattice.internal_borders(index)
    stop = [a + n for a, n in zip(said.start, said.bits.shape, strict=True)]
    near = any(b[0] and said.start[k] == box.start[k] for k, b in enumerate(borders))
    return near or any(b[1] and stop[k] == box.stop[k] for k, b in enumerate(borders))


def kinds(*said: Said, lattice: Lattice = LATTICE) -> list[set[tuple[int, int]]]:
    """Links, parts and covers as pairs of positions; of parts the part comes first."""
    return everything(*said, lattice=lattice)[:3]


def everything(*said: Said, lattice: Lattice = LATTICE) -> list[set[tuple[int, int]]]:
    """The same, and what is apart: first the one of two, then the view of both."""
    exact, _, links, inside, parts, covers, apart, proven, _ = by_kind(*said, lattice=lattice)
    return [links | exact | inside, parts, covers, apart | proven]


def by_kind(*said: Said, lattice: Lattice) -> list[set[tuple[int, int]]]:
    """EXACT, SAME, LINK, INSIDE, PART, COVER, APART, PROVEN and HELD."""
    found = views(*said, lattice=lattice)
    pairs, kind = relations(found, found.masks.pixel_counts(len(found)), lattice, found.window)
    every = (EXACT, SAME, LINK, INSIDE, PART, COVER, APART, PROVEN, HELD)
    assert np.isin(kind, (*every, TOUCH)).all()
    assert (pairs.i < pairs.j)[np.isin(kind, (LINK, EXACT, INSIDE, COVER, SAME))].all()
    return [of(pairs.take(kind == each)) for each in every]


def related(*said: Said, lattice: Lattice = LATTICE) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Links and covers."""
    links, _, covers = kinds(*said, lattice=lattice)
    return links, covers


def joined(*said: Said, lattice: Lattice = LATTICE) -> set[tuple[int, int]]:
    """Pairs that make one object of two views, whether the smaller one is linked or goes."""
    links, covers = related(*said, lattice=lattice)
    return links | covers


def of(pairs: Pairs) -> set[tuple[int, int]]:
    named = list(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    assert len(set(named)) == len(named), "each pair once"
    return set(named)


def grouped(*said: Said) -> Groups:
    """What becomes of the views."""
    found = views(*said)
    pixels = found.masks.pixel_counts(len(found))
    pairs, kind = relations(found, pixels, LATTICE, found.window)
    return group_views(ViewFacts(found.window, found.rank, pixels, found.marginal, found.cut), pairs, kind)


WHOLE = (1, mask((10, 62, 30, 92)))
"""An object as window 1 saw it, of 600 pixels; of it window 0 has two columns, 62 and 63."""


def test_what_a_larger_view_covers_and_no_link_explains_is_its_sliver() -> None:
    """Window 1 sees two objects there, and the crumb of window 0 is linked to neither."""
    links, covers = related((0, mask((10, 58, 30, 64))), (1, mask((10, 57, 13, 92), (13, 90, 30, 92))), WHOLE)
    assert links == {(0, 2)}, "the better match"
    assert covers == set()
    links, covers = related((0, mask((10, 60, 12, 64))), (1, mask((11, 64, 30, 92))))
    assert (links, covers) == (set(), {(0, 1)}), "no pixel in common, 4 px from the border at most"


@pytest.mark.parametrize(("last", "is_sliver"), [(61, True), (60, True), (59, False)])
def test_a_sliver_lies_within_the_tolerance_for_more_than_half(last: int, is_sliver: bool) -> None:
    """Columns 60..63 are within 4 px of column 64. Half of 56..64 are; of 57..64 more than half."""
    first = {61: 58, 60: 57, 59: 56}[last]
    links, covers = related((0, mask((10, first, 30, 64))), (1, mask((10, 64, 30, 92))))
    assert links == set()
    assert covers == ({(0, 1)} if is_sliver else set())


def test_tolerance_is_in_every_direction_and_no_farther() -> None:
    """The sliver lies below the object: 4 rows below is near, 5 is not."""
    crumb = (0, mask((34, 52, 35, 60)))
    assert joined(crumb, (1, mask((10, 52, 31, 92)))) == {(0, 1)}
    assert joined(crumb, (1, mask((10, 52, 30, 92)))) == set()
    corner = (0, mask((34, 52, 35, 53)))
    assert joined(corner, (1, mask((10, 56, 31, 92)))) == {(0, 1)}, "4 px in both axes"
    assert joined(corner, (1, mask((10, 57, 31, 92)))) == set()


def test_a_sliver_may_lie_on_either_side_of_its_cover() -> None:
    """Window 1 sees four columns left of 48, right of, above and below what window 0 says."""
    crumb = (1, mask((20, 32, 22, 36)))
    for cover in ((10, 8, 30, 32), (10, 36, 30, 48), (0, 30, 20, 40), (22, 30, 42, 40)):
        assert joined((0, mask(cover)), crumb) == {(0, 1)}
    for cover in ((10, 8, 30, 28), (10, 40, 30, 48), (0, 30, 16, 40), (26, 30, 42, 40)):
        assert joined((0, mask(cover)), crumb) == set(), "a pixel farther than the tolerance"


def test_what_is_no_half_of_its_cover_is_given_no_tolerance() -> None:
    """The cover lies right of window 0, which cannot say that it is not there."""
    crumb = (0, mask((32, 60, 33, 64)))  # 4 px, a row below
    assert related(crumb, (1, mask((31, 64, 32, 73))))[1] == {(0, 1)}, "9 px: less than half"
    assert related(crumb, (1, mask((31, 64, 32, 72))))[1] == set(), "8 px: half"


def test_views_of_any_size_are_one_where_each_window_misses_what_the_other_saw_close_by() -> None:
    crumb = (0, mask((32, 98, 33, 106)))
    assert related(crumb, (1, mask((31, 98, 32, 107))), lattice=WIDE) == (set(), {(0, 1)})
    crumb = (0, mask((32, 52, 33, 60)))
    linked = related((0, mask((31, 52, 32, 61))), crumb, (1, mask((31, 52, 32, 61))))
    assert linked == ({(0, 2)}, set()), "window 0 has something else to say of it"


def test_a_view_nearly_as_large_is_covered_where_most_of_it_lies_in_the_other() -> None:
    """Window 1's view is linked to a better match, far from the one in question, of which it holds 6 or 5 rows of 10.

    Ten rows of the other's 30 or fewer would be a sliver's size, and be given tolerance.
    """
    top = (0, mask((0, 50, 15, 64)))
    assert related((0, mask((20, 50, 30, 64))), top, (1, mask((0, 50, 14, 64), (20, 50, 26, 64)))) == (
        {(1, 2)},
        {(0, 2)},
    )
    assert related((0, mask((20, 50, 30, 64))), top, (1, mask((0, 50, 15, 64), (20, 50, 25, 64)))) == ({(1, 2)}, set())


def test_only_views_of_one_class_explain_each_other() -> None:
    assert related((0, mask((10, 60, 12, 64))), (1, mask((10, 64, 30, 92), label=1)))[1] == set()


def test_a_view_in_the_cell_of_its_own_window_is_no_sliver() -> None:
    """The same crumb left of 96 is window 0's to judge."""
    whole = (1, mask((10, 84, 31, 180)))
    assert related((0, mask((34, 90, 35, 94))), whole, lattice=WIDE) == (set(), set())
    assert related((0, mask((34, 98, 35, 102))), whole, lattice=WIDE) == (set(), {(0, 1)})


@pytest.mark.parametrize(("rows", "is_sliver"), [(7, True), (8, False), (12, False)])
def test_a_sliver_is_smaller_than_what_covers_it_of_equals_the_later_one(rows: int, is_sliver: bool) -> None:
    """Window 1's view of 7 x 8 + 8 px is linked to its second part's match; window 0 saw 56, 64 or 96 px of the first.

    More than half of each is covered. Of 64 and 64 px the earlier stays, for the later one lies in its own cell.
    """
    view, part = mask((10, 56, 10 + rows, 64)), mask((40, 50, 42, 54))
    both = mask((10, 56, 17, 64), (40, 50, 42, 54))
    assert related((0, view), (0, part), (1, both)) == ({(1, 2)}, {(0, 2)} if is_sliver else set())


def test_of_equals_the_later_one_is_the_sliver() -> None:
    """As above from the other side: now the view in question is the later one."""
    view, part = mask((10, 32, 18, 40)), mask((40, 42, 42, 46))
    both = mask((10, 32, 17, 40), (40, 42, 42, 46))
    assert related((0, both), (1, view), (1, part)) == ({(0, 2)}, {(0, 1)})


def test_views_of_one_window_are_no_slivers_of_each_other() -> None:
    assert related((0, mask((10, 60, 12, 64))), (0, mask((10, 52, 30, 60))))[1] == set()


def test_a_view_linked_into_the_covering_views_window_is_explained() -> None:
    """Window 1 has a small view of its own for the crumb: an object beside the large one."""
    links, covers = related((0, mask((32, 60, 34, 64))), WHOLE, (1, mask((32, 60, 34, 64))))
    assert links == {(0, 2)}
    assert covers == set()


def test_neighbours_that_the_other_window_glued_both_stay() -> None:
    """Window 1 says one mask for two that touch; it is linked to the larger, which lies beside the smaller."""
    upper, lower, glued = mask((10, 44, 20, 64)), mask((20, 50, 26, 62)), mask((10, 44, 26, 64))
    assert kinds((0, upper), (0, lower), (1, glued)) == [{(0, 2)}, set(), set()]
    assert grouped((0, upper), (0, lower), (1, glued)).count == 2


def test_a_crumb_that_the_border_cuts_is_no_rival_of_its_neighbour() -> None:
    """As above, but window 0 saw only a part of the smaller one: it cannot judge."""
    upper, lower, glued = mask((10, 44, 20, 64)), mask((20, 60, 26, 64)), mask((10, 44, 26, 68))
    assert kinds((0, upper), (0, lower), (1, glued)) == [{(0, 2)}, set(), {(1, 2)}]
    assert grouped((0, upper), (0, lower), (1, glued)).group.tolist() == [0, -1, 0]


def test_a_crumb_away_from_the_linked_neighbour_is_a_sliver() -> None:
    """Uncut as well, but 5 px lie between the two: not side by side."""
    upper, crumb, whole = mask((10, 44, 20, 64)), mask((25, 50, 26, 62)), mask((10, 44, 26, 64))
    assert kinds((0, upper), (0, crumb), (1, whole)) == [{(0, 2)}, set(), {(1, 2)}]
    assert grouped((0, upper), (0, crumb), (1, whole)).group.tolist() == [0, -1, 0]


@pytest.mark.parametrize(("between", "stays"), [(0, True), (3, True), (4, False)])
def test_side_by_side_is_within_the_tolerance(between: int, stays: bool) -> None:
    upper, lower = mask((10, 44, 20, 64)), mask((20 + between, 50, 22 + between, 62))
    covers = related((0, upper), (0, lower), (1, mask((10, 44, 30, 64))))[1]
    assert covers == (set() if stays else {(1, 2)})


@pytest.mark.parametrize(("first", "is_one"), [(44, True), (47, True), (48, False)])
def test_halves_that_end_a_few_pixels_apart_are_linked(first: int, is_one: bool) -> None:
    """Window 0 sees twelve columns in the strip; of them 4, 1 or none are within 4 px of where window 1 begins."""
    links, covers = related((0, mask((10, 20, 30, 44))), (1, mask((10, first, 30, 90))))
    assert (links, covers) == ({(0, 1)} if is_one else set(), set())


@pytest.mark.parametrize(("down", "is_one"), [(15, True), (16, False), (-15, True), (-16, False)])
def test_halves_face_each_other_with_two_fifths_of_the_cut_and_more(down: int, is_one: bool) -> None:
    """Twenty rows each, shifted against each other: rows in common and 4 more are near; 8 of 20 are two fifths."""
    half, other = (0, mask((20, 20, 40, 44))), (1, mask((20 + down, 44, 40 + down, 90)))
    assert joined(half, other) == ({(0, 1)} if is_one else set())


def test_how_deep_halves_lie_in_the_strip_does_not_matter() -> None:
    """Of fifteen columns three are near, or of thirty: what is beyond the tolerance could not come near."""
    assert joined((0, mask((10, 4, 30, 47))), (1, mask((10, 48, 30, 90)))) == {(0, 1)}
    assert joined((0, mask((10, 33, 30, 47))), (1, mask((10, 48, 30, 90)))) == {(0, 1)}
    assert joined((0, mask((10, 4, 30, 47))), (1, mask((10, 48, 30, 60)))) == {(0, 1)}


def test_views_are_no_near_miss_where_the_other_window_saw_something_nearer() -> None:
    """Window 1 saw two columns right of the half; it agrees with window 0 on them, so they are not the half's rest."""
    half, other, thin = (0, mask((10, 20, 30, 44))), (1, mask((0, 46, 24, 48))), mask((10, 44, 30, 46))
    assert related(half, other)[0] == {(0, 1)}
    assert related(half, other, (0, thin), (1, thin))[0] == {(2, 3)}


def test_what_lies_in_no_margin_is_no_near_miss() -> None:
    """Side by side in the middle of a wide strip: both windows ought to have seen both."""
    assert joined((0, mask((10, 86, 30, 95))), (1, mask((10, 96, 30, 105))), lattice=WIDE) == set()
    assert joined((0, mask((10, 70, 30, 79))), (1, mask((10, 80, 30, 89))), lattice=WIDE) == set(), "one of them"
    assert joined((0, mask((10, 60, 30, 71))), (1, mask((10, 72, 30, 80))), lattice=WIDE) == {(0, 1)}


def test_what_one_window_could_not_see_is_no_near_miss() -> None:
    assert joined((0, mask((10, 8, 30, 32))), (1, mask((10, 33, 30, 60)))) == set()
    assert joined((0, mask((10, 8, 30, 33))), (1, mask((10, 33, 30, 60)))) == {(0, 1)}


def test_near_misses_are_one_to_one_the_nearest_first() -> None:
    half, far, near = (0, mask((10, 20, 30, 44))), (1, mask((10, 45, 16, 56))), (1, mask((17, 44, 30, 90)))
    assert joined(half, far) == {(0, 1)}
    assert related(half, far, near) == ({(0, 2)}, set())


def test_a_view_with_a_link_in_the_other_window_misses_nothing_there() -> None:
    """Window 1 saw all that window 0 saw, and something beside it."""
    seen = mask((10, 20, 30, 44))
    assert related((0, seen), (1, mask((10, 32, 30, 44))), (1, mask((10, 45, 30, 90))))[0] == {(0, 1)}


def test_what_the_border_cuts_off_an_object_is_a_part_of_it() -> None:
    """Window 0 sees two arms of a fork whose stem lies right of it; of one window 1 sees a row more."""
    upper, lower, fork = mask((10, 40, 20, 64)), mask((40, 50, 50, 64)), mask((10, 40, 20, 90), (40, 50, 51, 90))
    links, parts, _ = kinds((0, upper), (0, lower), (1, fork))
    assert links == {(0, 2)}
    assert parts == {(1, 2)}
    assert grouped((0, upper), (0, lower), (1, fork)).group.tolist() == [0, 0, 0]


def test_a_piece_that_the_border_does_not_cut_is_no_part() -> None:
    upper, lower, fork = mask((10, 40, 20, 64)), mask((40, 50, 50, 63)), mask((10, 40, 20, 90), (40, 50, 50, 90))
    assert kinds((0, upper), (0, lower), (1, fork))[1] == set()


def test_a_piece_beside_the_linked_one_is_no_part() -> None:
    """Window 1 glued two neighbours of which window 0 sees a good deal: 3 px lie between them, or 4."""
    glued = mask((10, 40, 20, 90), (20, 50, 34, 90))
    for first, is_part in ((23, False), (24, True)):
        parts = kinds((0, mask((10, 40, 20, 64))), (0, mask((first, 50, 34, 64))), (1, glued))[1]
        assert parts == ({(1, 2)} if is_part else set())


@pytest.mark.parametrize(("rows", "is_part"), [(5, False), (6, True)])
def test_a_part_is_covered_to_more_than_half_where_both_windows_saw_it(rows: int, is_part: bool) -> None:
    """Of 10 rows; what lies left of window 1 does not count."""
    upper, lower = mask((10, 40, 20, 64)), mask((40, 20, 50, 64))
    fork = mask((10, 40, 20, 90), (40, 32, 40 + rows, 90))
    assert kinds((0, upper), (0, lower), (1, fork))[1] == ({(1, 2)} if is_part else set())


def test_a_piece_that_is_linked_there_is_no_part() -> None:
    upper, lower, fork = mask((10, 40, 20, 64)), mask((40, 50, 50, 64)), mask((10, 40, 20, 90), (40, 50, 50, 90))
    own = mask((40, 50, 50, 64))
    links, parts, _ = kinds((0, upper), (0, lower), (1, fork), (1, own))
    assert links == {(0, 2), (1, 3)}
    assert parts == set()


def test_a_whole_marginal_view_that_the_owner_missed_is_kept() -> None:
    """Nothing that window 1 saw is near: window 0 alone knows of the object."""
    assert grouped((0, mask((10, 52, 20, 62)))).group.tolist() == [0]
    assert grouped((0, mask((10, 52, 20, 62))), (1, mask((30, 52, 60, 90)))).count == 2


@pytest.mark.parametrize(
    ("overlap", "tolerance"), [(0, 0), (1, 0), (3, 0), (4, 1), (7, 1), (8, 2), (15, 3), (16, 4), (32, 4)]
)
def test_tolerance_is_a_quarter_of_the_overlap_at_most_4(overlap: int, tolerance: int) -> None:
    assert near_by(Lattice((1, 64, 64), (0, overlap, 0), (1, 200, 200))) == (0, tolerance, 0)


def test_without_tolerance_neighbours_that_touch_are_side_by_side() -> None:
    """Windows overlap by 3: no tolerance, but contact counts."""
    lattice = Lattice((1, 64, 16), (0, 0, 3), (1, 64, 29))
    upper, lower, glued = mask((10, 4, 20, 16)), mask((20, 14, 22, 15)), mask((10, 13, 22, 29))
    assert related((0, upper), (0, lower), (1, glued), lattice=lattice) == ({(0, 2)}, set())
    apart = mask((21, 14, 22, 15))
    assert related((0, upper), (0, apart), (1, glued), lattice=lattice) == ({(0, 2)}, {(1, 2)})


def test_in_space_tolerance_follows_each_axis() -> None:
    """Windows overlap by 8 planes and 16 columns: 2 planes and 4 columns."""
    lattice = Lattice((16, 32, 32), (8, 16, 16), (24, 32, 48))
    whole = (1, mask((2, 10, 16, 6, 30, 40)))
    crumb = mask((7, 12, 26, 8, 16, 30))
    assert joined((0, crumb), whole, lattice=lattice) == {(0, 1)}, "2 planes above"
    assert joined((0, mask((8, 12, 26, 9, 16, 30))), whole, lattice=lattice) == set(), "3 planes above"


SPACE = Lattice((16, 32, 32), (8, 16, 16), (24, 32, 48))
"""Windows at x 0..32 and 16..48; cells meet at 24. Tolerance: 2 planes, 4 rows, 4 columns."""


@pytest.mark.parametrize(("rows", "stays"), [(3, False), (4, False), (5, True), (7, True)])
def test_in_space_a_cut_piece_is_a_rival_where_some_of_it_is_far_from_its_neighbour(rows: int, stays: bool) -> None:
    """Window 1 says one mask for two that touch. Of the second window 0 saw a few rows; four are near the first."""
    upper, lower = (0, mask((2, 8, 10, 10, 16, 32))), (0, mask((2, 16, 20, 10, 16 + rows, 32)))
    glued = (1, mask((2, 8, 17, 10, 28, 40)))
    _, parts, covers, apart = everything(upper, lower, glued, lattice=SPACE)
    assert (parts, covers, apart) == (set(), set() if stays else {(1, 2)}, {(1, 2)} if stays else set())


@pytest.mark.parametrize("first", [16, 17])
def test_in_space_a_cut_piece_is_a_rival_where_one_view_holds_it_and_its_neighbour(first: int) -> None:
    """Then outlines stand still, though the views of the two windows differ. From column 17 on a column is missing."""
    upper, lower = (0, mask((2, 8, 10, 10, 16, 32))), (0, mask((2, 16, 20, 10, 19, 32)))
    glued = (1, mask((2, 8, first, 10, 28, 40)))
    _, _, covers, apart = everything(upper, lower, glued, lattice=SPACE)
    assert (covers, apart) == ((set(), {(1, 2)}) if first == 16 else ({(1, 2)}, set()))


@pytest.mark.parametrize(("top", "stays"), [(16, True), (17, False)])
def test_in_space_a_cut_piece_that_only_comes_near_its_neighbour_is_no_rival(top: int, stays: bool) -> None:
    """One view holds both to the last pixel, but a row is between them: a model that says parts, not two objects."""
    upper, lower = (0, mask((2, 8, 10, 10, 16, 32))), (0, mask((2, top, 30, 10, 19, 32)))
    whole = (1, mask((2, 8, 16, 10, 28, 40)))
    _, parts, covers, apart = everything(upper, lower, whole, lattice=SPACE)
    assert (parts, covers, apart) == (set(), set() if stays else {(1, 2)}, {(1, 2)} if stays else set())


@pytest.mark.parametrize("first", [16, 17])
def test_in_space_a_witness_against_one_view_is_no_sliver_of_another_of_that_window(first: int) -> None:
    """The piece lies in what is glued, and within 4 px of another object below that both windows saw."""
    upper, piece = (0, mask((2, 0, 10, 10, 16, 32))), (0, mask((2, 16, 20, 10, 20, 32)))
    glued = (1, mask((2, 0, first, 10, 20, 40)))
    lower = (0, mask((2, 26, 10, 10, 31, 32))), (1, mask((2, 20, 16, 10, 31, 47)))
    links, _, covers, apart = everything(upper, piece, glued, *lower, lattice=SPACE)
    assert links == {(0, 2), (3, 4)}
    assert ((1, 2) in apart, (1, 4) in covers) == ((True, False) if first == 16 else (False, True))


@pytest.mark.parametrize(
    ("piece", "first", "is_proven"), [((16, 20), 16, True), ((17, 20), 16, False), ((16, 20), 17, False)]
)
def test_two_that_touch_in_what_another_window_says_as_one_are_two(
    piece: tuple[int, int], first: int, is_proven: bool
) -> None:
    """Not where a row is between them: parts of one object may come near. Nor where outlines move."""
    upper, lower = (0, mask((2, 0, 10, 10, 16, 30))), (0, mask((2, piece[0], 20, 10, piece[1], 30)))
    glued = (1, mask((2, 0, first, 10, 20, 40)))
    *_, apart, proven, _ = by_kind(upper, lower, glued, lattice=SPACE)
    assert (apart, proven) == ((set(), {(1, 2)}) if is_proven else ({(1, 2)}, set()))


SIDE_BY_SIDE = (0, mask((2, 0, 10, 10, 16, 32))), (0, mask((2, 16, 20, 10, 20, 32)))
"""Columns 16..32 are what window 1 sees, too."""


def held_of(*said: Said) -> set[tuple[int, int]]:
    """Who is held by whom, in space."""
    return by_kind(*said, lattice=SPACE)[-1]


def glued(*more: Mask) -> list[Said]:
    """What window 1 says: both of `SIDE_BY_SIDE`, to the last pixel, and more."""
    both = np.zeros((8, 20, 24), bool)
    both[:, :16] = True
    both[:, 16:, 4:] = True
    return [(1, Mask((2, 0, 16), both, 0, 1.0)), *((1, each) for each in more)]


def test_views_whose_sum_is_another_one_are_held_by_it() -> None:
    assert held_of(*SIDE_BY_SIDE, *glued()) == {(0, 2), (1, 2)}


def test_a_crumb_in_a_view_that_says_more_is_held_by_nobody() -> None:
    """Outlines move: the view has a pixel that no view of the other window has, or lacks one that it has."""
    (window, exact), *_ = glued()
    more, less = exact.bits.copy(), exact.bits.copy()
    more[0, 17, 0], less[0, 17, 10] = True, False
    for bits in (more, less):
        assert held_of(*SIDE_BY_SIDE, (window, Mask(exact.start, bits, 0, 1.0))) == set()


def test_what_two_masks_of_a_window_have_pixels_of_is_held_by_neither() -> None:
    """Masks of one window may overlap: the second one has a pixel of the lower view."""
    assert held_of(*SIDE_BY_SIDE, *glued(mask((2, 16, 20, 3, 17, 21)))) == {(0, 2)}


def test_in_a_plane_nobody_is_held() -> None:
    upper, lower, both = mask((10, 44, 20, 64)), mask((20, 44, 32, 64)), mask((10, 44, 32, 68))
    assert by_kind((0, upper), (0, lower), (1, both), lattice=LATTICE)[-1] == set()


def test_in_space_links_tell_where_one_view_holds_the_other() -> None:
    """Columns 16..32 are what both windows saw."""
    seen = (0, mask((2, 10, 10, 10, 20, 32)))
    _, _, links, inside, *_ = by_kind(seen, (1, mask((2, 10, 16, 10, 30, 40))), lattice=SPACE)
    assert (links, inside) == (set(), {(0, 1)})
    _, _, links, inside, *_ = by_kind(seen, (1, mask((2, 11, 16, 10, 30, 40))), lattice=SPACE)
    assert (links, inside) == ({(0, 1)}, set())
    _, _, links, inside, *_ = by_kind((0, mask((10, 40, 20, 64))), (1, mask((10, 40, 30, 90))), lattice=LATTICE)
    assert (links, inside) == ({(0, 1)}, set()), "not in a plane"


UPPER, LOWER, BOTH = (0, mask((10, 44, 26, 64))), (0, mask((26, 44, 32, 64))), mask((10, 44, 32, 68))
"""Columns 32..64 are what window 1 sees, too: there `BOTH`, which it says, is exactly these two."""


def test_in_a_plane_a_cut_piece_stays_where_it_and_its_neighbour_are_all_that_its_window_saw() -> None:
    """Also where something else of the other window lies below it, within the tolerance and larger."""
    assert everything(UPPER, LOWER, (1, BOTH)) == [{(0, 2)}, set(), set(), {(1, 2)}]
    below = (0, mask((32, 40, 60, 64))), (1, mask((32, 40, 60, 92)))
    assert everything(UPPER, LOWER, (1, BOTH), *below) == [{(0, 2), (3, 4)}, set(), set(), {(1, 2)}]
    assert grouped(UPPER, LOWER, (1, BOTH)).count == 2


@pytest.mark.parametrize("pixel", [(9, 60), (31, 50)])
def test_in_a_plane_a_cut_piece_goes_where_a_pixel_of_the_other_view_is_left_over(pixel: tuple[int, int]) -> None:
    """Outlines move: a model splits there, or sees two. Above the first one, or one that the piece lacks."""
    y, x = pixel
    more = np.zeros((23, 24), bool)
    more[1:], more[y - 9, x - 44] = True, True
    lower = LOWER[1].bits[0].copy()
    lower[max(0, y - 26), x - 44] = y < 26
    *_, covers, apart = everything(
        UPPER, (0, Mask((0, 26, 44), lower[None], 0, 1.0)), (1, Mask((0, 9, 44), more[None], 0, 1.0))
    )
    assert (covers, apart) == ({(1, 2)}, {(1, 2)})


def test_in_a_plane_a_cut_piece_goes_where_a_pixel_of_it_is_not_in_the_other_view() -> None:
    less = BOTH.bits.copy()
    less[0, 20, 5] = False
    *_, covers, apart = everything(UPPER, LOWER, (1, Mask(BOTH.start, less, 0, 1.0)))
    assert (covers, apart) == ({(1, 2)}, {(1, 2)})


def test_in_a_plane_a_cut_piece_that_only_comes_near_its_neighbour_is_a_part_or_goes() -> None:
    """A row is between them, as between parts of one object. The other view lacks it, too, or all but a pixel."""
    upper, lower = (0, mask((10, 44, 26, 64))), (0, mask((27, 44, 33, 64)))
    both = [(10, 44, 26, 64), (27, 44, 33, 64), (10, 64, 33, 68)]
    assert by_kind(upper, lower, (1, mask(*both)), lattice=LATTICE)[1] == {(0, 2), (1, 2)}
    assert grouped(upper, lower, (1, mask(*both))).count == 1
    links, parts, covers, apart = everything(upper, lower, (1, mask(*both, (26, 50, 27, 51))))
    assert (links, parts, covers, apart) == ({(0, 2)}, set(), {(1, 2)}, {(1, 2)})


FORK = mask((10, 40, 20, 90), (40, 50, 50, 90), (10, 80, 50, 90))
"""Window 0 sees its arms, both cut; the stem lies right of it."""


def test_parts_of_which_two_windows_saw_the_same_pixels_are_one_object() -> None:
    arms = (0, mask((10, 40, 20, 64))), (0, mask((40, 50, 50, 64)))
    exact, same, links, _, parts, _, apart, *_ = by_kind(*arms, (1, FORK), lattice=LATTICE)
    assert same == {(0, 2), (1, 2)} and not (exact | links | parts | apart)
    groups = grouped(*arms, (1, FORK))
    assert groups.group.tolist() == [0, 0, 0]
    assert groups.min_overlap.tolist() == [1.0], "together they are the same"


def test_so_are_those_of_which_each_window_says_several() -> None:
    """Three rows of a snake: window 0 sees it turn at the left, window 1 at the right."""
    above, below = mask((10, 10, 14, 64), (20, 10, 24, 64), (10, 10, 24, 14)), mask((30, 20, 34, 64))
    first, second = mask((10, 32, 14, 90)), mask((20, 32, 24, 90), (30, 32, 34, 90), (20, 86, 34, 90))
    said = (0, above), (0, below), (1, first), (1, second)
    assert by_kind(*said, lattice=LATTICE)[1] == {(0, 2), (0, 3), (1, 3)}
    assert grouped(*said).count == 1


def test_a_link_of_the_same_pixels_is_exact_and_one_of_a_pixel_less_is_not() -> None:
    seen = (0, mask((10, 40, 20, 64)))
    assert by_kind(seen, (1, mask((10, 40, 20, 90))), lattice=LATTICE)[0] == {(0, 1)}
    assert by_kind(seen, (1, mask((10, 40, 20, 90), (20, 63, 21, 64))), lattice=LATTICE)[0] == set()
    assert by_kind(seen, (1, mask((10, 41, 20, 90), (11, 40, 20, 41))), lattice=LATTICE)[0] == set()


@pytest.mark.parametrize(("row", "column", "one"), [(20, 45, False), (20, 46, True), (21, 45, True)])
def test_parts_touch_by_corners_only(row: int, column: int, one: bool) -> None:
    """The upper one ends before row 20, where it reaches the border, and before column 46 above it."""
    upper, lower = mask((10, 40, 19, 64), (19, 40, 20, 46)), mask((row, column, 30, 64))
    both = mask((10, 40, 19, 90), (19, 40, 20, 46), (row, column, 30, 90), (10, 80, 30, 90))
    assert (by_kind((0, upper), (0, lower), (1, both), lattice=LATTICE)[1] == {(0, 2), (1, 2)}) is one


def test_of_several_parts_a_border_cuts_each() -> None:
    """What ends within the window is all there: the other one has two things in a mask."""
    said = (0, mask((10, 40, 20, 64))), (0, mask((40, 50, 50, 63)))
    assert not by_kind(*said, (1, mask((10, 40, 20, 90), (40, 50, 50, 63))), lattice=LATTICE)[1]


def test_in_space_what_looks_like_parts_may_be_glued() -> None:
    """Arms of a fork, or two that only window 1 sees touch."""
    arms = (0, mask((2, 10, 10, 10, 20, 32))), (0, mask((2, 30, 10, 10, 40, 32)))
    fork = mask((2, 10, 16, 10, 20, 40), (2, 30, 16, 10, 40, 40), (2, 10, 36, 10, 40, 40))
    exact, same, *_ = by_kind(*arms, (1, fork), lattice=SPACE)
    assert (exact, same) == (set(), set())


def test_in_a_plane_a_whole_piece_stays_as_a_cut_one_does() -> None:
    """Window 1 says another object below it, within the tolerance, of which window 0 sees most and says nothing."""
    upper, lower, both = (0, mask((10, 44, 26, 63))), (0, mask((26, 44, 31, 63))), (1, mask((10, 44, 31, 63)))
    below = (1, mask((32, 40, 60, 92)))
    assert everything(upper, lower, both, below) == [{(0, 2)}, set(), set(), {(1, 2)}]


@pytest.mark.parametrize(("rows", "stays"), [(3, False), (4, False), (5, True), (6, True)])
def test_in_a_plane_a_cut_piece_goes_where_all_of_it_is_near_its_neighbour(rows: int, stays: bool) -> None:
    """Four rows are: more than nine tenths of four, less of five."""
    lower, both = (0, mask((26, 44, 26 + rows, 64))), (1, mask((10, 44, 26 + rows, 68)))
    assert related(UPPER, lower, both) == ({(0, 2)}, set() if stays else {(1, 2)})


@pytest.mark.parametrize(("rows", "stays"), [(1, True), (2, True), (3, False)])
def test_in_a_plane_a_thin_cut_piece_stays_where_the_link_is_nearly_exact(rows: int, stays: bool) -> None:
    """40 rows of 41 and 42 are more than 0.95 of them, of 43 less."""
    upper, lower = (0, mask((0, 44, 40, 64))), (0, mask((40, 44, 40 + rows, 64)))
    assert related(upper, lower, (1, mask((0, 44, 40 + rows, 68)))) == ({(0, 2)}, set() if stays else {(1, 2)})


def test_in_a_plane_each_window_must_see_the_sum_itself() -> None:
    """Window 1 glues two; in what window 2 sees of them there is a pixel more."""
    both = (1, mask((10, 44, 32, 84), (32, 70, 33, 71)))
    right = (2, mask((10, 64, 26, 84))), (2, mask((26, 64, 32, 84)))
    *_, covers, apart = everything(UPPER, LOWER, both, *right)
    assert (covers, apart) == ({(2, 4)}, {(1, 2), (4, 2)})


def test_in_a_plane_what_crosses_the_other_view_leaves_no_sum() -> None:
    """Masks of window 0 overlap: a third one lies in it with some pixels, though the two alone are all of it."""
    across = (0, mask((20, 40, 22, 50)))
    *_, covers, apart = everything(UPPER, LOWER, (1, BOTH), across)
    assert ((1, 2) in covers, (1, 2) in apart) == (True, True)


def test_in_a_plane_only_the_piece_that_touches_the_neighbour_stays() -> None:
    """The other one comes near it, above, and may be a part of it."""
    upper = (0, mask((2, 44, 8, 64)))
    glued = (1, mask((2, 44, 8, 64), (10, 44, 32, 64), (2, 64, 32, 68)))
    *_, covers, apart = everything(UPPER, LOWER, upper, glued)
    assert (covers, apart) == ({(2, 3)}, {(1, 3), (2, 3)})


def test_in_a_plane_a_cut_piece_goes_where_its_window_saw_less() -> None:
    """But it is seen that what covers both may be two objects."""
    upper, lower, glued = mask((10, 44, 20, 64)), mask((20, 60, 32, 64)), mask((10, 44, 32, 68))
    assert everything((0, upper), (0, lower), (1, glued)) == [{(0, 2)}, set(), {(1, 2)}, {(1, 2)}]


@pytest.mark.parametrize(("first", "is_sliver"), [(8, False), (9, True)])
def test_in_space_there_is_no_tolerance_where_outlines_stand_still(first: int, is_sliver: bool) -> None:
    """Windows agree on the neighbour, 8 rows, or 7 of 8; window 0 alone saw two cut rows below it."""
    seen, whole = (0, mask((2, first, 10, 10, 16, 32))), (1, mask((2, 8, 16, 10, 16, 40)))
    crumb = (0, mask((2, 17, 26, 10, 19, 32)))
    assert related(seen, crumb, whole, lattice=SPACE) == ({(0, 2)}, {(1, 2)} if is_sliver else set())


def test_in_a_plane_crumbs_beside_what_stands_still_are_slivers() -> None:
    seen, whole, crumb = (0, mask((10, 44, 20, 64))), (1, mask((10, 44, 20, 92))), (0, mask((21, 58, 23, 64)))
    assert related(seen, crumb, whole) == ({(0, 2)}, {(1, 2)})


def test_windows_that_do_not_overlap_say_nothing_of_each_other() -> None:
    """Window 2 begins where window 0 ends. Tiles of one window each would never compare them."""
    assert related((0, mask((10, 60, 30, 64))), (2, mask((10, 64, 30, 92)))) == (set(), set())


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_what_is_said_of_two_windows_depends_on_their_views_alone(seed: int, flat: bool) -> None:
    """All windows at once, or two at a time."""
    rng = np.random.default_rng(seed)
    lattice = lattice_in_plane(rng, 3) if flat else lattice_in_space(rng, 2)
    case = soup(rng, lattice)
    said = [(lattice.flat(index), m) for index in windows_of(lattice) for m in case.said[index]]
    if not said:
        return
    found = by_kind(*said, lattice=lattice)
    window = [w for w, _ in said]
    for a in sorted(set(window)):
        for b in sorted(set(window)):
            if a >= b:
                continue
            rows = [k for k, w in enumerate(window) if w in (a, b)]
            inside = by_kind(*(said[k] for k in rows), lattice=lattice)
            for everywhere, here in zip(found, inside, strict=True):
                assert _between(everywhere, window, {a, b}) == {(rows[i], rows[j]) for i, j in here}


def _between(pairs: set[tuple[int, int]], window: Sequence[int], both: set[int]) -> set[tuple[int, int]]:
    return {(i, j) for i, j in pairs if {window[i], window[j]} == both}
