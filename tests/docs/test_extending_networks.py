"""What docs/extending.md says of exported networks is what the code takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from schemas.models import ModelManifest
from segworkers.segmenters.families import plan_family
from segworkers.segmenters.foreign_input import InputSettings
from segworkers.segmenters.head_reading import HEADS
from segworkers.segmenters.monai_import import ImportChoices
from segworkers.segmenters.stages import OPTIONS, TwoStages

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def fields(cls: type[Any]) -> tuple[str, ...]:
    return tuple(cls.__dataclass_fields__)


def test_the_bundle_on_the_page_is_accepted() -> None:
    (text,) = re.findall(r"```jsonc\n(.*?)```", section("Exported networks"), re.DOTALL)
    document = json.loads(text)
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in document["manifest"].items()}
    manifest = ModelManifest(name="page", **given)
    assert plan_family(document["family"], manifest, document["parameters"], "the page") == manifest


def test_every_head_and_every_input_setting_is_on_the_page() -> None:
    text = section("Exported networks")
    assert set(re.findall(r'^- `\{"type": "([\w-]+)"\}`', text, re.MULTILINE)) == set(HEADS)
    assert [name for name in fields(InputSettings) if f"`{name}" not in text] == []


def test_every_choice_of_imports_and_pairs_is_on_the_page() -> None:
    monai, pairs = section("MONAI bundles"), section("Detect, then segment inside")
    assert [name for name in fields(ImportChoices) if name not in monai] == []
    assert [
        name for name in fields(TwoStages) if f"`{name}`" not in pairs and name not in ("detector", "segmenter")
    ] == []
    assert all(f"`{name}`" in pairs for name in OPTIONS)
