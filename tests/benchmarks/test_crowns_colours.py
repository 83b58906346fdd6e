"""Random colours leave the geometry as it is, stay in 0..1, and do nothing where nothing is asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.models.crowns_colours import ColourAugmentation
from segworkers.training.augment import Augmentation
from segworkers.training.samples import Sample

ONE = (1.0, 1.0)
ZERO = (0.0, 0.0)


def sample() -> Sample:
    rng = np.random.default_rng(3)
    labels = np.zeros((96, 96), np.int32)
    labels[20:50, 30:70] = 1
    return Sample(name="s", image=rng.uniform(0, 1, (3, 96, 96)).astype(np.float32), labels=labels)


def plain(own_contrast: float = 0.0, grey: float = 0.0) -> ColourAugmentation:
    """No changes but those asked for."""
    return ColourAugmentation(
        side=64,
        gain=ONE,
        gamma=ONE,
        offset=ZERO,
        blur=ZERO,
        noise=ZERO,
        border=0,
        own_contrast=own_contrast,
        grey=grey,
        saturation=ONE,
        band_gamma=ONE,
        band_gain=ONE,
        band_offset=ZERO,
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_labels_are_those_of_any_augmentation_and_values_lie_in_0_to_1(seed: int) -> None:
    changed = ColourAugmentation(side=64, border=0).crop(sample(), np.random.default_rng(seed))
    usual = Augmentation(side=64, border=0).crop(sample(), np.random.default_rng(seed))
    assert np.array_equal(changed.labels, usual.labels)
    assert changed.image.dtype == np.float32
    assert changed.image.shape == (3, 64, 64)
    assert changed.image.min() >= 0
    assert changed.image.max() <= 1
    assert not np.allclose(changed.image, usual.image)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_without_changes_the_image_is_what_the_geometry_makes_of_it(seed: int) -> None:
    usual = Augmentation(side=64, gain=ONE, gamma=ONE, offset=ZERO, blur=ZERO, noise=ZERO, border=0)
    wanted = usual.crop(sample(), np.random.default_rng(seed)).image
    assert np.allclose(plain().crop(sample(), np.random.default_rng(seed)).image, wanted, atol=1e-6)


def test_grey_is_one_band_three_times_and_own_contrast_fills_the_range() -> None:
    grey = plain(grey=1.0).crop(sample(), np.random.default_rng(1)).image
    assert np.allclose(grey, grey[:1], atol=1e-6)
    dark = Sample(name="dark", image=sample().image * np.float32(0.3), labels=sample().labels)
    seen = plain(own_contrast=1.0).crop(dark, np.random.default_rng(1)).image
    assert (seen.max(axis=(1, 2)) == 1).all()
    assert plain().crop(dark, np.random.default_rng(1)).image.max() < 0.31
