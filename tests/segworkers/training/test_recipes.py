"""What the data decides: overlaps, anchors, crops; and what a family cannot learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SpecError
from segworkers.segmenters.families import FAMILIES, plan_family
from segworkers.training.product import plain
from segworkers.training.recipes import RECIPES, Shown, WarmFamily, as_components, plan_training, sizes_of
from segworkers.training.samples import Sample


def _sample(diameter: float, classes: tuple[int, ...] = (0, 0)) -> Sample:
    """Two discs side by side, apart."""
    side = int(diameter * 2 + 40)
    rows, columns = np.mgrid[:side, : 2 * side] + 0.5
    labels = np.zeros((side, 2 * side), np.int32)
    for number, x in enumerate((side / 2, 1.5 * side), start=1):
        labels[(rows - side / 2) ** 2 + (columns - x) ** 2 < (diameter / 2) ** 2] = number
    image = labels.astype(np.float32)[None]
    return Sample(name="two", image=image, labels=labels, classes=np.array(classes, np.int64))


def _shown(**given: Any) -> Shown:
    return Shown(**{"classes": ("a",), "channels": 1, "bands": None, "normalise": "unit"} | given)


@given(st.floats(6, 150))
def test_sizes_are_those_of_circles_of_equal_area(diameter):
    sizes = sizes_of([_sample(diameter)])
    assert abs(sizes.large - diameter) < 0.5 + 0.05 * diameter and abs(sizes.small - sizes.large) < 0.5


@pytest.mark.parametrize("family", RECIPES)
@pytest.mark.parametrize("size", ["tiny", "small", "usual"])
@pytest.mark.parametrize("diameter", [8, 40, 150])
def test_every_plan_can_be_built_and_loaded(family, size, diameter):
    planned = plan_training(family, "m", _shown(channels=3), [_sample(diameter)], size=size)
    manifest, recipe = planned.manifest, planned.recipe
    assert recipe.bundle_family in FAMILIES
    resolved = plan_family(recipe.bundle_family, manifest, plain(planned.parameters), "m")
    assert resolved == replace(manifest, channels=resolved.channels) and 3 in resolved.channels
    assert manifest.overlap[1] >= min(1.5 * diameter - 8, manifest.window[1] / 2 - 1)
    assert planned.augmentation.side % 32 == 0 and planned.augmentation.side <= manifest.window[1]
    network = planned.family.build()
    halves = sum(value.numel() for value in network.state_dict().values()) * 2
    assert halves < 20_000_000
    assert size != "tiny" or halves < 1_000_000


def test_the_finest_anchor_follows_the_smallest_objects():
    anchors = [
        plan_training("maskrcnn", "m", _shown(), [_sample(d)]).parameters["shape"]["anchors"][0] for d in (9, 33)
    ]
    assert anchors == [8.0, 32.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("star-unet", {"classes": ("a", "b")}), "knows one class, the annotations have 2"),
        (("forest", {}), "expected one of star-unet, maskrcnn, unet, found 'forest'"),
    ],
)
def test_what_a_family_cannot_learn_is_refused(arguments, message):
    family, given = arguments
    with pytest.raises(SpecError, match=message):
        plan_training(family, "m", _shown(**given), [_sample(30)])


def test_a_model_of_other_bands_is_not_trained_on():
    start = plan_training("unet", "m", _shown(), [_sample(30)])
    with pytest.raises(SpecError, match="the model sees 1 bands, the images have 3"):
        plan_training("unet", "m", _shown(channels=3), [_sample(30)], start=(start.manifest, start.parameters))


def test_the_name_of_the_weights_file_is_not_taken_over():
    first = plan_training("unet", "m", _shown(), [_sample(30)])
    start = (first.manifest, {**first.parameters, "weights": "mine.safetensors"})
    again = plan_training("unet", "m", _shown(), [_sample(30)], start=start)
    assert again.parameters == first.parameters and again.manifest == first.manifest


def test_a_warm_start_takes_what_fits_and_refuses_what_does_not():
    planned = plan_training("unet", "m", _shown(), [_sample(30)], size="tiny")
    other = plan_training("unet", "m", _shown(classes=("a", "b", "c")), [_sample(30)], size="tiny")
    torch.manual_seed(1)
    given_weights = planned.family.build().state_dict()
    warm = WarmFamily(other.family, given_weights, "bundle").build().state_dict()
    assert all(torch.equal(warm[name], value) for name, value in given_weights.items() if not name.startswith("head"))
    assert warm["head.weight"].shape[0] == 4
    with pytest.raises(SpecError, match="--from bundle: 0 of the network's"):
        WarmFamily(other.family, {"x": torch.zeros(1)}, "bundle").build()


def test_dense_truth_is_what_touches_within_a_class():
    labels = np.array([[1, 1, 2, 2, 0, 3], [0, 0, 0, 0, 0, 3], [4, 4, 0, 5, 0, 0]], np.int32)
    sample = Sample(
        name="s", image=np.zeros((1, 3, 6), np.float32), labels=labels, classes=np.array([0, 0, 0, 1, 0], np.int64)
    )
    made = as_components(sample)
    assert made.classes is not None and sorted(made.classes.tolist()) == [0, 0, 0, 1]
    assert len(np.unique(made.labels[0, :4])) == 1 and made.labels[0, 0] != made.labels[0, 5] != made.labels[2, 3]
    assert np.array_equal(made.labels > 0, labels > 0)
