"""Crops: image and labels stay together, objects are numbered anew, draws repeat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segworkers.training.augment import Augmentation, as_crop
from segworkers.training.samples import Sample, median_diameter

PLAIN = Augmentation(
    side=48, zoom=(0.7, 1.5), gain=(1.0, 1.0), gamma=(1.0, 1.0), offset=(0.0, 0.0), blur=(0.0, 0.0), noise=(0.0, 0.0)
)


def blocks(classes: bool = False) -> Sample:
    """Blocks of 12 px whose brightness tells their number."""
    labels = np.zeros((100, 120), np.int32)
    for number in range(12):
        i, j = divmod(number, 4)
        labels[6 + 32 * i : 18 + 32 * i, 6 + 28 * j : 18 + 28 * j] = number + 1
    return Sample(
        name="blocks",
        image=(labels / 20).astype(np.float32)[None],
        labels=labels,
        classes=np.arange(12) % 3 if classes else None,
        ignored=labels == 5,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_image_labels_classes_and_ignored_stay_together(seed: int) -> None:
    sample = blocks(classes=True)
    crop = PLAIN.crop(sample, np.random.default_rng(seed))
    assert crop.image.shape == (1, 48, 48) and crop.labels.shape == crop.ignored.shape == (48, 48)
    assert sorted(np.unique(crop.labels)) in ([*range(len(crop.classes) + 1)], [*range(1, len(crop.classes) + 1)])
    for number, kind in enumerate(crop.classes, start=1):
        inside = crop.labels == number
        if inside.sum() < 60:
            continue
        source = round(float(np.median(crop.image[0][inside])) * 20)
        assert kind == (source - 1) % 3
        assert crop.ignored[inside].mean() == (source == 5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_seed_is_a_crop(seed: int) -> None:
    full = Augmentation(side=40, diameters=(8.0, 30.0))
    first, second = (full.crop(blocks(), np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(first.image, second.image) and np.array_equal(first.labels, second.labels)
    assert first.image.min() >= 0 and first.image.max() <= 1 and first.image.dtype == np.float32


def test_objects_are_scaled_to_the_wanted_diameter() -> None:
    wanted = Augmentation(side=128, diameters=(24.0, 24.0), zoom=(0.5, 3.0), border=0.0, on_object=1.0)
    sizes = [median_diameter(wanted.crop(blocks(), np.random.default_rng(k)).labels) for k in range(8)]
    assert np.median(sizes) == pytest.approx(24, rel=0.15)


def test_objects_without_background_keep_their_numbers() -> None:
    crop = as_crop(np.zeros((1, 2, 2), np.float32), np.array([[7, 7], [9, 9]], np.int32), None, np.zeros((2, 2), bool))
    assert crop.labels.tolist() == [[1, 1], [2, 2]] and crop.classes.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"image": np.zeros((1, 4, 5), np.float32)}, "one size"),
        ({"image": np.zeros((1, 4, 4))}, "float32"),
        ({"classes": np.zeros(1, np.int64)}, "classes of 2"),
        ({"ignored": np.zeros((3, 3), bool)}, "ignored"),
        ({"chance": 0.0}, "chance"),
    ],
)
def test_samples_refuse_what_does_not_fit(change: dict[str, object], word: str) -> None:
    good = {"name": "x", "image": np.zeros((1, 4, 4), np.float32), "labels": np.full((4, 4), 2, np.int32)}
    with pytest.raises(ValueError, match=word):
        Sample(**(good | change))
