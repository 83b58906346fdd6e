from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segworkers.evaluation.matching import best_matching, match_by_score
from segworkers.evaluation.pairs import Pairs, box_pairs_by_iou
from tests.segworkers.evaluation.worlds import best_total, dense_iou, label_images, pairs_of


def pairs(rows: list[tuple[int, int, float]]) -> Pairs:
    p, t, iou = (np.array(each) for each in zip(*rows, strict=True))
    return Pairs(p.astype(np.int64), t.astype(np.int64), iou.astype(np.float64))


@given(label_images(), label_images(), st.lists(st.integers(1, 11), max_size=3))
def test_sparse_iou_is_that_of_boolean_images_wherever_blocks_end(predictions, truth, cuts):
    found = pairs_of(predictions, truth, cuts)
    dense = np.zeros((int(predictions.max()), int(truth.max())))
    dense[found.prediction, found.truth] = found.iou
    np.testing.assert_array_equal(dense, dense_iou(predictions, truth))
    order = list(zip(found.prediction.tolist(), found.truth.tolist(), strict=True))
    assert order == sorted(set(order)) and (found.iou > 0).all()


@given(label_images(), label_images(), st.sampled_from([0.1, 0.3, 0.5, 0.7]))
def test_matching_is_the_best_of_the_whole_matrix(predictions, truth, threshold):
    chosen = best_matching(pairs_of(predictions, truth), threshold)
    count, total = best_total(dense_iou(predictions, truth), threshold)
    assert len(chosen) == count and chosen.iou.sum() == pytest.approx(total)
    assert len(set(chosen.prediction)) == len(set(chosen.truth)) == count and (chosen.iou >= threshold).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0.5, 1)), min_size=1, max_size=12))
def test_many_overlapping_candidates_are_matched_best(rows):
    iou = np.zeros((5, 5))
    for p, t, value in rows:
        iou[p, t] = value
    listed = [(p, t, iou[p, t]) for p, t in itertools.product(range(5), range(5)) if iou[p, t]]
    chosen = best_matching(pairs(listed), 0.5)
    assert (len(chosen), pytest.approx(chosen.iou.sum())) == best_total(iou, 0.5)


def test_more_matches_win_over_a_better_one():
    chosen = best_matching(pairs([(0, 0, 0.99), (0, 1, 0.6), (1, 0, 0.6)]), 0.5)
    assert list(zip(chosen.prediction, chosen.truth, strict=True)) == [(0, 1), (1, 0)]


def test_a_threshold_is_reached_by_equality_unless_it_must_be_exceeded():
    two = pairs([(0, 0, 0.5), (1, 1, 0.7)])
    assert len(best_matching(two, 0.5)) == 2 and len(best_matching(two, 0.7)) == 1
    assert best_matching(two, 0.5, above=True).prediction.tolist() == [1]


def test_seven_tenths_of_the_pixels_are_an_iou_of_0_7():
    predictions, truth = np.zeros((2, 1, 1, 10), np.int64)
    predictions[..., :7], truth[...] = 1, 1
    assert len(best_matching(pairs_of(predictions, truth), 0.7)) == 1


def test_by_score_the_first_takes_what_it_likes_best():
    both = pairs([(0, 0, 0.6), (0, 1, 0.9), (1, 1, 0.95)])
    counted = np.zeros(2, np.bool_)
    assert match_by_score(both, np.array([0.9, 0.8]), counted, 0.5).tolist() == [1, -1]
    assert match_by_score(both, np.array([0.8, 0.9]), counted, 0.5).tolist() == [0, 1]


def test_what_is_ignored_is_taken_last():
    both = pairs([(0, 0, 0.6), (0, 1, 0.9)])
    assert match_by_score(both, np.ones(1), np.array([False, True]), 0.5).tolist() == [0]
    assert match_by_score(both, np.ones(1), np.array([False, True]), 0.7).tolist() == [1]


@given(st.lists(st.tuples(*[st.floats(0, 20)] * 4), max_size=8), st.integers(0, 8))
def test_iou_of_boxes_is_that_of_areas(corners, split):
    boxes = np.array([(0, min(a, c), min(b, d), 1, max(a, c) + 1, max(b, d) + 1) for a, b, c, d in corners])
    left, right = np.split(boxes.reshape(-1, 6), [min(split, len(boxes))])
    found = box_pairs_by_iou(left, right)
    dense = np.zeros((len(left), len(right)))
    dense[found.prediction, found.truth] = found.iou
    for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right)):
        overlap = np.prod(np.maximum(np.minimum(a[3:], b[3:]) - np.maximum(a[:3], b[:3]), 0))
        whole = np.prod(a[3:] - a[:3]) + np.prod(b[3:] - b[:3]) - overlap
        assert dense[i, j] == pytest.approx(overlap / whole)
