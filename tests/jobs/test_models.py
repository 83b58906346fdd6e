"""`segworkers models`: what is listed and shown, what is fetched, and that verification finds what is wrong."""

from __future__ import annotations

import re
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from jobs.cli import main
from segworkers.segmenters import bundles
from segworkers.segmenters.bundles import weights_file, write_bundle
from segworkers.segmenters.families import FAMILIES
from segworkers.segmenters.loading import asked_options
from segworkers.segmenters.maskrcnn_options import MaskRcnnSettings
from tests.model_bundles import FAMILY, logistic, rewritten


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models come along, one with its weights."""
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(FAMILIES, "logistic", FAMILY)
    folder = tmp_path / "shipped"
    logistic(folder / "bright")
    away = logistic(folder / "faint", slope=3.0, name="faint")
    weights = folder / "faint" / "weights.safetensors"
    weights.rename(tmp_path / "faint.safetensors")
    entry = replace(away.weights[0], uri=f"file://{tmp_path}/faint.safetensors")
    write_bundle(replace(away, weights=(entry,)), folder / "faint")
    monkeypatch.setattr(bundles, "SHIPPED", folder)
    return folder


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["models", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_list_says_what_is_here_and_fetch_brings_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ran(capsys, "list")
    lines = out.splitlines()
    assert code == 0 and lines[0].split()[:5] == ["bright", "CC0-1.0", "0.0", "MB", "here"]
    assert lines[1].split()[4] == "fetch" and "what is bright" in lines[1]
    assert any(line.startswith("FOLDER or FILE.zip") for line in lines)
    code, _, err = ran(capsys, "verify", "faint")
    assert code == 1 and "faint: its weights are not here: segworkers models fetch faint" in err
    code, out, _ = ran(capsys, "fetch", "faint")
    assert code == 0 and out.startswith("faint: weights checked, ")
    assert ran(capsys, "list")[1].splitlines()[1].split()[4] == "here"
    code, out, _ = ran(capsys, "verify")
    assert (code, out.splitlines()) == (0, ["bright: as it says", "faint: as it says"])


def test_the_card_has_everything_and_names_of_paths_work_too(
    tmp_path: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ran(capsys, "show", "bright")
    for part in (
        "bright: what is bright",
        "dense, family logistic",
        "CC0-1.0",
        "bright: type Lesion (52988006, SCT)",
        "1 x 32 x 32 pixels (z, y, x), overlapping by 0 x 8 x 8",
        "normalise     unit",
        "bias = -5.0",
        "Not measured.",
        "Everything else.",
        bundles.open_bundle("bright").definition.weights[0].sha256 or "?",
    ):
        assert part in out, part
    assert code == 0 and ran(capsys, "show", str(shipped / "bright"))[1] == out
    assert "no: segworkers models fetch faint" in ran(capsys, "show", "faint")[1]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "threshold",
            [
                "value: 'otsu', a number or ascending numbers",
                "above: true or false; default true",
                "band: band names or indices from 0; default 0",
                "connectivity: 4 or 8 (in the plane), 6, 18 or 26 (in space); default 8",
                "window: whole numbers z, y, x of at least 1; default 1,512,512",
            ],
        ),
        (
            "maskrcnn",
            [
                "classes: distinct names, at least one",
                "score_threshold: a number from 0 to 1; default 0.5",
                "detections_per_image: a whole number of at least 1; default 1000",
                "resize: true or false; default false",
                "norm_eps: a number from 0 to 1",
            ],
        ),
    ],
)
def test_models_without_a_card_show_their_options(
    name: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ran(capsys, "show", name)
    told = [" ".join(part.split()) for part in re.split(r"\n(?=  \S)", out)]
    assert code == 0 and told[0].startswith(name)
    for line in lines:
        assert any(part.startswith(line) for part in told), (line, told)


def test_every_option_of_a_model_without_a_card_is_shown_with_a_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    out = ran(capsys, "show", "maskrcnn")[1]
    shown = {line.split(":")[0].strip() for line in out.splitlines() if line.startswith("  ") and line[2] != " "}
    assert shown == {each.name for each in fields(MaskRcnnSettings)}
    for reference in ("threshold", "maskrcnn"):
        asked = asked_options(reference)
        assert asked and all(each.about for each in asked)


def test_the_names_that_the_list_gives_are_shown_and_lack_what_they_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    listed = [line.split()[0] for line in ran(capsys, "list")[1].split("by reference:\n")[1].splitlines() if line]
    named = [each for each in listed if each.startswith(("threshold", "maskrcnn"))]
    assert len(named) == 5
    for reference in named:
        code, out, _ = ran(capsys, "show", reference)
        assert code == 0 and ("\n  classes" in out) == ("resnet50" not in reference)
        assert ran(capsys, "show", reference.split(":")[0])[0] == 0
    assert "segworkers models show threshold" in ran(capsys, "list")[1]
    code, _, err = ran(capsys, "verify", "threshold")
    assert code == 2 and "threshold: is no bundle" in err


def test_names_too_many_too_few_and_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "list", "bright")[0] == 2
    code, _, err = ran(capsys, "show")
    assert code == 2 and "models show needs a name or the path of a bundle" in err and "bright" in err
    code, _, err = ran(capsys, "show", "brigth")
    assert code == 2 and "no built-in model 'brigth'; there are bright, faint; for a bundle of your own" in err


def test_verification_fails_with_everything_that_is_wrong(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = shipped / "bright" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"\1")
    logistic(shipped / "dull", name="dull")
    rewritten(shipped / "dull", manifest__kind="instance")
    code, out, err = ran(capsys, "verify")
    assert (code, out) == (1, "")
    assert "weights.safetensors: expected sha256" in err and "get it again" in err
    assert "\ndull: expected finite numbers" in err, "the name once"
    code, out, _ = ran(capsys, "verify", str(shipped / "bright"))
    assert (code, out) == (1, "")
    weights.write_bytes(content)
    assert ran(capsys, "verify", "bright")[:2] == (0, "bright: as it says\n")


def test_a_bundle_that_lists_no_file_is_verified_by_its_answer(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    definition = bundles.open_bundle("bright").definition
    write_bundle(replace(definition, weights=()), tmp_path / "none")
    code, _, err = ran(capsys, "verify", str(tmp_path / "none"))
    assert code == 1 and "parameters.weights: expected the name of a file" in err


def test_published_networks_are_verified_as_any_other(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from segworkers.segmenters.torch_deepmeta import DeepMetaNet

    folder = tmp_path / "mice"
    shutil.copytree(Path(bundles.__file__).parent / "bundles" / "mr-metastases", folder)
    torch.save(DeepMetaNet().state_dict(), folder / "deepmeta.pth")
    code, _, err = ran(capsys, "verify", str(folder))
    assert code == 1 and "its weights are not here" in err, "the file has another size than the package's"
    definition = bundles.open_bundle(str(folder)).definition
    write_bundle(replace(definition, weights=(weights_file(folder, "deepmeta.pth"),)), folder)
    assert ran(capsys, "verify", str(folder))[:2] == (0, "mr-metastases: as it says\n")


def test_a_first_stage_belongs_to_its_model(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prior = {"reference": "faint", "region": "whole", "opened": False, "margin": [0, 0, 0]}
    rewritten(shipped / "bright", family="lesion-unet", parameters={"prior": prior})
    rewritten(shipped / "faint", family="organ-unet", parameters={})
    assert ran(capsys, "list")[1].splitlines()[0].split()[4] == "fetch", "its own weights are here"
    assert ran(capsys, "fetch", "bright")[0] == 0
    assert [line.split()[4] for line in ran(capsys, "list")[1].splitlines()[:2]] == ["here", "here"]
