"""What segmentations and reports have in common: whose objects they are, whose images they name, and their UIDs.

`research` objects are de-identified: every UID of the source is replaced by its keyed pseudonym, the patient is the
subject's pseudonym, and no date or text of the source is copied (PS3.15 Annex E, Basic Profile, as new objects).
`clinical` objects carry the source's patient and study modules and name the original images, so that they open on them.

Nothing is random and nothing asks the clock: the same run writes the same bytes.
"""
# pydicom and highdicom are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Literal

from highdicom.sr import CodedConcept
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import DA, DT, TM

import segworkers.dicom.quiet  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schemas.errors import InputError, SegworkersError
from schemas.volumes import VolumeFacts
from segworkers.dicom.opening import opened
from segworkers.dicom.places import FileState, Places
from segworkers.dicom.stack import Stack
from segworkers.dicom.terms import ClassTerms, Term
from segworkers.pseudonyms import Pseudonyms
from segworkers.whole_files import appearing

MANUFACTURER = "segworkers"
"""Manufacturer and model name of every object: who is asked about them."""

Mode = Literal["research", "clinical"]
"""See the module."""

_TECHNICAL = (
    "SOPClassUID", "NumberOfFrames", "SliceThickness", "SharedFunctionalGroupsSequence", "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
"""All that is read of a source header in research mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """What made the masks."""

    name: str
    version: str
    digest: str
    """Hash of code, weights and options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOptions:
    """How DICOM objects of one run are made."""

    generation: str
    """The published tables that the lesions come from."""
    made_at: datetime
    """Content date and time: a moment of the run, without a time zone."""
    algorithm: Algorithm
    mode: Mode = "research"
    pseudonyms: Pseudonyms | None = None
    """Needed in research mode."""
    terms: Mapping[str, ClassTerms] = field(default_factory=dict[str, ClassTerms])
    """By label; labels that are missing have the default."""
    segmentation: Literal["binary", "labelmap"] = "binary"
    """`binary`: one bit a voxel and lesion, read by every viewer; `labelmap`: one number a voxel, RLE, about 15 times
    smaller, read by few viewers as yet (PS3.3 C.8.20.2). Lesions that overlap are written as binary."""

    def __post_init__(self) -> None:
        if self.mode == "research" and self.pseudonyms is None:
            raise ValueError("research objects need pseudonyms: pass those of the crosswalk")


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """How an object names the images that it was derived from."""

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    instances: tuple[tuple[str, int | None], ...]
    """SOP instance UID of each slice, and its 1-based frame where the images have several."""


def derived_uid(*parts: str) -> str:
    """A UID that is the same for the same parts (PS3.5 B.2: a UUID as an integer)."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()
    return f"2.25.{uuid.UUID(bytes=digest, version=5).int}"


def software_version() -> str:
    """Of this project."""
    return version("segworkers")


def source_header(stack: Stack, mode: Mode) -> Dataset:
    """Header of the first slice's file, without pixels; in research mode nothing but technical attributes.

    Raises InputError: as `segworkers.dicom.opening.opened` does.
    """
    first, places = stack.slices[0], Places()
    tags: list[str] | None = list(_TECHNICAL) if mode == "research" else None
    header: Dataset | None = None
    try:
        with opened(places, first.place, FileState(first.size, first.stamp)) as file:
            header = _header(file, tags)
    except InputError as error:
        raise InputError(error.reason, f"series {stack.series_id}, slice 1: {error.message}", error.hint) from None
    finally:
        places.close()
    if header is None or "SOPClassUID" not in header:
        raise InputError("read_failed", f"series {stack.series_id}: the header of slice 1 cannot be read.")
    return header


def _header(file: BinaryIO, tags: list[str] | None) -> Dataset | None:
    """None where it is damaged."""
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=tags, force=True)
        header.decode()
    except (InvalidDicomError, ValueError, TypeError, KeyError, EOFError, AttributeError, NotImplementedError):
        return None
    return header


def references_of(stack: Stack, header: Dataset, options: ObjectOptions) -> References:
    """Original UIDs in clinical mode, else their pseudonyms. A series without a frame of reference gets one."""
    several = int(header.get("NumberOfFrames") or 1) > 1 or "SharedFunctionalGroupsSequence" in header
    frames = tuple(each.frame + 1 if several else None for each in stack.slices)
    frame_of_reference = stack.frame_of_reference_uid or derived_uid("frame of reference", stack.series_uid)
    uids = tuple(each.uid for each in stack.slices)
    study, series = stack.study_uid, stack.series_uid
    if options.mode == "research":
        assert options.pseudonyms is not None
        uid_of = options.pseudonyms.uid
        study, series = uid_of("study", study), uid_of("series", series)
        frame_of_reference = uid_of("frame_of_reference", frame_of_reference)
        uids = tuple(uid_of("instance", uid) for uid in uids)
    return References(
        study_uid=study,
        series_uid=series,
        frame_of_reference_uid=frame_of_reference,
        sop_class_uid=str(header.SOPClassUID),
        instances=tuple(zip(uids, frames, strict=True)),
    )


def finish(made: Any, header: Dataset, facts: VolumeFacts, options: ObjectOptions) -> None:
    """Give an object of highdicom its owner and its fixed dates."""
    moment = options.made_at
    made.InstanceCreationDate, made.InstanceCreationTime = DA(moment.date()), TM(moment.time())
    made.SeriesDate, made.SeriesTime = DA(moment.date()), TM(moment.time())
    for item in made.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = DT(moment)
    made.SpecificCharacterSet = "ISO_IR 192"
    if options.mode == "clinical":
        own = {name: made.get(name) for name in ("SOPInstanceUID", "StudyInstanceUID")}
        made.copy_patient_and_study_information(header)
        for name, value in own.items():
            setattr(made, name, value)
        return
    made.PatientID = made.PatientName = facts.subject_id
    made.PatientBirthDate = made.PatientSex = ""
    made.StudyDate = made.StudyTime = made.StudyID = made.AccessionNumber = made.ReferringPhysicianName = ""
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "segworkers: new object, identifiers replaced by keyed pseudonyms"
    made.DeidentificationMethodCodeSequence = [
        concept(Term("113100", "DCM", "Basic Application Confidentiality Profile"))
    ]
    made.LongitudinalTemporalInformationModified = "REMOVED"


def save(made: Dataset, path: Path) -> Path:
    """Write an object; the name appears when the file is whole."""
    with appearing(path) as partial:
        made.save_as(partial, enforce_file_format=True)
    return path


def concept(term: Term) -> CodedConcept:
    """A term for highdicom."""
    return CodedConcept(value=term.value, scheme_designator=term.scheme, meaning=term.meaning)


@contextmanager
def guarded(facts: VolumeFacts, what: str) -> Generator[None]:
    """Errors of libraries become InputError `output_failed`: their own words may repeat what stands in a header."""
    try:
        yield
    except SegworkersError:
        raise
    except Exception as error:  # noqa: BLE001  # a series that a library stumbles over must not end the archive's run
        raise InputError(
            "output_failed",
            f"series {facts.series_id}: its {what} cannot be written ({type(error).__name__}).",
            "The tables are complete without it; leave this output out for the series.",
        ) from None
