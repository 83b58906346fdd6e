"""Examples of masks and their run-length strings that show the conventions."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.boxes import Box
from schemas.masks import NO_RUNS, bbox, canonical, clip, intersection_count, pixel_count, to_array, to_runs
from schemas.rle import coco_counts, coco_rle_string, from_coco_rle, from_coco_rles

L_SHAPE = np.array([[[1, 0, 0], [1, 0, 0], [1, 1, 0]]], np.bool_)


def test_runs_are_columns_in_source_coordinates() -> None:
    assert to_runs(L_SHAPE, (0, 10, 20)).tolist() == [[0, 20, 10, 13], [0, 21, 12, 13]]


def test_touching_and_overlapping_runs_join_within_a_column_only() -> None:
    runs = np.array([[0, 1, 5, 9], [0, 1, 0, 5], [0, 1, 2, 3], [0, 2, 9, 12], [1, 1, 0, 1]], np.int64)
    assert canonical(runs).tolist() == [[0, 1, 0, 9], [0, 2, 9, 12], [1, 1, 0, 1]]


def test_a_long_run_does_not_swallow_the_next_column() -> None:
    runs = np.array([[0, 0, 0, 1_000_000], [0, 1, 3, 4]], np.int32)
    assert canonical(runs).tolist() == runs.tolist()


def test_the_empty_mask() -> None:
    box = Box.of_shape((1, 4, 5))
    assert pixel_count(NO_RUNS) == 0 and bbox(NO_RUNS) is None and len(canonical(NO_RUNS)) == 0
    assert intersection_count(NO_RUNS, to_runs(L_SHAPE)) == 0 and not to_array(NO_RUNS, box).any()
    assert coco_counts(NO_RUNS, box).tolist() == [20] and len(from_coco_rle(coco_rle_string(NO_RUNS, box), box)) == 0


def test_clip_does_not_change_its_argument() -> None:
    runs = to_runs(L_SHAPE)
    assert clip(runs, Box((0, 1, 0), (1, 2, 1))).tolist() == [[0, 0, 1, 2]]
    assert runs.tolist() == to_runs(L_SHAPE).tolist()


@pytest.mark.parametrize(
    ("rows", "counts", "string"),
    [
        # The vectors are pycocotools 2.0.11's own output for these bitmaps.
        (["100", "100", "110"], [0, 3, 2, 1, 3], b"032N1"),
        (["111"], [0, 3], b"03"),
        (["010"], [1, 1, 1], b"111"),
        (["00000000", "01111110"], [3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2], b"3110000000001"),
    ],
)
def test_strings_are_those_of_pycocotools(rows: list[str], counts: list[int], string: bytes) -> None:
    bitmap = np.array([[[pixel == "1" for pixel in row] for row in rows]])
    box = Box.of_shape(bitmap.shape)
    assert coco_counts(to_runs(bitmap), box).tolist() == counts
    assert coco_rle_string(to_runs(bitmap), box) == string


def test_a_run_goes_on_from_the_bottom_of_a_column_into_the_next() -> None:
    full = to_runs(np.ones((1, 7, 5), np.bool_))
    assert coco_counts(full, Box.of_shape((1, 7, 5))).tolist() == [0, 35]


def test_slices_of_a_volume_lie_below_one_another() -> None:
    volume = np.zeros((2, 2, 2), np.bool_)
    volume[0, 1, 0] = volume[1, 0, 0] = volume[1, 1, 1] = True
    assert coco_counts(to_runs(volume), Box.of_shape((2, 2, 2))).tolist() == [1, 2, 4, 1]


def test_a_sparse_mask_with_a_huge_box_needs_no_bitmap() -> None:
    side = 3_000_000  # a bitmap of the box would be 9 TB, and counts exceed 32 bits
    diagonal = np.stack([np.zeros(1000), *[np.arange(1000) * 2999 + step for step in (0, 0, 5)]], axis=1).astype(
        np.int32
    )
    box = Box.of_shape((1, side, side))
    assert int(coco_counts(diagonal, box).sum()) == side * side
    assert np.array_equal(from_coco_rle(coco_rle_string(diagonal, box), box), diagonal)


def test_pixels_outside_the_box_are_refused() -> None:
    with pytest.raises(ValueError, match="outside the box"):
        coco_rle_string(to_runs(L_SHAPE), Box.of_shape((1, 2, 3)))


@pytest.mark.parametrize("string", [b"03", b"0", b"", b"0g", b"00>", b"032O1"])
def test_strings_that_do_not_fill_the_box_are_refused(string: bytes) -> None:
    with pytest.raises(ValueError, match="run-length code"):
        from_coco_rle(string, Box.of_shape((1, 3, 3)))


def test_characters_outside_the_code_are_refused() -> None:
    with pytest.raises(ValueError, match="characters outside"):
        from_coco_rles(np.frombuffer(b"0 3", np.uint8), np.array([0, 3]), np.array([[0, 0, 0, 1, 3, 3]]))
