from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segworkers.evaluation.outcomes import Side
from segworkers.evaluation.pairs import Pairs, box_areas, box_pairs_by_iou
from segworkers.evaluation.summary import Row, summarise
from segworkers.evaluation.tally import Scheme, Tally
from tests.segworkers.evaluation.worlds import label_images, pairs_of, side_of

THRESHOLDS = (0.5, 0.7, 0.8, 0.9)


def scheme(classes: int = 1, blocks: bool = False, sizes: tuple[float, ...] = ()) -> Scheme:
    return Scheme(classes, THRESHOLDS, sizes, blocks)


def find(rows: list[Row], label: int | None = None, size: int | None = None, t: int = 0) -> Row:
    (row,) = [row for row in rows if (row.label, row.size, row.threshold) == (label, size, t)]
    return row


def value(row: Row, name: str) -> float:
    return row.figures[name].value


def side(labels: list[int], boxes: list[tuple[float, ...]], scores: list[float]) -> Side:
    corners = np.array([(0, y, x, 1, y + h, x + w) for x, y, w, h in boxes], np.float64).reshape(-1, 6)
    none = np.zeros(len(labels), np.bool_)
    return Side(np.array(labels, np.int64), box_areas(corners), corners, none, none.copy(), np.array(scores, float))


@pytest.fixture(scope="module")
def coco() -> tuple[dict, Tally]:
    """Boxes of which pycocotools said the average precision; one image after the other."""
    case = json.loads((Path(__file__).parent / "coco_case.json").read_text())
    tally = Tally(scheme(3, sizes=(32.0**2, 96.0**2)))
    for image in sorted({each["image"] for each in case["truth"]}):
        found, true = (
            side([e["category"] - 1 for e in rows], [e["bbox"] for e in rows], [e.get("score", 0) for e in rows])
            for rows in ([e for e in case[kind] if e["image"] == image] for kind in ("predictions", "truth"))
        )
        tally.add(box_pairs_by_iou(found.boxes, true.boxes), found, true, (1, 500, 500))
    return case, tally


def test_average_precision_is_that_of_pycocotools(coco):
    case, tally = coco
    rows = summarise(tally)
    compared = 0
    for label, of_class in enumerate(case["ap"]):
        for t, of_threshold in enumerate(of_class):
            for size, expected in enumerate(of_threshold):
                got = value(find(rows, label, size - 1 if size else None, t), "ap")
                assert (np.isnan(got) and expected is None) or got == pytest.approx(expected, abs=1e-9)
                compared += expected is not None and 0 < expected < 1
    assert compared > 25, "most of them say something"
    of_all = [[case["ap"][label][t][0] for label in range(3)] for t in range(4)]
    for t, each in enumerate(of_all):
        assert value(find(rows, t=t), "ap") == pytest.approx(np.mean(each), abs=1e-9)


def test_without_scores_there_is_no_average_precision_and_all_else():
    tally = Tally(scheme())
    found = side([0], [(0, 0, 10, 10)], [float("nan")])
    tally.add(box_pairs_by_iou(found.boxes, found.boxes), found, side([0], [(0, 0, 10, 10)], [0]), (1, 20, 20))
    row = find(summarise(tally))
    assert np.isnan(value(row, "ap")) and value(row, "f1") == value(row, "pq") == 1


def test_panoptic_quality_by_hand():
    # IoU 0.8 and exactly 0.5, which does not exceed 0.5; one prediction too many, one object missed.
    truth = side([0] * 3, [(0, 0, 10, 10), (20, 0, 10, 10), (40, 0, 10, 10)], [0] * 3)
    found = side([0] * 3, [(0, 0, 8, 10), (20, 0, 5, 10), (80, 0, 10, 10)], [1] * 3)
    tally = Tally(scheme())
    tally.add(box_pairs_by_iou(found.boxes, truth.boxes), found, truth, (1, 100, 100))
    rows = summarise(tally)
    row = find(rows)
    assert (row.counts["matched"], row.counts["false_positives"], row.counts["misses"]) == (2, 1, 1)
    assert value(row, "pq") == pytest.approx(0.8 / (1 + 1 + 1)) and value(row, "sq") == pytest.approx(0.8)
    assert value(row, "rq") == pytest.approx(1 / 3) and value(row, "f1") == pytest.approx(2 / 3)
    assert value(row, "mean_iou") == pytest.approx(0.65) and value(row, "count_error") == 0
    assert np.isnan(value(find(rows, t=1), "pq")), "it has no threshold of its own"


def test_panoptic_quality_and_average_precision_are_means_over_classes():
    truth = side([0, 0, 0, 1], [(20 * k, 0, 10, 10) for k in range(4)], [0] * 4)
    found = side([0, 0, 0], [(20 * k, 0, 10, 10) for k in range(3)], [0.5] * 3)
    tally = Tally(scheme(3))
    tally.add(box_pairs_by_iou(found.boxes, truth.boxes), found, truth, (1, 100, 100))
    rows = summarise(tally)
    assert value(find(rows), "pq") == value(find(rows), "ap") == 0.5 and value(find(rows), "recall") == 0.75
    assert value(find(rows, 0), "pq") == 1 and value(find(rows, 1), "pq") == 0 and np.isnan(value(find(rows, 2), "pq"))


@pytest.mark.parametrize(("found", "true"), [(0, 0), (0, 2), (2, 0)])
def test_what_cannot_be_said_is_unknown(found: int, true: int):
    predictions = side([0] * found, [(20 * k, 0, 9, 9) for k in range(found)], [0.5] * found)
    truth = side([0] * true, [(20 * k, 50, 9, 9) for k in range(true)], [0] * true)
    tally = Tally(scheme())
    tally.add(box_pairs_by_iou(predictions.boxes, truth.boxes), predictions, truth, (1, 100, 100))
    row = find(summarise(tally))
    known = {name for name, figure in row.figures.items() if not np.isnan(figure.value)}
    expected = {
        (0, 0): {"count_error"},
        (0, 2): {"count_error", "count_error_share", "recall", "f1", "ap", "pq", "rq"},
        (2, 0): {"count_error", "precision", "f1", "pq", "rq"},
    }
    assert known == expected[found, true]
    assert value(row, "count_error") == found - true and row.method == ("wilson" if found or true else "none")


def test_ignored_and_unknown_objects_are_no_mistakes():
    boxes = [(20.0 * k, 0.0, 10.0, 10.0) for k in range(4)]
    truth, found = side([0] * 4, boxes, [0] * 4), side([0] * 4, [(x, 50, w, h) for x, _, w, h in boxes], [0.5] * 4)
    truth.ignored[0] = truth.unknown[1] = found.ignored[2] = found.unknown[3] = True
    tally = Tally(scheme())
    tally.add(box_pairs_by_iou(found.boxes, truth.boxes), found, truth, (1, 100, 100))
    counts = find(summarise(tally)).counts
    assert counts == {
        "matched": 0, "false_positives": 2, "misses": 2,
        "ignored_predictions": 1, "ignored_truth": 1, "unknown_predictions": 1, "unknown_truth": 1,
    }  # fmt: skip


def test_a_match_counts_also_where_a_miss_would_be_unknown_but_not_with_what_is_ignored():
    boxes = [(0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 10.0, 10.0)]
    truth, found = side([0, 0], boxes, [0, 0]), side([0, 0], boxes, [0.9, 0.8])
    truth.unknown[0] = truth.ignored[1] = True
    tally = Tally(scheme())
    tally.add(box_pairs_by_iou(found.boxes, truth.boxes), found, truth, (1, 100, 100))
    row = find(summarise(tally))
    assert (row.counts["matched"], row.counts["ignored_truth"], row.counts["ignored_predictions"]) == (1, 1, 1)
    assert row.counts["unknown_truth"] == 0 and value(row, "ap") == value(row, "f1") == 1


@given(label_images(), label_images(), st.randoms(use_true_random=False))
def test_the_order_of_objects_changes_nothing(predictions, truth, random):
    def shuffled(image: np.ndarray) -> np.ndarray:
        names = list(range(1, int(image.max()) + 1))
        random.shuffle(names)
        return np.array([0, *names])[image]

    def counted(a: np.ndarray, b: np.ndarray) -> list[Row]:
        tally = Tally(scheme())
        same = np.full(int(a.max()), 0.5)
        tally.add(pairs_of(a, b), side_of(a, scores=same), side_of(b), a.shape)
        return summarise(tally)

    for one, other in zip(counted(predictions, truth), counted(shuffled(predictions), shuffled(truth)), strict=True):
        assert one.counts == other.counts
        for name in ("precision", "recall", "f1", "pq"):
            np.testing.assert_allclose(value(one, name), value(other, name))


@given(st.lists(st.tuples(label_images(), label_images()), min_size=1, max_size=4))
def test_images_add_up_and_sizes_and_classes_do_too(images):
    def counted(which: list) -> Tally:
        tally = Tally(scheme(2, sizes=(6.0, 20.0)))
        for predictions, truth in which:
            tally.add(pairs_of(predictions, truth), side_of(predictions, 2), side_of(truth, 2), predictions.shape)
        return tally

    whole = summarise(counted(images))
    parts = [summarise(counted([image])) for image in images]
    for k, row in enumerate(whole):
        for name, number in row.counts.items():
            assert number == sum(part[k].counts[name] for part in parts)
    for t in range(len(THRESHOLDS)):
        total = find(whole, t=t).counts
        for name, number in total.items():
            assert number == sum(find(whole, size=s, t=t).counts[name] for s in range(3))
            assert number == sum(find(whole, label=c, t=t).counts[name] for c in range(2))


@given(label_images(), label_images())
def test_swapping_the_sides_swaps_precision_and_recall(a, b):
    def figures(one: np.ndarray, other: np.ndarray) -> Row:
        tally = Tally(scheme())
        tally.add(pairs_of(one, other), side_of(one), side_of(other), one.shape)
        return find(summarise(tally))

    forth, back = figures(a, b), figures(b, a)
    np.testing.assert_allclose(value(forth, "precision"), value(back, "recall"))
    np.testing.assert_allclose(value(forth, "pq"), value(back, "pq"))


def test_intervals_hold_the_estimate_and_are_wider_with_fewer_images():
    def rows(images: int) -> Row:
        random = np.random.default_rng(3)
        tally = Tally(scheme())
        for _ in range(images):
            hit = random.random(20) < random.choice([0.5, 0.9])
            boxes = [(20.0 * k, 0.0, 9.0, 9.0) for k in range(20)]
            found = side(
                [0] * int(hit.sum()), [box for box, each in zip(boxes, hit, strict=True) if each], [0.5] * hit.sum()
            )
            truth = side([0] * 20, boxes, [0] * 20)
            tally.add(box_pairs_by_iou(found.boxes, truth.boxes), found, truth, (1, 10, 400))
        return find(summarise(tally))

    few, many = rows(10), rows(160)
    for row in (few, many):
        for name in ("recall", "f1", "pq", "ap", "count_error_share"):
            low, high = row.figures[name].interval
            assert low < value(row, name) < high and row.method == "bootstrap"
        assert row.figures["precision"].value == 1
        low, high = row.figures["precision"].interval
        assert 0.9 < low < 1 == high, "all resamples agree: Wilson's instead"
    width = [np.diff(row.figures["recall"].interval)[0] for row in (few, many)]
    assert 2.5 < width[0] / width[1] < 6, "sixteen times the images, a quarter of the width"


def test_few_images_are_resampled_by_blocks_and_too_few_blocks_not_at_all():
    boxes = [(100.0 * k, 0.0, 9.0, 9.0) for k in range(8)]
    found, truth = side([0] * 4, boxes[:4], [0.5] * 4), side([0] * 8, boxes, [0] * 8)
    near = side([0] * 2, [(0, 0, 9, 9), (20, 0, 9, 9)], [0, 0])
    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    tally = Tally(scheme(blocks=True))
    tally.add(box_pairs_by_iou(found.boxes, truth.boxes), found, truth, (1, 800, 800))
    assert tally.units == 8 and find(summarise(tally)).method == "bootstrap"
    tally = Tally(scheme(blocks=True))
    tally.add(nothing, side([], [], []), near, (1, 800, 800))
    row = find(summarise(tally))
    assert tally.units == 1 and row.method == "wilson"
    assert row.figures["recall"].interval == pytest.approx((0, 0.6576), abs=1e-3), "0 of 2"
    assert np.isnan(row.figures["f1"].interval[0])


def test_no_source_no_rows():
    assert summarise(Tally(scheme())) == []
