"""Outputs of foreign networks become answers: each head against what it must say, written out here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.boxes import Box
from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseMaps, DenseProbabilities
from segworkers.segmenters.head_reading import read_head, read_outputs
from segworkers.segmenters.heads import label_masks, sigmoid, softmax

CLASSES = ("a", "b")


def manifest(kind: str = "instance", window: tuple[int, int, int] = (1, 8, 10), **more: Any) -> ModelManifest:
    return ModelManifest(
        name="m", kind=kind, window=window, overlap=(0, 0, 0), classes=more.pop("classes", CLASSES), **more
    )


def decoded(declared: dict[str, Any], outputs: dict[str, Any], of: ModelManifest, **overrides: Any) -> Any:
    head = read_head(declared, of, overrides)
    count = len(next(iter(outputs.values())))
    return head.decode(outputs, np.ones((count, *of.window), bool), of)


def painted(masks: Any, window: tuple[int, int, int]) -> np.ndarray:
    """A bool array (k, z, y, x) of the masks."""
    whole = np.zeros((len(masks.crops), *window), bool)
    for out, (box, crop) in zip(whole, masks.crops, strict=True):
        out[box.within((0, 0, 0))] = crop
    return whole


def test_softmax_and_sigmoid_are_what_their_names_say() -> None:
    values = np.random.default_rng(0).normal(0, 30, (2, 3, 1, 2, 2)).astype(np.float32)
    powers = np.exp(values.astype(np.float64))
    np.testing.assert_allclose(softmax(values), powers / powers.sum(1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(sigmoid(values), 1 / (1 + np.exp(-values.astype(np.float64))), atol=1e-6)
    extremes = np.array([-3e38, 3e38], np.float32)
    assert sigmoid(extremes).tolist() == [0.0, 1.0] and sigmoid(extremes).dtype == np.float32


def test_semantic_with_background() -> None:
    logits = np.random.default_rng(1).normal(size=(2, 3, 1, 8, 10)).astype(np.float32)
    answer = decoded({"type": "semantic"}, {"scores": logits}, manifest("dense"))
    assert isinstance(answer, DenseProbabilities)
    assert (answer.winners().classes == logits.argmax(1)).all()
    np.testing.assert_allclose(answer.values.sum(1), 1, atol=1e-6)


@settings(max_examples=50)
@given(threshold=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_semantic_without_background_names_a_class_exactly_above_the_threshold(threshold: float, seed: int) -> None:
    scores = np.random.default_rng(seed).random((1, 2, 1, 8, 10)).astype(np.float32)
    declared = {"type": "semantic", "background": False, "activation": "none", "threshold": threshold}
    answer = decoded(declared, {"scores": scores}, manifest("dense"))
    best, which = scores.max(1), scores.argmax(1) + 1
    assert (answer.winners().classes == np.where(best > np.float32(threshold), which, 0)).all()


def test_a_job_may_set_the_threshold() -> None:
    scores = np.full((1, 1, 1, 8, 10), 0.3, np.float32)
    one = manifest("dense", classes=("a",))
    declared = {"type": "semantic", "background": False, "activation": "none"}
    assert not decoded(declared, {"scores": scores}, one).winners().classes.any()
    assert decoded(declared, {"scores": scores}, one, threshold=0.2, nms=None).winners().classes.all()
    with pytest.raises(SpecError, match=r"score_threshold.*no such option"):
        decoded(declared, {"scores": scores}, one, score_threshold=0.2)


def test_context_is_cut_away() -> None:
    of = manifest("dense", context=(0, 2, 1), classes=("a",))
    shown = np.random.default_rng(0).normal(size=(1, 2, 1, 12, 12)).astype(np.float32)
    answer = decoded({"type": "semantic"}, {"scores": shown}, of)
    assert (answer.winners().classes == shown[:, :, :, 2:-2, 1:-1].argmax(1)).all()
    with pytest.raises(TileError, match="2 channels"):
        decoded({"type": "semantic"}, {"scores": shown[:, :, :, 1:]}, of)


def test_class_maps() -> None:
    classes = np.random.default_rng(0).integers(0, 3, (2, 1, 1, 8, 10))
    answer = decoded({"type": "classes"}, {"classes": classes.astype(np.float32)}, manifest("dense"))
    assert isinstance(answer, DenseMaps) and answer.classes.dtype == np.uint8
    assert (answer.classes == classes[:, 0]).all()
    for wrong, message in ((classes + 1, "0 to 2"), (classes + 0.5, "whole numbers")):
        with pytest.raises(TileError, match=message):
            decoded({"type": "classes"}, {"classes": wrong}, manifest("dense"))


@settings(max_examples=60)
@given(seed=st.integers(0, 999), background=st.booleans())
def test_labels_keep_every_object_once(seed: int, background: bool) -> None:
    random = np.random.default_rng(seed)
    numbers = np.concatenate(([0] if background else [7], random.choice(10_000, 5, replace=False) + 1))
    labels = numbers[random.integers(0, 6, (1, 1, 1, 8, 10))]
    scores = random.random(labels.shape).astype(np.float32)
    classes = random.integers(0, 3, labels.shape)
    outputs = {"labels": labels, "scores": scores, "classes": classes}
    (answer,) = decoded({"type": "labels"}, outputs, manifest())
    found = np.unique(labels[labels > 0])
    whole = painted(answer, (1, 8, 10))
    assert len(whole) == len(found)
    for index, number in enumerate(found):
        mask = labels[0, 0] == number
        assert (whole[index] == mask).all()
        assert answer.scores[index] == pytest.approx(scores[0, 0][mask].mean(), rel=1e-6)
        votes = [np.count_nonzero(classes[0, 0][mask] == k) for k in (1, 2)]
        assert answer.labels[index] == int(votes[1] > votes[0])


def test_label_masks_of_nothing() -> None:
    empty = np.zeros((1, 4, 4), np.int64)
    assert len(label_masks(empty, empty, empty, 1).crops) == 0


@pytest.mark.parametrize(("form", "box"), [("xyxy", [2, 1, 6, 5]), ("xywh", [2, 1, 4, 4]), ("cxcywh", [4, 3, 4, 4])])
def test_boxes_as_rectangles_and_ellipses(form: str, box: list[float]) -> None:
    outputs = {"boxes": np.array([box], np.float32), "scores": np.array([0.9]), "labels": np.array([2])}
    (answer,) = decoded({"type": "boxes", "shape": "rectangle", "format": form}, outputs, manifest())
    assert answer.crops[0][0] == Box((0, 1, 2), (1, 5, 6)) and answer.crops[0][1].all()
    assert answer.labels.tolist() == [1] and answer.scores.tolist() == [0.9]
    (answer,) = decoded({"type": "boxes", "format": form}, outputs, manifest())
    disc = [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
    assert answer.crops[0][1][0].astype(int).tolist() == disc


def test_boxes_relative_suppressed_and_dropped() -> None:
    boxes = np.array(
        [[0.2, 0.25, 0.6, 0.75], [0.2, 0.25, 0.6, 0.8], [0, 0, 0.1, 0.1], [0.0, 0.0, 0.5, 0.5]], np.float32
    )
    outputs = {"boxes": boxes, "scores": np.array([0.8, 0.9, 0.95, 0.4]), "labels": np.array([0, 0, 5, 0])}
    declared = {"type": "boxes", "relative": True, "shape": "rectangle", "first_label": 0, "nms": 0.5}
    (answer,) = decoded(declared, outputs, manifest(window=(1, 20, 20)))
    assert answer.crops[0][0] == Box((0, 5, 4), (1, 16, 12)) and len(answer.crops) == 1
    names = {"names": ["x", "a", "b"], "score_threshold": 0.3}
    (answer,) = decoded(declared | names, outputs | {"labels": np.array([1, 1, 2, 0])}, manifest(window=(1, 20, 20)))
    assert answer.labels.tolist() == [1, 0] and answer.scores.tolist() == [0.95, 0.9]


def test_boxes_outside_the_window_have_no_extent() -> None:
    outputs = {"boxes": np.array([[-9.0, -9, -1, -1], [8, 6, 30, 30]]), "scores": np.array([0.9, 0.8])}
    (answer,) = decoded({"type": "boxes", "shape": "rectangle", "limit": 2}, outputs, manifest())
    assert [box for box, _ in answer.crops] == [Box((0, 6, 8), (1, 8, 10))] and answer.capped
    assert answer.labels.tolist() == [0]


def test_mask_rcnn_in_windows_and_in_boxes() -> None:
    boxes = np.array([[1.0, 1, 7, 7], [0, 0, 4, 4]], np.float32)
    masks = np.zeros((2, 1, 8, 10), np.float32)
    masks[0, 0, 2:5, 3:6] = 0.7
    outputs = {"boxes": boxes, "labels": np.array([1, 2]), "scores": np.array([0.9, 0.95], np.float32), "masks": masks}
    (answer,) = decoded({"type": "maskrcnn"}, outputs, manifest())
    assert [box for box, _ in answer.crops] == [Box((0, 2, 3), (1, 5, 6))], "the empty one has no extent"
    small = {"masks": np.ones((2, 1, 28, 28), np.float32)}
    (answer,) = decoded({"type": "maskrcnn"}, outputs | small, manifest())
    assert answer.labels.tolist() == [1, 0], "best first"
    with pytest.raises(TileError, match="2 masks"):
        decoded({"type": "maskrcnn"}, outputs | {"masks": masks[:1]}, manifest())


def test_prototype_masks() -> None:
    window, classes = (1, 64, 64), 2
    prototypes = np.full((1, 2, 16, 16), -1.0, np.float32)
    prototypes[0, 0, 4:8, 4:8] = 1.0
    prototypes[0, 1, 8:12, 8:12] = 1.0
    columns = np.zeros((1, 4 + classes + 2, 3), np.float32)
    columns[0, :, 0] = [24, 24, 20, 20, 0.9, 0.1, 1, 0]
    columns[0, :, 1] = [24, 24, 20, 21, 0.8, 0.1, 1, 0]
    columns[0, :, 2] = [40, 40, 10, 10, 0.1, 0.7, 0, 1]
    outputs = {"predictions": columns, "prototypes": prototypes}
    (answer,) = decoded({"type": "yolo-seg"}, outputs, manifest(window=window))
    assert answer.labels.tolist() == [0, 1], "the second box of the first class is suppressed"
    whole = painted(answer, window)
    assert whole[0, 0, 17:31, 17:31].all() and whole[0].sum() <= 20 * 20
    assert whole[1, 0, 35:45, 35:45].all() and whole[1].sum() == 100, "cut to its box"
    with pytest.raises(TileError, match="predictions"):
        decoded({"type": "yolo-seg"}, outputs | {"predictions": columns[:, 1:]}, manifest(window=window))


def star_outputs() -> dict[str, np.ndarray]:
    middle, foreground = np.full((1, 32, 32), -9.0, np.float32), np.full((1, 64, 64), -9.0, np.float32)
    middle[0, 10, 12] = 9.0
    y, x = np.mgrid[:64, :64]
    foreground[0][(y - 20) ** 2 + (x - 24) ** 2 <= 81] = 9.0
    return {"middle": middle, "rays": np.full((1, 16, 32, 32), 9.0, np.float32), "foreground": foreground}


def test_star_maps() -> None:
    of = manifest(window=(1, 64, 64), classes=("a",))
    (answer,) = decoded({"type": "star"}, star_outputs(), of)
    assert (painted(answer, of.window)[0, 0] == (star_outputs()["foreground"][0] > 0)).all()
    (none,) = decoded({"type": "star"}, star_outputs(), of, least=10_000)
    assert len(none.crops) == 0
    with pytest.raises(TileError, match="middle"):
        decoded({"type": "star"}, star_outputs() | {"middle": np.zeros((1, 64, 64))}, of)


@pytest.mark.parametrize(
    ("declared", "of", "message"),
    [
        (None, manifest(), "expected an object"),
        ({"type": "magic"}, manifest(), "semantic, classes"),
        ({"type": "semantic"}, manifest(), "kind dense"),
        ({"type": "semantic", "background": False, "activation": "softmax"}, manifest("dense"), "always names a class"),
        ({"type": "boxes", "shap": "ellipse"}, manifest(), "did you mean 'shape'"),
        ({"type": "boxes", "names": ["a"]}, manifest(), "no output b"),
        ({"type": "maskrcnn"}, manifest(window=(2, 8, 8)), "planes"),
        ({"type": "star", "core": 2, "reach": 1}, manifest(), "core at most reach"),
        ({"type": "boxes", "first_label": 3}, manifest(), "0, or 1"),
    ],
)
def test_wrong_heads_are_refused(declared: Any, of: ModelManifest, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_head(declared, of, {})


def test_roles_of_outputs() -> None:
    head = read_head({"type": "labels"}, manifest(), {})
    assert read_outputs(None, head) == {"labels": 0}
    assert read_outputs({"labels": "ids", "scores": 2}, head) == {"labels": "ids", "scores": 2}
    with pytest.raises(SpecError) as caught:
        read_outputs({"masks": 0, "scores": -1}, head)
    assert len(caught.value.problems) == 3
