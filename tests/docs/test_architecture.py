"""docs/architecture.md cannot go stale: what it names exists, and every module has its place in it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("jobs", "segworkers", "schemas")
MODULES = {
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
}
PAGES = ("docs/architecture.md", "docs/operations.md", "docs/pitfalls.md", "README.md", "CONTRIBUTING.md")


def mentioned(page: str) -> set[str]:
    """Paths and dotted names in backticks that begin with one of our packages."""
    text = (ROOT / page).read_text()
    return set(re.findall(rf"`((?:{'|'.join(PACKAGES)})[./][\w./]*)`", text))


def exists(name: str) -> bool:
    """Whether a path, or a dotted name with attributes, is there."""
    if "/" in name:
        return (ROOT / name).exists()
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            found = importlib.import_module(".".join(parts[:length]))
            for attribute in parts[length:]:
                if not hasattr(found, attribute):
                    return False
                found = getattr(found, attribute)
            return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page: str) -> None:
    assert [name for name in sorted(mentioned(page)) if not exists(name)] == []


def test_every_module_has_its_place() -> None:
    assert sorted(MODULES - mentioned("docs/architecture.md")) == []


@pytest.mark.parametrize(
    "name", ["jobs/absent.py", "segworkers.absent", "segworkers.worker.Absent", "jobs.stages.run.x"]
)
def test_what_is_not_there_is_noticed(name: str) -> None:
    assert not exists(name)


def test_the_page_leads_through_the_code_in_the_order_in_which_it_runs() -> None:
    walk = (ROOT / "docs/architecture.md").read_text().split("## One tile through the code")[1].split("## The merge")[0]
    story = ["jobs/cli.py", "jobs.planning.prepare", "jobs.ledger.settle", "segworkers.worker.TileWorker"]
    story += [
        "segworkers.shards.pack",
        "jobs.merging.merge_sources",
        "segworkers.rows.rows_of",
        "jobs.publishing.publish",
    ]
    places = [walk.index(f"`{name}`") for name in story]
    assert places == sorted(places)


def test_every_pitfall_names_tests_that_exist() -> None:
    page = (ROOT / "docs/pitfalls.md").read_text()
    named = 0
    for file, rest in re.findall(r"`([\w/]+/test_\w+\.py)`: ((?:`test_\w+`(?:, )?)+)", page):
        code = (ROOT / file).read_text()
        for test in re.findall(r"`(test_\w+)`", rest):
            assert f"def {test}(" in code, f"{file} has no {test}"
            named += 1
    assert named == len(re.findall(r"`test_\w+`", page)) >= page.count("\n| ") - 2
