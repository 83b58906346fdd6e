"""Coded terms: what a class of a model is called in SNOMED CT and its like, for segmentations and reports.

A class map comes from YAML or JSON:

    liver_lesion:
      category: {value: "49755003", scheme: SCT, meaning: Morphologically abnormal structure}
      type: {value: "52988006", scheme: SCT, meaning: Lesion}
      sites: [{value: "10200004", scheme: SCT, meaning: Liver}]

What a class leaves out, and classes that are not in the map, have what the model's bundle says, else the default: a
lesion, site not said (PS3.16 CID 7150, CID 7151).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from schemas.bundles import ClassCodes, Code
from schemas.errors import SpecError


@dataclass(frozen=True, slots=True)
class Term:
    """A code of a coding scheme (PS3.3 8.8)."""

    value: str
    scheme: str
    """Coding Scheme Designator: SCT, DCM, UCUM, …"""
    meaning: str


@dataclass(frozen=True, slots=True)
class ClassTerms:
    """The terms of one class."""

    category: Term = Term("49755003", "SCT", "Morphologically abnormal structure")
    type: Term = Term("52988006", "SCT", "Lesion")
    sites: tuple[Term, ...] = ()
    """Anatomic regions; () where not said."""


DEFAULT_TERMS = ClassTerms()
"""A lesion, site not said."""

_PARTS = ("category", "type", "sites")
_LONGEST = {"value": 16, "scheme": 16, "meaning": 64}
"""Characters: a value representation of SH, SH and LO (PS3.5 6.2)."""


def model_terms(codes: Mapping[str, ClassCodes]) -> dict[str, ClassTerms]:
    """The terms that a model's bundle brings along; what it leaves out has the default."""
    return {label: _of_codes(each) for label, each in codes.items()}


def _of_codes(codes: ClassCodes) -> ClassTerms:
    category = DEFAULT_TERMS.category if codes.category is None else _of_code(codes.category)
    kind = DEFAULT_TERMS.type if codes.type is None else _of_code(codes.type)
    return ClassTerms(category, kind, tuple(_of_code(site) for site in codes.sites))


def _of_code(code: Code) -> Term:
    return Term(code.value, code.scheme, code.meaning)


def class_terms(raw: Mapping[str, Any], known: Mapping[str, ClassTerms] | None = None) -> dict[str, ClassTerms]:
    """A class map over what is `known` of classes. Raises SpecError with all problems at once."""
    problems: list[str] = []
    terms = dict(known or {})
    for label, entry in raw.items():
        terms[label] = _class(f"terms.{label}", entry, terms.get(label, DEFAULT_TERMS), problems)
    if problems:
        raise SpecError(problems)
    return terms


def _class(where: str, entry: Any, default: ClassTerms, problems: list[str]) -> ClassTerms:
    if not isinstance(entry, Mapping) or set(cast(Mapping[str, Any], entry)) - set(_PARTS):
        problems.append(f"{where}: expected a mapping with some of category, type and sites")
        return DEFAULT_TERMS
    given = cast(Mapping[str, Any], entry)
    sites = given.get("sites", [])
    if not isinstance(sites, list):
        problems.append(f"{where}.sites: expected a list of codes")
        sites = []
    return ClassTerms(
        _term(f"{where}.category", given["category"], problems) if "category" in given else default.category,
        _term(f"{where}.type", given["type"], problems) if "type" in given else default.type,
        tuple(_term(f"{where}.sites[{k}]", site, problems) for k, site in enumerate(cast(list[Any], sites)))
        if "sites" in given
        else default.sites,
    )


def _term(where: str, raw: Any, problems: list[str]) -> Term:
    if not isinstance(raw, Mapping) or set(cast(Mapping[str, Any], raw)) != set(_LONGEST):
        problems.append(f"{where}: expected value, scheme and meaning")
        return DEFAULT_TERMS.type
    code = {name: str(cast(Mapping[str, Any], raw)[name]) for name in _LONGEST}
    problems += [
        f"{where}.{name}: expected 1 to {_LONGEST[name]} characters, found {len(text)}"
        for name, text in code.items()
        if not 1 <= len(text) <= _LONGEST[name]
    ]
    return Term(**code)
