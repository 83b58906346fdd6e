"""Pixel facts of a stack: type, padding, sign and unit of its calibrated values, decided from **all** slices. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from schemas.errors import InputError
from segworkers.dicom.grouping import is_localizer
from segworkers.dicom.header import Header

CT_UNITS = frozenset({"HU", "HU_MOD", "OD", "MGML", "PCT", "Z_EFF", "ED", "EDW"})
"""Defined terms of RescaleType (PS3.3 C.11.1.1.2) that are units; `US` says that there is none."""

PET_UNITS = frozenset({"BQML", "CNTS", "GML", "CM2", "CM2ML", "PCNT", "CPS", "MGMINML", "UMOLMINML", "MLMING", "MLG",
                       "1CM", "UMOLML", "PROPCNTS", "PROPCPS", "MLMINML", "MLML", "STDDEV"})  # fmt: skip
"""Defined terms of Units (PS3.3 C.8.9.1.1.3)."""

_T = TypeVar("_T", bound=Hashable)
_INT16 = (-(1 << 15), (1 << 15) - 1)
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFacts:
    """How the values of a stack are stored and what they mean."""

    bits_stored: int
    signed: bool
    dtype: str
    """int16 where every value that the stored bits can hold is exact in it on every slice, else float32."""
    padding: tuple[int, int] | None
    """Stored values low..high that are padding."""
    unit: str | None
    notes: tuple[str, ...]


def pixel_facts(headers: Sequence[Header]) -> PixelFacts:
    """Of one stack.

    Raises InputError: `unsupported_pixel_format`, `mixed_pixel_formats`, `missing_rescale`, `invalid_rescale`,
    `mixed_padding`, `mixed_units`.
    """
    for header in headers:
        _check_format(header)
    only = _Only(headers)
    bits, signed, allocated = only.of(
        "mixed_pixel_formats", "BitsStored, PixelRepresentation and BitsAllocated",
        lambda h: (h.bits_stored, h.signed, h.bits_allocated),
    )  # fmt: skip
    photometric = only.of("mixed_pixel_formats", "PhotometricInterpretation", lambda h: h.photometric)
    for header in headers:
        _check_rescale(header)
    padding = only.of("mixed_padding", "PixelPaddingValue and its range limit", _padding(signed, allocated))
    unit = only.of("mixed_units", "the unit", unit_of)
    exact = all(_is_exact(h, bits, signed) for h in headers)
    flags = {
        "monochrome1": photometric == "MONOCHROME1",
        "modality_lut": any(h.has_modality_lut for h in headers),
        "real_world_mapping": all(map(is_real_world, headers)),
        "real_world_mapping_ignored": any(h.has_real_world_mapping and not is_real_world(h) for h in headers),
        "lossy": any(h.is_lossy for h in headers),
        "derived": any(h.image_type[:1] == ("DERIVED",) for h in headers),
        "burned_in_annotation": any(h.burned_in == "YES" for h in headers),
    }
    return PixelFacts(
        bits_stored=bits,
        signed=signed,
        dtype="int16" if exact else "float32",
        padding=padding,
        unit=unit,
        notes=tuple(name for name, is_so in flags.items() if is_so),
    )


def unit_of(header: Header) -> str | None:
    """Unit of one frame's calibrated values; None where it has none, or says one that is not defined.

    HU only for CT that is no localizer and whose RescaleType says so or nothing (PS3.3 C.11.1.1.2). Of a real world
    value mapping that is applied it is the UCUM code.
    """
    return header.real_world_unit if is_real_world(header) else _rescaled_unit(header)


def is_real_world(header: Header) -> bool:
    """Whether the real world value mapping is what calibrates a frame.

    It does where it is the only calibration: no Modality LUT, no rescale or one that changes nothing, no unit without
    it; and where it has a value for everything that the stored bits can hold.
    """
    if not header.real_world or header.has_modality_lut or header.modality == "PT":
        return False
    given = (header.slope, header.intercept)
    if given not in ((1.0, 0.0), (None, None)) or (given == (None, None) and header.modality == "CT"):
        return False
    first, last = sorted(header.real_world[2:])
    low, high = _stored_range(header.bits_stored, header.signed)
    return first <= low and high <= last and _rescaled_unit(header) is None


def _rescaled_unit(header: Header) -> str | None:
    if header.has_modality_lut or is_localizer(header):
        return None
    if header.modality == "PT":
        units = header.pet.units if header.pet else ""
        return units if units in PET_UNITS else None
    said = header.rescale_type.upper()
    if header.modality == "CT":
        return "HU" if not said else said if said in CT_UNITS else None
    return said if said in CT_UNITS - {"HU", "HU_MOD"} else None


@dataclass(frozen=True, slots=True)
class _Only:
    """What all slices must agree on."""

    headers: Sequence[Header]

    def of(self, reason: str, what: str, key: Callable[[Header], _T]) -> _T:
        values = set(map(key, self.headers))
        if len(values) > 1:
            raise InputError(
                reason,
                f"{what} must be the same on all {len(self.headers)} slices, found {len(values)} different ones.",
                "Separate the slices at the source.",
            )
        return values.pop()


def _check_format(header: Header) -> None:
    sound = (
        header.has_pixels
        and header.samples == 1
        and header.photometric in _MONOCHROME
        and header.bits_allocated in {8, 16}
        and 1 <= header.bits_stored <= header.bits_allocated
        and header.high_bit == header.bits_stored - 1
        and min(header.rows, header.columns) >= 1
    )
    if not sound:
        raise InputError(
            "unsupported_pixel_format",
            "expected one sample a pixel, MONOCHROME1 or MONOCHROME2, 8 or 16 bits allocated, the stored bits lowest; "
            f"found {header.samples} samples, {header.bits_allocated} bits allocated, {header.bits_stored} stored, "
            f"high bit {header.high_bit}, {header.rows} rows, {header.columns} columns"
            f"{'' if header.has_pixels else ', and no integer pixel data'}.",
            "Leave the series out, or convert it to grey values of 16 bits.",
        )


def _check_rescale(header: Header) -> None:
    if header.has_modality_lut:
        return
    given = (header.slope, header.intercept)
    if None in given and (given != (None, None) or header.modality in {"CT", "PT"}):
        raise InputError(
            "missing_rescale",
            f"{header.modality or 'the'} values need RescaleSlope and RescaleIntercept on every slice; without them "
            "stored values mean nothing.",
            "Export the series again from its source.",
        )
    slope, intercept = rescale_of(header)
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise InputError(
            "invalid_rescale",
            f"RescaleSlope must be a number other than 0 and RescaleIntercept a number, found {slope} and {intercept}.",
            "Export the series again from its source.",
        )


def rescale_of(header: Header) -> tuple[float, float]:
    """Slope and intercept of stored values; 1 and 0 where the file has none (MR; PS3.3 C.11.1 is optional there)."""
    if is_real_world(header):
        return header.real_world[0], header.real_world[1]
    return (1.0 if header.slope is None else header.slope), (0.0 if header.intercept is None else header.intercept)


def _is_exact(header: Header, bits: int, signed: bool) -> bool:
    slope, intercept = rescale_of(header)
    if header.has_modality_lut or not (slope.is_integer() and intercept.is_integer()):
        return False
    low, high = _stored_range(bits, signed)
    ends = (low * slope + intercept, high * slope + intercept)
    return min(ends) >= _INT16[0] and max(ends) <= _INT16[1]


def _stored_range(bits: int, signed: bool) -> tuple[int, int]:
    """The least and greatest value that so many stored bits hold."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _padding(signed: bool, allocated: int) -> Callable[[Header], tuple[int, int] | None]:
    """Padding of a frame as a closed range of stored values, read with the sign of the pixels.

    PixelPaddingValue is US or SS by PixelRepresentation (PS3.3 C.7.5.1.1.2); files get that wrong, so that 63536 in a
    signed image is -2000.
    """

    def stored(value: int) -> int:
        value %= 1 << allocated
        return value - (1 << allocated) if signed and value >= 1 << (allocated - 1) else value

    def padding(header: Header) -> tuple[int, int] | None:
        if header.padding is None:
            return None
        limit = header.padding if header.padding_limit is None else header.padding_limit
        ends = sorted((stored(header.padding), stored(limit)))
        return ends[0], ends[1]

    return padding


def transfer_syntaxes(headers: Iterable[Header]) -> tuple[str, ...]:
    """Distinct ones, sorted."""
    return tuple(sorted({h.transfer_syntax for h in headers}))
