"""A bundle as a model: what it declares, what a job may set, what identifies it, and that nothing in it is executed."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from schemas.bundles import ModelBundle, WeightsFile, WheelFile
from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters import published_models
from segworkers.segmenters.base import DenseMaps, DenseProbabilities
from segworkers.segmenters.bundle_checks import bundle_problems, zeros_problems
from segworkers.segmenters.bundle_code import FAMILY as CODE
from segworkers.segmenters.bundle_json import WITH_PRIOR
from segworkers.segmenters.bundles import open_bundle, shipped_names, weights_file, write_bundle
from segworkers.segmenters.families import FAMILIES, Family, require_listed, weights_path
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.model_spec import BundlePlace
from segworkers.segmenters.torch_deepmeta import DeepMetaNet
from tests.model_bundles import CARD, CODES, FAMILY, MANIFEST, Logistic, logistic, rewritten, zipped

WINDOWS = np.linspace(0, 1, 1024, dtype=np.float32).reshape(1, 1, 1, 32, 32)
VALID = np.ones((1, 1, 32, 32), bool)


@pytest.fixture(autouse=True)
def _family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(FAMILIES, "logistic", FAMILY)


def told(_: str) -> None:
    """Progress that nobody reads."""


def digest(place: Path, options: Mapping[str, object] | None = None) -> str:
    return resolve_model(str(place), options or {}, device="cpu")[0].digest


def test_folder_and_zip_are_the_same_model(tmp_path: Path) -> None:
    logistic(tmp_path / "bright")
    answers: list[DenseProbabilities] = []
    manifests: list[ModelManifest] = []
    for place in (tmp_path / "bright", zipped(tmp_path / "bright", tmp_path / "bright.zip", "any/")):
        manifest, spec = resolve_model(str(place), {}, device="cpu")
        assert replace(manifest, digest="") == MANIFEST and spec.codes == CODES
        answers.append(load_model(pickle.loads(pickle.dumps(spec))).predict(WINDOWS, VALID))
        manifests.append(manifest)
    assert manifests[0] == manifests[1] and manifests[0].digest
    assert np.array_equal(answers[0].values, answers[1].values) and answers[0].values[0, 1].max() > 0.9


def test_the_identity_is_code_weights_and_parameters_and_not_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bright"
    logistic(folder)
    first = digest(folder)
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / "name"
    logistic(moved)
    rewritten(moved, card__summary="told in other words", manifest__codes=None)
    assert digest(moved) == first
    digests = [first, digest(folder, {"bias": -4.0})]
    logistic(tmp_path / "steeper", slope=11.0)
    digests.append(digest(tmp_path / "steeper"))
    logistic(tmp_path / "wider", manifest=replace(MANIFEST, window=(1, 64, 64)))
    digests.append(digest(tmp_path / "wider"))
    rewritten(moved, parameters={"bias": -4.5})
    digests.append(digest(moved))
    monkeypatch.setitem(FAMILIES, "logistic", replace(FAMILY, revision=2))
    digests.append(digest(folder))
    assert len(set(digests)) == len(digests)


def test_a_job_sets_what_the_family_lets_it_set(tmp_path: Path) -> None:
    logistic(tmp_path / "bright")
    model = load_model(resolve_model(str(tmp_path / "bright"), {"bias": -2.0}, device="cpu")[1])
    assert isinstance(model, Logistic) and (model.slope, model.bias) == (10.0, -2.0)
    with pytest.raises(SpecError, match=r"model.options.bais: bright has no such option \(did you mean 'bias'\?\)"):
        resolve_model(str(tmp_path / "bright"), {"bais": 1})
    with pytest.raises(SpecError, match="slope: bright has no such option"):
        resolve_model(str(tmp_path / "bright"), {"slope": 1})


def test_families_check_parameters_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "logistic", replace(FAMILY, plan=f"{__name__}:planned", options=("bias", "keep")))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    logistic(tmp_path / "bright")
    assert resolve_model(str(tmp_path / "bright"), {"bias": 3})[0].classes == ("a", "b")
    with pytest.raises(SpecError, match=r"bias: expected a number, told \['bright'\]"):
        resolve_model(str(tmp_path / "bright"), {"bias": "much"})
    rewritten(tmp_path / "bright", family="logistics")
    with pytest.raises(
        SpecError, match=r"bright: family: expected one of .*found 'logistics' \(did you mean 'logistic'"
    ):
        resolve_model(str(tmp_path / "bright"), {})


def planned(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """A family's `plan`: families with `keep` are told all classes."""
    if not isinstance(parameters["bias"], int | float):
        raise SpecError(f"bias: expected a number, told {parameters['classes']}")
    return replace(manifest, classes=("a", "b"))


def test_a_missing_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "logistic", Family(summary="", load="not_installed_here:load", extra="onnx"))
    logistic(tmp_path / "bright")
    _, spec = resolve_model(str(tmp_path / "bright"), {}, device="cpu")
    with pytest.raises(SpecError, match=r"need the package not_installed_here: pip install \"segworkers\[onnx\]\""):
        load_model(spec)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_what_it_names(family: str) -> None:
    import importlib

    entry = FAMILIES[family]
    for reference in (entry.load, entry.plan or entry.load):
        module, _, function = reference.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
    assert entry.summary and entry.revision >= 1


def test_resolving_a_bundle_needs_no_torch(tmp_path: Path) -> None:
    logistic(tmp_path / "bright")
    script = (
        "import sys; from segworkers.segmenters import families, loading;"
        "families.FAMILIES['logistic'] = families.Family(summary='', load='nowhere:load');"
        f"loading.resolve_model({str(tmp_path / 'bright')!r}, {{}});"
        "print('torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_worker_refuses_another_bundle_than_the_driver_saw(tmp_path: Path) -> None:
    folder = tmp_path / "bright"
    logistic(folder)
    _, spec = resolve_model(str(folder), {}, device="cpu")
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-1] + b"\1")
    with pytest.raises(SpecError, match="torn or was changed"):
        load_model(spec)
    (folder / "weights.safetensors").write_bytes(content)
    rewritten(folder, parameters={"bias": 0.0})
    with pytest.raises(SpecError, match="is not the bundle that the run was planned with"):
        load_model(spec)


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "executed"))


def test_pickles_with_code_are_not_executed(tmp_path: Path) -> None:
    folder = tmp_path / "bright"
    bundle = logistic(folder)
    torch.save({"slope": torch.tensor(10.0)}, folder / "weights.pt")
    harmless = replace(bundle, weights=(weights_file(folder, "weights.pt"),), parameters={"weights": "weights.pt"})
    write_bundle(harmless, folder)
    model = load_model(resolve_model(str(folder), {}, device="cpu")[1])
    assert isinstance(model, Logistic) and model.slope == 10.0
    torch.save({"slope": Evil(tmp_path / "executed")}, folder / "weights.pt")
    write_bundle(replace(harmless, weights=(weights_file(folder, "weights.pt"),)), folder)
    _, spec = resolve_model(str(folder), {}, device="cpu")
    with pytest.raises(SpecError, match="cannot be read as tensors only"):
        load_model(spec)
    assert any("cannot be read as tensors only" in line for line in bundle_problems(open_bundle(str(folder)), told))
    assert not (tmp_path / "executed").exists()


CODE_FILE = """
import torch

class Bright:
    kind = "dense"
    window = (1, 32, 32)
    overlap = (0, 8, 8)
    classes = ("bright",)
    normalise = "unit"

    def __init__(self, device, weights, level=0.5):
        self.slope = float(torch.load(weights, weights_only=True)["slope"])
        self.level = float(level)

    def predict(self, windows):
        return (windows[:, 0] * self.slope > 10 * self.level).astype("uint8")
"""


def code_bundle(folder: Path) -> ModelBundle:
    bundle = logistic(folder)
    torch.save({"slope": torch.tensor(10.0)}, folder / "slope.pt")
    (folder / "model.py").write_text(CODE_FILE)
    bundle = replace(
        bundle,
        family=CODE,
        weights=(weights_file(folder, "model.py"), weights_file(folder, "slope.pt")),
        parameters={"file": "model.py", "class": "Bright", "options": {"weights": "slope.pt", "level": 0.4}},
    )
    write_bundle(bundle, folder)
    return bundle


def test_code_in_a_bundle_runs_only_where_the_job_trusts_it(tmp_path: Path) -> None:
    folder = tmp_path / "bright"
    bundle = code_bundle(folder)
    for options in ({}, {"trust_code": False}, {"level": 0.1}):
        with pytest.raises(SpecError, match=r"holds code, model.py, .*--set model.options.trust_code=true"):
            resolve_model(str(folder), options)
    with pytest.raises(SpecError, match="trust_code: expected true or false, found 'perhaps'"):
        resolve_model(str(folder), {"trust_code": "perhaps"})
    digests: list[str] = []
    for place in (folder, zipped(folder, tmp_path / "bright.zip")):
        manifest, spec = resolve_model(str(place), {"trust_code": "true"}, device="cpu")
        answer = load_model(pickle.loads(pickle.dumps(spec))).predict(WINDOWS, VALID)
        assert isinstance(answer, DenseMaps) and answer.classes.sum() == (WINDOWS > 0.4).sum()
        assert manifest.name == "Bright" and spec.codes == CODES
        digests.append(manifest.digest)
    changed = resolve_model(str(folder), {"trust_code": True, "level": 0.6})[0].digest
    assert digests[0] == digests[1] != changed
    assert bundle_problems(open_bundle(str(folder)), told) == [], "its files are checked; its code is not run"
    write_bundle(replace(bundle, manifest=replace(MANIFEST, window=(1, 64, 64))), folder)
    with pytest.raises(SpecError, match="Bright declares another window than the bundle's manifest"):
        resolve_model(str(folder), {"trust_code": True})
    write_bundle(replace(bundle, parameters={"file": "other.py", "class": "Bright"}), folder)
    with pytest.raises(SpecError, match=r"expected `file`, a .py file that `weights` lists"):
        resolve_model(str(folder), {"trust_code": True})
    (folder / "model.py").write_text(CODE_FILE + "\n")
    write_bundle(bundle, folder)
    with pytest.raises(SpecError, match=r"model.py: expected \d+ bytes"):
        resolve_model(str(folder), {"trust_code": True})


def published_bundle(folder: Path, caches: Iterable[Path]) -> None:
    """mr-metastases with weights of its own, in a wheel that both caches hold."""
    torch.save(DeepMetaNet().state_dict(), folder.parent / "net.pth")
    wheel = folder.parent / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.write(folder.parent / "net.pth", "thing/net.pth")
    for cache in caches:
        (cache / "models" / "archives").mkdir(parents=True)
        shutil.copy(wheel, cache / "models" / "archives")
    net, whole = weights_file(folder.parent, "net.pth"), weights_file(folder.parent, wheel.name)
    pinned = WheelFile(filename=wheel.name, sha256=str(whole.sha256), size=int(whole.size or 0))
    entry = replace(net, file="deepmeta.pth", uri="package:thing==1.0/thing/net.pth", wheel=pinned)
    write_bundle(replace(open_bundle("mr-metastases").definition, weights=(entry,)), folder)


@pytest.mark.parametrize("kind", ["zip", "code in a zip", "published"])
def test_workers_use_caches_of_their_own(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, worker, folder = tmp_path / "driver", tmp_path / "worker", tmp_path / "bright"
    options: dict[str, object] = {}
    if kind == "published":
        published_bundle(folder, (driver, worker))
    elif kind == "zip":
        logistic(folder)
    else:
        code_bundle(folder)
        options = {"trust_code": True}
    place = folder if kind == "published" else zipped(folder, tmp_path / "bright.zip")
    monkeypatch.setenv("SEGWORKERS_CACHE", str(driver))
    manifest, spec = resolve_model(str(place), options, device="cpu")
    sent = pickle.dumps(spec)
    shutil.rmtree(driver)
    monkeypatch.setenv("SEGWORKERS_CACHE", str(worker))
    model = load_model(pickle.loads(sent))
    sides = (*((1,) * 2), *manifest.shown)
    assert model.manifest == manifest and model.predict(np.ones(sides, np.float32), np.ones(sides[1:], bool))
    assert not driver.exists() and str(driver).encode() not in sent


class Stub:
    """A model that answers what it is told to."""

    def __init__(self, answer: Any, manifest: ModelManifest = MANIFEST) -> None:
        self.answer, self.manifest = answer, manifest

    def predict(self, windows: Any, valid: Any) -> Any:
        return self.answer


def test_verification_looks_at_the_answer() -> None:
    maps = np.zeros((1, 1, 32, 32), np.uint8)
    assert zeros_problems(Stub(DenseMaps(maps, None))) == []
    assert zeros_problems(Stub(DenseProbabilities(np.zeros((1, 2, 1, 32, 32), np.float32)))) == []
    (line,) = zeros_problems(Stub(DenseMaps(maps[:, :, 1:], None)))
    assert "expected finite numbers for (1, 1, 32, 32), found uint8 (1, 1, 31, 32)" in line
    (line,) = zeros_problems(Stub(DenseProbabilities(np.full((1, 2, 1, 32, 32), np.nan, np.float32))))
    assert "expected finite" in line
    (line,) = zeros_problems(Stub([]))
    assert "expected dense answers for 1 windows" in line


class Picky(Stub):
    """A model that takes one number of channels, and fails on others as runtimes do."""

    def __init__(self, wanted: int, failure: Callable[[str], Exception], channels: tuple[int, ...] = ()) -> None:
        super().__init__(DenseMaps(np.zeros((1, 1, 32, 32), np.uint8), None), replace(MANIFEST, channels=channels))
        self.wanted, self.failure = wanted, failure

    def predict(self, windows: Any, valid: Any) -> Any:
        if windows.shape[1] != self.wanted:
            raise self.failure(f"{self.manifest.name}: {windows.shape[1]} channels.")
        return self.answer


@pytest.mark.parametrize(
    "failure", [lambda text: TileError("model_failed", text), lambda text: TileError("wrong_bands", text), ValueError]
)
def test_verification_finds_the_number_of_channels(failure: Callable[[str], Exception]) -> None:
    for wanted in (1, 2, 3, 4):
        assert zeros_problems(Picky(wanted, failure)) == []
    assert zeros_problems(Picky(7, failure)) == ["1 channels."], "the first failure, without the name"
    assert zeros_problems(Picky(7, failure, channels=(7,))) == [], "known from the bundle"
    assert zeros_problems(Picky(3, failure, channels=(2,))) == ["2 channels."]
    assert zeros_problems(Picky(3, failure, channels=(1, 3))) == ["1 channels."], "a run would show it one band too"


def test_a_mask_rcnn_bundle_is_the_file_that_it_holds(tmp_path: Path) -> None:
    """The same weights, by `maskrcnn:FILE` and as a bundle, whose classes a job may choose among."""
    from torchvision.models import detection

    torch.manual_seed(3)
    network = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    folder = tmp_path / "cells"
    folder.mkdir()
    save_file(network.state_dict(), folder / "weights.safetensors")
    manifest = ModelManifest(
        name="cells",
        kind="instance",
        window=(1, 64, 64),
        overlap=(0, 16, 16),
        classes=("cell", "clump"),
        normalise="unit",
    )
    parameters = {"score_threshold": 0.1, "detections_per_image": 9, "proposals_per_image": 20}
    bundle = ModelBundle(
        name="cells",
        family="maskrcnn",
        manifest=manifest,
        card=CARD,
        weights=(weights_file(folder, "weights.safetensors"),),
        parameters=parameters,
    )
    write_bundle(bundle, folder)
    options = parameters | {"classes": ["cell", "clump"], "window": [64, 64], "overlap": [16, 16]}
    windows = np.random.default_rng(0).random((1, 3, 1, 64, 64), np.float32)
    valid = np.ones((1, 1, 64, 64), bool)
    plain = resolve_model(f"maskrcnn:{folder / 'weights.safetensors'}", options, device="cpu")
    own = resolve_model(str(folder), {}, device="cpu")
    assert (
        replace(plain[0], name="cells", digest="") == replace(own[0], digest="") == replace(manifest, channels=(1, 3))
    )
    (expected,), (answer,) = load_model(plain[1]).predict(windows, valid), load_model(own[1]).predict(windows, valid)
    assert len(expected.labels) > 2 and np.array_equal(expected.scores, answer.scores)
    assert np.array_equal(expected.labels, answer.labels)
    kept, spec = resolve_model(str(folder), {"keep": "clump"}, device="cpu")
    (only,) = load_model(spec).predict(windows, valid)
    assert kept.classes == ("clump",)
    assert np.array_equal(only.scores, expected.scores[expected.labels == 1])
    with pytest.raises(SpecError, match="keep: no class cart; there are cell, clump"):
        resolve_model(str(folder), {"keep": ["cart"]})
    rewritten(folder, parameters__window=[1, 9, 9])
    with pytest.raises(SpecError, match="parameters: window belong into the manifest"):
        resolve_model(str(folder), {})


def test_a_file_that_is_not_listed_is_not_read(tmp_path: Path) -> None:
    """Without a hash it could be any file, and the model would be the same by its digest."""
    folder = tmp_path / "bright"
    logistic(folder)
    message = r"parameters\.weights: expected the name of a file that `weights` lists, found '{}'"
    _, spec = resolve_model(str(folder), {}, device="cpu")
    rewritten(folder, weights=[])
    with pytest.raises(SpecError, match=message.format("weights.safetensors")):
        resolve_model(str(folder), {}, fetch=False)
    assert isinstance(spec.source, BundlePlace)
    with pytest.raises(SpecError, match=message.format("weights.safetensors")):
        load_model(replace(spec, source=replace(spec.source, definition=open_bundle(str(folder)).definition)))
    for place in ("../outside.safetensors", str(tmp_path / "outside.safetensors")):
        save_file({"slope": torch.tensor(3.0)}, tmp_path / "outside.safetensors")
        rewritten(folder, parameters={"weights": place})
        with pytest.raises(SpecError, match=message.format(place)):
            resolve_model(str(folder), {})
        with pytest.raises(SpecError, match=message.format(place)):
            weights_path(folder, {"weights": place})


STAGE = {"family": "torchscript", "parameters": {"file": "net.pt"}}
NAMED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "a usual name": ("torch-export", {}, ["model.pt2"]),
    "its own name": ("monai", {"file": "net.pt"}, ["net.pt"]),
    "data beside a graph": ("onnx", {"data": ["a.bin", "b.bin"]}, ["model.onnx", "a.bin", "b.bin"]),
    "two stages": (
        "two-stage",
        {"detector": STAGE | {"folder": "./one"}, "segmenter": {"family": "unet"}},
        ["one/net.pt", "segmenter/weights.safetensors"],
    ),
}


@pytest.mark.parametrize("what", NAMED)
def test_every_file_that_a_family_reads_must_be_listed(what: str) -> None:
    family, parameters, names = NAMED[what]

    def bundle(listed: list[str]) -> ModelBundle:
        files = tuple(WeightsFile(file=name, sha256="0" * 64, size=1) for name in listed)
        return ModelBundle(name="b", family=family, manifest=MANIFEST, card=CARD, weights=files, parameters=parameters)

    require_listed(bundle(names), "b")
    for name in names:
        with pytest.raises(SpecError, match=f"lists, found '{name}'"):
            require_listed(bundle([each for each in names if each != name]), "b")


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_bundles_list_what_they_read(name: str) -> None:
    require_listed(open_bundle(name).definition, name)


def test_a_first_stage_needs_no_other_first(tmp_path: Path) -> None:
    assert published_models.FAMILIES == WITH_PRIOR
    second = open_bundle("liver-lesions").definition
    prior = dict(second.parameters["prior"])
    for reference, found in (("liver-lesions", "liver-lesions"), ("nuclei", "nuclei")):
        third = replace(second, name="third", parameters={"prior": prior | {"reference": reference}})
        with pytest.raises(SpecError, match=rf"third: parameters\.prior\.reference: .*needs no other.*found {found}"):
            published_models.prior_of(third)
    around = {**second.parameters, "prior": prior | {"reference": str(tmp_path / "circle")}}
    circle = replace(second, name="circle", parameters=around)
    write_bundle(circle, tmp_path / "circle")
    with pytest.raises(SpecError, match="that needs no other first, found circle"):
        resolve_model(str(tmp_path / "circle"), {}, fetch=False)
    assert published_models.prior_of(second) is not None
