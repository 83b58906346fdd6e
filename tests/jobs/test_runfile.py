"""run.json: a folder goes on only with the spec that it was begun with, and a refusal says what is another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import runfile
from jobs.config import JobSpec
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.store import LocalStore

MANIFEST = ModelManifest(name="m", kind="instance", window=(1, 8, 8), overlap=(0, 0, 0), classes=("a",))


def spec(**changes: Any) -> JobSpec:
    """A spec; changes: values by key, with `__` for the dot."""
    body: dict[str, Any] = {"inputs": ["/a/1.tif", "/a/2.tif"], "model": {"reference": "m"}, "output": {"path": "out"}}
    for key, value in changes.items():
        *sections, name = key.split("__")
        part = body
        for section in sections:
            part = part.setdefault(section, {})
        part[name] = value
    return JobSpec.model_validate(body)


def refusal(folder: Path, there: JobSpec, here: JobSpec, manifest: ModelManifest = MANIFEST) -> str:
    """Why `here` may not go on where `there` began."""
    store = LocalStore(folder)
    runfile.claim(store, there, MANIFEST, resume=False)
    with pytest.raises(SpecError) as caught:
        runfile.claim(store, here, manifest, resume=True)
    return str(caught.value)


def test_what_does_not_change_the_tables_may_differ(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    runfile.claim(store, spec(), MANIFEST, resume=False)
    other = spec(tiling__tile=64, engine__workers=3, output__path="elsewhere", output__masks="labels")
    runfile.claim(store, other, MANIFEST, resume=True)


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        ({"output__border": "drop"}, {}, "output.border: drop there, keep here"),
        ({}, {"output__min_score": 0.5}, "output.min_score: null there, 0.5 here"),
        ({"output__fill_holes": 1}, {"output__fill_holes": True}, "output.fill_holes: 1 there, true here"),
        ({"model__window": [64]}, {"model__window": [1, 64, 64]}, "model.window: [64] there, [1, 64, 64] here"),
        ({"model__options": {"n": 1}}, {}, "model.options.n: 1 there, not set here"),
        ({}, {"inputs": ["/a/1.tif"]}, "inputs: /a/2.tif only there"),
        ({}, {"inputs": ["/a/2.tif", "/b", "/c"]}, "inputs: /a/1.tif only there, /b and 1 more only here"),
        ({}, {"inputs": ["/a/2.tif", "/a/1.tif"]}, "inputs: another order or number of the same ones"),
        (
            {},
            {"output__border": "drop", "model__device": "cpu"},
            "model.device: auto there, cpu here; output.border: keep there, drop here",
        ),
    ],
)
def test_the_keys_that_differ_are_named(tmp_path: Path, there: Any, here: Any, told: str) -> None:
    assert f"holds a run with another spec ({told}); resume with" in refusal(tmp_path, spec(**there), spec(**here))


def test_no_more_keys_are_named_than_a_line_holds(tmp_path: Path) -> None:
    options = {f"k{n}": n for n in range(9)}
    told = refusal(tmp_path, spec(), spec(model__options=options, model__reference="n" * 99))
    assert "…" in told and "n" * 60 not in told
    assert "model.options.k3" in told and "k4" not in told and "and 5 more keys" in told


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    there = spec(inputs=["https://me:hush@h/a.tif?sig=hush"], model__options={"key": "hush"})
    here = spec(inputs=["https://me:other@h/a.tif?sig=other"], model__options={"key": "other"})
    told = refusal(tmp_path, there, here)
    assert "hush" not in told and "=" not in told and "@" not in told
    assert "inputs: https://h/a.tif with another query or password" in told
    assert "model.options.key: another value there, another value here" in told


def test_another_model_file_differs_in_no_key(tmp_path: Path) -> None:
    told = refusal(tmp_path, spec(), spec(), replace(MANIFEST, digest="other"))
    assert "holds a run with another model; resume" in told


def test_a_run_of_a_version_with_other_keys_is_refused_without_naming_any(tmp_path: Path) -> None:
    runfile.claim(LocalStore(tmp_path), spec(), MANIFEST, resume=False)
    path = tmp_path / runfile.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"spec": {"inputs": []}, "spec_digest": "old"}))
    with pytest.raises(SpecError, match="holds a run with another spec; resume"):
        runfile.claim(LocalStore(tmp_path), spec(), MANIFEST, resume=True)


def test_a_folder_of_images_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "archive" / "deep").mkdir(parents=True)
    (tmp_path / "archive" / "notes.txt").touch()
    runfile.claim(LocalStore(tmp_path / "archive" / "out"), spec(), MANIFEST, resume=False)
    (tmp_path / "archive" / "deep" / "1.tif").touch()
    runfile.claim(LocalStore(tmp_path / "archive" / "out"), spec(), MANIFEST, resume=True)
    with pytest.raises(SpecError, match=r"archive holds images, such as .*1\.tif.*choose another"):
        runfile.claim(LocalStore(tmp_path / "archive"), spec(), MANIFEST, resume=False)
    assert not (tmp_path / "archive" / "run.json").exists()
    (tmp_path / "archive" / "run.json").write_text("{}")
    with pytest.raises(SpecError, match="another spec"):
        runfile.claim(LocalStore(tmp_path / "archive"), spec(), MANIFEST, resume=True)
