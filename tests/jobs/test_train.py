"""`segworkers train`: from a folder of annotated images to a model that `segment` runs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from jobs.cli import main
from jobs.train import train_bundle
from jobs.training.member import CHECKPOINT
from jobs.training.spec import TrainSpec
from schemas.errors import SpecError
from segworkers.segmenters.bundles import open_bundle
from tests.annotated import discs, drawn, write_discs
from tests.runs import mask_of, rows, segment

QUICK = ("--size", "tiny", "--window", "128", "--batch", "4", "--device", "cpu", "--threads", "1")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "plates"
    write_discs(folder)
    return folder


def _trained(plates: Path, out: Path, family: str, steps: int, rate: float) -> Path:
    options = ("--family", family, "--steps", str(steps), "--learning-rate", str(rate))
    assert main(["train", str(plates), *options, *QUICK, "-o", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def trained(plates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Net, in a few seconds."""
    return _trained(plates, tmp_path_factory.mktemp("models") / "discs", "unet", 60, 3e-3)


def _f1_on_new_images(model: Path, folder: Path) -> float:
    """F1 at IoU 0.5 on images that nobody trained or chose on, through a whole run."""
    rng, truth = np.random.default_rng(77), dict[str, NDArray[np.int32]]()
    (folder / "new").mkdir()
    for name in ("n1", "n2", "n3"):
        picture, labels = drawn(discs(rng, 200, 14), rng, 200)
        Image.fromarray(picture).save(folder / "new" / f"{name}.png")
        truth[name] = labels
    assert segment([folder / "new"], folder / "run", str(model)) == 0
    sources = {row["source_id"]: Path(row["source_uri"]).stem for row in rows(folder / "run", "images")}
    found, hits = rows(folder / "run", "instances"), 0
    for row in found:
        labels, mask = truth[sources[row["source_id"]]], mask_of(row, (200, 200))
        number = int(np.bincount(labels[mask]).argmax())
        both, either = int((mask & (labels == number)).sum()), int((mask | (labels == number)).sum())
        hits += number > 0 and both > 0.5 * either
    return 2 * hits / (len(found) + sum(int(labels.max()) for labels in truth.values()))


def test_it_learns_and_segments_images_it_has_not_seen(trained, tmp_path):
    assert _f1_on_new_images(trained, tmp_path) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("family", "steps", "rate"), [("star-unet", 500, 4e-3), ("maskrcnn", 400, 2e-3)])
def test_every_family_learns(plates, tmp_path, family, steps, rate):
    model = _trained(plates, tmp_path / "model", family, steps, rate)
    assert _f1_on_new_images(model, tmp_path) > 0.9


def test_the_bundle_says_what_was_done(trained, plates, capsys):
    bundle = open_bundle(str(trained)).definition
    assert (bundle.name, bundle.family, bundle.manifest.classes) == ("discs", "unet", ("small",))
    assert bundle.manifest.window == (1, 128, 128) and bundle.manifest.overlap == (0, 48, 48)
    assert "4 annotated images with 36 objects" in bundle.card.training_data
    assert "segworkers train plates --family unet" in bundle.card.training_data
    assert str(plates.parent) not in (trained / "model.json").read_text()
    assert "On validation only (1 of 4 images" in bundle.card.accuracy and "F1 at IoU 0.5" in bundle.card.accuracy
    assert "Measured on validation only" in bundle.card.limits
    lines = (trained / "training.csv").read_text().splitlines()
    assert lines[0].startswith("step,loss,f1_0.5") and [line.split(",")[0] for line in lines[1:]] == ["20", "40", "60"]
    assert "<polyline" in (trained / "training.svg").read_text()
    assert sorted(each.name for each in trained.iterdir()) == [
        *("model.json", "training.csv", "training.svg", "weights.safetensors"),
    ]
    assert main(["models", "show", str(trained)]) == 0
    assert "On validation only" in capsys.readouterr().out


@pytest.mark.long
def test_the_card_says_what_a_run_finds(plates, tmp_path):
    """Of a model that has learnt little: what it says at the padding of windows is counted, as a run counts it."""
    held = tmp_path / "held"
    write_discs(held, images=3, side=200)
    model = tmp_path / "out"
    lines = list[str]()
    train_bundle(_quickly(plates, model, family="star-unet", validation=str(held), steps=2), lines.append)
    assert segment([held / "images"], tmp_path / "run", str(model)) == 0
    found = len(rows(tmp_path / "run", "instances"))
    accuracy = open_bundle(str(model)).definition.card.accuracy
    assert found > 0 and not lines[-2].endswith(f" {found} for 27"), "else whole images would do for this test"
    assert f"; {found} objects found for " in accuracy and "through windows as it runs" in accuracy


def test_a_model_that_finds_nothing_says_so(plates, tmp_path):
    lines = list[str]()
    train_bundle(_quickly(plates, tmp_path / "out", steps=12, batch=2), lines.append)
    card = open_bundle(str(tmp_path / "out")).definition.card
    assert "; 0 objects found for " in card.accuracy
    assert card.limits.startswith("The finished model finds nothing in the validation images.")
    assert lines[-1].startswith("warning: The finished model finds nothing")


def test_a_finished_model_is_not_overwritten(trained, plates, capsys):
    assert main(["train", str(plates), "--family", "unet", "-o", str(trained)]) == 2
    assert "holds a finished model" in capsys.readouterr().err


def _quickly(plates: Path, out: Path, **given: Any) -> TrainSpec:
    values: dict[str, Any] = {
        "family": "unet",
        "size": "tiny",
        "window": 32,
        "steps": 40,
        "batch": 1,
        "device": "cpu",
        "threads": 1,
    }
    return TrainSpec(data=plates, output=out, **{**values, **given})


def test_an_interrupted_training_goes_on_and_ends_as_it_would_have(plates, tmp_path):
    class KilledError(Exception):
        pass

    def die(line: str) -> None:
        if line.startswith("step 40"):
            raise KilledError

    whole = train_bundle(_quickly(plates, tmp_path / "whole"), lambda _: None)
    spec = _quickly(plates, tmp_path / "torn")
    with pytest.raises(KilledError):
        train_bundle(spec, die)
    assert [each.name for each in spec.output.iterdir()] == [CHECKPOINT]
    lines = list[str]()
    train_bundle(spec, lines.append)
    assert any(line.startswith("step 20: going on") for line in lines)
    digests = [hashlib.sha256((out / "weights.safetensors").read_bytes()).digest() for out in (whole, spec.output)]
    assert digests[0] == digests[1]


def test_a_model_is_trained_on(trained, plates, tmp_path):
    before = open_bundle(str(trained)).definition
    spec = _quickly(plates, tmp_path / "more", family=None, start=str(trained), window=None, steps=2, batch=2)
    train_bundle(spec, lambda _: None)
    after = open_bundle(str(spec.output)).definition
    assert after.family == before.family and after.parameters == before.parameters
    assert after.manifest.window == before.manifest.window and after.weights != before.weights
    assert "begun with the weights of discs" in after.card.training_data
    assert f"and of discs: {before.card.licence}" in after.card.licence
    assert float(after.card.accuracy.partition("F1 at IoU 0.5 ")[2][:5]) > 0.9  # two steps alone teach nothing


def test_annotations_without_classes_are_of_the_models_class(trained, tmp_path):
    write_discs(tmp_path / "plates", images=2, kind="labels")
    spec = _quickly(tmp_path / "plates", tmp_path / "out", family=None, start=str(trained), steps=1)
    train_bundle(spec, lambda _: None)
    assert open_bundle(str(spec.output)).definition.manifest.classes == ("small",)


def test_other_classes_keep_what_fits(trained, plates, tmp_path):
    annotations = json.loads((plates / "annotations.json").read_text())
    for k, each in enumerate(annotations["annotations"]):
        each["category_id"] = 1 + k % 2
    data = tmp_path / "two"
    shutil.copytree(plates, data)
    (data / "annotations.json").write_text(json.dumps(annotations))
    spec = _quickly(data, tmp_path / "out", family=None, start=str(trained), steps=1)
    train_bundle(spec, lambda _: None)
    assert open_bundle(str(spec.output)).definition.manifest.classes == ("large", "small")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"family": None}, "--family: expected star-unet, maskrcnn or unet"),
        ({"family": "yolo"}, "--family: expected one of star-unet, maskrcnn, unet, found 'yolo'"),
        ({"family": "star-unet", "start": "TRAINED"}, "is of the family unet, expected star-unet"),
        ({"start": "/none/there"}, "expected a bundle"),
        ({"classes": ("large",)}, "annotations name the classes small, expected large"),
        ({"validation": "1.5"}, "--validation: expected a share between 0 and 1"),
        ({"validation": "nowhere"}, "nowhere: expected a folder with images"),
        ({"bands": (0, 3)}, "has 1 bands"),
        ({"device": "cuda:7"}, "CUDA devices"),
        ({"workers": 2, "batch": 1}, "at least a crop for each of 2 processes"),
    ],
)
def test_what_cannot_be_trained_is_refused(trained, plates, tmp_path, given, message):
    given = {name: str(trained) if value == "TRAINED" else value for name, value in given.items()}
    with pytest.raises(SpecError, match=message):
        train_bundle(_quickly(plates, tmp_path / "out", **given), lambda _: None)


def test_a_folder_may_be_given_for_validation(plates, tmp_path):
    held = tmp_path / "held"
    write_discs(held, images=2, kind="geojson")
    spec = _quickly(plates, tmp_path / "out", validation=str(held), steps=2)
    train_bundle(spec, lambda _: None)
    card = open_bundle(str(spec.output)).definition.card
    assert (
        "the folder held" in card.accuracy
        and "trained on 4 pieces of images that show 36 objects" in card.training_data
    )


def test_the_only_image_is_cut_in_two(tmp_path):
    write_discs(tmp_path / "one", images=1, side=256)
    spec = _quickly(tmp_path / "one", tmp_path / "out", steps=2, validation="0.3")
    train_bundle(spec, lambda _: None)
    card = open_bundle(str(spec.output)).definition.card
    assert "0.3 of the only image" in card.accuracy
    assert "an object counts in each piece that shows a part of it" in card.training_data


@pytest.mark.slow
@pytest.mark.cluster
def test_two_processes_train_together(plates, tmp_path):
    lines = list[str]()
    spec = _quickly(plates, tmp_path / "out", steps=40, batch=4, workers=2)
    train_bundle(spec, lines.append)
    bundle = open_bundle(str(spec.output)).definition
    assert "--workers 2" in bundle.card.training_data
    assert any(line.startswith("step 20:") for line in lines) and any(line.startswith("step 40:") for line in lines)
    assert not (spec.output / CHECKPOINT).exists()
    alone = _quickly(plates, tmp_path / "alone", steps=40, batch=4)
    train_bundle(alone, lambda _: None)
    # half a batch each has norms of its own: alike, not equal
    from segworkers.segmenters.torch_state import read_state

    one, two = (read_state(out / "weights.safetensors") for out in (spec.output, alone.output))
    different = [float((one[name].float() - two[name].float()).abs().mean()) for name in one if one[name].ndim > 1]
    assert np.mean(different) < 0.05


@pytest.mark.slow
@pytest.mark.cluster
def test_more_processes_than_there_are_processors_are_refused(plates, tmp_path):
    with pytest.raises(SpecError, match="--workers 999: expected as many CPUs"):
        train_bundle(_quickly(plates, tmp_path / "out", workers=999, batch=999), lambda _: None)
