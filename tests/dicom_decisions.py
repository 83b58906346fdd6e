"""What was decided about files of `tests.dicom_files`, and the phantom measured through that decision."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from segworkers.dicom.file_headers import read_headers
from segworkers.dicom.header import Header
from segworkers.dicom.places import Candidate, Places, Unusable
from segworkers.dicom.series import Decision, decide
from segworkers.dicom.stack import Stack
from segworkers.pseudonyms import Pseudonyms
from tests.dicom_files import Layout, Made, Phantom
from tests.dicom_variants import make

NAMES = Pseudonyms(b"a secret key of thirty-two bytes")


def headers_in(folder: Path) -> tuple[list[Header], list[Unusable]]:
    """Of all files of a folder."""
    headers: list[Header] = []
    unusable: list[Unusable] = []
    places = Places()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            found = read_headers(places, Candidate(str(file), places.state(str(file))))
            if isinstance(found, Unusable):
                unusable.append(found)
            else:
                headers += found or []
    return headers, unusable


def digest(header: Header) -> str:
    """Of the stored pixels of a frame."""
    return hashlib.sha256(_frame(header.place, header.frame).tobytes()).hexdigest()


def decisions(headers: list[Header]) -> list[Decision]:
    """With the test's key."""
    return decide(headers, NAMES, digest)


def decided(name: str, folder: Path) -> tuple[Made, list[Decision], Phantom]:
    """Write a fixture and decide."""
    made, variant = make(name, folder)
    return made, decisions(headers_in(made.folder)[0]), variant.phantom


def volumes(found: list[Decision]) -> list[Decision]:
    """Those that are volumes, the larger first."""
    return sorted((d for d in found if d.facts), key=lambda d: -d.row["slices"])


def reasons(found: list[Decision]) -> dict[str, int]:
    """Slices or objects refused, by reason code."""
    counts: Counter[str] = Counter()
    for one in found:
        if one.problem:
            counts[one.problem.reason] += one.row["slices"]
    return dict(counts)


def header_series(layout: Layout | None = None, **fields: Any) -> list[Header]:
    """Headers of a CT series without files, in the order of their place."""
    layout = layout or Layout()
    return [
        Header(
            **{
                "place": f"/archive/{k}",
                "patient_id": "P1",
                "study_uid": "2.999.1",
                "series_uid": "2.999.1.2",
                "sop_uid": f"2.999.1.2.{k + 1}",
                "frame_of_reference_uid": "2.999.1.9",
                "sop_class": CTImageStorage,
                "transfer_syntax": ExplicitVRLittleEndian,
                "modality": "CT",
                "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
                "rows": layout.shape[1],
                "columns": layout.shape[2],
                "ipp": tuple(origin),
                "iop": (*layout.row, *layout.column),
                "pixel_spacing": layout.spacing[1:],
                "bits_stored": 12,
                "high_bit": 11,
                "slope": 1.0,
                "intercept": -1024.0,
                **{name: value[k] if isinstance(value, list) else value for name, value in fields.items()},
            }
        )
        for k, origin in enumerate(layout.origins().tolist())
    ]


def values_of(stack: Stack) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Calibrated values (z, y, x) and where they are no padding, by pydicom alone."""
    stored = np.stack([_frame(one.place, one.frame) for one in stack.slices]).astype(np.float64)
    low, high = stack.padding or (1, 0)
    return stored * _each(stack, "slope") + _each(stack, "intercept"), (stored < low) | (stored > high)


def measured(decision: Decision, level: float) -> tuple[float, NDArray[np.float64]]:
    """Volume, mm³, and centroid, LPS mm, of the values above a level, through the decision's geometry."""
    assert decision.facts and decision.stack
    geometry = decision.facts.geometry
    values, valid = values_of(decision.stack)
    inside = np.argwhere((values > level) & valid)
    pixel = geometry.voxel_volume_mm3 / geometry.spacing_mm[0]
    weights = geometry.thicknesses_mm()[inside[:, 0]] * pixel
    return float(weights.sum()), (geometry.positions(inside) * weights[:, None]).sum(axis=0) / weights.sum()


def _each(stack: Stack, name: str) -> NDArray[np.float64]:
    return np.array([getattr(one, name) for one in stack.slices], np.float64)[:, None, None]


def _frame(place: str, frame: int) -> NDArray[np.generic]:
    one = pydicom.dcmread(place, force=True)
    if not hasattr(one, "file_meta") or "TransferSyntaxUID" not in one.file_meta:
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    pixels = one.pixel_array
    return pixels[frame] if pixels.ndim == 3 else pixels
