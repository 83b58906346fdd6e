"""What models may answer, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseMaps, DenseProbabilities
from segworkers.segmenters.checks import check_answer, check_dense, check_instances, tight_crop

WINDOW = (1, 4, 5)
DENSE = ModelManifest(name="net", kind="dense", window=WINDOW, overlap=(0, 0, 0), classes=("a", "b"))
INSTANCE = ModelManifest(name="net", kind="instance", window=WINDOW, overlap=(0, 0, 0), classes=("a", "b"))
VOLUME = ModelManifest(name="net", kind="instance", window=(3, 4, 5), overlap=(0, 0, 0), classes=("a", "b"))


class FakeTensor:
    """As much of a torch tensor as the checks may rely on; has no __array__, like one on a GPU."""

    def __init__(self, values: NDArray[Any], dtype: str = "torch.float32") -> None:
        self._values = values
        self.dtype = dtype

    def detach(self) -> FakeTensor:
        return self

    def cpu(self) -> FakeTensor:
        return self

    def float(self) -> FakeTensor:
        return FakeTensor(self._values.astype(np.float32))

    def numpy(self) -> NDArray[Any]:
        if "bfloat16" in self.dtype:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._values


def _mask(*pixels: tuple[int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(WINDOW, bool)
    for pixel in pixels:
        mask[pixel] = True
    return mask


# Dense -----------------------------------------------------------------------------------------------------------


@given(
    hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64]), (2, *WINDOW), elements=st.integers(0, 2))
)
def test_class_maps_pass_unchanged_without_probability(maps: NDArray[Any]) -> None:
    found = check_answer(maps, DENSE, 2)
    assert isinstance(found, DenseMaps) and found.probability is None
    assert found.classes.dtype == np.uint8 and np.array_equal(found.classes, maps)


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        (2, 3, *WINDOW),
        elements=st.sampled_from([0, 0.25, 0.5, 1]),
    )
)
def test_probabilities_become_the_lowest_of_the_best_classes_and_its_probability(values: NDArray[Any]) -> None:
    found = check_dense(values, DENSE, 2)
    assert found.probability is not None and found.probability.dtype == np.float32
    for n, *pixel in np.ndindex(2, *WINDOW):
        column = [float(values[n, c, *pixel]) for c in range(3)]
        assert found.classes[n, *pixel] == column.index(max(column))
        assert found.probability[n, *pixel] == max(column)


def test_answers_are_copies_so_that_a_model_may_reuse_its_buffer() -> None:
    maps = np.ones((1, *WINDOW), np.uint8)
    found = check_dense(maps, DENSE, 1)
    mask = _mask((0, 1, 1))
    crops = check_instances([([0], [1.0], mask[None])], INSTANCE, 1)[0].crops
    maps[:] = 2
    mask[:] = False
    assert (found.classes == 1).all() and crops[0][1].all()


def test_half_precision_may_round_beyond_one_and_is_clipped() -> None:
    values = np.zeros((1, 3, *WINDOW), np.float16)
    values[:, 1] = 1.0009765625
    found = check_dense(values, DENSE, 1)
    assert found.probability is not None and found.probability.max() == 1


def test_tensors_are_taken_from_any_device_and_bfloat16_is_widened() -> None:
    values = np.zeros((1, 3, *WINDOW), np.float32)
    values[:, 2] = 0.75
    found = check_dense(FakeTensor(values, "torch.bfloat16"), DENSE, 1)
    assert (found.classes == 2).all()
    assert (check_dense(FakeTensor(np.ones((1, *WINDOW), np.uint8)), DENSE, 1).classes == 1).all()


def _probabilities(value: float) -> NDArray[np.float32]:
    values = np.zeros((2, 3, *WINDOW), np.float32)
    values[1, 0, 0, 2, 2] = value
    return values


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            np.zeros((2, *WINDOW), np.int64),
            r"net: prediction: expected an unsigned integer .* found dtype int64.*uint8",
        ),
        (np.zeros((2, *WINDOW), bool), "found dtype bool"),
        (np.zeros((2, 4, 5), np.uint8), r"expected class maps .* \(2, 1, 4, 5\), found shape \(2, 4, 5\)"),
        (np.zeros((1, *WINDOW), np.uint8), r"found shape \(1, 1, 4, 5\)"),
        (
            np.full((2, *WINDOW), 3, np.uint8),
            r"window 0 of the batch: expected classes 0 \(background\) to 2, found class 3",
        ),
        (np.zeros((2, 2, *WINDOW), np.float32), r"\(2, 3, 1, 4, 5\), background first, found shape \(2, 2, 1, 4, 5\)"),
        (_probabilities(np.nan), "window 1 of the batch: expected probabilities from 0 to 1, found NaN"),
        (_probabilities(-0.5), "window 1 of the batch: .* found -0.5 to 0"),
        (_probabilities(1.5), "found 0 to 1.5.*softmax"),
        (_probabilities(np.inf), "found 0 to inf"),
        (None, "found dtype object"),
        ([[1], [1, 2]], "net: prediction: expected an array"),
    ],
)
def test_unusable_dense_answers_are_refused(answer: object, message: str) -> None:
    with pytest.raises(TileError, match=message) as caught:
        check_answer(answer, DENSE, 2)
    assert caught.value.reason == "bad_prediction"


BLENDED = replace(DENSE, blend="gaussian")


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        (2, 3, *WINDOW),
        elements=st.sampled_from([-0.0009765625, 0, 0.25, 0.5, 1, 1.0009765625]),
    )
)
def test_where_windows_are_blended_probabilities_stay_as_float32_copies_within_0_and_1(values: NDArray[Any]) -> None:
    found = check_answer(DenseProbabilities(values), BLENDED, 2)
    assert isinstance(found, DenseProbabilities) and found.values.dtype == np.float32
    assert np.array_equal(found.values, np.clip(values, 0, 1).astype(np.float32))
    assert not np.shares_memory(found.values, values)
    plain = check_dense(values, DENSE, 2)
    assert isinstance(plain, DenseMaps) and np.array_equal(plain.classes, np.argmax(values, axis=1))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            np.zeros((1, *WINDOW), np.uint8),
            r"net: prediction: expected floating-point probabilities .* because blend is gaussian, "
            r"found dtype uint8.*model.blend=none",
        ),
        (DenseMaps(np.zeros((1, *WINDOW), np.uint8), None), "because blend is gaussian, found dtype uint8"),
        (np.zeros((1, 2, *WINDOW), np.float32), r"\(1, 3, 1, 4, 5\), background first, found shape"),
        (np.full((1, 3, *WINDOW), np.nan, np.float32), "expected probabilities from 0 to 1, found NaN"),
    ],
)
def test_where_windows_are_blended_probabilities_are_required(answer: object, message: str) -> None:
    with pytest.raises(TileError, match=message) as caught:
        check_answer(answer, BLENDED, 1)
    assert caught.value.reason == "bad_prediction"


def test_only_dense_models_can_be_blended() -> None:
    with pytest.raises(ValueError, match=r"blend=gaussian averages the class probabilities of dense models.*instance"):
        replace(INSTANCE, blend="gaussian")
    with pytest.raises(ValueError, match="blend must be none or gaussian, got 'mean'"):
        replace(DENSE, blend="mean")  # pyright: ignore[reportArgumentType]


# Instance --------------------------------------------------------------------------------------------------------


@given(st.data())
def test_every_form_of_answer_means_the_same(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 4))
    masks = data.draw(hnp.arrays(bool, (count, *WINDOW)))
    masks[:, 0, 0, 0] |= ~masks.any(axis=(1, 2, 3))
    labels = data.draw(hnp.arrays(st.sampled_from([np.int64, np.uint8]), count, elements=st.integers(0, 1)))
    scores = data.draw(hnp.arrays(np.float32, count, elements=st.floats(0, 1, width=32)))
    whole = [0, 0, 0, *WINDOW]
    parts: dict[str, Any] = {"labels": labels, "scores": scores, "masks": masks}
    forms: list[object] = [
        parts,
        (labels, scores, masks),
        SimpleNamespace(**parts),
        (labels.tolist(), scores.tolist(), list(masks)),
        (labels, scores, masks[:, 0]),
        (labels, scores, FakeTensor(masks)),
        (labels, scores, [(whole, mask) for mask in masks]),
        (labels, scores, [(np.array(whole).reshape(2, 3), mask[0]) for mask in masks]),
        (labels, scores, [tight_crop(Box.of_shape(WINDOW), mask) for mask in masks]),
    ]
    answers = check_instances(forms, INSTANCE, len(forms))
    answers += check_instances([answers[0]], INSTANCE, 1)
    for found in answers:
        assert np.array_equal(found.labels, labels) and found.labels.dtype == np.int64
        assert np.array_equal(found.scores, scores) and found.scores.dtype == np.float64
        assert not found.capped
        for mask, (box, crop) in zip(masks, found.crops, strict=True):
            full = np.zeros(WINDOW, bool)
            full[box.within((0, 0, 0))] = crop
            assert np.array_equal(full, mask)
            assert all(crop.any(axis=tuple({0, 1, 2} - {axis}))[[0, -1]].all() for axis in range(3))


def test_a_mask_of_several_parts_stays_one_detection_and_order_is_kept() -> None:
    masks = np.stack([_mask((0, 3, 4)), _mask((0, 0, 0), (0, 2, 4))])
    found = check_instances([{"labels": [1, 0], "scores": [0.2, 0.9], "masks": masks, "capped": True}], INSTANCE, 1)[0]
    assert found.capped and found.labels.tolist() == [1, 0] and found.scores.tolist() == [0.2, 0.9]
    assert found.crops[1][0] == Box((0, 0, 0), (1, 3, 5)) and found.crops[1][1].sum() == 2


def test_volumes_take_masks_of_three_axes_only() -> None:
    masks = np.ones((1, *VOLUME.window), bool)
    assert check_instances([([0], [1], masks)], VOLUME, 1)[0].crops[0][0].shape == (3, 4, 5)
    with pytest.raises(TileError, match=r"expected a mask of shape \(3, 4, 5\) .* found shape \(4, 5\)"):
        check_instances([([0], [1], masks[:, 0])], VOLUME, 1)


ONE = _mask((0, 1, 1))[None]
SMALL = np.ones((1, 2, 2), bool)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (([0], [1.0], np.zeros((1, *WINDOW), bool)), "window 1 of the batch, detection 0: .* an empty mask"),
        (([0], [np.nan], ONE), "window 1 of the batch, detection 0: expected a finite score, found nan"),
        (([0], [np.inf], ONE), "expected a finite score, found inf"),
        (([2], [1.0], ONE), "labels: expected 0 to 1, indices of classes without background, found 2 to 2"),
        (([-1], [1.0], ONE), "found -1 to -1"),
        (([0.0], [1.0], ONE), "labels: expected whole numbers, found dtype float64"),
        (([0], ["high"], ONE), "scores: expected numbers"),
        (([0, 0], [1.0, 1.0], ONE), "masks: expected 2, one for each label, found 1"),
        (([0], [1.0, 1.0], ONE), r"labels \(k,\) and scores \(k,\), found shapes \(1,\) and \(2,\)"),
        (([0], [1.0], ONE.astype(np.uint8)), "detection 0: expected a mask of dtype bool, found dtype uint8"),
        (([0], [1.0], ONE.astype(np.float32)), "found dtype float32.*m > 0.5"),
        (([0], [1.0], np.ones((1, 5, 4), bool)), r"expected a mask of shape \(1, 4, 5\) .* found shape \(1, 5, 4\)"),
        (([0], [1.0], [((0, 0, 4, 1, 2, 6), SMALL)]), r"a box inside the window \(1, 4, 5\), found \(0, 0, 4\) to"),
        (([0], [1.0], [((0, 0, 0, 1, 3, 3), SMALL)]), r"expected a mask of shape \(1, 3, 3\)"),
        (([0], [1.0], [((0, 2, 2, 1, 2, 4), SMALL)]), "a box needs start < stop"),
        (([0], [1.0], [((0, 0, 2, 2), SMALL)]), "box: expected six whole numbers"),
        (([0], [1.0], [((0.0, 0, 0, 1, 2, 2), SMALL)]), "box: expected six whole numbers"),
        ({"labels": [0], "scores": [1.0]}, "expected labels, scores and masks, found no masks"),
        (np.zeros(WINDOW), r"expected labels, scores and masks \(a mapping, a tuple or an object\), found ndarray"),
        (None, "found NoneType"),
    ],
)
def test_unusable_instance_answers_are_refused(answer: object, message: str) -> None:
    good: object = ([], [], np.zeros((0, *WINDOW), bool))
    with pytest.raises(TileError, match=f"net: .*{message}") as caught:
        check_answer([good, answer], INSTANCE, 2)
    assert caught.value.reason == "bad_prediction"


@pytest.mark.parametrize(
    ("answer", "message"),
    [([], "expected 2 answers, one for each window, found 0"), ({"labels": []}, "a list of 2 answers, .* found dict")],
)
def test_number_of_answers_must_be_the_number_of_windows(answer: object, message: str) -> None:
    with pytest.raises(TileError, match=message):
        check_answer(answer, INSTANCE, 2)


@given(hnp.arrays(bool, (2, 3, 4)))
def test_tight_crop_keeps_every_pixel_and_nothing_around(mask: NDArray[np.bool_]) -> None:
    found = tight_crop(Box((5, 6, 7), (7, 9, 11)), mask)
    if found is None:
        assert not mask.any()
        return
    box, crop = found
    assert np.argwhere(crop).shape[0] == mask.sum()
    places = np.argwhere(mask) + np.array([5, 6, 7])
    assert places.min(axis=0).tolist() == list(box.start)
    assert (places.max(axis=0) + 1).tolist() == list(box.stop)
