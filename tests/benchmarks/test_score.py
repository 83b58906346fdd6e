"""The benchmark's score: cases counted by hand, and what holds for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.seams.cases import Mask, Outcome, World
from benchmarks.seams.score import Score, score


def world_of(truth: np.ndarray, label: Sequence[int] = ()) -> World:
    volume = truth.astype(np.int32).reshape((1, *truth.shape) if truth.ndim == 2 else truth.shape)
    count = int(volume.max(initial=0))
    return World("hand", volume, np.array([0, *(label or [0] * count)], np.int64))


def mask_of(where: np.ndarray) -> Mask:
    """The tight mask of a (z, y, x) or (y, x) boolean image."""
    volume = where.reshape((1, *where.shape) if where.ndim == 2 else where.shape)
    points = np.argwhere(volume)
    low, high = points.min(axis=0), points.max(axis=0) + 1
    z, y, x = (int(n) for n in low)
    return Mask((z, y, x), volume[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])


def outcome_of(masks: Sequence[Mask], label: Sequence[int] = ()) -> Outcome:
    return Outcome(list(masks), np.array(label or [0] * len(masks), np.int64), seconds=0.0)


def box(y: slice, x: slice, shape: tuple[int, int] = (20, 40)) -> np.ndarray:
    image = np.zeros(shape, bool)
    image[y, x] = True
    return image


ROWS = slice(5, 15)
A, B = box(ROWS, slice(2, 12)), box(ROWS, slice(20, 30))
TWO = world_of(A * 1 + B * 2)
PERFECT = Score(2, 2, 0.0, 0, 0, 0, 0, 0, 1.0, 1.0, 1.0, 0)


def hand(*found: np.ndarray, label: Sequence[int] = (), world: World = TWO) -> Score:
    return score(outcome_of([mask_of(where) for where in found], label), world)


def test_truth_itself_is_perfect() -> None:
    assert hand(A, B) == PERFECT
    assert hand(B, A) == PERFECT


def test_a_split_object_counts_its_pieces_less_one() -> None:
    # 40 and 60 of 100 pixels: the larger piece is a match of IoU 0.6.
    result = hand(box(ROWS, slice(2, 6)), box(ROWS, slice(6, 12)), B)
    assert result == replace(
        PERFECT, found_count=3, count_error=0.5, split=1, f1_50=2 * 2 / 5, f1_90=2 * 1 / 5, mean_iou=0.8
    )
    thirds = hand(box(ROWS, slice(2, 5)), box(ROWS, slice(5, 8)), box(ROWS, slice(8, 12)), B)
    assert (thirds.split, thirds.missed, thirds.false_positives, thirds.count_error) == (2, 0, 0, 1.0)


def test_a_fused_pair_counts_one() -> None:
    result = hand(A | B)
    assert (result.merged, result.missed, result.split, result.count_error) == (1, 0, 0, -0.5)
    # Half of the union is not more than half of it: no match.
    assert (result.f1_50, result.mean_iou) == (0.0, 0.0)


def test_half_of_a_true_object_belongs_together_and_less_does_not() -> None:
    # All of A and half of B (150 px, so half of B is a third of it); then a column less.
    assert hand(A | box(ROWS, slice(20, 25))) == replace(
        PERFECT, found_count=1, count_error=-0.5, merged=1, f1_50=2 / 3, f1_90=0.0, mean_iou=100 / 150
    )
    less = hand(A | box(ROWS, slice(20, 24)))
    assert (less.merged, less.missed) == (0, 1)


def test_a_piece_belongs_to_the_true_object_that_holds_more_than_half_of_it() -> None:
    # A fifth of A with as much background belongs to nothing; with a row less background it is a second piece.
    half, more = box(ROWS, slice(0, 4)), box(ROWS, slice(0, 4)) & ~box(slice(5, 6), slice(0, 2))
    assert (hand(A, B, half).false_positives, hand(A, B, half).duplicates) == (1, 0)
    assert (hand(A, B, more).false_positives, hand(A, B, more).duplicates) == (0, 1)


def test_fused_and_found_again_is_seen_though_the_count_is_right() -> None:
    result = hand(A | B, B)
    assert (result.count_error, result.merged, result.duplicates, result.split) == (0.0, 1, 1, 0)
    assert result.f1_50 == 2 * 1 / 4


def test_an_object_found_twice_counts_one_duplicate_and_one_match() -> None:
    result = hand(A, box(ROWS, slice(2, 11)), B)
    assert result == replace(PERFECT, found_count=3, count_error=0.5, duplicates=1, f1_50=4 / 5, f1_90=4 / 5)
    assert hand(A, A, A, B).duplicates == 2


def test_overlapping_pieces_are_split_while_they_show_something_new() -> None:
    # 60 pixels, then 60 of which 20 are seen already.
    first, second = box(ROWS, slice(2, 8)), box(ROWS, slice(6, 12))
    result = hand(first, second, B)
    assert (result.split, result.duplicates) == (1, 0)
    # The largest goes first wherever it lies: it has all of the first piece, and three columns of it are no news.
    result = hand(box(ROWS, slice(2, 5)), box(ROWS, slice(2, 12)), B)
    assert (result.split, result.duplicates) == (0, 1)
    # With one between them each next one shows 20 new pixels of its 60.
    result = hand(first, second, box(ROWS, slice(4, 10)), B)
    assert (result.split, result.duplicates, result.f1_50) == (0, 2, 2 * 2 / 6)


def test_an_object_that_nothing_shows_is_missed() -> None:
    result = hand(A)
    assert result == replace(PERFECT, found_count=1, count_error=-0.5, missed=1, f1_50=2 / 3, f1_90=2 / 3)


def test_remains_of_a_missed_object_are_a_false_positive() -> None:
    result = hand(A, box(ROWS, slice(20, 24)))
    assert (result.missed, result.false_positives, result.split, result.count_error) == (1, 1, 0, 0.0)
    # Two remains that cover exactly half together are an object in two pieces.
    result = hand(A, box(ROWS, slice(20, 22)), box(ROWS, slice(22, 25)))
    assert (result.missed, result.false_positives, result.split) == (0, 0, 1)


def test_an_object_on_background_is_a_false_positive() -> None:
    result = hand(A, B, box(slice(0, 4), slice(0, 40)))
    assert result == replace(PERFECT, found_count=3, count_error=0.5, false_positives=1, f1_50=4 / 5, f1_90=4 / 5)
    # ... also where it takes a little of a true object with it.
    assert hand(A, B, box(slice(0, 7), slice(0, 14))).false_positives == 1


def test_another_class_is_no_match() -> None:
    world = world_of(A * 1 + B * 2, label=[3, 4])
    assert hand(A, B, label=[3, 4], world=world) == PERFECT
    result = hand(A, B, label=[3, 3], world=world)
    assert result == replace(PERFECT, f1_50=0.5, f1_90=0.5, wrong_label=1)
    # The right class is there too, with a smaller IoU: it is the match, and the other is only a duplicate.
    result = hand(A, box(ROWS, slice(20, 28)), B, label=[3, 4, 3], world=world)
    assert (result.wrong_label, result.duplicates, result.f1_50, result.mean_iou) == (0, 1, 4 / 5, 0.9)


def test_each_true_object_takes_its_best_candidate() -> None:
    result = hand(box(ROWS, slice(2, 11)), box(ROWS, slice(2, 10)), B)
    assert result.mean_iou == pytest.approx((0.9 + 1.0) / 2)
    assert (result.f1_90, result.duplicates) == (4 / 5, 1)


def test_volumes_count_like_images() -> None:
    truth = np.zeros((8, 10, 12), np.int32)
    truth[1:7, 2:8, 1:5] = 1
    truth[1:7, 2:8, 6:10] = 2
    world = world_of(truth)
    below, above = truth == 1, truth == 1
    below[4:], above[:4] = False, False
    result = score(outcome_of([mask_of(below), mask_of(above), mask_of(truth == 2)]), world)
    assert (result.split, result.count_error, result.f1_50, result.mean_iou) == (1, 0.5, 2 * 1 / 5, 1.0)
    result = score(outcome_of([mask_of(truth > 0)]), world)
    assert (result.merged, result.found_count, result.truth_count) == (1, 1, 2)


def test_nothing_found_and_nothing_to_find() -> None:
    assert hand() == Score(2, 0, -1.0, 0, 0, 0, 2, 0, 0.0, 0.0, 0.0, 0)
    empty = world_of(np.zeros((4, 4)))
    assert hand(world=empty) == Score(0, 0, 0.0, 0, 0, 0, 0, 0, 1.0, 1.0, 0.0, 0)
    lonely = score(outcome_of([mask_of(np.ones((2, 2), bool))]), empty)
    assert (lonely.count_error, lonely.false_positives, lonely.f1_50) == (1.0, 1, 0.0)


def test_masks_may_reach_beyond_the_image() -> None:
    world = world_of(box(slice(0, 10), slice(0, 10), (10, 30)))
    beyond = Mask((0, -2, -2), np.ones((1, 12, 12), bool))
    assert score(outcome_of([beyond]), world).mean_iou == pytest.approx(100 / 144)
    outside = Mask((0, 50, 50), np.ones((1, 3, 3), bool))
    result = score(outcome_of([beyond, outside]), world)
    assert (result.false_positives, result.missed) == (1, 0)


def test_one_label_for_each_mask() -> None:
    with pytest.raises(ValueError, match="one label for each of the 2 masks, found 1"):
        score(outcome_of([mask_of(A), mask_of(B)], [0]), TWO)


@st.composite
def cases(draw: st.DrawFn) -> tuple[World, list[Mask], list[int]]:
    """A small volume of random blocks, and blocks found in it that have nothing to do with them."""
    shape = draw(st.sampled_from([(1, 8, 8), (3, 5, 5)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = [_block(rng, shape) for _ in range(draw(st.integers(0, 12)))]
    truth = np.zeros(shape, np.int64)
    for number, block in enumerate(blocks[::2], start=1):
        truth[block] = number
    values, numbers = np.unique(np.append(truth, 0), return_inverse=True)
    label = rng.integers(0, 2, len(values) - 1).tolist()
    masks = [mask_of(block) for block in blocks[1::2]] + [mask_of(b) for b in blocks[::4]]
    return world_of(numbers[:-1].reshape(shape), label), masks, rng.integers(0, 2, len(masks)).tolist()


def _block(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    block = np.zeros(shape, bool)
    low = [int(rng.integers(0, n)) for n in shape]
    high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, shape, strict=True)]
    block[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return block


@given(cases())
def test_kinds_of_error_add_up_to_the_count(case: tuple[World, list[Mask], list[int]]) -> None:
    world, masks, label = case
    result = score(outcome_of(masks, label), world)
    extra = result.split + result.duplicates + result.false_positives - result.merged - result.missed
    assert result.found_count - result.truth_count == extra
    assert 0.0 <= result.f1_90 <= result.f1_50 <= 1.0
    assert result.mean_iou == 0.0 or result.mean_iou > 0.5


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_masks_is_nothing(case: tuple[World, list[Mask], list[int]], random) -> None:
    world, masks, label = case
    order = list(range(len(masks)))
    random.shuffle(order)
    shuffled = outcome_of([masks[i] for i in order], [label[i] for i in order])
    assert score(shuffled, world) == score(outcome_of(masks, label), world)


@given(cases())
def test_the_truth_scores_one_and_no_error(case: tuple[World, list[Mask], list[int]]) -> None:
    world = case[0]
    masks = [mask_of(world.truth == number) for number in range(1, world.count + 1)]
    result = score(outcome_of(masks, world.label[1:].tolist()), world)
    count = world.count
    assert result == Score(count, count, 0.0, 0, 0, 0, 0, 0, 1.0, 1.0, 1.0 if count else 0.0, 0)
