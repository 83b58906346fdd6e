"""Rows of the `series` table: pseudonyms, geometry, decisions and an allow-list of technical attributes. Pure.

No text of a file gets into a row but the attributes named in `_technical`, and those only where they look like what
they should be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import InputError
from schemas.sources import source_id_of
from segworkers.dicom.geometry import Placed
from segworkers.dicom.header import Header
from segworkers.dicom.pixel_facts import PixelFacts, transfer_syntaxes
from segworkers.dicom.suv import Suv
from segworkers.dicom.technical_texts import kernel_text, maker_text, model_text
from segworkers.pseudonyms import Kind, Pseudonyms

REPAIRS = frozenset({"missing_slices", "variable_spacing", "gantry_tilt", "duplicates_dropped", "level_left_out"})
"""Notes of what the geometry or the list of slices was adapted to; and those that begin with `split_by_`."""

_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One stack, with what was found out about it, or why it is refused."""

    key: tuple[str, ...]
    headers: tuple[Header, ...]
    """In the order of z, where it is a volume."""
    copies: int = 0
    placed: Placed | None = None
    pixels: PixelFacts | None = None
    suv: Suv | None = None
    notes: tuple[str, ...] = ()
    problem: InputError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Pseudonyms of what a stack belongs to."""

    subject_id: str
    study_id: str
    dicom_series_id: str
    """Of SeriesInstanceUID: the same for all stacks of a series."""
    frame_of_reference_id: str
    """"" where the files name none: nothing may then be compared with another series."""


def identities_of(header: Header, names: Pseudonyms) -> tuple[Identities, tuple[tuple[Kind, str, str], ...]]:
    """Pseudonyms, and (kind, pseudonym, original) for the crosswalk. Without a PatientID a study is its own subject."""
    subject = f"{header.issuer}|{header.patient_id}" if header.patient_id else f"study|{header.study_uid}"
    frame = header.frame_of_reference_uid
    who = Identities(
        subject_id=names.of("subject", subject),
        study_id=names.of("study", header.study_uid),
        dicom_series_id=names.of("series", header.series_uid),
        frame_of_reference_id=names.of("frame_of_reference", frame) if frame else "",
    )
    originals: list[tuple[Kind, str, str]] = [
        ("subject", who.subject_id, subject),
        ("study", who.study_id, header.study_uid),
        ("series", who.dicom_series_id, header.series_uid),
    ]
    if frame:
        originals.append(("frame_of_reference", who.frame_of_reference_id, frame))
    return who, tuple(originals)


def row_of(found: Found, series_id: str, who: Identities) -> dict[str, Any]:
    """One row, with the same keys for volumes and refusals; None where unknown or meaningless. Lengths are mm.

    Keys are the columns of `schemas.tables.SERIES` and some more.
    """
    headers, first, problem = found.headers, found.headers[0], found.problem
    return {
        "series_id": series_id,
        "study_id": who.study_id,
        "subject_id": who.subject_id,
        "dicom_series_id": who.dicom_series_id,
        "frame_of_reference_id": who.frame_of_reference_id or None,
        "source_id": None if problem else source_id_of(f"dicom:{series_id}"),
        "status": "rejected" if problem else "repaired" if any(map(is_repair, found.notes)) else "accepted",
        "reason": problem.reason if problem else None,
        "message": problem.message if problem else None,
        "hint": problem.hint or None if problem else None,
        "decisions": list(found.notes),
        "sop_class": _if(_UID, first.sop_class),
        "modality": _if(_CODE, first.modality),
        "files": len({h.place for h in headers}) + (found.copies if first.frames == 1 else 0),
        "slices": len(headers),
        "duplicate_slices": found.copies,
        "missing_slices": found.placed.missing if found.placed else None,
        "rows": first.rows or None,
        "columns": first.columns or None,
        **_geometry(found.placed),
        **_pixels(found),
        "transfer_syntaxes": [uid for uid in transfer_syntaxes(headers) if _UID.fullmatch(uid)],
        "is_lossy": any(h.is_lossy for h in headers),
        "burned_in_annotation": _if(_CODE, max(h.burned_in for h in headers)),
        **_technical(headers),
    }


def is_repair(note: str) -> bool:
    """Whether a note says that something was done about the stack, not only noticed."""
    return note in REPAIRS or note.startswith("split_by_")


def _geometry(placed: Placed | None) -> dict[str, Any]:
    if placed is None:
        return dict.fromkeys(_GEOMETRY)
    geometry = placed.geometry
    z, y, x = geometry.spacing_mm
    values = (geometry.kind, geometry.plane, z, y, x, geometry.voxel_volume_mm3, placed.tilt_deg, _affine(placed))
    return dict(zip(_GEOMETRY, values, strict=True))


_GEOMETRY = (
    "stack_kind", "plane", "spacing_z_mm", "spacing_y_mm", "spacing_x_mm", "voxel_volume_mm3", "tilt_deg", "affine",
)  # fmt: skip


def _affine(placed: Placed) -> list[float] | None:
    """16 numbers, row by row: voxel (x, y, z, 1) to LPS mm; None where the steps vary."""
    if placed.geometry.slice_origins:
        return None
    return placed.geometry.affine()[:, [2, 1, 0, 3]].ravel().tolist()


def _pixels(found: Found) -> dict[str, Any]:
    pixels, suv = found.pixels, found.suv
    if pixels is None or suv is None:
        return dict.fromkeys(_PIXELS)
    is_pet = found.headers[0].modality == "PT"
    low, high = pixels.padding or (None, None)
    values = (
        pixels.unit, pixels.dtype, pixels.bits_stored, pixels.signed, low, high,
        suv.factor, suv.reason or None if is_pet else None,
    )  # fmt: skip
    return dict(zip(_PIXELS, values, strict=True))


_PIXELS = (
    "value_unit", "dtype", "bits_stored", "is_signed", "padding_low", "padding_high", "suv_factor", "suv_reason",
)  # fmt: skip


def _technical(headers: Sequence[Header]) -> dict[str, Any]:
    """The allow-list; None where slices differ."""
    return {
        "manufacturer": maker_text(_only(headers, lambda h: h.manufacturer) or "", ()) or None,
        "model_name": model_text(_only(headers, lambda h: h.model) or "", ()) or None,
        "kvp": _only(headers, lambda h: h.kvp),
        "kernel": kernel_text(_only(headers, lambda h: h.kernel) or "") or None,
        "slice_thickness_mm": _only(headers, lambda h: h.slice_thickness),
        "contrast": _only(headers, lambda h: h.has_contrast),
    }


def _only(headers: Sequence[Header], key: Callable[[Header], Any]) -> Any:
    values = set(map(key, headers))
    return values.pop() if len(values) == 1 else None


def _if(pattern: re.Pattern[str], text: str | None) -> str | None:
    return text if text and pattern.fullmatch(text) else None
