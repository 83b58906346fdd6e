"""Clumps: what is pasted is whole, numbered apart, and hides little."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segworkers.training.augment import Augmentation
from segworkers.training.clumps import HIDDEN, paste
from segworkers.training.samples import Sample

SIDE = 96


def disc(centre: tuple[int, int], radius: int) -> np.ndarray:
    y, x = np.indices((SIDE, SIDE))
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Two discs on dark: object 1 in the middle, object 3 apart, brightness tells which."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[disc((48, 48), 12)], labels[disc((16, 80), 8)] = 1, 3
    return (labels / 10).astype(np.float32)[None], labels


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_copies_are_told_apart_and_hide_little(seed: int) -> None:
    (image, labels), donor = scene(), scene()
    before = labels.copy()
    paste(image, labels, donor, 3, np.random.default_rng(seed))
    for number in np.unique(before[before > 0]):
        assert (labels == number).sum() >= (1 - HIDDEN) ** 8 * (before == number).sum()
    for number in np.unique(labels[labels > 3]):
        original = (number - 1) % 3 + 1
        assert original in (1, 3)
        inside = labels == number
        assert abs(float(np.median(image[0][inside])) - original / 10) < 0.03, "pixels and labels go together"
    changed = labels != before
    assert (labels[changed] > 3).all()


def test_something_is_pasted_and_touches() -> None:
    touching = 0
    for seed in range(20):
        image, labels = scene()
        paste(image, labels, scene(), 3, np.random.default_rng(seed))
        beside = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
        touching += bool(beside.any())
    assert touching >= 10


def test_objects_that_the_crop_cuts_are_not_pasted_and_nothing_needs_nothing() -> None:
    image, labels = scene()
    cut = np.zeros((SIDE, SIDE), np.int32)
    cut[0:20, 40:60] = 2
    before = labels.copy()
    paste(image, labels, (np.ones((1, SIDE, SIDE), np.float32), cut), 3, np.random.default_rng(1))
    assert np.array_equal(labels, before)
    empty = np.zeros((SIDE, SIDE), np.int32)
    paste(image, empty, scene(), 3, np.random.default_rng(1))
    assert not empty.any()


def test_copies_keep_their_classes() -> None:
    image, labels = scene()
    sample = Sample(name="discs", image=image, labels=labels, classes=np.array([5, 6, 7]))
    always = Augmentation(side=64, clump=1.0, border=0.0, gain=(1, 1), gamma=(1, 1), offset=(0, 0), noise=(0, 0))
    counts = []
    for seed in range(12):
        crop = always.crop(sample, np.random.default_rng(seed))
        counts.append(len(crop.classes))
        for number, kind in enumerate(crop.classes, start=1):
            inside = crop.labels == number
            if inside.sum() > 60:
                assert kind == {0.1: 5, 0.3: 7}[round(float(np.median(crop.image[0][inside])), 1)]
    assert max(counts) > 2
