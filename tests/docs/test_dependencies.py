"""docs/dependencies.md lists what pyproject.toml asks for, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs" / "dependencies.md").read_text()


def names(requirements: list[str]) -> list[str]:
    """Package names without versions and extras."""
    return [re.split(r"[\[<>=!~; ]", requirement)[0] for requirement in requirements]


@pytest.mark.parametrize(
    ("title", "requirements"),
    [("To run", PROJECT["dependencies"]), ("To develop", PROJECT["optional-dependencies"]["dev"])],
)
def test_every_direct_dependency_has_a_reason_and_a_licence(title: str, requirements: list[str]) -> None:
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (.+) \| (.+) \|$", section, re.MULTILINE)
    assert [name for name, _, _ in rows] == names(requirements)
    assert all(reason.strip() and licence.strip() for _, reason, licence in rows)


def test_every_direct_dependency_is_pinned_without_addresses() -> None:
    pins = (ROOT / "requirements.txt").read_text()
    pinned = set(re.findall(r"^([\w.-]+)(?:\[.*\])?==", pins, re.MULTILINE))
    assert set(names(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])) | {"setuptools"} <= pinned
    assert "://" not in pins and "--index" not in pins and "--find-links" not in pins
