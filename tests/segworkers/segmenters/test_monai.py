"""MONAI bundles become ours: what can be said is, the rest is refused by name, and nothing of them is executed."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseProbabilities, Segmenter
from segworkers.segmenters.families import load_family, plan_family
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.monai_config import read_monai
from segworkers.segmenters.monai_import import ImportChoices, import_monai
from segworkers.segmenters.monai_options import NETWORKS, network_name

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
    "norm": "@norm",
}
INFERENCE: dict[str, Any] = {
    "imports": ["$import os"],
    "bundle_root": ".",
    "norm": "batch",
    "roi": {"sizes": [16, 12, 8]},
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "reader": "$monai.data.NibabelReader"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.25, 2.0], "mode": "bilinear"},
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": -50,
                "a_max": 150,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            },
            {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "_disabled_": True},
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "inferer": {
        "_target_": "SlidingWindowInferer",
        "roi_size": "@roi::sizes",
        "sw_batch_size": 4,
        "overlap": 0.5,
        "mode": "gaussian",
        "device": "@device",
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@bundle_root + '/eval'"},
        ],
    },
    "run": ["$@evaluator.run()"],
}
METADATA: dict[str, Any] = {
    "version": "0.2.0",
    "task": "spleen",
    "description": "A pre-trained model\nof two lines",
    "authors": "The team",
    "copyright": "Copyright (c) the team",
    "data_source": "Somewhere",
    "eval_metrics": {"mean_dice": 0.9},
    "intended_use": "An example",
    "references": ["One paper"],
    "network_data_format": {
        "inputs": {"image": {"modality": "CT", "num_channels": 1, "spatial_shape": [16, 12, 8]}},
        "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "Spleen"}}},
    },
}


class Scores(torch.nn.Module):
    """Logits that tell the axes apart: neighbours along x and z count differently."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - x, x - 0.5 + 0.25 * torch.roll(x, 1, 2) - 0.5 * torch.roll(x, 1, 4)], dim=1)


def bundle(
    folder: Path,
    change: Callable[[dict[str, Any], dict[str, Any]], None] = lambda _inference, _metadata: None,
    script: bool = True,
    form: str = "json",
) -> Path:
    """A MONAI bundle in a new folder `bundle`, its two descriptions changed."""
    inference, metadata = copy.deepcopy(INFERENCE), copy.deepcopy(METADATA)
    change(inference, metadata)
    root = folder / "bundle"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    text = json.dumps(inference) if form == "json" else yaml.safe_dump(inference)
    (root / "configs" / f"inference.{form}").write_text(text)
    if script:
        torch.jit.save(torch.jit.script(Scores()), str(root / "models" / "model.ts"))
    return root


def loaded(folder: Path) -> Segmenter:
    _, spec = resolve_model(str(folder), {}, "cpu", 1)
    return load_model(spec)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_the_configuration_says_is_in_the_manifest(form: str, tmp_path: Path) -> None:
    made = import_monai(bundle(tmp_path, form=form), tmp_path / "out")
    assert made.family == "torchscript" and made.name == "bundle"
    assert made.manifest == ModelManifest(
        name="bundle",
        kind="dense",
        window=(8, 12, 16),
        overlap=(4, 6, 8),
        classes=("spleen",),
        channels=(1,),
        spacing=(2.0, 1.25, 1.5),
        orientation="RAS",
        modalities=("CT",),
        connectivity=26,
        blend="gaussian",
    )
    assert made.parameters["head"] == {"type": "semantic", "activation": "softmax"}
    assert made.parameters["input"] == {"axes": "bcxyz", "range": [-50.0, 150.0, 0.0, 1.0], "clip": True}
    card = made.card
    assert card.summary == "A pre-trained model" and card.training_data == "Somewhere" and card.use == "An example"
    assert "The team" in card.attribution and "0.9" in card.accuracy and card.sources == ("One paper",)


def test_it_answers_as_the_network_would_in_monai(tmp_path: Path) -> None:
    import_monai(bundle(tmp_path), tmp_path / "out")
    model = loaded(tmp_path / "out")
    hu = np.random.default_rng(0).uniform(-100, 200, (2, 1, 8, 12, 16)).astype(np.float32)
    answer = model.predict(hu, np.ones((2, 8, 12, 16), bool))
    scaled = np.clip((hu + 50) / 200, 0, 1).transpose(0, 1, 4, 3, 2).copy()
    expected = torch.softmax(Scores()(torch.from_numpy(scaled)), 1).numpy().transpose(0, 1, 4, 3, 2)
    assert isinstance(answer, DenseProbabilities)
    np.testing.assert_allclose(answer.values, expected, atol=1e-6)


def test_a_network_of_monai_with_its_state_dict(tmp_path: Path) -> None:
    nets = pytest.importorskip("monai.networks.nets")
    source = bundle(tmp_path, script=False)
    torch.manual_seed(0)
    arguments = {key: value for key, value in NETWORK.items() if key != "_target_"} | {"norm": "batch"}
    network = nets.UNet(**arguments).eval()
    torch.save({"model": network.state_dict()}, source / "models" / "model.pt")
    made = import_monai(source, tmp_path / "out")
    assert made.family == "monai" and made.parameters["network"] == {"target": "UNet", "arguments": arguments}
    values = np.random.default_rng(0).uniform(-100, 200, (2, 1, 8, 12, 16)).astype(np.float32)
    answer = loaded(tmp_path / "out").predict(values, np.ones((2, 8, 12, 16), bool))
    scaled = np.clip((values + 50) / 200, 0, 1).transpose(0, 1, 4, 3, 2).copy()
    with torch.inference_mode():
        expected = torch.softmax(network(torch.from_numpy(scaled)), 1).numpy().transpose(0, 1, 4, 3, 2)
    assert isinstance(answer, DenseProbabilities)
    np.testing.assert_allclose(answer.values, expected, atol=1e-6)


def test_monais_own_sliding_windows_agree_with_ours(tmp_path: Path) -> None:
    """One window: what MONAI's inferer says of an image of its size is what our segmenter says."""
    inferers = pytest.importorskip("monai.inferers")
    import_monai(bundle(tmp_path), tmp_path / "out")
    values = np.random.default_rng(0).uniform(-100, 200, (1, 1, 8, 12, 16)).astype(np.float32)
    answer = loaded(tmp_path / "out").predict(values, np.ones((1, 8, 12, 16), bool))
    scaled = torch.from_numpy(np.clip((values + 50) / 200, 0, 1).transpose(0, 1, 4, 3, 2).copy())
    theirs = inferers.SlidingWindowInferer((16, 12, 8), 4, 0.5, mode="gaussian")(scaled, Scores())
    assert isinstance(answer, DenseProbabilities)
    classes = theirs.argmax(1).numpy().transpose(0, 3, 2, 1)
    assert (answer.winners().classes == classes).all() and 0 < classes.mean() < 1


def test_without_monai_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "monai", None)
    monkeypatch.setitem(__import__("sys").modules, "monai.networks", None)
    torch.save({}, tmp_path / "model.pt")
    manifest = ModelManifest(name="m", kind="dense", window=(8, 8, 8), overlap=(0, 0, 0), classes=("a",))
    parameters = {"head": {"type": "semantic"}, "network": {"target": "UNet", "arguments": {}}}
    assert plan_family("monai", manifest, parameters, "bundle") == manifest
    with pytest.raises(SpecError, match=r"segworkers\[monai\]"):
        load_family("monai", manifest, parameters, tmp_path, "cpu")


def transform(place: str, index: int, **values: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Replaces one transform."""
    return lambda inference, _: inference[place]["transforms"].__setitem__(index, values)


REFUSED: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], None], str]] = {
    "an unknown transform": (
        transform("preprocessing", 2, _target_="Rotate90d", keys="image"),
        "Rotate90d has no counterpart",
    ),
    "code": (transform("postprocessing", 2, _target_="Lambdad", func="$lambda x: x"), "Lambdad.*it is code"),
    "a crop": (transform("preprocessing", 5, _target_="CropForegroundd", keys="image"), "CropForegroundd.*background"),
    "the largest part": (
        transform("postprocessing", 1, _target_="KeepLargestConnectedComponentd", keys="pred"),
        "largest object",
    ),
    "an expression where a number is needed": (
        transform("preprocessing", 3, _target_="Spacingd", pixdim="$[1.0] * 3"),
        r"Spacingd\).pixdim.*not evaluated",
    ),
    "statistics of what is not 0": (
        transform("preprocessing", 4, _target_="NormalizeIntensityd", nonzero=True, channel_wise=True),
        "nonzero",
    ),
    "other percentiles": (
        transform(
            "preprocessing",
            4,
            _target_="ScaleIntensityRangePercentilesd",
            lower=5,
            upper=95,
            b_min=0,
            b_max=1,
            clip=True,
        ),
        "percentiles 1 and 99",
    ),
    "an open range": (
        transform("preprocessing", 4, _target_="ScaleIntensityRanged", a_min=0, a_max=1, b_min=None, b_max=None),
        "found one missing",
    ),
    "a reference to nothing": (lambda i, _: i["inferer"].update(roi_size="@roi::size"), "refers to nothing"),
    "a circle": (lambda i, _: i.update(roi={"sizes": "@roi::sizes"}), "cannot be followed"),
    "whole images": (lambda i, _: i.update(inferer={"_target_": "SimpleInferer"}), "give the window"),
    "an unknown inferer": (
        lambda i, _: i.update(inferer={"_target_": "SliceInferer"}),
        "SliceInferer has no counterpart",
    ),
    "other weights of windows": (lambda i, _: i["inferer"].update(sigma_scale=0.25), "an eighth"),
    "no names": (lambda _, m: m["network_data_format"]["outputs"]["pred"].pop("channel_def"), "give classes"),
    "no number of channels": (
        lambda _, m: m["network_data_format"]["inputs"]["image"].update(num_channels=[1]),
        r"json: network_data_format\.inputs: num_channels: expected a whole number of at least 1, found \[1\]",
    ),
    "no number of outputs": (
        lambda _, m: m["network_data_format"]["outputs"]["pred"].update(num_channels="two"),
        r"network_data_format\.outputs: num_channels: expected a whole number of at least 1, found 'two'",
    ),
    "two inputs": (lambda _, m: m["network_data_format"]["inputs"].update(other={}), "one input"),
    "nothing says what outputs are": (lambda i, _: i.update(postprocessing=[]), "neither Activations"),
    "a conditional part": (
        transform("preprocessing", 2, _target_="Orientationd", axcodes="RAS", _requires_="$print(1)"),
        "_requires_ of Orientationd",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_counterpart_is_refused_by_name(what: str, tmp_path: Path) -> None:
    change, message = REFUSED[what]

    def both(inference: dict[str, Any], metadata: dict[str, Any]) -> None:
        change(inference, metadata)
        if what == "nothing says what outputs are":
            metadata["network_data_format"]["outputs"]["pred"].update(num_channels=1, channel_def={"0": "spleen"})

    with pytest.raises(SpecError, match=message):
        import_monai(bundle(tmp_path, both), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_problems_at_once(tmp_path: Path) -> None:
    def change(inference: dict[str, Any], metadata: dict[str, Any]) -> None:
        inference["preprocessing"]["transforms"] += [{"_target_": "Resized"}, {"_target_": "CropForegroundd"}]
        inference["inferer"] = {"_target_": "SimpleInferer"}
        metadata["network_data_format"]["outputs"]["pred"].pop("channel_def")

    with pytest.raises(SpecError) as caught:
        import_monai(bundle(tmp_path, change), tmp_path / "out")
    assert len(caught.value.problems) == 4
    choices = ImportChoices(
        ignore=("Resized", "CropForeground"), window=(8, 8, 8), classes=("organ",), normalise="unit"
    )
    made = import_monai(tmp_path / "bundle", tmp_path / "out", choices)
    assert (
        made.manifest.classes == ("organ",) and made.manifest.overlap == (2, 2, 2) and made.manifest.normalise == "unit"
    )
    assert "Resized" in made.card.limits


def test_regions_with_sigmoid(tmp_path: Path) -> None:
    def change(inference: dict[str, Any], metadata: dict[str, Any]) -> None:
        inference["postprocessing"]["transforms"][0] = {"_target_": "Activationsd", "sigmoid": True}
        inference["postprocessing"]["transforms"][2] = {"_target_": "AsDiscreted", "threshold": 0.4}
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "Tumor core", "1": "Whole tumor"}

    made = import_monai(bundle(tmp_path, change), tmp_path / "out")
    assert made.manifest.classes == ("tumor_core", "whole_tumor")
    head = {"type": "semantic", "background": False, "activation": "sigmoid", "threshold": 0.4}
    assert made.parameters["head"] == head and "overlap" in made.card.limits


@pytest.mark.parametrize(
    ("given", "normalise", "shown"),
    [
        ({"_target_": "NormalizeIntensityd", "channel_wise": True}, "zscore", {}),
        ({"_target_": "NormalizeIntensityD"}, "zscore", {}),
        ({"_target_": "NormalizeIntensityd", "subtrahend": 3, "divisor": [2]}, "none", {"mean": [3.0], "std": [2.0]}),
        (
            {
                "_target_": "ScaleIntensityRangePercentilesd",
                "lower": 1,
                "upper": 99,
                "b_min": -1,
                "b_max": 1,
                "clip": True,
            },
            "percentile",
            {"range": [0.0, 1.0, -1.0, 1.0], "clip": False},
        ),
    ],
)
def test_other_normalisations(given: dict[str, Any], normalise: str, shown: dict[str, Any], tmp_path: Path) -> None:
    made = import_monai(bundle(tmp_path, transform("preprocessing", 4, **given)), tmp_path / "out")
    assert made.manifest.normalise == normalise and made.parameters["input"] == {"axes": "bcxyz", **shown}


def test_planes(tmp_path: Path) -> None:
    def change(inference: dict[str, Any], metadata: dict[str, Any]) -> None:
        inference["preprocessing"]["transforms"] = inference["preprocessing"]["transforms"][4:5]
        inference["inferer"] |= {"roi_size": [40, 30], "mode": "constant"}
        metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [40, 30]

    made = import_monai(bundle(tmp_path, change), tmp_path / "out")
    assert made.manifest.window == (1, 30, 40) and made.manifest.overlap == (0, 15, 20)
    assert made.manifest.blend == "none" and made.manifest.modalities == () and made.manifest.connectivity == 8
    assert made.parameters["input"]["axes"] == "bcxy"


@pytest.mark.parametrize("target", ["os.system", "scripts.net.Net", "monai.apps.utils.download_url", "$print(1)", 3])
def test_other_code_than_monais_networks_is_not_called(target: Any, tmp_path: Path) -> None:
    source = bundle(tmp_path, lambda i, _: i["network_def"].update(_target_=target), script=False)
    torch.save({}, source / "models" / "model.pt")
    with pytest.raises(SpecError, match=r"expected (a class of monai|the name of a class)"):
        import_monai(source, tmp_path / "out")
    manifest = ModelManifest(name="m", kind="dense", window=(8, 8, 8), overlap=(0, 0, 0), classes=("a",))
    with pytest.raises(SpecError, match="expected a class of monai"):
        plan_family(
            "monai", manifest, {"head": {"type": "semantic"}, "network": {"target": target, "arguments": {}}}, "b"
        )


@pytest.mark.parametrize(
    ("target", "argument"),
    [
        ("HoVerNet", {"pretrained_url": "http://example.org/x"}),
        ("FlexibleUNet", {"pretrained": True}),
        ("UNet", {"filename": "x", "path_or_repo_id": "someone/model"}),
        ("UNet", {"cache_dir": "/tmp/x"}),
    ],
)
def test_a_network_fetches_no_other_weights(target: str, argument: dict[str, Any]) -> None:
    manifest = ModelManifest(name="m", kind="dense", window=(8, 8, 8), overlap=(0, 0, 0), classes=("a",))
    network = {"target": target, "arguments": {"spatial_dims": 3, **argument}}
    with pytest.raises(SpecError, match=f"{', '.join(argument)}: expected nothing"):
        plan_family("monai", manifest, {"head": {"type": "semantic"}, "network": network}, "b")
    network["arguments"] = {"spatial_dims": 3, "pretrained": False}
    assert plan_family("monai", manifest, {"head": {"type": "semantic"}, "network": network}, "b") == manifest


@pytest.mark.parametrize("target", ["Transchex", "MILModel", "EfficientNetBN", "monai.networks.nets.ResNetFeatures"])
def test_networks_that_fetch_weights_by_themselves_are_not_made(target: str) -> None:
    with pytest.raises(SpecError, match="is none of the networks that are made here"):
        network_name(target)


def test_networks_that_are_made_exist_and_fetch_nothing_by_default() -> None:
    nets = pytest.importorskip("monai.networks.nets")
    for name in NETWORKS:
        parameters = inspect.signature(getattr(nets, name)).parameters
        fetching = [parameters[each].default for each in parameters if "pretrained" in each or "url" in each]
        assert not any(fetching), name


def test_an_import_leaves_out_what_would_be_fetched(tmp_path: Path) -> None:
    source = bundle(tmp_path, lambda i, _: i["network_def"].update(pretrained=True), script=False)
    torch.save({}, source / "models" / "model.pt")
    made = import_monai(source, tmp_path / "out")
    assert made.parameters["network"]["arguments"]["pretrained"] is False


def test_no_network_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"model\.ts or models/model\.pt"):
        import_monai(bundle(tmp_path, script=False), tmp_path / "out")
    with pytest.raises(SpecError, match=r"configs/metadata\.json"):
        read_monai(tmp_path)
    (tmp_path / "bundle" / "configs" / "metadata.json").write_text("[1]")
    with pytest.raises(SpecError, match="expected an object"):
        read_monai(tmp_path / "bundle")
