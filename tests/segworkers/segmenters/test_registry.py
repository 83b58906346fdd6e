"""Built-in models: what a user is told of them, and how they are resolved. No network."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import SpecError
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.registry import CARDS, FIRST_STAGES, card_of, card_text, cards_list
from segworkers.segmenters.torch_deepmeta import DeepMetaNet
from segworkers.segmenters.torch_unets import LesionNet, OrganNet


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", [*CARDS, *FIRST_STAGES])
def test_a_card_says_whose_it_is_and_what_is_not_known(name: str) -> None:
    card = card_of(name)
    assert card.manifest.name == name
    text = card_text(card)
    flat = " ".join(text.split())
    for part in (
        name,
        card.licence,
        card.attribution,
        card.use,
        card.limits,
        card.accuracy,
        card.weights.archive.sha256,
    ):
        assert " ".join(part.split()) in flat
    assert max(map(len, text.splitlines())) <= 100
    assert "ot measured" in card.accuracy
    assert text.isascii() or "\u2019" not in text


def test_the_list_has_one_line_for_each_model() -> None:
    lines = cards_list().splitlines()
    assert [line.split()[:2] for line in lines] == [["liver-lesions", "Apache-2.0"], ["mr-metastases", "MIT"]]


def test_unknown_models_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(SpecError, match="liver-lesions, mr-metastases"):
        card_of("liver-lesion")
    with pytest.raises(SpecError, match="is not known"):
        resolve_model("liver", {}, fetch=False)


def test_a_two_stage_model_brings_its_first_stage_along(tmp_path: Path) -> None:
    manifest, spec = resolve_model("liver-lesions", {}, threads=3, device="cpu", fetch=False)
    assert spec.first is not None and spec.prior is not None
    assert spec.prior.manifest == spec.first.manifest and spec.prior.manifest.digest
    assert (spec.first.reference, spec.first.threads, spec.first.device) == ("liver", 3, "cpu")
    assert len({manifest.digest, spec.first.manifest.digest, ""}) == 3
    assert spec.weights == str(tmp_path / "models" / "pyliverlesionseg-0.3-liver-lesions.safetensors")
    assert pickle.loads(pickle.dumps(spec)) == spec and len(pickle.dumps(spec)) < 3000
    _, mice = resolve_model("mr-metastases", {}, fetch=False)
    assert mice.first is None and mice.prior is None


def test_the_digest_does_not_depend_on_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve_model("liver-lesions", {}, fetch=False)[0]
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "elsewhere"))
    assert resolve_model("liver-lesions", {}, fetch=False)[0] == first


def test_options_are_refused_because_there_are_none() -> None:
    with pytest.raises(SpecError, match="threshold"):
        resolve_model("liver-lesions", {"threshold": 0.3}, fetch=False)


def test_missing_weights_are_named_when_the_model_is_loaded() -> None:
    _, spec = resolve_model("mr-metastases", {}, device="cpu", fetch=False)
    with pytest.raises(SpecError, match=r"napari-deepmeta-2.1.safetensors: no such file"):
        load_model(spec)


def test_resolving_needs_no_torch() -> None:
    script = (
        "import sys; from segworkers.segmenters.loading import resolve_model;"
        "resolve_model('liver-lesions', {}, fetch=False); print('torch' in sys.modules, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_windows_fit_the_networks() -> None:
    lesions, liver = card_of("liver-lesions").manifest, card_of("liver").manifest
    assert all(side % 27 == 0 and side - 26 == w for side, w in zip(liver.shown, liver.window, strict=True))
    # two voxels on each side are for dilating the liver; the network itself was trained on 86 x 172 x 180
    assert tuple(side - 4 for side in lesions.shown) == (86, 172, 180)
    assert (len(OrganNet().convolutions), len(LesionNet().convolutions)) == (15, 21)
    assert sum(p.numel() for p in OrganNet().parameters()) == 3_874_961
    assert sum(p.numel() for p in LesionNet().parameters()) == 3_464_221
    assert sum(p.numel() for p in DeepMetaNet().state_dict().values()) == 937_611
