"""Real DICOM files for tests: a phantom whose place and size are known, voxelised through its true geometry.

    made = save(ct_series(), tmp_path)                # 24 slices of an ellipsoid, explicit VR little endian
    slices = ct_series(Layout(at=(0, 1, 2, 5)))       # datasets in the order of their place, to be changed at will

`tests.dicom_variants` makes the awkward ones from these. All UIDs begin with `UID_ROOT`, so that a test can search for
them; `plant` puts a word into every text attribute.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

UID_ROOT = "2.999.4711."
"""The arc for examples (X.660): nothing else has it, so that no original UID may leave a trace of it anywhere."""

SENTINEL = "ZZPHI"
"""The word that `plant` puts into text attributes."""

Xyz = tuple[float, float, float]
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
AXIAL_REVERSED = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Column cosines (0, -1, 0): the normal points to the feet."""
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)
"""An orthonormal pair off every axis."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The true geometry of a stack of slices; LPS millimetres."""

    shape: tuple[int, int, int] = (24, 40, 48)
    """(z, y, x)."""
    spacing: Xyz = (2.5, 1.0, 1.0)
    """Between slices (along the table's way), rows, columns."""
    iop: tuple[float, ...] = AXIAL
    """Before the tilt."""
    middle: Xyz = (12.3, -45.6, 78.9)
    """Of the volume."""
    tilt_deg: float = 0.0
    """Of the gantry: slices turn about their rows, the table goes on as before."""
    at: tuple[float, ...] | None = None
    """Place of each slice in steps; None for 0, 1, 2 …"""

    @property
    def row(self) -> NDArray[np.float64]:
        """Cosines along a row."""
        return np.array(self.iop[:3])

    @property
    def column(self) -> NDArray[np.float64]:
        """Cosines down a column, tilted."""
        down, angle = np.array(self.iop[3:]), math.radians(self.tilt_deg)
        return math.cos(angle) * down + math.sin(angle) * np.cross(self.row, down)

    @property
    def step(self) -> NDArray[np.float64]:
        """From a slice to the next: the table's way."""
        return self.spacing[0] * np.cross(self.row, np.array(self.iop[3:]))

    def places(self) -> NDArray[np.float64]:
        """(z,) steps."""
        return np.arange(self.shape[0], dtype=np.float64) if self.at is None else np.array(self.at, np.float64)

    def origins(self) -> NDArray[np.float64]:
        """(z, 3): ImagePositionPatient of each slice."""
        places, (_, rows, columns) = self.places(), self.shape
        corner = (rows - 1) / 2 * self.spacing[1] * self.column + (columns - 1) / 2 * self.spacing[2] * self.row
        centres = np.array(self.middle) + (places - (places.min() + places.max()) / 2)[:, None] * self.step
        return centres - corner

    def positions(self) -> NDArray[np.float64]:
        """(z, y, x, 3): voxel centres."""
        _, rows, columns = self.shape
        down = np.arange(rows)[:, None] * (self.spacing[1] * self.column)
        along = np.arange(columns)[:, None] * (self.spacing[2] * self.row)
        return self.origins()[:, None, None] + down[None, :, None] + along[None, None]


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """An ellipsoid along the patient's axes."""

    centre: Xyz = (13.0, -44.0, 80.0)
    semi_axes: Xyz = (14.0, 11.0, 16.0)
    inside: float = 60.0
    outside: float = -80.0

    @property
    def volume_mm3(self) -> float:
        """Exact."""
        return 4 / 3 * math.pi * math.prod(self.semi_axes)

    def values(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Value at each position (…, 3)."""
        away = (((positions - np.array(self.centre)) / np.array(self.semi_axes)) ** 2).sum(axis=-1)
        return np.where(away <= 1, self.inside, self.outside)


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """How calibrated values are stored."""

    slope: float = 1.0
    intercept: float = -1024.0
    bits: int = 12
    signed: bool = False

    def stored(self, values: NDArray[np.float64]) -> NDArray[np.integer[Any]]:
        """Nearest stored values; raises where they do not fit into the bits."""
        whole = np.rint((values - self.intercept) / self.slope).astype(np.int64)
        low = -(1 << (self.bits - 1)) if self.signed else 0
        assert whole.min() >= low and whole.max() < low + (1 << self.bits), (whole.min(), whole.max(), self)
        return whole.astype(np.int16 if self.signed else np.uint16)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was written."""

    folder: Path
    files: tuple[Path, ...]
    slices: tuple[Dataset, ...] = field(repr=False)


def uid(*names: object) -> str:
    """A valid UID under `UID_ROOT`, the same for the same names."""
    return str(generate_uid(prefix=UID_ROOT, entropy_srcs=["/".join(map(str, names))]))


def ds(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return format_number_as_ds(float(value))


def blank(sop_class: str, sop_uid: str, transfer_syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """A dataset with file meta information and nothing else."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = uid("implementation")
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = sop_class, sop_uid
    return made


def add_study(made: Dataset, *, patient: str = "P1", study: str = "1", series: str = "1", modality: str = "CT") -> None:
    """Patient, study, series and equipment attributes; identities as text that must never leave."""
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientName, made.PatientID, made.IssuerOfPatientID = "Muster^Erika", patient, "HOSPITAL"
    made.PatientBirthDate, made.PatientSex, made.PatientAge = "19500203", "F", "071Y"
    made.StudyInstanceUID, made.SeriesInstanceUID = uid(patient, study), uid(patient, study, series)
    made.FrameOfReferenceUID = uid(patient, study, "frame of reference")
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = "20210305"
    made.StudyTime, made.SeriesTime = "101500", "101700"
    made.AcquisitionTime = made.ContentTime = "101730"
    made.StudyID, made.AccessionNumber, made.ReferringPhysicianName = "S4711", "ACC4711", "Arzt^Anna"
    made.StudyDescription, made.SeriesDescription = "Abdomen of Erika", "Axial 2.5"
    made.InstitutionName, made.StationName = "Klinik am See", "CT1"
    made.SeriesNumber, made.Modality, made.PatientPosition = series if series.isdigit() else "1", modality, "HFS"
    made.Manufacturer, made.ManufacturerModelName = "ACME", "Scanner 1"
    made.PositionReferenceIndicator = ""


def add_pixels(made: Dataset, stored: NDArray[Any], pixels: Pixels) -> None:
    """Image pixel module of one frame (y, x) or several (f, y, x)."""
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = stored.shape[-2:]
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, pixels.bits, pixels.bits - 1
    made.PixelRepresentation = int(pixels.signed)
    made.add_new("PixelData", "OW", np.ascontiguousarray(stored).astype("<i2" if pixels.signed else "<u2").tobytes())


def stored_of(made: Dataset) -> NDArray[np.integer[Any]]:
    """The uncompressed stored pixels of a dataset of this module, as (frames, y, x)."""
    kind = "<i2" if made.PixelRepresentation else "<u2"
    return np.frombuffer(made.PixelData, kind).reshape(-1, made.Rows, made.Columns)


def ct_series(
    layout: Layout | None = None,
    values: Phantom | NDArray[np.float64] | None = None,
    *,
    pixels: Pixels | Sequence[Pixels] | None = None,
    name: str = "",
    sop_class: str = CTImageStorage,
    **study: str,
) -> list[Dataset]:
    """A classic series, one dataset a slice, in the order of `layout`. `values` (z, y, x) are calibrated.

    `pixels` may differ from slice to slice; `name` makes other SOPInstanceUIDs for the same places; `study` are the
    arguments of `add_study`.
    """
    layout = layout or Layout()
    if layout.at is not None:
        layout = replace(layout, shape=(len(layout.at), *layout.shape[1:]))
    values = values if values is not None else Phantom()
    cube = values.values(layout.positions()) if isinstance(values, Phantom) else values
    each = list(pixels) if isinstance(pixels, Sequence) else [pixels or Pixels()] * layout.shape[0]
    made: list[Dataset] = []
    for k, origin in enumerate(layout.origins()):
        one = blank(sop_class, uid("sop", *study.values(), name, k))
        add_study(one, **study)
        one.ImageType, one.InstanceNumber, one.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1, 1
        one.ImagePositionPatient = [ds(v) for v in origin]
        one.ImageOrientationPatient = [ds(v) for v in (*layout.row, *layout.column)]
        one.PixelSpacing = [ds(layout.spacing[1]), ds(layout.spacing[2])]
        one.SliceThickness = ds(layout.spacing[0])
        one.KVP, one.ConvolutionKernel = "120", "B30f"
        if layout.tilt_deg:
            one.GantryDetectorTilt = ds(layout.tilt_deg)
        if sop_class == CTImageStorage:
            one.RescaleType = "HU"
        one.RescaleSlope, one.RescaleIntercept = ds(each[k].slope), ds(each[k].intercept)
        add_pixels(one, each[k].stored(cube[k]), each[k])
        made.append(one)
    return made


def save(
    slices: Iterable[Dataset], folder: Path, names: Sequence[str] | None = None, *, word: str | None = None
) -> Made:
    """Write datasets as `IM0001`… or `names`. `word` is planted in every text attribute, file and folder name."""
    kept = list(slices)
    folder = folder / f"{word}^patient" / f"{word} study" if word else folder
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for k, one in enumerate(kept):
        if word:
            plant(one, word)
        file = folder / (names[k] if names else f"{word or 'IM'}{k + 1:04d}")
        one.save_as(file, enforce_file_format=True, implicit_vr=one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2")
        files.append(file)
    return Made(folder=folder, files=tuple(files), slices=tuple(kept))


def plant(made: Dataset, word: str = SENTINEL) -> None:
    """Put a word into every text attribute of the dictionary, private ones, sequences, file meta and preamble.

    Not into those whose text means something to the reader: `MEANINGFUL`, and codes (CS).
    """
    for tag, vr, several in _text_tags():
        text = f"{word}^{word}" if vr == "PN" else word
        made.add_new(tag, vr, [text] if several else text)
    for keyword in ("BodyPartExamined", "PatientComments", "ImageComments", "EthnicGroup"):
        setattr(made, keyword, word)
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = word, word
    made.OtherPatientIDsSequence = [other]
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepDescription = word, word
    made.RequestAttributesSequence = [request]
    private = made.private_block(0x4711, f"{word} CREATOR", create=True)
    private.add_new(0x01, "LO", word)
    private.add_new(0x02, "UN", word.encode() + b"\0")
    made.add_new(0x60000022, "LO", word)
    made.add_new(0x60001500, "LO", word)
    made.file_meta.SourceApplicationEntityTitle = word
    made.preamble = word.encode().ljust(128, b"\0")


MEANINGFUL = {
    "RescaleType", "StackID", "TimezoneOffsetFromUTC",
    "TargetUID", "AffectedSOPInstanceUID",
}  # fmt: skip
"""Text that decisions or the allow-list of technical attributes read."""


@functools.cache
def _text_tags() -> tuple[tuple[int, str, bool], ...]:
    texts = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE"}
    return tuple(
        (tag, vr, vm not in {"1", "1-1"})
        for tag, (vr, vm, _, retired, keyword) in sorted(DicomDictionary.items())
        if vr in texts and keyword and not retired and 0x0008 <= tag >> 16 < 0x5000 and keyword not in MEANINGFUL
    )
