"""DICOMDIR: the list of files on a medium (PS3.3 F, PS3.10 8)."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pydicom finds attributes by keyword at run time.

from __future__ import annotations

import io
import os
from typing import Any

import pydicom

import segworkers.dicom.quiet  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schemas.errors import InputError

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR."""


def is_dicomdir(place: str) -> bool:
    """By its name, which the standard prescribes (PS3.10 8.6)."""
    return place.rpartition("/")[2].upper() == "DICOMDIR"


def referenced_files(data: bytes, folder: str) -> list[str | None]:
    """Local paths of the files that a DICOMDIR lists, in its order, each once; None for one that leaves the folder.

    Media are written in upper case and copied in lower: where a name is not there, its lower case is looked for.
    Raises InputError (`damaged_dicomdir`).
    """
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=["DirectoryRecordSequence"])
        records: list[Any] = list(dataset.DirectoryRecordSequence)
        names = [_parts(record.ReferencedFileID) for record in records if record.get("ReferencedFileID")]
    except Exception as error:  # noqa: BLE001 - whatever pydicom raises on damaged bytes; its text may name a patient
        raise InputError(
            "damaged_dicomdir",
            f"The DICOMDIR cannot be read ({type(error).__name__}).",
            "Give the folder instead: its files are found by their content.",
        ) from None
    return list(dict.fromkeys(_resolve(folder, parts) for parts in names))


def _parts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(part) for part in value]


def _resolve(folder: str, parts: list[str]) -> str | None:
    if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
        return None
    path = folder
    for part in parts:
        given, lower = os.path.join(path, part), os.path.join(path, part.lower())
        path = lower if not os.path.exists(given) and os.path.exists(lower) else given
    return path
