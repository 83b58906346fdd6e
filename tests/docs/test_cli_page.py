"""docs/cli.md says what the commands and the spec say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import yaml
from typer.testing import CliRunner

from jobs.cli import app
from jobs.loading import load_spec

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "cli.md").read_text()


def generator() -> ModuleType:
    """docs/make_cli.py as a module."""
    specification = importlib.util.spec_from_file_location("make_cli", DOCS / "make_cli.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["make_cli"] = module  # where dataclasses look for it
    specification.loader.exec_module(module)
    return module


def test_the_page_is_what_make_docs_writes() -> None:
    assert generator().page() == PAGE, "run make docs"


def test_every_command_and_option_that_help_lists_is_on_the_page() -> None:
    runner = CliRunner()
    listed = runner.invoke(app, ["--help"]).stdout.partition("Commands:")[2]
    commands = re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)
    assert len(commands) == 14
    for command in commands:
        section = PAGE.partition(f"## segworkers {command}\n")[2].partition("\n## ")[0]
        options = set(re.findall(r"--[a-z-]+", runner.invoke(app, [command, "--help"]).stdout)) - {"--help"}
        assert section and all(f"`{option}`" in section for option in options), command


def test_the_spec_on_the_page_is_accepted(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "job.yaml").write_text(example)
    spec = load_spec(tmp_path / "job.yaml")
    assert spec.model.reference == "threshold" and set(yaml.safe_load(example)) == set(type(spec).model_fields)


def test_every_key_of_the_spec_is_on_the_page() -> None:
    keys = set(re.findall(r"^\| `([a-z_.]+)` \|", PAGE.partition("| key |")[2], re.MULTILINE))
    body = load_spec(values={"inputs": ["a"], "model": "m", "output": {"path": "o"}}).model_dump()
    assert keys == {
        name if not isinstance(section, dict) else f"{name}.{key}"
        for name, section in body.items()
        for key in (section if isinstance(section, dict) else [""])
    }
