"""Elements: raw values of the attributes of one data set, and their meaning."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pydicom's elements have no types of their own.

from __future__ import annotations

import io
import math
import re
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, cast

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.filereader import read_sequence

import segworkers.dicom.quiet  # noqa: F401  # pyright: ignore[reportUnusedImport]

_UID = re.compile(r"[0-9.]{1,64}")
CHARACTER_SET = 0x00080005
UNDEFINED = 0xFFFFFFFF
"""Length of what is ended by a delimiter."""

_OPAQUE = frozenset((None, "UN", "OB"))
"""VRs that hide another one, which the dictionary knows."""
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q", "US or SS": "H"}
"""struct's letters for the numeric VRs."""


class DamagedHeaderError(Exception):
    """The bytes begin like a DICOM file, and do not go on like one. `reason` is a stable code."""

    def __init__(self, reason: str = "damaged_header") -> None:
        self.reason = reason
        super().__init__(reason)


class RawElement(NamedTuple):
    """One attribute as it lies in the file; named as pydicom names its own, which those of nested items are."""

    VR: str | None
    """None where it is implicit."""
    value: Any
    """bytes, or pydicom's Sequence where its length was undefined."""
    is_implicit_VR: bool  # noqa: N815


@dataclass(slots=True)
class Elements:
    """Raw elements of one data set by tag."""

    raw: dict[int, Any]
    """`RawElement`, or pydicom's RawDataElement or DataElement in nested items."""
    little: bool = True
    has_preamble: bool = True
    """Whether the file begins as PS3.10 7.1 wants it."""
    syntax: str = ""
    """Transfer syntax; what the bytes look like where the file does not say."""
    has_pixels: bool = False
    """Whether the header ends where PixelData (7FE0,0010) begin."""
    pixels_at: int = 0
    """Where the value of the pixel data begins in the file, and"""
    pixel_bytes: int | None = None
    """its bytes: None where it is not there, `UNDEFINED` where it is encapsulated."""
    inflated: int | None = None
    """Bytes of the data set where it is deflated: `pixels_at` counts in them."""

    def text(self, tag: int) -> str:
        """The value as text without padding; empty where absent, empty or of another kind."""
        raw = self.raw.get(tag)
        value = None if raw is None else raw.value
        if not isinstance(value, bytes):
            return ""
        # The character set's own name is ASCII (VR CS): a damaged one would be looked up in itself for ever.
        text = value.decode("latin-1") if value.isascii() or tag == CHARACTER_SET else self._decoded(value)
        return text.strip(" \0\t\r\n")

    def _decoded(self, value: bytes) -> str:
        """In the data set's character set (PS3.5 6.1)."""
        try:
            encodings = convert_encodings(list(self.texts(CHARACTER_SET)))
            return decode_bytes(value, encodings, {0x09, 0x0A, 0x0C, 0x0D})
        except (LookupError, ValueError):
            return value.decode("latin-1")

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of a text attribute; () where absent or empty."""
        text = self.text(tag)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def numbers(self, tag: int) -> tuple[float, ...] | None:
        """The values of a numeric attribute of any VR: NaN where one is no number; None where absent or empty."""
        raw = self.raw.get(tag)
        if raw is None or not isinstance(raw.value, bytes):
            return None
        code = _BINARY.get(_kind(raw.VR, tag))
        if code is None:
            text = raw.value.decode("latin-1").strip(" \0")
            return tuple(map(_number, text.split("\\"))) if text else None
        count = len(raw.value) // struct.calcsize(code)
        values = struct.unpack_from(f"{'<' if self.little else '>'}{count}{code}", raw.value)
        return tuple(map(float, values)) or None

    def number(self, tag: int) -> float | None:
        """The first value of a numeric attribute."""
        values = self.numbers(tag)
        return values[0] if values else None

    def integer(self, tag: int) -> int | None:
        """The first value as a whole number; None where there is none."""
        value = self.number(tag)
        return int(value) if value is not None and math.isfinite(value) else None

    def items(self, tag: int) -> list[Elements]:
        """The items of a sequence; [] where absent. Raises DamagedHeaderError."""
        raw = self.raw.get(tag)
        if raw is None or not raw.value:
            return []
        sequence = raw.value
        if isinstance(sequence, bytes):
            buffer = cast("BinaryIO", io.BytesIO(sequence))
            try:
                sequence = read_sequence(buffer, raw.is_implicit_VR, self.little, len(sequence), "iso8859")
            except Exception:  # noqa: BLE001 - whatever pydicom raises on damaged bytes
                raise DamagedHeaderError from None
        return [
            Elements({int(tag): item.get_item(tag) for tag in item.keys()}, self.little)  # noqa: SIM118
            for item in sequence
        ]


def uid_or_empty(text: str) -> str:
    """The text where it may be a UID (PS3.5 9.1: digits and dots, at most 64), else ""; such a one may be shown."""
    return text if _UID.fullmatch(text) else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _kind(vr: str | None, tag: int) -> str:
    if vr not in _OPAQUE:
        return str(vr)
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "DS"
