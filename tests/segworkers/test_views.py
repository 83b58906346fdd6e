"""What two windows' views of an object have in common. Windows of 64 pixels with 32 in common: bands of 8 do not count.

window 0: x 0..64      window 1: x 32..96      strip: 32..64      trusted: 40..56      cells meet at 48
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segworkers.assembly import assemble
from segworkers.lattice import Lattice
from segworkers.linking import Groups, ViewFacts, group_views
from segworkers.objects import Objects
from segworkers.runs import RunTable, mask_runs
from segworkers.slivers import relations
from segworkers.views import Pairs, Views, compare, is_marginal, neighbours, without_duplicates

LATTICE = Lattice((1, 64, 64), (0, 32, 32), (1, 64, 160))
Rectangle = tuple[int, int, int, int]


def views(*rows: tuple[int, Rectangle], label: int = 0, scores: list[float] | None = None) -> Views:
    """(window, (y0, x0, y1, x1)) rows as views; the rank is the position."""
    runs: list[NDArray[np.int32]] = []
    for _, (y0, x0, y1, x1) in rows:
        runs.append(mask_runs(np.ones((1, y1 - y0, x1 - x0), bool), (0, y0, x0)))
    masks = RunTable(np.concatenate(runs), np.repeat(np.arange(len(rows)), [len(r) for r in runs]))
    window = np.array([window for window, _ in rows])
    n = len(rows)
    return Views(
        window,
        np.arange(n),
        np.full(n, label),
        np.array(scores or [0.5] * n),
        np.zeros(n, bool),
        is_marginal(masks, window, LATTICE),
        masks,
    )


def pair(found: Views) -> Pairs:
    """The one pair of two views of different windows."""
    pairs, *_ = compare(found, LATTICE, *neighbours(found, LATTICE, found.window))
    assert len(pairs) == 1
    return pairs


def assembled(found: Views) -> Objects:
    """The views as one object."""
    return assemble(found, Groups(np.zeros(len(found), np.int64), np.array([1.0])), LATTICE)


def extent(objects: Objects) -> set[tuple[int, int]]:
    """Pixels (y, x) of all masks."""
    return {(y, int(x)) for _, x, y0, y1 in objects.masks.runs for y in range(y0, y1)}


def rectangle(y0: int, x0: int, y1: int, x1: int) -> set[tuple[int, int]]:
    return {(y, x) for y in range(y0, y1) for x in range(x0, x1)}


def test_what_lies_in_a_band_along_a_border_is_not_compared() -> None:
    """Window 0 lets the object end short of its border, window 1 begins it late: in the trusted part they agree."""
    assert pair(views((0, (10, 20, 20, 57)), (1, (10, 39, 20, 90)))).overlap.tolist() == [1.0]


def test_disagreement_in_the_trusted_part_counts() -> None:
    assert pair(views((0, (10, 20, 20, 48)), (1, (10, 40, 20, 90)))).overlap.tolist() == [0.5]


def test_an_object_that_lies_in_a_band_only_is_compared_there() -> None:
    found = pair(views((0, (10, 34, 20, 38)), (1, (10, 34, 20, 36))))
    assert found.overlap.tolist() == [0.5]
    assert found.shared.tolist() == [20]


def test_views_of_other_classes_or_of_one_window_are_no_pairs() -> None:
    both = views((0, (10, 20, 20, 57)), (0, (10, 20, 20, 57)))
    assert len(compare(both, LATTICE, *neighbours(both, LATTICE, both.window))[0]) == 0
    two = views((0, (10, 20, 20, 57)), (1, (10, 39, 20, 90)))
    other = replace(two, label=np.array([0, 1]))
    assert len(compare(other, LATTICE, *neighbours(other, LATTICE, other.window))[0]) == 0


def test_of_two_views_of_one_thing_in_one_window_the_better_scored_stays() -> None:
    found = without_duplicates(views((0, (10, 10, 20, 20)), (0, (10, 10, 20, 21)), scores=[0.4, 0.6]))
    assert found.rank.tolist() == [1]
    apart = views((0, (10, 10, 20, 20)), (0, (10, 15, 20, 25)))
    assert len(without_duplicates(apart)) == 2
    windows = views((0, (10, 40, 20, 50)), (1, (10, 40, 20, 50)))
    assert len(without_duplicates(windows)) == 2, "views of different windows are not duplicates but links"


def test_a_better_score_counts_for_more_than_pixels_and_place() -> None:
    found = without_duplicates(views((0, (10, 10, 20, 21)), (0, (10, 10, 20, 20)), scores=[0.4, 0.6]))
    assert found.rank.tolist() == [1]


def test_equal_scores_leave_the_larger_duplicate_and_equal_sizes_the_first() -> None:
    larger = without_duplicates(views((0, (10, 10, 20, 20)), (0, (10, 10, 20, 21))))
    assert larger.rank.tolist() == [1]
    first = without_duplicates(views((0, (10, 10, 20, 20)), (0, (10, 11, 20, 21))))
    assert first.rank.tolist() == [0]


def test_overlap_at_the_limit_is_no_duplicate() -> None:
    """70 of 100 pixels in common is 0.7 exactly: not above it. 71 of 100 is."""
    assert len(without_duplicates(views((0, (0, 0, 10, 10)), (0, (0, 0, 10, 7))))) == 2
    assert len(without_duplicates(views((0, (0, 0, 100, 1)), (0, (0, 0, 71, 1))))) == 1


def test_what_a_dropped_duplicate_covers_stays() -> None:
    """A row of three, each like the next one: the second goes for the first, so nothing speaks against the third."""
    row = views((0, (0, 0, 10, 20)), (0, (0, 3, 10, 23)), (0, (0, 6, 10, 26)), scores=[0.9, 0.8, 0.7])
    assert without_duplicates(row).rank.tolist() == [0, 2]


def test_one_thing_of_two_classes_in_one_window_is_two_objects() -> None:
    two = views((0, (10, 10, 20, 20)), (0, (10, 10, 20, 20)))
    assert len(without_duplicates(replace(two, label=np.array([0, 1])))) == 2


def test_a_view_is_marginal_where_less_than_half_of_it_lies_in_the_cell_of_its_window() -> None:
    """Cells meet at 48; window 0 has authority left of it."""
    rows = [(0, (10, 30, 20, 48)), (0, (10, 40, 20, 56)), (0, (10, 40, 20, 57)), (0, (10, 50, 20, 60))]
    assert views(*rows).marginal.tolist() == [False, False, True, True]
    assert views((1, (10, 34, 20, 48)), (1, (10, 50, 20, 70)), (1, (10, 90, 20, 96))).marginal.tolist() == [
        True, False, True,
    ]  # fmt: skip


def test_taking_views_keeps_what_is_known_of_each() -> None:
    three = views((0, (10, 30, 20, 48)), (0, (10, 50, 20, 60)), (1, (0, 50, 5, 60)), scores=[0.1, 0.2, 0.3])
    taken = three.take(np.array([2, 1]))
    assert taken.window.tolist() == [1, 0]
    assert taken.rank.tolist() == [2, 1]
    assert taken.score.tolist() == [0.3, 0.2]
    assert taken.marginal.tolist() == [False, True]
    assert taken.masks.pixel_counts(2).tolist() == [50, 100]


def test_every_cell_takes_the_view_of_its_own_window() -> None:
    """The windows disagree by a pixel on every side; cells meet at x = 48."""
    mask = extent(assembled(views((0, (10, 30, 20, 60)), (1, (11, 33, 19, 59)))))
    assert mask == rectangle(10, 30, 20, 48) | rectangle(11, 48, 19, 59)


def test_where_the_owner_saw_nothing_the_view_farthest_from_its_border_counts() -> None:
    """Cell 1 is 48..80. Window 1 missed the object; 0 ends at 64, 2 begins at 64: they meet in no pixel of it."""
    lattice = Lattice((1, 64, 64), (0, 32, 32), (1, 160, 64))
    # Along y the same numbers: both see a part of cell 1, window 2's lies deeper inside its window.
    found = Views(
        np.array([0, 2]),
        np.array([0, 1]),
        np.zeros(2, np.int64),
        np.ones(2),
        np.zeros(2, bool),
        np.zeros(2, bool),
        RunTable(
            np.concatenate(
                [mask_runs(np.ones((1, 4, 5), bool), (0, 59, 10)), mask_runs(np.ones((1, 3, 5), bool), (0, 75, 10))]
            ),
            np.repeat([0, 1], 5),
        ),
    )
    whole = assemble(found, Groups(np.zeros(2, np.int64), np.array([1.0])), lattice)
    assert extent(whole) == rectangle(75, 10, 78, 15)


def test_an_object_that_every_owner_misses_keeps_its_largest_view() -> None:
    """Window 0 sees it right of 48 only, in cell 1; window 1 left of 48 only, in cell 0."""
    found = views((0, (10, 48, 20, 52)), (1, (10, 43, 20, 48)))
    assert extent(assembled(found)) == rectangle(10, 43, 20, 48)


def test_of_equally_large_views_that_every_owner_misses_the_earlier_windows_counts() -> None:
    for found in (
        views((0, (10, 48, 20, 52)), (1, (10, 44, 20, 48))),
        views((1, (10, 44, 20, 48)), (0, (10, 48, 20, 52))),
    ):
        assert extent(assembled(found)) == rectangle(10, 48, 20, 52)


def test_of_equally_deep_views_the_earlier_windows_counts() -> None:
    """Both lie 10 pixels from x = 64, where window 0 ends and window 2 begins; the cell of window 1 is 48..80."""
    for found in (
        views((0, (10, 52, 20, 56)), (2, (10, 72, 20, 76))),
        views((2, (10, 72, 20, 76)), (0, (10, 52, 20, 56))),
    ):
        assert extent(assembled(found)) == rectangle(10, 52, 20, 56)


def test_the_object_takes_the_best_score_and_counts_its_views() -> None:
    for scores in ([0.3, 0.8], [0.8, 0.3]):
        whole = assembled(views((0, (10, 30, 20, 60)), (1, (10, 33, 20, 60)), scores=scores))
        assert whole.score.tolist() == [0.8]
    assert whole.n_views.tolist() == [2]
    assert whole.assembled.tolist() == [False], "both views are uncut"


def test_a_long_object_is_linked_and_assembled_over_three_windows() -> None:
    found = views((0, (10, 5, 20, 64)), (1, (10, 32, 20, 96)), (2, (10, 64, 20, 128)))
    pixels = found.masks.pixel_counts(3)
    pairs, kind = relations(found, pixels, LATTICE, found.window)
    groups = group_views(ViewFacts(found.window, found.rank, pixels, found.marginal, found.cut), pairs, kind)
    assert groups.count == 1
    assert extent(assemble(found, groups, LATTICE)) == rectangle(10, 5, 20, 128)
