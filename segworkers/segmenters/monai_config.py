"""The configuration of a MONAI bundle, read as data: references are followed, nothing is instantiated or evaluated.

A bundle is a folder with configs/metadata.json, configs/inference.json (or .yaml) and models/. Its configuration names
classes (`_target_`), refers to its own parts (`@part`, `@list::0`), and holds Python expressions (`$...`), which MONAI
evaluates; an expression that is needed here is refused by its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from schemas.errors import SpecError

_DEPTH = 64
"""References that may follow each other: more are a circle."""
_SILENT = ("_desc_",)


@dataclass(frozen=True, slots=True)
class Component:
    """A class of MONAI with its arguments, all of them plain data."""

    name: str
    """As written, with its modules where they were."""
    arguments: Mapping[str, Any]

    @property
    def base(self) -> str:
        """The class's name without modules and without the ending of its dictionary form: Spacingd, SpacingD."""
        name = self.name.rpartition(".")[2]
        for ending in ("Dict", "d", "D"):
            if name.endswith(ending) and name != "CropForeground":
                return name.removesuffix(ending)
        return name


@dataclass(frozen=True, slots=True, eq=False)
class MonaiConfig:
    """The two files of a bundle."""

    folder: Path
    metadata: Mapping[str, Any]
    inference: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Whether the inference configuration has a part of this name."""
        return name in self.inference

    def value(self, name: str) -> Any:
        """A part with its references followed. Raises SpecError for expressions, macros and what is not there."""
        return self._resolved(self.inference.get(name), name, 0)

    def component(self, name: str) -> Component | None:
        """A part that names a class; None where there is no such part, or it is switched off."""
        return self._component(self.inference[name], name) if name in self.inference else None

    def components(self, name: str) -> list[Component]:
        """The transforms of a part: a Compose, or a list. Those that are switched off are left out."""
        whole = self._followed(self.inference.get(name, []), name, 0)
        if isinstance(whole, Mapping):
            given = cast("Mapping[str, Any]", whole)
            if str(given.get("_target_", "")).rpartition(".")[2] != "Compose":
                found = self._component(given, name)
                return [] if found is None else [found]
            whole = self._followed(given.get("transforms", []), name, 0)
        if not isinstance(whole, list):
            raise SpecError(
                f"{self._place(name)}: expected a Compose or a list of transforms, found {_shown(cast(object, whole))}"
            )
        parts = [self._component(each, f"{name}::{index}") for index, each in enumerate(cast("list[Any]", whole))]
        return [part for part in parts if part is not None]

    def _component(self, value: Any, place: str) -> Component | None:
        value = self._followed(value, place, 0)
        if not isinstance(value, Mapping) or "_target_" not in value:
            raise SpecError(
                f"{self._place(place)}: expected an object with _target_, found {_shown(cast(object, value))}"
            )
        given = dict(cast("Mapping[str, Any]", value))
        name = given.pop("_target_")
        if not isinstance(name, str) or name.startswith(("$", "@", "%")):
            raise SpecError(f"{self._place(place)}: _target_: expected the name of a class, found {_shown(name)}")
        disabled = given.pop("_disabled_", False)
        if disabled is True or str(disabled).lower() == "true":
            return None
        special = [key for key in given if key.startswith("_") and key.endswith("_") and key not in _SILENT]
        if special or disabled not in (False, "false", "False"):
            raise SpecError(
                f"{self._place(place)}: {', '.join(special) or '_disabled_'} of {name} cannot be followed here; write "
                "what it amounts to"
            )
        return Component(name, _Arguments(self, given, f"{place}({name})"))

    def _followed(self, value: Any, place: str, depth: int) -> Any:
        """The value itself, or what a reference stands for; its own parts are not looked at."""
        if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
            return value
        if value[0] != "@" or depth > _DEPTH or value[1:2] in ("#", ":", ""):
            what = {"$": "an expression, which is not evaluated", "%": "a macro"}.get(value[0], "a reference")
            raise SpecError(
                f"{self._place(place)}: {_shown(value)} is {what} that cannot be followed here; replace it by its "
                "value in a copy of the configuration"
            )
        found: Any = dict(self.inference)
        for key in value[1:].replace("::", "#").split("#"):
            found = self._followed(found, place, depth + 1)
            try:
                found = found[int(key) if isinstance(found, list) else key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise SpecError(f"{self._place(place)}: {value} refers to nothing") from None
        return self._followed(found, place, depth + 1)

    def _resolved(self, value: Any, place: str, depth: int) -> Any:
        """Plain data all the way down."""
        value = self._followed(value, place, depth)
        if depth > _DEPTH:
            raise SpecError(f"{self._place(place)}: references run in a circle")
        if isinstance(value, Mapping):
            given = cast("Mapping[str, Any]", value)
            if "_target_" in given:
                raise SpecError(f"{self._place(place)}: expected plain data, found the class {given['_target_']}")
            return {key: self._resolved(each, f"{place}::{key}", depth + 1) for key, each in given.items()}
        if isinstance(value, list):
            parts = cast("list[Any]", value)
            return [self._resolved(each, f"{place}::{index}", depth + 1) for index, each in enumerate(parts)]
        return value

    def resolved(self, value: Any, place: str) -> Any:
        """Plain data all the way down, of a part of a component. Raises SpecError."""
        return self._resolved(value, place, 0)

    def _place(self, place: str) -> str:
        return f"{self.folder}: inference configuration: {place}"


class _Arguments(Mapping[str, Any]):
    """Arguments of a component, resolved when they are asked for: many are of no interest here, and are expressions."""

    def __init__(self, config: MonaiConfig, given: Mapping[str, Any], place: str) -> None:
        self._config = config
        self._given = given
        self._place = place

    def __getitem__(self, key: str) -> Any:
        return self._config.resolved(self._given[key], f"{self._place}.{key}")

    def __iter__(self) -> Any:
        return (key for key in self._given if key not in _SILENT)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def read_monai(folder: Path) -> MonaiConfig:
    """The configuration of a MONAI bundle. Raises SpecError where a file is missing or cannot be read."""
    metadata = _read(folder, ("configs/metadata.json",))
    return MonaiConfig(
        folder, metadata, _read(folder, tuple(f"configs/inference.{end}" for end in ("json", "yaml", "yml")))
    )


def _read(folder: Path, names: tuple[str, ...]) -> Mapping[str, Any]:
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
            value = json.loads(text) if path.suffix == ".json" else _yaml(text)
        except (OSError, ValueError, RecursionError) as error:
            raise SpecError(f"{path}: cannot be read ({str(error)[:200]})") from error
        if not isinstance(value, dict):
            raise SpecError(f"{path}: expected an object, found {_shown(value)}")
        return cast("dict[str, Any]", value)
    raise SpecError(f"{folder}: expected a MONAI bundle with {' or '.join(names)}, found none")


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
