"""Coded terms: what a class of a model is called in SNOMED CT and its like, for segmentations and reports.

A class map comes from YAML or JSON:

    liver_lesion:
      category: {value: "49755003", scheme: SCT, meaning: Morphologically abnormal structure}
      type: {value: "52988006", scheme: SCT, meaning: Lesion}
      sites: [{value: "10200004", scheme: SCT, meaning: Liver}]

What a class leaves out, and classes that are not in the map, have the default: a lesion, site not said (PS3.16 CID
7150, CID 7151).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

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

_LIVER = Term("10200004", "SCT", "Liver")
_LUNG = Term("39607008", "SCT", "Lung")
_ORGAN = Term("123037004", "SCT", "Anatomical Structure")

BUILT_IN_TERMS: dict[str, ClassTerms] = {
    "liver_lesion": ClassTerms(sites=(_LIVER,)),
    "liver": ClassTerms(_ORGAN, _LIVER),
    "lung": ClassTerms(_ORGAN, _LUNG),
    "metastasis": ClassTerms(type=Term("14799000", "SCT", "Neoplasm, Secondary"), sites=(_LUNG,)),
}
"""Terms of the built-in models' classes."""

_PARTS = ("category", "type", "sites")
_LONGEST = {"value": 16, "scheme": 16, "meaning": 64}
"""Characters: a value representation of SH, SH and LO (PS3.5 6.2)."""


def class_terms(raw: Mapping[str, Any]) -> dict[str, ClassTerms]:
    """A class map. Raises SpecError with all problems at once."""
    problems: list[str] = []
    terms = {label: _class(f"terms.{label}", entry, problems) for label, entry in raw.items()}
    if problems:
        raise SpecError(problems)
    return terms


def _class(where: str, entry: Any, problems: list[str]) -> ClassTerms:
    if not isinstance(entry, Mapping) or set(cast(Mapping[str, Any], entry)) - set(_PARTS):
        problems.append(f"{where}: expected a mapping with some of category, type and sites")
        return DEFAULT_TERMS
    given = cast(Mapping[str, Any], entry)
    sites = given.get("sites", [])
    if not isinstance(sites, list):
        problems.append(f"{where}.sites: expected a list of codes")
        sites = []
    return ClassTerms(
        _term(f"{where}.category", given["category"], problems) if "category" in given else DEFAULT_TERMS.category,
        _term(f"{where}.type", given["type"], problems) if "type" in given else DEFAULT_TERMS.type,
        tuple(_term(f"{where}.sites[{k}]", site, problems) for k, site in enumerate(cast(list[Any], sites))),
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
