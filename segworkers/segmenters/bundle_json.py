"""`model.json` as text and as ModelBundle. Every problem is reported at once, by file and field."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, cast

from schemas.bundles import FORMAT, Card, ClassCodes, Code, ModelBundle, WeightsFile, WheelFile
from schemas.errors import SpecError
from schemas.models import ModelManifest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_DERIVED = ("name", "digest")
"""Fields of ModelManifest that a file does not give: the bundle's name, and the hash of what it is."""
_LONGEST_SHOWN = 60
_WIDTH = 100
WITH_PRIOR = ("deepmeta", "lesion-unet", "organ-unet")
"""Families whose models may need an organ that another finds first (`segworkers.segmenters.published_models`)."""
_REGIONS = ("whole", "abdomen")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_keyword_only_argument", "missing_argument")


def parse_bundle(text: str | bytes, where: str) -> ModelBundle:
    """The bundle that a `model.json` describes.

    where: named in messages. Raises SpecError with a line for every problem: file, field, expected, found.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    raw = _document(text, where)
    # A list, because pydantic takes no configuration for a bare dataclass; nested ones have their parent's.
    adapter = TypeAdapter(list[ModelBundle], config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
    try:
        (bundle,) = adapter.validate_json(json.dumps([_flat(raw, where)]))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise SpecError(list(dict.fromkeys(_problem(each, where) for each in problems))) from None
    if bundle.family in WITH_PRIOR and (wrong := _prior_problems(bundle)):
        raise SpecError([f"{where}: parameters.prior{problem}" for problem in wrong])
    return bundle


def _prior_problems(bundle: ModelBundle) -> list[str]:
    """What is wrong with `parameters.prior`: the model that finds an organ first, and what is asked of it."""
    if "prior" not in bundle.parameters:
        return []
    prior: Any = bundle.parameters["prior"]
    if not isinstance(prior, Mapping):
        return [f": expected reference, region, opened and margin, found {_shown(prior)}"]
    given = cast("Mapping[str, Any]", prior)
    margin: Any = given.get("margin")
    sides: list[Any] = cast("list[Any]", margin) if isinstance(margin, list) else []
    fits: dict[str, tuple[bool, str]] = {
        "reference": (
            isinstance(given.get("reference"), str) and given.get("reference") not in ("", bundle.name),
            "the name of another model",
        ),
        "region": (given.get("region") in _REGIONS, f"one of {', '.join(_REGIONS)}"),
        "opened": (isinstance(given.get("opened"), bool), "true or false"),
        "margin": (
            len(sides) == 3 and all(type(side) is int and side >= 0 for side in sides),
            "voxels z, y, x, at least 0",
        ),
    }
    unknown = [f".{name}: no such field; there are {', '.join(fits)}" for name in given if name not in fits]
    return unknown + [
        f".{name}: expected {what}, found {_shown(given[name]) if name in given else 'nothing'}"
        for name, (fit, what) in fits.items()
        if not fit
    ]


def bundle_text(bundle: ModelBundle) -> str:
    """The bundle as `model.json`, which `parse_bundle` reads back; what has its default is left out."""
    manifest = _given(bundle.manifest, leave=_DERIVED)
    if bundle.codes:
        manifest["codes"] = {name: _without_none(asdict(codes)) for name, codes in bundle.codes.items()}
    document: dict[str, Any] = {"format": FORMAT, "name": bundle.name, "family": bundle.family, "manifest": manifest}
    document["weights"] = [_without_none(asdict(each)) for each in bundle.weights]
    document["parameters"] = dict(bundle.parameters)
    document["card"] = _given(bundle.card)
    return _laid_out(document, "") + "\n"


def _laid_out(value: Any, indent: str) -> str:
    """JSON in which whatever fits into a line is on one line."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, Mapping | list | tuple) or len(indent) + len(line) <= _WIDTH:
        return line
    deeper = f"{indent}  "
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        parts = [f"{json.dumps(name, ensure_ascii=False)}: {_laid_out(part, deeper)}" for name, part in named.items()]
    else:
        parts = _filled([_laid_out(part, deeper) for part in cast("Sequence[Any]", value)], _WIDTH - len(deeper))
    first, last = "{}" if isinstance(value, Mapping) else "[]"
    return f"{first}\n{deeper}" + f",\n{deeper}".join(parts) + f"\n{indent}{last}"


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """The parts of a list, as many on a line as fit; what has lines of its own stays alone."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}, {part}" if lines else part
        if lines and "\n" not in joined and len(joined) < width and not joined.startswith("{"):
            lines[-1] = joined
        else:
            lines.append(part)
    return lines


def _document(text: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object, of the format that is read here."""
    try:
        raw = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: is not valid JSON: {error}; write it again, or get the bundle again") from None
    if not isinstance(raw, dict):
        raise SpecError(f"{where}: expected an object with format, name, family, …, found {type(raw).__name__}")
    document = cast("dict[str, Any]", raw)
    found = document.pop("format", None)
    if found != FORMAT:
        raise SpecError(
            f"{where}: format: expected {FORMAT!r}, found {found!r}; "
            "a bundle of a later format needs a later segworkers, and without a format it is no bundle"
        )
    return document


def _flat(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The document in the form of ModelBundle: the manifest has the bundle's name, codes stand beside it."""
    document = dict(raw)
    problems = [f"{where}: codes: belong into manifest"] if "codes" in document else []
    manifest = document.get("manifest")
    if isinstance(manifest, Mapping):
        given = dict(cast("Mapping[str, Any]", manifest))
        problems += [
            f"{where}: manifest.{name}: expected nothing, {why}; leave it out"
            for name, why in zip(_DERIVED, ("the name stands beside the manifest", "it is computed"), strict=True)
            if name in given
        ]
        if "codes" in given:
            document["codes"] = given.pop("codes")
        document["manifest"] = given | {"name": str(document.get("name", ""))}
    if problems:
        raise SpecError(problems)
    return document


def _problem(problem: ErrorDetails, where: str) -> str:
    place = problem["loc"][1:]
    if place[:1] == ("codes",):
        place = ("manifest", *place)
    # A union reports each of its branches and adds their names to the location.
    if place[:2] == ("manifest", "bands"):
        return f"{where}: manifest.bands: expected a list of band names or 0-based indices, or null"
    if place[:2] == ("manifest", "channels"):
        return f"{where}: manifest.channels: expected a list of numbers of bands, such as [3] or [1, 3]"
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    if problem["type"] in _MISSING:
        message = "missing; every bundle has it (docs/extending.md)"
    elif problem["type"] in _UNKNOWN:
        message = f"no such field{_suggestion(place)}"
    elif problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
    else:
        message = f"{problem['msg'].replace('Input should be', 'expected')}, found {_shown(problem['input'])}"
    return f"{where}: {name}: {message}" if name else f"{where}: {message}"


def _suggestion(place: Sequence[str | int]) -> str:
    known = _known(tuple(place[:-1]))
    near = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}" if known else ""


def _known(parent: tuple[str | int, ...]) -> list[str]:
    """Names of the fields at a place of the document."""
    match parent:
        case ():
            return ["format", *(each.name for each in fields(ModelBundle) if each.name != "codes")]
        case ("manifest",):
            return [*(each.name for each in fields(ModelManifest) if each.name not in _DERIVED), "codes"]
        case ("card",):
            return [each.name for each in fields(Card)]
        case ("weights", int()):
            return [each.name for each in fields(WeightsFile)]
        case ("weights", int(), "wheel"):
            return [each.name for each in fields(WheelFile)]
        case ("manifest", "codes", _):
            return [each.name for each in fields(ClassCodes)]
        case ("manifest", "codes", *_):
            return [each.name for each in fields(Code)]
        case _:
            return []


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _given(value: Any, leave: Sequence[str] = ()) -> dict[str, Any]:
    """Fields of a dataclass that are not what they would be anyway."""
    return {
        each.name: getattr(value, each.name)
        for each in fields(value)
        if each.name not in leave and getattr(value, each.name) != each.default
    }


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value is not None and value != ()
    }


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"expected each key once, found {', '.join(doubled)} more than once")
    return dict(pairs)


def _refuse_constant(text: str) -> object:
    raise ValueError(f"expected a number, found {text}")
