"""Typed reading of a model's options, with every problem reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar, cast

import numpy as np

from schemas.boxes import Zyx
from schemas.errors import SpecError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """An option as its reader knows it."""

    name: str
    expects: str
    """What its parser takes, in the parser's own words."""
    default: object
    """As the reader has it; None where that depends on something else."""
    about: str
    """What it does."""


class Asked(dict[str, object]):
    """No options given, and a note of every option that a reader asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.options: list[Option] = []


class Options:
    """Reads options one by one, then refuses what is wrong or unknown in one SpecError (`finish`).

    Values come from YAML or a command line, so numbers and truth values may be given as text.
    """

    def __init__(
        self,
        model: str,
        values: Mapping[str, object],
        prefix: str = "model.options",
        about: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """prefix: what stands before an option's name in messages; about: what options do, for those who ask."""
        self._model = model
        self._values = values
        self._prefix = prefix
        self._about = about
        self._known: list[str] = []
        self.problems: list[str] = []

    def take(self, name: str, parse: Callable[[object], T], default: T) -> T:
        """The option parsed by `parse` (ValueError = a problem), or `default` where it is absent or null."""
        self._known.append(name)
        if isinstance(self._values, Asked):
            self._values.options.append(Option(name, _expected(parse), default, self._about.get(name, "")))
        value = self._values.get(name)
        if value is None:
            return default
        try:
            return parse(value)
        except ValueError as error:
            self.problems.append(f"{self._prefix}.{name}: {error}")
            return default

    def finish(self) -> None:
        """Raise SpecError with all problems, unknown options included; nothing where there are none."""
        for name in self._values:
            if name not in self._known:
                near = difflib.get_close_matches(name, self._known, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                self.problems.append(
                    f"{self._prefix}.{name}: {self._model} has no such option{hint}; "
                    f"it has {', '.join(sorted(self._known))}"
                )
        if self.problems:
            raise SpecError(self.problems)


def _expected(parse: Callable[[object], object]) -> str:
    """What a parser says that it expects, when it is given what nobody could mean."""
    try:
        parse(object())
    except ValueError as error:
        return str(error).removeprefix("expected ").split(", found ")[0]
    return ""


def finite(value: object) -> float:
    """The number; NaN where it is none."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            result = float(value)
        except ValueError:
            return np.nan
        return result if np.isfinite(result) else np.nan
    return np.nan


def number(value: object) -> float:
    """A finite number."""
    result = finite(value)
    if np.isnan(result):
        raise ValueError(f"expected a number, found {value!r}")
    return result


def between(low: float, high: float) -> Callable[[object], float]:
    """A number in low..high, both included."""

    def parse(value: object) -> float:
        result = finite(value)
        if not low <= result <= high:
            raise ValueError(f"expected a number from {low:g} to {high:g}, found {value!r}")
        return result

    return parse


def positive(value: object) -> float:
    """A number above 0."""
    result = finite(value)
    if not result > 0:
        raise ValueError(f"expected a number above 0, found {value!r}")
    return result


def count(value: object) -> int:
    """A whole number of at least 1."""
    result = finite(value)
    if not result >= 1 or result != int(result):
        raise ValueError(f"expected a whole number of at least 1, found {value!r}")
    return int(result)


def flag(value: object) -> bool:
    """True or false."""
    named = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in named:
        return named[value.lower()]
    raise ValueError(f"expected true or false, found {value!r}")


def choice(*allowed: str) -> Callable[[object], str]:
    """One of the given words."""

    def parse(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}, found {value!r}")
        return str(value)

    return parse


def items(value: object) -> list[object]:
    """A list; text is split at commas, a single value becomes a list of one."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return list(cast(Sequence[object], value))
    return [value]


def names(value: object) -> tuple[str, ...]:
    """Distinct words, at least one."""
    result = tuple(item for item in items(value) if isinstance(item, str) and item)
    if not result or len(result) != len(items(value)) or len(set(result)) != len(result):
        raise ValueError(f"expected distinct names, at least one, found {value!r}")
    return result


def bands(value: object) -> tuple[str | int, ...]:
    """Band names or 0-based indices, at least one."""
    result: list[str | int] = []
    for item in items(value):
        if isinstance(item, str):
            result.append(int(item) if item.isdecimal() else item)
        elif isinstance(item, int) and not isinstance(item, bool) and item >= 0:
            result.append(item)
        else:
            raise ValueError(f"expected band names or indices from 0, found {item!r}")
    if not result:
        raise ValueError("expected at least one band")
    return tuple(result)


def triple(least: int, missing_z: int) -> Callable[[object], Zyx]:
    """Three whole numbers (z, y, x) of at least `least`; two are taken as (y, x) with z = `missing_z`."""

    def parse(value: object) -> Zyx:
        numbers = [finite(item) for item in items(value)]
        if len(numbers) not in (2, 3) or any(not n >= least or n != int(n) for n in numbers):
            raise ValueError(f"expected whole numbers z, y, x of at least {least}, found {value!r}")
        z, y, x = numbers if len(numbers) == 3 else [missing_z, *numbers]
        return (int(z), int(y), int(x))

    return parse
