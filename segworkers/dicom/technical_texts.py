"""Technical texts: which names of makers, models and kernels may leave a file. Pure.

They are free texts, and people write into free texts whatever they like. What a vocabulary knows is shown; any other
text only where it looks like a technical name and repeats nothing that the same file says of people. For that names,
numbers and dates are looked at in memory; they are kept nowhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import permutations

MAKERS = frozenset({
    "accuray", "agfa", "aperio", "bruker", "bruker biospin mri gmbh", "canon", "canon medical systems",
    "canon_mec", "carestream", "elekta", "elscint", "esaote", "fujifilm", "fujifilm healthcare corporation", "ge",
    "ge healthcare", "ge medical systems", "hamamatsu", "hitachi", "hitachi medical corporation", "imatron",
    "leica biosystems", "marconi medical systems", "mediso", "neurologica", "neusoft", "neusoft medical systems",
    "philips", "philips healthcare", "philips medical systems", "philips medical systems nederland", "picker",
    "picker international, inc.", "roche", "samsung", "samsung electronics", "shimadzu", "siemens",
    "siemens healthcare", "siemens healthineers", "siemens medical solutions", "siemens/cti", "3dhistech",
    "toshiba", "toshiba_mec", "uih", "united imaging healthcare", "varian", "varian medical systems", "ventana",
})  # fmt: skip
"""Makers of scanners as their files write them, in small letters; shown even where a person has the same name."""

KERNELS = re.compile(
    r"[A-Z][A-Za-z]{0,2}\d{2}[a-z]?"  # Siemens B30f, Br40d, Hr60; Canon FC08, FL05
    r"|STANDARD|SOFT|BONE|BONEPLUS|BONE\+|LUNG|DETAIL|EDGE|CHEST|ULTRA|STND|HD Standard"  # GE
    r"|[A-E]|L|Y[A-E]|YC|U[A-E]|SMOOTH|SHARP|SA|SB|SC"  # Philips
    r"|BODY|HEAD|NEURO|SOFTTISSUE|MEDIUM"
)
"""Convolution kernels of CT as scanners write them; no other text of that attribute is shown."""

_TECHNICAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,+/_()-]{0,63}")
"""What a name of a maker or model looks like; no caret, which separates the parts of a person's name."""

_TOKEN = re.compile(r"[^\W_]+")
_GLUED = 4
"""Letters or digits of a token that is recognised within longer words too."""
_SHORTEST = 2
_PARTS = 4
"""Parts of a name that are tried in every order without separators."""


@lru_cache(maxsize=256)
def shown(maker: str, model: str, kernel: str, people: tuple[str, ...]) -> tuple[str, str, str]:
    """Maker, model and kernel as they may be shown, "" where they may not; remembered, as slices say the same."""
    return maker_text(maker, people), model_text(model, people), kernel_text(kernel)


def maker_text(text: str, people: Iterable[str]) -> str:
    """The text where it may be shown, else ""; people: what the file says of people and their examinations."""
    return text if text.casefold().strip() in MAKERS else model_text(text, people)


def model_text(text: str, people: Iterable[str]) -> str:
    """As `maker_text`; there is no vocabulary of models."""
    return text if _TECHNICAL.fullmatch(text) and not repeats(text, people) else ""


def kernel_text(text: str) -> str:
    """The text where it is a known kernel, else ""."""
    return text if KERNELS.fullmatch(text) else ""


def repeats(text: str, people: Iterable[str]) -> bool:
    """Whether a text holds a part of any of the others: whole words of two letters and more, long ones anywhere.

    Case, accents and separators make no difference. Numbers count from four digits on: shorter ones stand for anything.
    """
    words = _TOKEN.findall(_plain(text))
    glued = "".join(words)
    return any(part in words or (len(part) >= _GLUED and part in glued) for each in people for part in _parts(each))


@lru_cache(maxsize=256)
def _parts(text: str) -> frozenset[str]:
    """Words of a name or number, and short ones joined."""
    tokens = [token for token in _TOKEN.findall(_plain(text)) if len(token) >= _SHORTEST]
    found = {token for token in tokens if not token.isdigit() or len(token) >= _GLUED}
    if len(tokens) <= _PARTS:
        found.update("".join(pair) for pair in permutations(tokens, 2) if not "".join(pair).isdigit())
    return frozenset(found)


def _plain(text: str) -> str:
    """Small letters without accents."""
    return "".join(each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each))
