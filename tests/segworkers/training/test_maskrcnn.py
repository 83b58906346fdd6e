"""Objects of a crop as Mask R-CNN learns them, and its answer for a whole image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from schemas.models import ModelManifest
from segworkers.segmenters.compact_options import CompactShape
from segworkers.training.maskrcnn import MaskRcnnFamily
from segworkers.training.samples import Crop

TINY = CompactShape(widths=(8, 8, 8, 8, 8), blocks=(1, 1, 1, 1), features=8, hidden=16, mask_layers=1)
MANIFEST = ModelManifest(name="m", kind="instance", window=(1, 64, 64), overlap=(0, 0, 0), classes=("a", "b"))
FAMILY = MaskRcnnFamily(manifest=MANIFEST, shape=TINY, side=64, smallest=5, parameters={"score_threshold": 0.0})


@given(st.data())
def test_boxes_and_masks_are_those_of_the_objects(data):
    labels, kinds = np.zeros((64, 64), np.int32), list[int]()
    for _ in range(data.draw(st.integers(0, 6))):
        y, x = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60))
        height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
        labels[y : y + height, x : x + width] = len(kinds) + 1
        kinds.append(data.draw(st.integers(0, 1)))
    ignored = np.zeros(labels.shape, bool)
    ignored[: data.draw(st.integers(0, 40))] = True
    crop = Crop(
        image=np.zeros((1, 64, 64), np.float32), labels=labels, classes=np.array(kinds, np.int64), ignored=ignored
    )
    made = FAMILY.targets(crop)
    wanted = 0
    for number, kind in enumerate(kinds, start=1):
        mask = labels == number
        rows, columns = np.nonzero(mask)
        if mask.sum() < 5 or np.ptp(rows) < 2 or np.ptp(columns) < 2 or 2 * (mask & ignored).sum() > mask.sum():
            continue
        box, label, shape = made.boxes[wanted], made.labels[wanted], made.masks[wanted]
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert label == kind + 1 and np.array_equal(shape, mask)
        wanted += 1
    assert len(made.boxes) == len(made.labels) == len(made.masks) == wanted


def test_a_crop_without_objects_has_a_finite_loss():
    torch.manual_seed(0)
    network = FAMILY.build().train()
    crop = Crop(
        image=np.zeros((1, 64, 64), np.float32),
        labels=np.zeros((64, 64), np.int32),
        classes=np.zeros(0, np.int64),
        ignored=np.zeros((64, 64), bool),
    )
    parts = FAMILY.loss(network, [crop, crop], [FAMILY.targets(crop)] * 2, "cpu")
    assert all(bool(torch.isfinite(value)) for value in parts.values()) and len(parts) == 5


def test_the_threshold_in_force_is_that_of_the_family():
    torch.manual_seed(0)
    network, image = FAMILY.build().eval(), np.random.default_rng(0).random((1, 64, 64), np.float32)
    with torch.inference_mode():
        every = FAMILY.predict(network, image, "cpu").scores
        half = float(np.median(every))
        fewer = replace(FAMILY, parameters={"score_threshold": half}).predict(network, image, "cpu").scores
        again = FAMILY.predict(network, image, "cpu").scores
    assert 0 < len(fewer) < len(every) == len(again) and fewer.min() >= half


def test_images_of_any_size_are_seen_whole_and_the_network_is_left_as_it_was():
    torch.manual_seed(0)
    network = FAMILY.build().eval()
    before = network.transform.min_size, network.transform.max_size
    with torch.inference_mode():
        said = FAMILY.predict(network, np.random.default_rng(0).random((1, 50, 90), np.float32), "cpu")
    assert len(said.labels) > 3 and max(box.stop[2] for box, _ in said.crops) > 64
    assert all(box.stop[1] <= 50 and box.stop[2] <= 90 for box, _ in said.crops)
    assert (network.transform.min_size, network.transform.max_size) == before
