"""Targets of the star-convex U-Net, and a training of seconds: the loss falls, the run repeats itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segworkers.segmenters.star_decoding import StarSettings
from segworkers.segmenters.star_options import StarShape
from segworkers.segmenters.torch_star_unet import StarMaps
from segworkers.training.augment import Augmentation
from segworkers.training.loop import Options, train, validate
from segworkers.training.samples import Crop, Sample
from segworkers.training.star_unet import StarFamily, border_distances, middles

FAMILY = StarFamily(shape=StarShape(widths=(8, 12, 16), rays=16), settings=StarSettings(middle=0.3))
AUGMENTATION = Augmentation(side=64, zoom=(0.9, 1.1), gain=(0.9, 1.1), gamma=(0.9, 1.1))


def discs(seed: int, side: int = 96, count: int = 6) -> Sample:
    """Bright discs on dark, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side))
    labels = np.zeros((side, side), np.int32)
    for number in range(1, count + 1):
        cy, cx = rng.integers(10, side - 10, 2)
        labels[((y - cy) ** 2 + (x - cx) ** 2 <= 81) & (labels == 0)] = number
    image = 0.1 + 0.6 * (labels > 0) + rng.normal(0, 0.03, labels.shape)
    return Sample(name=f"discs {seed}", image=image.astype(np.float32)[None], labels=labels)


def crop_of(labels: NDArray[np.int32], ignored: NDArray[np.bool_] | None = None) -> Crop:
    count = int(labels.max())
    nowhere = np.zeros(labels.shape, bool) if ignored is None else ignored
    return Crop(
        image=np.zeros((1, *labels.shape), np.float32),
        labels=labels,
        classes=np.zeros(count, np.int64),
        ignored=nowhere,
    )


def test_rays_end_at_the_border_of_the_object_and_of_the_crop() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 0:20] = 1
    labels[10:30, 20:30] = 2
    rays = border_distances(labels, 4, 2)  # to the right, down, left, up
    assert rays.shape == (4, 20, 20)
    assert rays[:, 10, 5] == pytest.approx([9.5, 9.5, 10.5, 10.5], abs=0.25), "pixel (20, 10), from its middle"
    assert rays[:, 10, 12] == pytest.approx([5.5, 9.5, 4.5, 10.5], abs=0.25), "pixel (20, 24), the neighbour is outside"
    assert not rays[:, 2, 2].any()


def test_middles_are_deepest_and_know_the_crops_border() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[5:14, 10:19] = 1
    labels[20:30, 0:9] = 2
    out = middles(labels)
    assert np.argwhere(out[:15] == 1).tolist() == [[9, 14]]
    assert (out[29, :9] < 0.5).all() and (out[20:, 0] < 0.5).all(), "what the crop cuts off ends there"
    assert ((out > 0) == (labels > 0)).all() and out.max() == 1


def test_crumbs_and_what_is_ignored_teach_nothing() -> None:
    labels = np.zeros((32, 32), np.int32)
    labels[2:5, 2:5] = 1
    labels[10:20, 10:20] = 2
    ignored = np.zeros((32, 32), bool)
    ignored[25:] = True
    targets = FAMILY.targets(crop_of(labels, ignored))
    assert not targets.learnt[2:5, 2:5].any() and not targets.learnt[25:].any()
    assert targets.learnt.sum() == 32 * 32 - 9 - 7 * 32
    assert not targets.foreground[2:5, 2:5].any() and targets.foreground.sum() == 100


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_does() -> None:
    sample = discs(3, 64, 4)
    crop = crop_of(sample.labels)
    targets = FAMILY.targets(crop)

    class Says(torch.nn.Module):
        def __init__(self, stretch: float) -> None:
            super().__init__()
            self.stretch = stretch

        def forward(self, images: torch.Tensor) -> StarMaps:
            rays = torch.from_numpy(targets.rays)[None] * self.stretch
            middle = torch.logit(torch.from_numpy(targets.middle)[None].clamp(1e-6, 1 - 1e-6))
            return StarMaps(middle, rays, (torch.from_numpy(targets.foreground)[None] - 0.5) * 40)

    def cost(stretch: float) -> dict[str, float]:
        return {name: float(value) for name, value in FAMILY.loss(Says(stretch), [crop], [targets], "cpu").items()}

    assert all(value == pytest.approx(0, abs=2e-3) for value in cost(1.0).values())
    assert cost(1.3)["rays"] > 0.1 and cost(0.7)["rays"] > 0.1


@pytest.fixture(scope="module")
def trained() -> object:
    options = Options(steps=60, batch=2, learning_rate=5e-3, warmup=5, average=0.8, check_every=20, seed=7)
    return train(FAMILY, [discs(0), discs(1)], [discs(2)], options, AUGMENTATION, lambda _: None)


def test_the_loss_falls_and_masks_come_out(trained) -> None:
    losses = [check.loss for check in trained.history]
    assert [check.step for check in trained.history] == [20, 40, 60]
    assert losses[-1] < 0.6 * losses[0]
    assert trained.best.agreement.predicted > 0 and trained.best.agreement.annotated == 6
    with torch.inference_mode():
        assert validate(FAMILY, trained.network, [discs(2)], "cpu") == trained.best.agreement


def test_the_same_seed_gives_the_same_weights() -> None:
    options = Options(steps=3, batch=2, check_every=3, seed=5)
    runs = [train(FAMILY, [discs(0)], [], options, AUGMENTATION, lambda _: None).weights for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    other = Options(steps=3, batch=2, check_every=3, seed=6)
    changed = train(FAMILY, [discs(0)], [], other, AUGMENTATION, lambda _: None).weights
    assert any(not torch.equal(runs[0][name], changed[name]) for name in changed)
