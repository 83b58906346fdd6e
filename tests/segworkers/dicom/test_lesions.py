from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SpecError
from schemas.masks import bbox, to_runs
from schemas.rle import coco_rle_string
from segworkers.dicom.lesions import Lesion, by_slice, check_inside, in_order, overlap, paint, painting_order
from segworkers.dicom.segment_frames import BinaryFrames, LabelFrames
from segworkers.dicom.terms import DEFAULT_TERMS, Term, class_terms
from tests.dicom_outputs import bitmaps, lesions

SHAPE = (4, 6, 5)

masks_strategy = st.lists(
    st.lists(st.booleans(), min_size=120, max_size=120).map(lambda bits: np.array(bits).reshape(SHAPE)).filter(np.any),
    min_size=1,
    max_size=4,
).map(np.stack)


def row_of(lesion: Lesion, **columns: object) -> dict[str, object]:
    box = bbox(lesion.runs)
    assert box is not None
    sides = dict(zip(("z_min", "y_min", "x_min", "z_max", "y_max", "x_max"), (*box.start, *box.stop), strict=True))
    rle = coco_rle_string(lesion.runs, box).decode()
    return {"instance_id": lesion.instance_id, "label": lesion.label, "mask_rle": rle, **sides, **columns}


@given(masks_strategy)
def test_a_row_gives_its_mask_back(masks: np.ndarray) -> None:
    for lesion in lesions(masks):
        again = Lesion.from_row(row_of(lesion))
        np.testing.assert_array_equal(again.runs, lesion.runs)
        assert again.voxel_count == sum(len(each) and int(each[3] - each[2]) for each in lesion.runs)


def test_columns_that_are_null_or_missing_are_none() -> None:
    (lesion,) = lesions(bitmaps(SHAPE, 1))
    found = Lesion.from_row(
        row_of(lesion, volume_mm3=2.5, long_axis_mm=math.nan, value_mean=None, value_sd=0.0, value_unit="HU", score=1)
    )
    assert (found.volume_mm3, found.value_sd, found.value_unit, found.score) == (2.5, 0.0, "HU", 1.0)
    assert (found.long_axis_mm, found.value_mean, found.short_axis_mm, found.mask_value) == (None, None, None, 0)


def test_every_measurement_comes_from_its_column() -> None:
    (lesion,) = lesions(bitmaps(SHAPE, 1))
    names = ("volume_mm3", "long_axis_mm", "short_axis_mm", "max_diameter_mm")
    names += tuple(f"value_{name}" for name in ("mean", "sd", "median", "min", "max"))
    columns = {name: k + 0.5 for k, name in enumerate(names)}
    found = Lesion.from_row(row_of(lesion, **columns))
    assert {name: getattr(found, name) for name in names} == columns


def test_a_torn_mask_and_an_empty_one_are_refused() -> None:
    (lesion,) = lesions(bitmaps(SHAPE, 1))
    with pytest.raises(ValueError, match="fill their boxes"):
        Lesion.from_row(row_of(lesion) | {"mask_rle": "1"})
    with pytest.raises(ValueError, match="empty"):
        Lesion(instance_id="1" * 32, label="a", runs=lesion.runs[:0])


@given(masks_strategy)
def test_overlap_is_what_the_bitmaps_say(masks: np.ndarray) -> None:
    assert overlap(lesions(masks)) == bool((masks.sum(axis=0) > 1).any())


@given(masks_strategy)
def test_frames_are_the_bitmaps(masks: np.ndarray) -> None:
    found = lesions(masks)
    frames = BinaryFrames(found, SHAPE)
    assert frames.shape == (*SHAPE, len(masks))
    assert (frames.sum(axis=-1) > 1).any() == (masks.sum(axis=0) > 1).any()
    for z, plane in enumerate(frames):
        assert plane.any() == masks[:, z].any()
        for k, mask in enumerate(masks):
            frame = plane[:, :, k]
            assert frame.any() == mask[z].any()
            if mask[z].any():
                np.testing.assert_array_equal(frame, mask[z])
    assert by_slice(found) == {
        z: np.flatnonzero(masks[:, z].any(axis=(1, 2))).tolist() for z in range(SHAPE[0]) if masks[:, z].any()
    }


def test_label_frames_number_the_lesions_in_order() -> None:
    masks = bitmaps(SHAPE)
    frames = LabelFrames(lesions(masks), SHAPE)
    expected = (masks * np.arange(1, 4)[:, None, None, None]).sum(axis=0)
    np.testing.assert_array_equal(np.stack(list(frames)), expected)
    assert (frames.dtype, frames.max()) == (np.uint8, 3)
    assert LabelFrames(lesions(masks) * 100, SHAPE).dtype == np.uint16


def test_painting_order_puts_the_better_then_the_smaller_on_top() -> None:
    masks = np.zeros((4, *SHAPE), bool)
    masks[0, 0, :2, :2] = masks[1, 0, 0, 0] = masks[2, 0, :3, :3] = masks[3, 0, 0, 1] = True
    scored = lesions(masks, score=[0.5, 0.5, 0.9, None])
    assert painting_order(scored) == [3, 0, 1, 2]


def test_order_does_not_depend_on_how_they_come() -> None:
    found = lesions(bitmaps(SHAPE))
    assert in_order(found[::-1]) == tuple(found)


def test_paint_leaves_other_pixels_alone() -> None:
    plane = np.full((6, 5), 9)
    mask = np.zeros((1, 6, 5), bool)
    mask[0, 2:4, 1] = True
    paint(plane, to_runs(mask), 3)
    assert (plane == np.where(mask[0], 3, 9)).all()
    paint(plane, to_runs(mask)[:0], 4)
    assert not (plane == 4).any()


def test_a_mask_must_lie_in_its_volume() -> None:
    found = lesions(bitmaps(SHAPE))
    check_inside(found, SHAPE)
    with pytest.raises(ValueError, match="outside its volume"):
        check_inside(found, (1, 2, 2))


def test_terms_have_defaults_and_problems_come_all_at_once() -> None:
    liver = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
    terms = class_terms({"a": {"sites": [liver]}, "b": {"type": liver}, "c": {}})
    assert terms["a"].sites == (Term("10200004", "SCT", "Liver"),)
    assert (terms["a"].type, terms["b"].category) == (DEFAULT_TERMS.type, DEFAULT_TERMS.category)
    assert terms["c"] == DEFAULT_TERMS
    with pytest.raises(SpecError) as caught:
        class_terms(
            {"a": {"kind": 1}, "b": {"type": {"value": "1"}}, "c": {"type": liver | {"value": "9" * 17}}, "d": 3}
        )
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "terms.a",
        "terms.b.type",
        "terms.c.type.value",
        "terms.d",
    ]
