"""What a user's model class declares about itself, checked attribute by attribute."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, cast

import numpy as np

from schemas.boxes import Zyx
from schemas.errors import SpecError
from schemas.models import ModelManifest

REQUIRED = ("kind", "window", "overlap", "classes")
OPTIONAL = (
    *(
        "name",
        "stuff",
        "bands",
        "channels",
        "normalise",
        "context",
        "resolution",
        "spacing",
        "orientation",
        "modalities",
        "connectivity",
    ),
    *("blend", "batch", "object_size"),
)
_MISSING = object()
_INTEGERS: tuple[type[int], ...] = cast(Any, (int, np.integer))
_REALS: tuple[type[float], ...] = cast(Any, (int, float, np.integer, np.floating))


def class_problems(cls: type[Any], options: Mapping[str, object]) -> list[str]:
    """What is wrong with the constructor and `predict`, one line each; nothing is called."""
    problems: list[str] = []
    constructor = _parameters(cls)
    if constructor is not None:
        free = any(p.kind is p.VAR_KEYWORD for p in constructor.values())
        named = {n for n, p in constructor.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not free and "device" not in named:
            problems.append("the constructor must take `device`: def __init__(self, device)")
        unknown = [] if free else [name for name in options if name not in named]
        if unknown:
            takes = ", ".join(sorted(named - {"device"})) or "none"
            problems.append(f"the constructor takes no option {', '.join(map(repr, unknown))}; it takes {takes}")
        needed = {n for n in named if constructor[n].default is inspect.Parameter.empty} - {"device"}
        problems += [f"the constructor needs {n!r}: give model.options.{n}" for n in sorted(needed - set(options))]
    predict = getattr(cls, "predict", None)
    if not callable(predict):
        return [*problems, "missing predict(self, windows) or predict(self, windows, valid)"]
    parameters = _parameters(predict)
    if parameters is not None:
        needed = [
            name
            for name, p in list(parameters.items())[0 if _is_bound(cls, "predict") else 1 :]
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and name != "valid"
        ]
        if len(needed) > 1:
            problems.append(f"predict must take (windows) or (windows, valid), it needs {', '.join(needed)}")
    return problems


def takes_valid(predict: Callable[..., object]) -> bool:
    """Whether a bound `predict` has a parameter named `valid`."""
    parameters = _parameters(predict)
    return parameters is not None and "valid" in parameters


def declared_on_class(cls: type[Any]) -> bool:
    """Whether all required attributes are plain class attributes, so that no instance is needed to read them."""
    return all(_static(cls, name) is not _MISSING for name in REQUIRED)


def read_manifest(holder: object, name: str, digest: str) -> ModelManifest:
    """The manifest that a class or an instance declares.

    holder: a class (only plain attributes count) or an instance. name: used where it declares none.
    Raises SpecError with every problem at once.
    """
    values: dict[str, Any] = {}
    for field in (*REQUIRED, *OPTIONAL):
        value = _static(holder, field) if isinstance(holder, type) else getattr(holder, field, _MISSING)
        if value is not _MISSING:
            values[field] = value
    problems = [f"missing attribute {field!r}: {_EXPECTED[field][0]}" for field in REQUIRED if field not in values]
    for field, value in values.items():
        expected, parse = _EXPECTED[field]
        try:
            values[field] = parse(value)
        except (TypeError, ValueError):
            problems.append(f"{field}: expected {expected}, found {value!r}")
    values.setdefault("name", name)
    if not problems:
        try:
            return ModelManifest(digest=digest, **values)
        except ValueError as error:
            problems.append(str(error))
    raise SpecError([f"{name}: {problem}" for problem in problems])


def _static(holder: object, name: str) -> object:
    """The attribute where it is plain data; properties, slots and methods of a class count as missing."""
    value: object = inspect.getattr_static(holder, name, _MISSING)
    return _MISSING if inspect.isroutine(value) or inspect.isdatadescriptor(value) else value


def _is_bound(cls: type[Any], name: str) -> bool:
    return isinstance(inspect.getattr_static(cls, name), (staticmethod, classmethod))


def _parameters(function: Callable[..., object]) -> Mapping[str, inspect.Parameter] | None:
    """Parameters of a callable; None where Python cannot tell, as for some compiled ones."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def _whole(value: object, least: int) -> int:
    if not isinstance(value, _INTEGERS) or isinstance(value, bool) or value < least:
        raise ValueError
    return int(value)


def _triple(least: int) -> Callable[[Any], Zyx]:
    def parse(value: Any) -> Zyx:
        z, y, x = value
        return (_whole(z, least), _whole(y, least), _whole(x, least))

    return parse


def _one_of(*allowed: object) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if isinstance(value, bool) or value not in allowed:
            raise ValueError
        return value

    return parse


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError
    names = cast(Sequence[object], value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError
    return tuple(str(name) for name in names)


def _bands(value: Any) -> tuple[str | int, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not value:
        raise TypeError
    return tuple(band if isinstance(band, str) and band else _whole(band, 0) for band in value)


def _channels(value: Any) -> tuple[int, ...]:
    if isinstance(value, _INTEGERS):
        return (_whole(value, 1),)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError
    return tuple(_whole(number, 1) for number in cast(Sequence[object], value))


def _positive(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, _REALS) or isinstance(value, bool) or not 0 < value < inf:
        raise ValueError
    return float(value)


def _spacing(value: Any) -> tuple[float, float, float] | None:
    if value is None:
        return None
    sides = [_positive(side) for side in value]
    if len(sides) != 3 or None in sides:
        raise ValueError
    return cast("tuple[float, float, float]", tuple(sides))


def _optional_names(value: Any) -> tuple[str, ...]:
    return _names(value) if isinstance(value, str) or value else ()


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


_EXPECTED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "kind": ("'dense' or 'instance'", _one_of("dense", "instance")),
    "window": ("three whole numbers (z, y, x) of at least 1", _triple(1)),
    "overlap": ("three whole numbers (z, y, x) of at least 0", _triple(0)),
    "classes": ("a list or tuple of names without background", _names),
    "name": ("a name", _text),
    "stuff": ("a list or tuple of names among the classes, or empty", _optional_names),
    "bands": ("a list of band names or indices from 0, or None", _bands),
    "channels": ("a number of bands of at least 1, or a list or tuple of them", _channels),
    "normalise": (
        "'none', 'unit', 'percentile', 'zscore' or 'otsu'",
        _one_of("none", "unit", "percentile", "zscore", "otsu"),
    ),
    "context": ("three whole numbers (z, y, x) of at least 0", _triple(0)),
    "resolution": ("metres per pixel above 0, or None", _positive),
    "spacing": ("three numbers (z, y, x) of millimetres above 0, or None", _spacing),
    "orientation": ("three letters such as 'LPS' or 'RAS', or None", _optional_text),
    "modalities": ("a list or tuple of modalities such as 'CT', empty for any", _optional_names),
    "connectivity": ("4, 8, 6, 18 or 26", _one_of(4, 8, 6, 18, 26)),
    "blend": ("'none' or 'gaussian'", _one_of("none", "gaussian")),
    "batch": ("three whole numbers (z, y, x) of at least 1", _triple(1)),
    "object_size": ("pixels above 0, or None", _positive),
}
