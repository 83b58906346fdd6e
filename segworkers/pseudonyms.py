"""Pseudonyms: keyed names for patients, studies, series and images, the same wherever the same key is used.

HMAC-SHA256 (RFC 2104) over kind and original, cut to 128 bits. Without the key nobody can go back, or try candidates;
with it the same original has the same pseudonym in every run, so that runs can be joined.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["subject", "study", "series", "instance", "frame_of_reference", "file", "input"]
"""What is named; the same text has another pseudonym for each kind."""

KEY_BYTES = 32
"""Length of a key; shorter ones are refused."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names things with one secret key. Does not show the key in its representation."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < KEY_BYTES:
            raise ValueError(f"a key of at least {KEY_BYTES} bytes is needed, got {len(self.key)}")

    def of(self, kind: Kind, original: str) -> str:
        """32 hexadecimal digits."""
        return self._digest(kind, original).hex()

    def uid(self, kind: Kind, original: str) -> str:
        """A DICOM UID under 2.25 (PS3.5 B.2: a UUID as an integer), for objects that must not name the originals."""
        return f"2.25.{int.from_bytes(self._digest(kind, original), 'big')}"

    def _digest(self, kind: Kind, original: str) -> bytes:
        return hmac.new(self.key, f"{kind}\0{original}".encode(), hashlib.sha256).digest()[:16]
