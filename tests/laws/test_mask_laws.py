"""Laws of masks: runs are the same sets of pixels as bitmaps, and obey the algebra of sets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.boxes import Box, Zyx
from schemas.masks import Runs, bbox, canonical, clip, intersection_count, pixel_count, to_array, to_runs
from schemas.rle import (
    coco_counts,
    coco_rle_string,
    coco_rle_strings,
    from_coco_counts,
    from_coco_rle,
    from_coco_rles,
)
from tests.mask_strategies import BitmapArray, batch, bitmaps, boxes, origins, runs_masks


def union(a: Runs, b: Runs) -> Runs:
    """The pixels of either."""
    return canonical(np.concatenate([a, b]))


@given(bitmaps(max_depth=3), origins())
def test_a_bitmap_survives_runs(bitmap: BitmapArray, origin: Zyx) -> None:
    runs = to_runs(bitmap, origin)
    assert np.array_equal(to_array(runs, Box.of_shape(bitmap.shape).shift(origin)), bitmap)
    assert runs.dtype == np.int32 and pixel_count(runs) == bitmap.sum()


@given(bitmaps(max_depth=3), origins())
def test_runs_of_a_bitmap_are_canonical(bitmap: BitmapArray, origin: Zyx) -> None:
    runs = to_runs(bitmap, origin)
    assert np.array_equal(canonical(runs), runs)


@given(runs_masks(), st.randoms())
def test_canonical_is_idempotent_and_blind_to_order_and_cuts(runs: Runs, random: object) -> None:
    pixels = [(z, x, y, y + 1) for z, x, start, stop in runs.tolist() for y in range(start, stop)]
    random.shuffle(pixels)  # type: ignore[attr-defined]
    cut = np.array([*pixels, (0, 0, 3, 3)], np.int32)
    assert np.array_equal(canonical(cut), runs)
    assert np.array_equal(canonical(canonical(cut)), canonical(cut))


@given(runs_masks(), runs_masks())
def test_inclusion_exclusion(a: Runs, b: Runs) -> None:
    assert pixel_count(union(a, b)) + intersection_count(a, b) == pixel_count(a) + pixel_count(b)
    assert intersection_count(a, b) == intersection_count(b, a)
    assert intersection_count(a, union(a, b)) == pixel_count(a)


@given(runs_masks(), runs_masks(), runs_masks())
def test_union_is_commutative_associative_and_idempotent(a: Runs, b: Runs, c: Runs) -> None:
    assert np.array_equal(union(a, b), union(b, a))
    assert np.array_equal(union(union(a, b), c), union(a, union(b, c)))
    assert np.array_equal(union(a, a), a)


@given(runs_masks(), runs_masks(), boxes())
def test_clip_of_a_union_is_the_union_of_clips(a: Runs, b: Runs, box: Box) -> None:
    assert np.array_equal(clip(union(a, b), box), union(clip(a, box), clip(b, box)))


@given(runs_masks(), boxes())
def test_clip_equals_masking_the_bitmap(runs: Runs, box: Box) -> None:
    whole = Box((0, 0, 0), (30, 30, 30))
    inside = np.zeros(whole.shape, np.bool_)
    inside[box.within((0, 0, 0))] = True
    assert np.array_equal(clip(runs, box), to_runs(to_array(runs, whole) & inside))


@given(runs_masks())
def test_the_bounding_box_holds_everything_and_nothing_more(runs: Runs) -> None:
    box = bbox(runs)
    if box is None:
        assert pixel_count(runs) == 0
        return
    crop = to_array(runs, box)
    assert crop.sum() == pixel_count(runs)
    assert all(crop.any(axis=tuple({0, 1, 2} - {axis}))[[0, -1]].all() for axis in range(3))


@given(bitmaps(max_depth=3), origins())
def test_counts_are_those_of_the_column_major_bitmap(bitmap: BitmapArray, origin: Zyx) -> None:
    flat = bitmap.reshape(-1, bitmap.shape[2]).ravel(order="F")
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    expected = np.diff(np.concatenate([[0], changes, [len(flat)]]))
    assert coco_counts(to_runs(bitmap, origin), Box.of_shape(bitmap.shape).shift(origin)).tolist() == expected.tolist()


@given(bitmaps(max_depth=3), origins())
def test_a_mask_survives_its_counts(bitmap: BitmapArray, origin: Zyx) -> None:
    box, runs = Box.of_shape(bitmap.shape).shift(origin), to_runs(bitmap, origin)
    counts = coco_counts(runs, box)
    assert np.array_equal(from_coco_counts(counts.tolist(), box), runs)
    for wrong in (counts + 1, np.append(counts, -1)):
        with pytest.raises(ValueError, match="counts must"):
            from_coco_counts(wrong, box)


@given(bitmaps(max_depth=3), origins())
def test_a_mask_survives_its_string(bitmap: BitmapArray, origin: Zyx) -> None:
    box, runs = Box.of_shape(bitmap.shape).shift(origin), to_runs(bitmap, origin)
    assert np.array_equal(from_coco_rle(coco_rle_string(runs, box), box), runs)


@given(st.lists(st.tuples(bitmaps(max_depth=2, max_side=5), origins()), max_size=5))
def test_a_batch_of_strings_is_the_strings_one_by_one(masks: list[tuple[BitmapArray, Zyx]]) -> None:
    crops = [Box.of_shape(bitmap.shape).shift(origin) for bitmap, origin in masks]
    singles = [to_runs(bitmap, origin) for bitmap, origin in masks]
    runs, offsets = batch(singles)
    rows = np.array([(*box.start, *box.stop) for box in crops], np.int64).reshape(-1, 6)
    data, ends = coco_rle_strings(runs, offsets, rows)
    strings = [data[start:stop].tobytes() for start, stop in pairwise(ends.tolist())]
    assert strings == [coco_rle_string(mask, box) for mask, box in zip(singles, crops, strict=True)]
    back, back_offsets = from_coco_rles(data, ends, rows)
    assert np.array_equal(back, runs) and np.array_equal(back_offsets, offsets)
