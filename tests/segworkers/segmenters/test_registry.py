"""Built-in models: what a user is told of them, and how they are resolved. No network."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.models import model_text
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.bundles import SHIPPED
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.registry import FIRST_STAGES, card_text, find_bundle, model_names
from segworkers.segmenters.torch_deepmeta import DeepMetaNet
from segworkers.segmenters.torch_unets import LesionNet, OrganNet
from tests.model_bundles import rewritten

DIGESTS = ["a46bfe128ad6215c874e187dd267cc00", "5675457c2f9e2435e336e5382cd39cf1", "c3145fb906bc5a9844f848df7549b484"]
"""Of the lesion network, its first stage and the network for mice: runs are resumed with the same model only."""
PUBLISHED = ("liver-lesions", "mr-metastases", *FIRST_STAGES)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_card_says_whose_it_is_and_what_is_not_known(name: str) -> None:
    definition = find_bundle(name).definition
    assert definition.name == definition.manifest.name == name
    text, card = card_text(definition), definition.card
    flat = " ".join(text.split())
    pinned = [each.sha256 for each in definition.weights if each.sha256]
    codes = [code for each in definition.codes.values() for code in (each.category, each.type, *each.sites) if code]
    assert pinned and set(definition.codes) == set(definition.manifest.classes)
    texts = (card.summary, card.licence, card.attribution, card.use, card.limits, card.accuracy, card.training_data)
    for part in (name, *texts, *card.sources, *pinned, *(code.value for code in codes), *definition.manifest.classes):
        assert " ".join(part.split()) in flat
    assert max(map(len, text.splitlines())) <= 100
    assert "ot measured" in card.accuracy
    assert text.isascii() or "\u2019" not in text


def test_the_list_has_one_line_for_each_model() -> None:
    lines = [line.split() for line in model_text("list", None).partition("\n\n")[0].splitlines()]
    assert [line[0] for line in lines] == list(model_names())
    assert {tuple(line[:5]) for line in lines} >= {
        ("liver-lesions", "Apache-2.0", "14.0", "MB", "fetch"),
        ("mr-metastases", "MIT", "3.8", "MB", "fetch"),
    }


def test_unknown_models_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(
        SpecError, match=r"no built-in model 'liver-lesion'; there are .*liver-lesions.*\./liver-lesion"
    ):
        find_bundle("liver-lesion")
    with pytest.raises(SpecError, match="is not known"):
        resolve_model("liver", {}, fetch=False)


def test_a_bundle_in_the_working_directory_is_pointed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    shutil.copy(SHIPPED / "mr-metastases" / "model.json", tmp_path / "mine")
    shutil.make_archive("packed", "zip", "mine")
    (tmp_path / "other").mkdir()
    shutil.make_archive("other", "zip", "other")
    for name, path in (("mine", "./mine"), ("packed", "./packed.zip")):
        for look in (find_bundle, lambda each: resolve_model(each, {}, fetch=False)):
            with pytest.raises(SpecError) as caught:
                look(name)
            assert str(caught.value) == (
                f"no built-in model {name!r}; for the bundle of that name here give its path: {path}"
            )
        assert find_bundle(path).definition.name == "mr-metastases"
    for name in ("other", "", "a" * 300, "a\0"):
        with pytest.raises(SpecError, match="is not known; there are"):
            resolve_model(name, {}, fetch=False)


def test_a_two_stage_model_brings_its_first_stage_along(tmp_path: Path) -> None:
    manifest, spec = resolve_model("liver-lesions", {}, threads=3, device="cpu", fetch=False)
    assert spec.first is not None and spec.prior is not None
    assert spec.prior.manifest == spec.first.manifest and spec.prior.manifest.digest
    assert (spec.first.reference, spec.first.threads, spec.first.device) == ("liver", 3, "cpu")
    assert len({manifest.digest, spec.first.manifest.digest, ""}) == 3
    assert pickle.loads(pickle.dumps(spec)) == spec and len(pickle.dumps(spec)) < 6000
    assert str(tmp_path) not in repr(spec), "workers have caches of their own"
    _, mice = resolve_model("mr-metastases", {}, fetch=False)
    assert mice.first is None and mice.prior is None


def test_the_digest_does_not_depend_on_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve_model("liver-lesions", {}, fetch=False)[0]
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "elsewhere"))
    assert resolve_model("liver-lesions", {}, fetch=False)[0] == first


def test_the_published_models_are_the_same_as_ever() -> None:
    manifest, spec = resolve_model("liver-lesions", {}, fetch=False)
    assert spec.first is not None
    assert replace(manifest, digest="") == ModelManifest(
        name="liver-lesions",
        kind="dense",
        window=(42, 84, 92),
        context=(24, 46, 46),
        overlap=(0, 0, 0),
        classes=("liver_lesion",),
        channels=(1,),
        spacing=(3.0, 1.0, 1.0),
        orientation="RAS",
        modalities=("CT",),
        connectivity=26,
    )
    digests = [manifest.digest, spec.first.manifest.digest, resolve_model("mr-metastases", {}, fetch=False)[0].digest]
    assert digests == DIGESTS


def test_a_changed_manifest_or_first_stage_is_another_model(tmp_path: Path) -> None:
    changes = {
        "same": {},
        "coarse": {"manifest__spacing": [9.0, 9.0, 9.0]},
        "far": {"parameters__prior__margin": [9, 9, 9]},
    }
    digests: list[str] = []
    for name, change in changes.items():
        shutil.copytree(SHIPPED / "liver-lesions", tmp_path / name)
        rewritten(tmp_path / name, **change)
        digests.append(resolve_model(str(tmp_path / name), {}, fetch=False)[0].digest)
    assert digests[0] == resolve_model("liver-lesions", {}, fetch=False)[0].digest
    assert len(set(digests)) == 3


def test_options_are_refused_because_there_are_none() -> None:
    with pytest.raises(SpecError, match="threshold"):
        resolve_model("liver-lesions", {"threshold": 0.3}, fetch=False)


def test_weights_that_cannot_be_fetched_are_named_when_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    _, spec = resolve_model("mr-metastases", {}, device="cpu", fetch=False)
    with pytest.raises(SpecError, match=r"mr-metastases: napari-deepmeta 2.1 could not be fetched .*put the file into"):
        load_model(spec)


def test_resolving_needs_no_torch() -> None:
    script = (
        "import sys; from segworkers.segmenters.loading import resolve_model;"
        "resolve_model('liver-lesions', {}, fetch=False); print('torch' in sys.modules, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_windows_fit_the_networks() -> None:
    lesions, liver = (find_bundle(name).definition.manifest for name in ("liver-lesions", "liver"))
    assert all(side % 27 == 0 and side - 26 == w for side, w in zip(liver.shown, liver.window, strict=True))
    # two voxels on each side are for dilating the liver; the network itself was trained on 86 x 172 x 180
    assert tuple(side - 4 for side in lesions.shown) == (86, 172, 180)
    assert (len(OrganNet().convolutions), len(LesionNet().convolutions)) == (15, 21)
    assert sum(p.numel() for p in OrganNet().parameters()) == 3_874_961
    assert sum(p.numel() for p in LesionNet().parameters()) == 3_464_221
    assert sum(p.numel() for p in DeepMetaNet().state_dict().values()) == 937_611
