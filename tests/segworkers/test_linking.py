"""Which views are one object: the decisions that noisy models force."""

from __future__ import annotations

from functools import reduce

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segworkers.linking import (
    APART,
    COVER,
    EXACT,
    HELD,
    INSIDE,
    LINK,
    MIN_OVERLAP,
    PART,
    PROVEN,
    SAME,
    TOUCH,
    Groups,
    ViewFacts,
    group_views,
    links,
)
from segworkers.views import Pairs


def facts(
    windows: list[int],
    pixels: list[int] | None = None,
    marginal: list[bool] | None = None,
    cut: list[bool] | None = None,
) -> ViewFacts:
    """Views named by their position; the rank is the position too."""
    n = len(windows)
    return ViewFacts(
        np.array(windows),
        np.arange(n),
        np.array(pixels or [100] * n),
        np.array(marginal or [False] * n),
        np.array(cut or [True] * n),
    )


def pairs(*rows: tuple[int, int, float, int]) -> Pairs:
    """(i, j, overlap, shared) rows."""
    i, j, overlap, shared = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Pairs(np.array(i, np.int64), np.array(j, np.int64), np.array(overlap, float), np.array(shared, np.int64))


NONE = pairs()


def grouped(
    of: ViewFacts,
    linked: Pairs,
    covers: Pairs = NONE,
    parts: Pairs = NONE,
    apart: Pairs = NONE,
    inside: Pairs = NONE,
    proven: Pairs = NONE,
    held: Pairs = NONE,
    exact: Pairs = NONE,
    alike: Pairs = NONE,
    touch: Pairs = NONE,
) -> Groups:
    """What becomes of the views."""
    found = {LINK: linked, PART: parts, COVER: covers, APART: apart, INSIDE: inside, PROVEN: proven, HELD: held}
    found |= {EXACT: exact, SAME: alike, TOUCH: touch}
    kind = np.repeat(np.array(list(found), np.int8), [len(each) for each in found.values()])
    return group_views(of, reduce(Pairs.join, found.values()), kind)


def same(groups: Groups, *members: int) -> bool:
    """Whether the members are one object."""
    return len({int(groups.group[m]) for m in members}) == 1 and int(groups.group[members[0]]) >= 0


def test_two_windows_are_matched_one_to_one_the_strongest_first() -> None:
    found = pairs((0, 2, 0.9, 90), (1, 2, 0.4, 40), (1, 3, 0.3, 30))
    assert links(found, facts([0, 0, 1, 1])).tolist() == [True, False, True]


def test_matching_is_one_to_one_in_whatever_order_views_stand() -> None:
    """0 and 2 are of one window, and both are the view 1's best."""
    found = pairs((0, 1, 0.4, 40), (1, 2, 0.9, 90))
    assert links(found, facts([0, 1, 0])).tolist() == [False, True]
    assert links(found, facts([1, 0, 1])).tolist() == [False, True]


def test_equal_overlaps_are_all_matched_in_the_order_of_the_views() -> None:
    """Two objects that look the same where the windows meet: each view has one partner, none is left over."""
    found = pairs((0, 2, 1.0, 50), (0, 3, 1.0, 50), (1, 2, 1.0, 50), (1, 3, 1.0, 50))
    assert links(found, facts([0, 0, 1, 1])).tolist() == [True, False, False, True]
    backwards = found.take(np.array([3, 2, 1, 0]))
    assert links(backwards, facts([0, 0, 1, 1])).tolist() == [True, False, False, True]


def test_of_equal_overlaps_the_one_with_more_pixels_is_linked() -> None:
    found = pairs((0, 2, 0.5, 40), (1, 2, 0.5, 60))
    assert links(found, facts([0, 0, 1])).tolist() == [False, True]
    assert links(pairs((0, 2, 0.6, 40), (1, 2, 0.5, 60)), facts([0, 0, 1])).tolist() == [True, False], "overlap first"


def test_a_view_links_to_one_view_of_every_other_window() -> None:
    found = pairs((0, 1, 0.5, 50), (0, 2, 0.9, 90))
    assert links(found, facts([0, 1, 2])).all()


def test_views_that_barely_overlap_are_not_linked() -> None:
    assert not links(pairs((0, 1, MIN_OVERLAP / 2, 5)), facts([0, 1])).any()


def test_links_reach_over_any_number_of_windows() -> None:
    chain = pairs(*((k, k + 1, 0.8, 80) for k in range(9)))
    groups = grouped(facts(list(range(10))), chain, NONE)
    assert groups.count == 1
    assert groups.min_overlap.tolist() == [0.8]


def test_a_chain_does_not_glue_two_views_of_one_window() -> None:
    """0 and 3 are neighbours in window 0; a weak link in the chain between them gives way, however many its pixels."""
    chain = pairs((0, 1, 0.9, 90), (1, 2, 0.3, 300), (2, 3, 0.8, 80))
    groups = grouped(facts([0, 1, 2, 0]), chain, NONE)
    assert same(groups, 0, 1)
    assert same(groups, 2, 3)
    assert groups.count == 2


def test_a_chain_of_the_same_pixels_shows_that_two_views_of_one_window_are_parts() -> None:
    """Unless they touch, as parts do not, or one link is inexact, or a view was seen as two."""
    windows, chain = facts([0, 1, 2, 0, 1]), pairs((0, 1, 1.0, 90), (1, 2, 1.0, 80), (2, 3, 1.0, 70))
    assert grouped(windows, NONE, exact=chain).group.tolist() == [0, 0, 0, 0, 1]
    assert grouped(windows, NONE, exact=chain, touch=pairs((0, 3, 0, 0))).count == 3
    assert grouped(windows, NONE, exact=chain, touch=pairs((1, 4, 0, 0))).count == 2, "these two are not together"
    assert grouped(windows, chain.take(np.array([1])), exact=chain.take(np.array([0, 2]))).count == 3
    assert grouped(windows, NONE, exact=chain, apart=pairs((4, 1, 0.9, 5))).count == 3


def test_views_of_the_same_pixels_together_take_no_seat() -> None:
    """0 and 1 are parts of what 2 is; a weak link brings 3, of their window, which may be another thing."""
    parts, weak = pairs((0, 2, 1.0, 50), (1, 2, 1.0, 50)), pairs((2, 4, 0.9, 60), (3, 4, 0.3, 20))
    groups = grouped(facts([0, 0, 1, 0, 2]), weak, alike=parts)
    assert same(groups, 0, 1, 2, 4)
    assert groups.min_overlap[groups.group[0]] == 0.3, "so it is one object, and says on what it rests"


def test_a_refused_link_does_not_undo_those_of_other_objects() -> None:
    """Only the set in which two views of one window met is taken apart; the other keeps its weak link."""
    chain = pairs((0, 1, 0.9, 90), (1, 2, 0.3, 30), (2, 3, 0.8, 80), (4, 5, 0.1, 10))
    groups = grouped(facts([0, 1, 2, 0, 0, 1]), chain, NONE)
    assert same(groups, 4, 5)
    assert groups.count == 3
    assert sorted(groups.min_overlap.tolist()) == [0.1, 0.8, 0.9]


def test_of_equal_links_in_conflict_the_one_with_more_pixels_stays_then_the_earlier() -> None:
    """0 and 3 are both of window 0: not all of the three links can stay."""
    more = grouped(facts([0, 1, 2, 0]), pairs((0, 1, 0.5, 40), (1, 2, 0.5, 60), (2, 3, 0.5, 50)), NONE)
    assert same(more, 1, 2, 3)
    first = grouped(facts([0, 1, 2, 0]), pairs((0, 1, 0.5, 50), (1, 2, 0.5, 50), (2, 3, 0.5, 50)), NONE)
    assert same(first, 0, 1)
    assert same(first, 2, 3)


ONE = pairs((0, 1, 0.0, 0))


def test_a_marginal_leftover_that_a_larger_view_covers_goes() -> None:
    groups = grouped(facts([0, 1], [50, 400], [True, False]), NONE, ONE)
    assert groups.group.tolist() == [-1, 0]


def test_a_leftover_in_its_own_cell_stays_whatever_covers_it() -> None:
    assert grouped(facts([0, 1], [50, 400], [False, False]), NONE, ONE).count == 2


def test_a_marginal_view_that_another_window_confirmed_stays() -> None:
    groups = grouped(facts([0, 1, 2], [50, 400, 50], [True, False, True]), pairs((0, 2, 0.9, 45)), ONE)
    assert same(groups, 0, 2)
    assert groups.count == 2


def test_of_two_leftovers_that_cover_each_other_the_earlier_stays() -> None:
    groups = grouped(facts([0, 1], [100, 100], [True, True]), NONE, ONE)
    assert groups.group.tolist() == [0, -1]


def test_what_a_dropped_leftover_covers_stays() -> None:
    """2 covers 1 and 1 covers 0: 1 goes, so nothing that stays covers 0."""
    covers = pairs((0, 1, 0.0, 0), (1, 2, 0.0, 0))
    groups = grouped(facts([0, 1, 2], [50, 100, 200], [True, True, True]), NONE, covers)
    assert groups.group.tolist() == [0, -1, 1]


def test_of_equals_the_earlier_ones_are_settled_first() -> None:
    """0 covers 1 and 1 covers 2, all of a size: 1 goes, and with it what speaks against 2."""
    covers = pairs((1, 2, 0.0, 0), (0, 1, 0.0, 0))
    groups = grouped(facts([0, 1, 2], [100, 100, 100], [True, True, True]), NONE, covers)
    assert groups.group.tolist() == [0, -1, 1]


def test_a_part_joins_what_it_is_a_part_of_though_that_has_a_view_of_the_window() -> None:
    """1 is of window 0 as 0 is. A second link between their windows would be refused; a part is not."""
    of = facts([0, 0, 1])
    assert grouped(of, pairs((0, 2, 0.9, 90)), parts=pairs((1, 2, 0.8, 50))).count == 1
    assert grouped(of, pairs((0, 2, 0.9, 90), (1, 2, 0.8, 50))).count == 2


def test_parts_do_not_bring_two_views_of_a_window_together_that_are_none() -> None:
    """1 is a part of 2 and of 3, both of window 1: of the two it joins the one that covers more of it."""
    groups = grouped(facts([0, 0, 1, 1]), NONE, parts=pairs((1, 2, 0.6, 90), (1, 3, 0.8, 50)))
    assert same(groups, 1, 3)
    assert groups.count == 3


def test_a_view_that_another_window_saw_as_two_joins_one_of_them() -> None:
    """Window 0 saw 0 and 1 side by side, window 1 says 2 for both, and window 2 saw 3, which is 1 again."""
    of, linked = facts([0, 0, 1, 2]), pairs((0, 2, 1.0, 60), (2, 3, 0.95, 50), (1, 3, 0.9, 40))
    assert same(grouped(of, linked), 0, 2, 3), "the strongest links glue the two, and 1 is left alone"
    groups = grouped(of, linked, apart=pairs((1, 2, 1.0, 40)))
    assert same(groups, 0, 2)
    assert same(groups, 1, 3)
    assert groups.count == 2


def test_a_view_that_was_seen_as_two_is_still_linked_where_nothing_speaks_against_it() -> None:
    groups = grouped(facts([0, 0, 1, 2]), pairs((0, 2, 1.0, 60), (2, 3, 0.1, 5)), apart=pairs((1, 2, 1.0, 40)))
    assert same(groups, 0, 2, 3)


def test_a_view_that_was_seen_as_two_has_no_parts() -> None:
    """Window 0 saw 0 and 1, and 3 beside 0; window 1 says 2 for all of it. 1 may be of either, and stays by itself."""
    of, linked, part = facts([0, 0, 1, 0]), pairs((0, 2, 0.8, 90)), pairs((1, 2, 1.0, 50))
    assert same(grouped(of, linked, parts=part), 0, 1, 2)
    assert same(grouped(of, linked, parts=part, apart=pairs((3, 2, 1.0, 40))), 0, 1, 2), "3 may be a part as well"
    groups = grouped(of, linked, parts=part, proven=pairs((3, 2, 1.0, 40)))
    assert same(groups, 0, 2)
    assert groups.count == 3


CHAIN = pairs((0, 1, 1.0, 90), (1, 2, 1.0, 80))
WITNESS = pairs((3, 1, 1.0, 40))
"""Window 2 saw 3 beside 2, where window 1 says 1 for both."""


def test_a_view_that_was_seen_as_two_does_not_bring_a_whole_object_and_another_together() -> None:
    """Window 0 shows all of 0, so it does not go on in 1; windows 0 and 2 have nothing in common."""
    windows, cut = [0, 1, 2, 2], [False, True, True, True]
    groups = grouped(facts(windows, cut=cut), NONE, inside=CHAIN, apart=WITNESS)
    assert same(groups, 0, 1)
    assert groups.count == 3
    assert same(grouped(facts(windows, cut=cut), NONE, inside=CHAIN), 0, 1, 2), "nobody saw two"
    assert same(grouped(facts(windows), NONE, inside=CHAIN, apart=WITNESS), 0, 1, 2), "0 goes on somewhere"
    assert same(grouped(facts(windows, cut=cut), CHAIN, apart=WITNESS), 0, 1, 2), "outlines move: 0 may be cut too"


def test_what_is_whole_is_not_brought_to_others_either_way_round() -> None:
    """The stronger link is followed first: here it leads to what is cut."""
    chain = pairs((1, 2, 1.0, 90), (0, 1, 1.0, 80))
    groups = grouped(facts([0, 1, 2, 2], cut=[False, True, True, True]), NONE, inside=chain, apart=WITNESS)
    assert same(groups, 1, 2)
    assert groups.count == 3


def test_what_other_windows_link_to_a_whole_view_stays_with_it() -> None:
    """4 of window 3 is linked to 0 itself."""
    of = facts([0, 1, 2, 2, 3], cut=[False, True, True, True, True])
    groups = grouped(of, NONE, inside=CHAIN.join(pairs((0, 4, 1.0, 70), (1, 4, 1.0, 60))), apart=WITNESS)
    assert same(groups, 0, 1, 4)
    assert groups.count == 3


GLUING = pairs((0, 4, 1.0, 90), (3, 4, 0.8, 70))
"""Window 2 says 4 for what window 0 shows as 0 and window 1 as 3."""


def test_one_of_two_is_together_with_no_other_view_of_the_window_that_says_them_as_one() -> None:
    """Window 1 says 1 for 0 and 2, which window 0 saw side by side, and 3 beside it: 3 is neither of them."""
    of, linked = facts([0, 1, 0, 1, 2]), pairs((1, 2, 0.9, 80))
    assert same(grouped(of, linked, inside=GLUING), 0, 3, 4), "nothing is known of 0 in window 1"
    assert same(grouped(of, linked, inside=GLUING, proven=pairs((0, 1, 1.0, 40))), 0, 3, 4), "0 may go on beside 1"
    groups = grouped(of, linked, inside=GLUING, held=pairs((0, 1, 1.0, 40)))
    assert same(groups, 0, 4)
    assert same(groups, 1, 2)
    assert groups.count == 3


def test_what_is_held_may_be_together_with_what_holds_it() -> None:
    groups = grouped(facts([0, 1, 0, 1, 2]), pairs((0, 1, 0.5, 50)), inside=GLUING, held=pairs((0, 1, 1.0, 40)))
    assert same(groups, 0, 1, 4)
    assert groups.count == 3


def test_a_view_is_held_in_each_window_by_another() -> None:
    """5 and 6 are of window 3; only 5 holds 0, and only 3, of another window, is free to be with it."""
    of, held = facts([0, 1, 0, 4, 2, 3, 3]), pairs((0, 1, 1.0, 40), (0, 5, 1.0, 30))
    linked = GLUING.join(pairs((4, 6, 0.7, 60)))
    assert same(grouped(of, NONE, inside=linked), 0, 3, 4, 6)
    groups = grouped(of, NONE, inside=linked, held=held)
    assert same(groups, 0, 3, 4)
    assert groups.count == 5


def test_a_view_of_two_that_keeps_a_place_is_still_alone_in_its_set() -> None:
    """It joins the whole object that its strongest link leads to, and then nothing else, held or not."""
    of = facts([0, 1, 2, 2, 3], cut=[False, True, True, True, True])
    groups = grouped(of, NONE, inside=CHAIN, apart=WITNESS, held=pairs((1, 4, 1.0, 40)))
    assert same(groups, 0, 1)
    assert groups.count == 4


def test_a_part_keeps_nobody_from_others() -> None:
    """1 is a part of 2, so another view of its window may be with them."""
    of, part, held = facts([0, 1, 2, 1, 2]), pairs((1, 2, 1.0, 80)), pairs((0, 1, 1.0, 40))
    assert same(grouped(of, NONE, inside=GLUING, parts=part, held=held), 0, 3, 4)


@given(st.integers(0, 2**32 - 1), st.integers(2, 25))
def test_groups_do_not_depend_on_the_order_of_views_or_pairs(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    windows = rng.integers(0, 5, n)
    i, j = np.triu_indices(n, 1)
    keep = (rng.random(len(i)) < 0.3) & (windows[i] != windows[j])
    i, j = i[keep], j[keep]
    kind = rng.choice(np.array([LINK, PART, COVER, APART, INSIDE, PROVEN, HELD], np.int8), len(i))
    one_of = np.isin(kind, (PART, APART, PROVEN, HELD))
    swap = one_of & (rng.random(len(i)) < 0.5)  # the part comes first
    i, j = np.where(swap, j, i), np.where(swap, i, j)
    held = np.flatnonzero(kind == HELD)
    _, first = np.unique(np.stack((i, windows[j]))[:, held], axis=1, return_index=True)
    kind[np.setdiff1d(held, held[first])] = APART  # in each window a view is held by one at most
    overlap, shared = rng.integers(1, 5, len(i)) / 4, rng.integers(1, 4, len(i))
    pixels, marginal, cut = rng.integers(50, 60, n), rng.random(n) < 0.5, rng.random(n) < 0.5
    plain = group_views(ViewFacts(windows, np.arange(n), pixels, marginal, cut), Pairs(i, j, overlap, shared), kind)
    place = rng.permutation(n)  # view v is now at place[v]
    back = np.argsort(place)
    order = rng.permutation(len(i))
    a, b = place[i], place[j]
    swap = ~one_of & (a > b)
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    shuffled = Pairs(a[order], b[order], overlap[order], shared[order])
    moved = ViewFacts(windows[back], back, pixels[back], marginal[back], cut[back])
    other = group_views(moved, shuffled, kind[order])

    def partition(group: np.ndarray) -> set[frozenset[int]]:
        return {frozenset(np.flatnonzero(group == g).tolist()) for g in np.unique(group[group >= 0])}

    assert partition(plain.group) == partition(other.group[place])
    assert set(np.flatnonzero(plain.group < 0)) == set(np.flatnonzero(other.group[place] < 0))
    for member in np.flatnonzero(plain.group >= 0):
        weakest = plain.min_overlap[plain.group[member]]
        np.testing.assert_equal(weakest, other.min_overlap[other.group[place][member]])
