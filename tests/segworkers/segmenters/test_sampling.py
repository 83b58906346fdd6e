"""Resizing, pasting and suppression equal torch's and torchvision's own."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import batched_nms

from schemas.boxes import Box
from segworkers.segmenters.sampling import filled_box, linear_weights, paste, resized, suppressed

SIDE = st.integers(2, 40)  # torch resizes columns one pixel wide wrongly where it smooths


@settings(max_examples=40, deadline=None)
@given(before=st.tuples(SIDE, SIDE), after=st.tuples(SIDE, SIDE), antialias=st.booleans(), seed=st.integers(0, 99))
def test_resizing_is_torchs(before: tuple[int, int], after: tuple[int, int], antialias: bool, seed: int) -> None:
    values = np.random.default_rng(seed).random((2, *before)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], size=after, mode="bilinear", align_corners=False, antialias=antialias
    )
    np.testing.assert_allclose(resized(values, after, antialias=antialias), theirs[0].numpy(), atol=2e-5)


@given(inputs=SIDE, outputs=SIDE, antialias=st.booleans())
def test_weights_keep_constants(inputs: int, outputs: int, antialias: bool) -> None:
    weights = linear_weights(inputs, outputs, antialias=antialias)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert (weights >= 0).all()


def test_a_volume_is_resized_axis_by_axis() -> None:
    values = np.random.default_rng(0).random((1, 1, 4, 6, 5)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(values), size=(7, 3, 9), mode="trilinear")
    np.testing.assert_allclose(resized(values, (7, 3, 9)), theirs.numpy(), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999))
def test_pasting_is_torchvisions(seed: int) -> None:
    random = np.random.default_rng(seed)
    window = (1, 50, 60)
    mask = torch.nn.functional.interpolate(torch.from_numpy(random.random((1, 1, 4, 4), np.float32)), size=28)[0, 0]
    low = random.uniform(0, 45, 2)  # torchvision clips boxes to the window before it pastes
    box = np.minimum(np.concatenate((low, low + random.uniform(0, 30, 2))), [60, 50, 60, 50]).astype(np.float32)
    theirs = paste_masks_in_image(mask[None, None], torch.from_numpy(box)[None], window[1:])[0, 0].numpy()
    crop = paste(mask.numpy(), box, window, 0.5)
    ours = np.zeros(window[1:], bool)
    if crop is not None:
        ours[crop[0].within((0, 0, 0))[1:]] = crop[1][0]
    sure = np.abs(theirs - 0.5) > 1e-4
    assert (ours == (theirs >= 0.5))[sure].all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), iou=st.floats(0.1, 0.9))
def test_suppression_is_torchvisions(seed: int, iou: float) -> None:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 20, (30, 2))
    boxes = np.concatenate((low, low + random.uniform(1, 15, (30, 2))), 1).astype(np.float32)
    scores, labels = random.permutation(30).astype(np.float32), random.integers(0, 2, 30)
    theirs = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels), iou)
    assert suppressed(boxes, scores, labels, iou).tolist() == theirs.tolist()


def test_suppression_of_nothing() -> None:
    assert suppressed(np.zeros((0, 4)), np.zeros(0), np.zeros(0), 0.5).shape == (0,)


@given(x=st.floats(-5, 25), y=st.floats(-5, 25), w=st.floats(0, 20), h=st.floats(0, 20))
def test_boxes_hold_the_pixels_whose_centres_they_hold(x: float, y: float, w: float, h: float) -> None:
    window = (1, 16, 20)
    rows, columns = np.mgrid[:16, :20] + 0.5
    box = np.array([x, y, x + w, y + h])
    inside = (rows >= y) & (rows < y + h) & (columns >= x) & (columns < x + w)
    crop = filled_box(box, window, "rectangle")
    assert (crop is None) == (not inside.any())
    if crop is not None:
        assert crop[0] in Box.of_shape(window) and crop[1].sum() == inside.sum()
        ellipse = filled_box(box, window, "ellipse")
        assert ellipse is None or (ellipse[0] in crop[0] and ellipse[1].sum() <= inside.sum())
