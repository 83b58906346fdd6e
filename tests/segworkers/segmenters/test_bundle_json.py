"""model.json is read strictly, with all problems at once, and written so that it is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bundles import FORMAT, Card, ClassCodes, Code, ModelBundle, WeightsFile
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.bundle_json import bundle_text, parse_bundle
from tests.model_bundles import CARD, CODES, MANIFEST

ENTRY = WeightsFile(file="w.safetensors", sha256="0" * 64, size=7)
BUNDLE = ModelBundle(
    name="bright",
    family="logistic",
    manifest=MANIFEST,
    card=CARD,
    weights=(ENTRY,),
    codes=CODES,
    parameters={"a": [1, 2]},
)

_texts = st.text(min_size=1, max_size=30).filter(lambda text: bool(text.strip()) and "\n" not in text)
_codes = st.builds(Code, value=st.text("0123456789", min_size=1, max_size=16), scheme=st.just("SCT"), meaning=_texts)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
    max_leaves=6,
)
_sides = st.integers(1, 4096)


@st.composite
def bundles(draw: st.DrawFn) -> ModelBundle:
    classes = tuple(draw(st.lists(_texts, min_size=1, max_size=4, unique=True)))
    manifest = ModelManifest(
        name="n",
        kind=draw(st.sampled_from(["dense", "instance"])),
        window=(1, draw(_sides), draw(_sides)),
        overlap=(0, 0, 0),
        classes=classes,
        bands=draw(st.none() | st.lists(st.integers(0, 9) | _texts, min_size=1, max_size=3).map(tuple)),
        normalise=draw(st.sampled_from(["none", "unit", "percentile", "zscore", "otsu"])),
        resolution=draw(st.none() | st.floats(1e-9, 1e3)),
        spacing=draw(st.none() | st.just((3.0, 1.0, 1.0))),
        object_size=draw(st.none() | st.floats(1, 100)),
    )
    codes = {
        name: ClassCodes(type=draw(st.none() | _codes), sites=tuple(draw(st.lists(_codes, max_size=2))))
        for name in draw(st.sets(st.sampled_from(classes)))
    }
    return ModelBundle(
        name="n",
        family="unet",
        manifest=manifest,
        card=Card(**{each: draw(_texts) for each in Card.__slots__ if each != "sources"}, sources=(draw(_texts),)),
        weights=(ENTRY, WeightsFile(uri="torchvision:A_Weights.B")) if draw(st.booleans()) else (),
        parameters=draw(st.dictionaries(st.text(), _values, max_size=3)),
        codes=codes,
    )


@given(bundles())
def test_what_is_written_is_read_back(bundle: ModelBundle) -> None:
    text = bundle_text(bundle)
    assert parse_bundle(text, "model.json") == bundle
    assert json.loads(text)["format"] == FORMAT and bundle_text(parse_bundle(text, "")) == text


def problems_of(text: str | bytes) -> list[str]:
    """What is said of a description, each line with the file's name in front."""
    with pytest.raises(SpecError) as caught:
        parse_bundle(text, "cells/model.json")
    assert all(problem.startswith("cells/model.json: ") for problem in caught.value.problems)
    return [problem.removeprefix("cells/model.json: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("format"), "format: expected 'segworkers-model/1', found None"),
        (lambda d: d.update(format="segworkers-model/2"), "found 'segworkers-model/2'; a bundle of a later format"),
        (lambda d: d.pop("manifest"), "manifest: missing"),
        (lambda d: d["manifest"].pop("window"), "manifest.window: missing"),
        (lambda d: d["manifest"].update(wndow=[1, 2, 3]), "manifest.wndow: no such field; did you mean 'window'?"),
        (lambda d: d.update(licence="MIT"), "licence: no such field; there are format, name, family"),
        (lambda d: d["card"].update(license="MIT"), "card.license: no such field; did you mean 'licence'?"),
        (lambda d: d["card"].pop("accuracy"), "card.accuracy: missing"),
        (lambda d: d["card"].update(use=""), "card: use: expected a text, found nothing"),
        (lambda d: d["weights"][0].update(sha="1"), "weights[0].sha: no such field; did you mean 'sha256'?"),
        (lambda d: d["weights"][0].update(size="7"), 'weights[0].size: expected a valid integer, found "7"'),
        (lambda d: d["weights"][0].update(file="../w"), "weights[0]: file: expected a path inside the bundle"),
        (
            lambda d: d["manifest"].update(window=[1, 32.5, 32]),
            "manifest.window[1]: expected a valid integer, found 32.5",
        ),
        (
            lambda d: d["manifest"].update(kind="panoptic"),
            "manifest.kind: expected 'dense' or 'instance', found \"panop",
        ),
        (lambda d: d["manifest"].update(overlap=[0, 20, 0]), "manifest: bright: overlap must lie between 0 and half"),
        (lambda d: d["manifest"].update(bands=[True]), "manifest.bands: expected a list of band names or 0-based"),
        (lambda d: d["manifest"].update(channels=3), "manifest.channels: expected a list of numbers of bands, such as"),
        (lambda d: d["manifest"].update(channels=["3"]), "such as [3] or [1, 3]"),
        (lambda d: d["manifest"].update(name="x"), "manifest.name: expected nothing, the name stands beside"),
        (lambda d: d["manifest"].update(digest="x"), "manifest.digest: expected nothing, it is computed"),
        (lambda d: d.update(codes={}), "codes: belong into manifest"),
        (lambda d: d["manifest"]["codes"].update(dark={}), "manifest.codes: no class dark; there are bright"),
        (
            lambda d: d["manifest"]["codes"]["bright"]["type"].update(value="1" * 17),
            "manifest.codes.bright.type: value: expected 1 to 16 characters, found 17",
        ),
        (
            lambda d: d["manifest"]["codes"]["bright"].update(typ={}),
            "manifest.codes.bright.typ: no such field; did you mean 'type'?",
        ),
        (lambda d: d.update(parameters=[1]), "parameters: "),
    ],
)
def test_what_is_wrong_is_named_by_field(change: Any, message: str) -> None:
    document = json.loads(bundle_text(BUNDLE))
    change(document)
    found = problems_of(json.dumps(document))
    assert len(found) == 1 and message in found[0], found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected an object with format, name, family, …, found list"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"format": "segworkers-model/1", "name": "a", "name": "b"}', "found name more than once"),
        ('{"format": "segworkers-model/1", "parameters": {"a": NaN}}', "expected a number, found NaN"),
        (b"\xff\xfe\x00", "is not valid JSON"),
    ],
)
def test_what_is_no_description_is_refused(text: str | bytes, message: str) -> None:
    (found,) = problems_of(text)
    assert message in found


def test_all_problems_come_at_once() -> None:
    document = json.loads(bundle_text(BUNDLE))
    document["card"].pop("limits")
    document["manifest"]["window"] = [1, "2", 3]
    document["weights"][0]["size"] = 0
    document["extra"] = 1
    found = problems_of(json.dumps(document))
    assert [each.partition(":")[0] for each in found] == ["manifest.window[1]", "card.limits", "weights[0]", "extra"]


PRIOR: dict[str, Any] = {"reference": "liver", "region": "abdomen", "opened": True, "margin": [2, 2, 2]}


def with_prior(prior: object, family: str = "lesion-unet") -> str:
    return bundle_text(replace(BUNDLE, family=family, parameters={"prior": prior}))


def test_a_first_stage_is_read() -> None:
    assert parse_bundle(with_prior(PRIOR), "m").parameters["prior"] == PRIOR
    assert parse_bundle(with_prior(0.3, "logistic"), "m").parameters["prior"] == 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": None}, "m: parameters.prior.margin: expected voxels z, y, x, at least 0, found null"),
        ({"margin": [2, 2]}, "margin: expected voxels z, y, x, at least 0, found [2, 2]"),
        ({"margin": [2, -1, True]}, "margin: expected voxels"),
        ({"region": "head"}, 'region: expected one of whole, abdomen, found "head"'),
        ({"opened": 1}, "opened: expected true or false, found 1"),
        ({"reference": "bright"}, 'reference: expected the name of another model, found "bright"'),
        ({"reference": ["liver"]}, "reference: expected the name of another model"),
        ({"margins": 1}, "prior.margins: no such field; there are reference, region, opened, margin"),
    ],
)
def test_a_malformed_first_stage_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_bundle(with_prior(PRIOR | change), "m")
    assert message in str(caught.value)


@pytest.mark.parametrize("prior", [None, 3, "liver", ["liver"]])
def test_a_first_stage_is_an_object(prior: object) -> None:
    with pytest.raises(SpecError, match=r"parameters\.prior: expected reference, region, opened and margin"):
        parse_bundle(with_prior(prior), "m")
    with pytest.raises(SpecError) as caught:
        parse_bundle(with_prior({}), "m")
    assert len(caught.value.problems) == 4
