"""README.md: its commands run as they stand, its links lead somewhere, its promises have tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyogrio
import pytest

from tests.dicom_files import ct_series, save
from tests.docs.conftest import write_survey

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
USAGES = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)


@pytest.mark.long
@pytest.mark.cluster
def test_the_usage_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, _ = USAGES
    write_survey(tmp_path / "survey.tif")
    # Where the tests run nothing need be installed: `segworkers` is this interpreter running this checkout.
    command = f'segworkers() {{ "{sys.executable}" -m jobs "$@"; }}\n'
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        ["bash", "-euc", command + usage], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^object +12 ", done.stdout, re.MULTILINE)
    assert pyogrio.read_info(tmp_path / "objects.gpkg")["features"] == 12
    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert "everything agrees" in done.stdout


def test_the_usage_is_about_ten_lines_and_shows_the_main_commands() -> None:
    usage, _ = USAGES
    assert len(usage.splitlines()) <= 10
    assert {"plan", "segment", "query", "verify", "preview"} <= set(
        re.findall(r"^segworkers (\w+)", usage, re.MULTILINE)
    )


def test_the_usage_for_volumes_runs_with_the_model_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, usage = USAGES
    save(ct_series(), tmp_path / "ct-archive")
    told = "--model threshold --set model.options.value=0 --engine inline"
    assert "--model liver-lesions" in usage
    usage = usage.replace("--model liver-lesions", told)
    command = f'segworkers() {{ "{sys.executable}" -m jobs "$@"; }}\n'
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        ["bash", "-euc", command + usage], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"10[23]\d\d", done.stdout), "an ellipsoid of 10,321 cubic millimetres"
    assert len(list((tmp_path / "lesions").rglob("*.dcm"))) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_promise_names_a_test_that_is_there() -> None:
    why = README.split("## Why")[1].split("## What it does not do yet")[0]
    promises = re.findall(r"^\d\. \*\*.*?(?=^\d\. |\Z)", why, re.MULTILINE | re.DOTALL)
    assert len(promises) == 5
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)`", promise)
        assert named and all((ROOT / name).is_file() for name in named), promise


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^\$ make (\S+)", README, re.MULTILINE)) == {"demo", "test"} <= set(targets)
