"""Reading a JobSpec: YAML file, `--set` overrides and command-line options joined, every problem reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.config import DicomSpec, EngineSpec, JobSpec, ModelSpec, OutputSpec, TilingSpec, absolute_paths
from schemas.errors import SpecError

_PARTS: dict[str, type[BaseModel]] = {
    "model": ModelSpec,
    "output": OutputSpec,
    "dicom": DicomSpec,
    "tiling": TilingSpec,
    "engine": EngineSpec,
}

Override = tuple[tuple[str, ...], Any]
"""Path of keys and value of one `--set a.b=c`."""


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, where YAML libraries silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = cast("object", self.construct_object(key_node, deep=True))  # pyright: ignore[reportUnknownMemberType]
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_spec(
    path: Path | None = None,
    *,
    values: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[tuple[str, ...], Any] | None = None,
) -> JobSpec:
    """A checked JobSpec.

    path: YAML file to start from; or values: the same as a mapping.
    overrides: `a.b=c` texts, the value parsed as YAML.
    options: values of dedicated command-line options by path; they win over `overrides`, None is left out.
    Raises SpecError with all problems, each `where: path.of.key: what`.
    """
    raw = absolute_paths(read_yaml(path), path.resolve().parent) if path is not None else dict(values or {})
    changes = [parse_override(text) for text in overrides]
    changes += [(where, value) for where, value in (options or {}).items() if value is not None]
    label = str(path) if path is not None else "command line"
    for where, value in changes:
        _assign(raw, where, value)
    return check_spec(absolute_paths(raw, Path.cwd()), label, [where for where, _ in changes] if path else [])


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises SpecError where it cannot be read or is something else."""
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: expected a YAML text file in UTF-8, found other bytes") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        raise SpecError(f"{path}: expected a mapping with inputs, model and output, found {found}")
    return cast("dict[str, Any]", value)


def parse_override(text: str) -> Override:
    """`a.b=c` as a path and a YAML-parsed value. Raises SpecError."""
    name, equals, value = text.partition("=")
    where = tuple(part.strip() for part in name.split("."))
    if not equals or not all(where):
        raise SpecError(f"--set {text}: expected key=value with a dotted key, such as tiling.tile=2048")
    try:
        return where, yaml.load(value, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise SpecError(f"--set {text}: the value is not valid YAML: {' '.join(str(error).split())}") from error


def _assign(raw: dict[str, Any], where: tuple[str, ...], value: Any) -> None:
    node: dict[str, Any] = raw
    for depth, key in enumerate(where[:-1]):
        child: object = node.get(key)
        if child is None:
            child = {}
        elif depth == 0 and key == "model" and isinstance(child, str):
            child = {"reference": child}
        if not isinstance(child, Mapping):
            raise SpecError(f"--set {'.'.join(where)}: {'.'.join(where[: depth + 1])} is a plain value and has no keys")
        copy = dict(cast("Mapping[str, Any]", child))
        node[key] = copy
        node = copy
    node[where[-1]] = value


def check_spec(raw: Mapping[str, Any], label: str, overridden: Sequence[tuple[str, ...]] = ()) -> JobSpec:
    """Validate an unchecked spec; `label` names where it came from, `overridden` the paths that `--set` gave."""
    try:
        return JobSpec.model_validate(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise SpecError(list(dict.fromkeys(_problem(problem, label, overridden) for problem in problems))) from None


def _problem(problem: ErrorDetails, label: str, overridden: Sequence[tuple[str, ...]]) -> str:
    where = tuple(str(part) for part in problem["loc"])
    label = (
        "command line"
        if any(where[: len(path)] == path or path[: len(where)] == where for path in overridden)
        else label
    )
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message += suggestion(where)
    elif isinstance(problem["input"], int | float) and "found" not in message:  # a text may be a secret
        message += f", found {problem['input']}"
    if where[:2] == ("model", "bands") and len(where) > 3:
        # A union reports each of its branches and adds their names to the location; the user wrote no such key.
        where, message = where[:3], "expected a band's name or its 0-based index"
    if where[:2] == ("output", "fill_holes"):
        where, message = where[:2], "expected true, false, or how many pixels (at least 1) the largest filled hole has"
    return f"{label}: {'.'.join(where) or 'spec'}: {message}"


def suggestion(where: Sequence[str]) -> str:
    """`; did you mean 'tile'?` for an unknown key, or the list of keys known there."""
    part = JobSpec if len(where) == 1 else _PARTS.get(where[0])
    if part is None:
        return ""
    known = list(part.model_fields)
    close = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {'.'.join((*where[:-1], close[0]))!r}?"
    elsewhere = [f"{name}.{where[-1]}" for name, other in _PARTS.items() if where[-1] in other.model_fields]
    return f"; did you mean {elsewhere[0]!r}?" if elsewhere else f"; known here: {', '.join(known)}"
