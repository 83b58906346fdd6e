"""How many bands networks take: what each family knows of it, and that it is no part of a model's identity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.bundles import shipped_names
from segworkers.segmenters.channels import bands_text, taking
from segworkers.segmenters.declaration import read_manifest
from segworkers.segmenters.families import FAMILIES, plan_family
from segworkers.segmenters.foreign import read_foreign
from segworkers.segmenters.foreign_input import arranged
from segworkers.segmenters.loading import resolve_model
from segworkers.segmenters.maskrcnn_options import maskrcnn_manifest, maskrcnn_settings
from segworkers.segmenters.registry import FIRST_STAGES, card_text, find_bundle
from tests.model_bundles import FAMILY, logistic, rewritten

LABELS = {"head": {"type": "labels"}}
SEMANTIC = {"head": {"type": "semantic"}}
NETWORK = {"target": "UNet", "arguments": {"spatial_dims": 2, "in_channels": 4}}


def manifest(kind: Any = "instance", **more: Any) -> ModelManifest:
    body: dict[str, Any] = {"window": (1, 64, 64), "overlap": (0, 0, 0), "classes": ("thing",)}
    return ModelManifest(name="m", kind=kind, **{**body, **more})


SHIPPED = {
    "coco-objects": (1, 3),
    "liver": (1,),
    "liver-lesions": (1,),
    "mr-metastases": (1,),
    "nuclei": (1,),
    "nuclei-maskrcnn": (1,),
    "tree-crowns": (3,),
    "vehicles": (1,),
}


@pytest.mark.parametrize("name", shipped_names())
def test_every_model_that_comes_along_says_how_many_bands_it_takes(name: str) -> None:
    definition = find_bundle(name).definition
    assert f"channels      {bands_text(SHIPPED[name])}\n" in card_text(definition)
    if name not in FIRST_STAGES:
        assert resolve_model(name, {}, fetch=False)[0].channels == SHIPPED[name]


KNOWN: list[tuple[str, str, dict[str, Any], tuple[int, ...]]] = [
    ("star-unet", "instance", {"shape": {"bands": 2}}, (2,)),
    ("unet", "dense", {"shape": {"bands": 5}}, (5,)),
    ("maskrcnn-compact", "instance", {"shape": {"bands": 4}}, (1, 4)),
    ("maskrcnn", "instance", {}, (1, 3)),
    ("torchscript", "instance", LABELS, ()),
    ("torchscript", "instance", LABELS | {"input": {"repeat": 3}}, (1, 3)),
    ("torch-export", "instance", LABELS | {"input": {"mean": [0.4, 0.5, 0.6], "std": [0.2]}}, (1, 3)),
    ("onnx", "instance", LABELS | {"input": {"fill": [0.0, 1.0]}}, (1, 2)),
    ("monai", "dense", SEMANTIC | {"network": NETWORK}, (4,)),
    ("monai", "dense", SEMANTIC | {"network": NETWORK, "input": {"repeat": 4}}, (1, 4)),
]


@pytest.mark.parametrize(("family", "kind", "parameters", "expected"), KNOWN)
def test_a_family_knows_what_its_network_takes(
    family: str, kind: str, parameters: dict[str, Any], expected: tuple[int, ...]
) -> None:
    planned = plan_family(family, manifest(kind), parameters, "here")
    assert planned.channels == expected
    assert plan_family(family, planned, parameters, "here") == planned, "a worker may plan again"


def test_a_declaration_may_be_narrower_but_not_another() -> None:
    assert plan_family("maskrcnn", manifest(channels=(3,)), {}, "here").channels == (3,)
    assert plan_family("torchscript", manifest(channels=(7,)), LABELS, "here").channels == (7,)
    with pytest.raises(SpecError, match=r"m: manifest\.channels: the network takes 1 band, found \[3\]; leave it out"):
        plan_family("star-unet", manifest(channels=(3,)), {}, "here")
    with pytest.raises(SpecError, match=r"takes 1 or 3 bands, found \[2, 3\]"):
        taking(manifest(channels=(2, 3)), 3, 1)


@pytest.mark.parametrize("channels", [(0,), (3, 3), (-1, 2)])
def test_channels_are_distinct_numbers_of_bands(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="channels must be distinct numbers of bands"):
        manifest(channels=channels)


def test_weights_of_mask_rcnn_that_are_no_bundle_take_one_band_or_three() -> None:
    assert maskrcnn_manifest(maskrcnn_settings({}), "maskrcnn", ("a",)).channels == (1, 3)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ({"mean": [0.1, 0.2, 0.3], "std": [0.1, 0.2]}, "mean says 3, std says 2"),
        ({"repeat": 3, "fill": [0, 1, 2, 3]}, "repeat says 3, fill says 4"),
        ({"mean": []}, r"parameters\.input\.mean: expected a number, or one for each channel, found \[\]"),
    ],
)
def test_what_is_done_for_each_channel_must_be_for_as_many(shown: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan_family("torchscript", manifest(), LABELS | {"input": shown}, "here")


@pytest.mark.parametrize(
    ("shown", "channels", "message"),
    [
        ({"mean": [0.1, 0.2, 0.3]}, 4, r"m: parameters\.input: for 3 channels; the network takes 4"),
        ({"repeat": 3}, 4, r"for 3 channels; the network takes 4"),
        ({}, 0, r"m: parameters\.network\.arguments\.in_channels: expected at least 1, found 0"),
        ({}, -1, "expected at least 1, found -1"),
    ],
)
def test_what_a_network_of_monai_cannot_take_is_refused(shown: dict[str, Any], channels: int, message: str) -> None:
    network = {"target": "UNet", "arguments": {"spatial_dims": 2, "in_channels": channels}}
    with pytest.raises(SpecError, match=message):
        plan_family("monai", manifest("dense"), SEMANTIC | {"network": network, "input": shown}, "here")


@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 4), st.integers(1, 4))
def test_a_foreign_network_is_shown_what_planning_expects(repeat: int, mean: int, fill: int, bands: int) -> None:
    """Whatever may be said of channels: an image with a number that planning lets pass gets what the network takes."""
    shown = {"repeat": repeat, "mean": [0.5] * mean or None, "fill": [0.0] * fill or None}
    parameters = LABELS | {"input": {name: value for name, value in shown.items() if value is not None}}
    if len({number for number in (repeat, mean, fill) if number > 1}) > 1:
        with pytest.raises(SpecError, match="expected one number of channels"):
            plan_family("torchscript", manifest(), parameters, "here")
        return
    planned = plan_family("torchscript", manifest(), parameters, "here")
    if bands not in planned.channels:
        return  # refused
    settings = read_foreign(manifest(), parameters).input
    images = settings.prepared(np.zeros((1, bands, 1, 8, 8), np.float32), np.ones((1, 1, 8, 8), bool))
    assert images.shape == arranged(np.zeros((1, max(planned.channels), 1, 8, 8)), settings.axes).shape


def stages(detector: int | None, segmenter: int | None, **more: Any) -> dict[str, Any]:
    """Parameters of two stages that take so many bands."""

    def stage(kind: str, head: dict[str, Any], bands: int | None) -> dict[str, Any]:
        own = {"kind": kind, "window": [1, 64, 64], "overlap": [0, 0, 0], "classes": ["thing"]}
        declared = {} if bands is None else {"channels": [bands]}
        return {"family": "torchscript", "manifest": own | declared, "parameters": head}

    parts = {"detector": stage("instance", LABELS, detector), "segmenter": stage("dense", SEMANTIC, segmenter)}
    return parts | more


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (stages(3, 3), (3,)),
        (stages(3, None), (3,)),
        (stages(None, 2), (2,)),
        (stages(None, None), ()),
        (stages(3, 1, segmenter_bands=[2]), (3,)),
        (stages(1, 3, detector_bands=[0]), (3,)),
        (stages(1, 1, detector_bands=[0], segmenter_bands=[1]), ()),
    ],
)
def test_two_stages_take_what_both_take(parameters: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert plan_family("two-stage", manifest(), parameters, "here").channels == expected


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (stages(3, 1), "the detector takes 3 bands, the segmenter 1 band; choose with detector_bands"),
        (stages(1, 3, segmenter_bands=[0, 1, 2]), r"detector takes 1 band, the segmenter the bands \[0, 1, 2\]"),
        (stages(3, 1, segmenter_bands=[0, 1]), r"segmenter_bands: the segmenter takes 1 band, found \[0, 1\]"),
    ],
)
def test_two_stages_that_no_image_fits_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan_family("two-stage", manifest(), parameters, "here")


def test_a_class_declares_a_number_or_several() -> None:
    class Own:
        kind, window, overlap, classes = "dense", (1, 8, 8), (0, 0, 0), ("a",)
        channels: Any = 3

    assert read_manifest(Own, "Own", "").channels == (3,)
    Own.channels = [1, np.int64(3)]
    assert read_manifest(Own, "Own", "").channels == (1, 3)
    for wrong in ("3", 0, 1.5, True, [None]):
        Own.channels = wrong
        with pytest.raises(SpecError, match="channels: expected a number of bands"):
            read_manifest(Own, "Own", "")


def test_what_is_refused_before_any_work_is_no_part_of_a_models_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards and results of a bundle that says nothing of channels are found again when it does."""
    monkeypatch.setitem(FAMILIES, "logistic", FAMILY)
    logistic(tmp_path / "bright")
    silent = resolve_model(str(tmp_path / "bright"), {})[0]
    rewritten(tmp_path / "bright", manifest__channels=[1])
    telling = resolve_model(str(tmp_path / "bright"), {})[0]
    assert telling == replace(silent, channels=(1,)), "with the same digest"
    rewritten(tmp_path / "bright", manifest__normalise="none")
    assert resolve_model(str(tmp_path / "bright"), {})[0].digest != silent.digest
