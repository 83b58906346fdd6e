"""From one file to its `Header`s: classic and enhanced images, levels of slides, and objects that are none of these.

Nothing behind the header is read, and nothing is decided: what a file lacks stays empty, and a file that is damaged
becomes an `Unusable` with a reason code.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from schemas.errors import InputError
from segworkers.dicom.dicomdir import MEDIA_STORAGE_DIRECTORY
from segworkers.dicom.elements import UNDEFINED, DamagedHeaderError, Elements, uid_or_empty
from segworkers.dicom.functional_groups import PER_FRAME, SHARED, FrameGroups, frames_of, tag_of
from segworkers.dicom.header import Header
from segworkers.dicom.header_bytes import FIRST_BYTES, MEDIA_SOP_CLASS, NotDicomError, read_elements
from segworkers.dicom.locations import suffix_of
from segworkers.dicom.modalities import modality_of
from segworkers.dicom.pet_headers import PET_TAGS, acquisition_time, pet_header
from segworkers.dicom.places import Candidate, Places, Unusable, split_member
from segworkers.dicom.real_world import as_stored, real_world
from segworkers.dicom.series import VOLUME_CLASSES
from segworkers.dicom.slides import WHOLE_SLIDE_STORAGE, is_level, read_part
from segworkers.dicom.technical_texts import shown

_KEYWORDS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "ContentDate", "ContentTime", "Modality"),
    *("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PixelSpacing", "SliceThickness", "GantryDetectorTilt", "Manufacturer"),
    *("ManufacturerModelName", "KVP", "ConvolutionKernel", "ContrastBolusAgent", "ContrastBolusAgentSequence"),
    *("EchoTime", "InversionTime", "EchoNumbers", "TriggerTime", "DiffusionBValue", "DiffusionGradientOrientation"),
    *("FrameReferenceTime", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "LossyImageCompression"),
    "RealWorldValueMappingSequence",
    *("BurnedInAnnotation", "ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber"),
    *("PyramidUID", "ContainerIdentifier", "TotalPixelMatrixRows", "TotalPixelMatrixColumns"),
)
_PEOPLE = tuple(
    tag_of(keyword)
    for keyword in (
        *("PatientName", "PatientID", "PatientBirthName", "PatientMotherBirthName", "PatientBirthDate"),
        *("OtherPatientNames", "OtherPatientIDs", "PatientAddress", "AccessionNumber", "StudyID"),
        *("ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy"),
        *("RequestingPhysician", "ResponsiblePerson", "InstitutionName"),
    )
)
"""Read to be compared with technical texts in memory; but for PatientID nothing of them is kept."""

WANTED = frozenset((*map(tag_of, _KEYWORDS), SHARED, PER_FRAME, *_PEOPLE, *PET_TAGS))
"""Tags that are read."""

REMOTE_FIRST_BYTES = 64 * 1024
"""Of an object: a request takes as long as many bytes."""

_TRUNCATED = (
    "truncated_file",
    "a file of the slide ends before its pixels do.",
    "It may still be being written: wait, or copy it again.",
)
_NO_PIXELS = ("read_failed", "a file of the slide holds no pixels.", "Export the slide again.")
_YES_NO = frozenset(("YES", "NO"))
_STANDARD = "1.2.840.10008."
_T = TypeVar("_T")
_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
_TAIL_BYTES = 64 * 1024


def read_headers(places: Places, candidate: Candidate) -> list[Header] | Unusable | None:
    """Headers of a file, one a frame; None where it is none of ours.

    Reasons: `empty_file`, `not_dicom` (only where it was promised to be), `damaged_header`, `header_too_long`, and
    those of `segworkers.dicom.places.storage_refusal`. Never raises for what a file holds.
    """
    place, state = candidate.place, candidate.state
    try:
        if state.size == 0:
            return Unusable(place, "empty_file", state)
        first = REMOTE_FIRST_BYTES if place.startswith("s3://") else FIRST_BYTES
        fetch = partial(places.read, place)
        elements = read_elements(fetch, state.size, WANTED, _is_kept, first)
        if elements.text(MEDIA_SOP_CLASS) == MEDIA_STORAGE_DIRECTORY:
            return None
        if elements.has_preamble or (_is_plain(candidate) and _sop_class(elements).startswith(_STANDARD)):
            return _headers(places, candidate, elements)
    except NotDicomError:
        pass
    except (DamagedHeaderError, InputError) as error:
        return Unusable(place, error.reason, state)
    return Unusable(place, "not_dicom", state) if candidate.promised else None


def _is_kept(top: Elements) -> bool:
    """Whether pixels of it may be read later.

    Labels and overviews of slides may show a name: no more is read of them than of objects that are no images.
    """
    return _sop_class(top) in VOLUME_CLASSES or _is_slide_level(top)


def _is_slide_level(top: Elements) -> bool:
    return _sop_class(top) == WHOLE_SLIDE_STORAGE and is_level(top.texts(tag_of("ImageType")))


def _is_plain(candidate: Candidate) -> bool:
    return candidate.promised or not suffix_of(candidate.place)


def _headers(places: Places, candidate: Candidate, top: Elements) -> list[Header]:
    count = max(top.integer(tag_of("NumberOfFrames")) or 1, 1)
    truncated = is_truncated(places, candidate, top)
    if _is_slide_level(top):
        header = _header(candidate, 0, count, truncated, FrameGroups(None, None, top))
        return [replace(header, **_slide(places, candidate, top, truncated))]
    frames = frames_of(top, count) if _sop_class(top) in VOLUME_CLASSES else [FrameGroups(None, None, top)]
    return [_header(candidate, index, count, truncated, groups) for index, groups in enumerate(frames)]


def _slide(places: Places, candidate: Candidate, top: Elements, truncated: bool) -> dict[str, Any]:
    """What a level of a slide has besides. Raises InputError where the storage refuses."""
    problem = _NO_PIXELS if top.pixel_bytes is None else _TRUNCATED if truncated else None
    if problem is None:
        header = places.read(candidate.place, 0, None if top.inflated is not None else top.pixels_at)
        try:
            return {"slide": read_part(io.BytesIO(header), candidate.place, candidate.state)}
        except InputError as error:
            problem = (error.reason, error.message, error.hint)
    return {"slide_problem": problem}


def is_truncated(places: Places, candidate: Candidate, top: Elements) -> bool:
    """Whether the file ends before its pixels do.

    Of encapsulated pixels the end is looked for in the last bytes of local files only: elsewhere that would be one more
    request, or the whole of a zip member; there it shows when the pixels are read.
    """
    if top.pixel_bytes is None:
        return False
    if top.pixel_bytes != UNDEFINED:
        return top.pixels_at + top.pixel_bytes > (candidate.state.size if top.inflated is None else top.inflated)
    place, size = candidate.place, candidate.state.size
    if place.startswith("s3://") or split_member(place)[1] is not None:
        return False
    if places.read(place, size - len(_DELIMITER), size) == _DELIMITER:
        return False
    return _DELIMITER not in places.read(place, max(size - _TAIL_BYTES, top.pixels_at), size)


def _sop_class(top: Elements) -> str:
    return uid_or_empty(top.text(tag_of("SOPClassUID")) or top.text(MEDIA_SOP_CLASS))


def _header(candidate: Candidate, index: int, count: int, truncated: bool, at: FrameGroups) -> Header:
    fields = _identity(at) | _plane(at) | _pixels(at) | _times(at) | _technique(at)
    return Header(
        place=candidate.place,
        frame=index,
        frames=count,
        size=candidate.state.size,
        stamp=candidate.state.stamp,
        is_truncated=truncated,
        pet=pet_header(at.top) if fields["modality"] == "PT" else None,
        **fields,
    )


def _identity(at: FrameGroups) -> dict[str, Any]:
    return {
        "patient_id": at.text("PatientID"),
        "issuer": at.text("IssuerOfPatientID"),
        "study_uid": at.text("StudyInstanceUID"),
        "series_uid": at.text("SeriesInstanceUID"),
        "sop_uid": at.text("SOPInstanceUID"),
        "frame_of_reference_uid": at.text("FrameOfReferenceUID"),
        "sop_class": _sop_class(at.top),
        "transfer_syntax": uid_or_empty(at.top.syntax),
        "modality": modality_of(at.text("Modality")),
        "image_type": at.texts("FrameType") or at.texts("ImageType"),
        "instance_number": at.integer("InstanceNumber"),
    }


def _plane(at: FrameGroups) -> dict[str, Any]:
    matrix = (at.integer("TotalPixelMatrixRows"), at.integer("TotalPixelMatrixColumns"))
    return {
        "ipp": at.numbers("ImagePositionPatient"),
        "iop": at.numbers("ImageOrientationPatient"),
        "pixel_spacing": at.numbers("PixelSpacing"),
        "slice_thickness": at.number("SliceThickness"),
        "gantry_tilt": at.number("GantryDetectorTilt"),
        "stack_id": at.text("StackID"),
        "in_stack_position": at.integer("InStackPositionNumber"),
        "pyramid_uid": at.text("PyramidUID"),
        "container": at.text("ContainerIdentifier"),
        "matrix": tuple(each for each in matrix if each),
        "concatenation_uid": at.text("ConcatenationUID"),
        "concatenation_number": at.integer("InConcatenationNumber"),
        "concatenation_total": at.integer("InConcatenationTotalNumber"),
    }


def _pixels(at: FrameGroups) -> dict[str, Any]:
    allocated = at.integer("BitsAllocated") or 16
    signed = at.integer("PixelRepresentation") == 1
    stored = at.integer("BitsStored") or allocated
    high, burned_in = at.integer("HighBit"), at.text("BurnedInAnnotation")
    return {
        "rows": at.integer("Rows") or 0,
        "columns": at.integer("Columns") or 0,
        "samples": at.integer("SamplesPerPixel") or 1,
        "bits_allocated": allocated,
        "bits_stored": stored,
        "high_bit": stored - 1 if high is None else high,
        "signed": signed,
        "photometric": at.text("PhotometricInterpretation"),
        "padding": as_stored(at.integer("PixelPaddingValue"), signed, allocated),
        "padding_limit": as_stored(at.integer("PixelPaddingRangeLimit"), signed, allocated),
        "has_pixels": at.top.has_pixels,
        "slope": at.number("RescaleSlope"),
        "intercept": at.number("RescaleIntercept"),
        "rescale_type": at.text("RescaleType"),
        "has_modality_lut": bool(at.top.items(tag_of("ModalityLUTSequence"))),
        "has_real_world_mapping": at.has_items("RealWorldValueMappingSequence"),
        **real_world(at, signed, allocated),
        "is_lossy": at.text("LossyImageCompression") == "01",
        "burned_in": burned_in if burned_in in _YES_NO else "",
    }


def _times(at: FrameGroups) -> dict[str, Any]:
    echoes = at.numbers("EchoNumbers") or ()
    return {
        "acquisition_number": _first(at.integer, "FrameAcquisitionNumber", "AcquisitionNumber"),
        "temporal_position": _first(at.integer, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        "trigger_time": _first(at.number, "NominalCardiacTriggerDelayTime", "TriggerTime"),
        "echo_numbers": tuple(int(each) for each in echoes if math.isfinite(each)),
        "echo_time": _first(at.number, "EffectiveEchoTime", "EchoTime"),
        "inversion_time": _first(at.number, "InversionTimes", "InversionTime"),
        "b_value": at.number("DiffusionBValue"),
        "gradient": at.numbers("DiffusionGradientOrientation") or (),
        "frame_reference_time": at.number("FrameReferenceTime"),
        "acquisition_time": at.text("FrameAcquisitionDateTime") or acquisition_time(at.top),
        "content_time": at.text("ContentDate") + at.text("ContentTime"),
    }


def _technique(at: FrameGroups) -> dict[str, Any]:
    agent = at.text("ContrastBolusAgent")
    told = any(tag_of(name) in at.top.raw for name in ("ContrastBolusAgent", "ContrastBolusAgentSequence"))
    people = tuple(at.top.text(tag) for tag in _PEOPLE if tag in at.top.raw)
    texts = (at.text("Manufacturer"), at.text("ManufacturerModelName"), at.text("ConvolutionKernel"))
    maker, model, kernel = shown(*texts, people)
    return {
        "manufacturer": maker,
        "model": model,
        "kvp": at.number("KVP"),
        "kernel": kernel,
        "has_contrast": bool(agent or at.top.items(tag_of("ContrastBolusAgentSequence"))) if told else None,
    }


def _first(value: Callable[[str], _T | None], *keywords: str) -> _T | None:
    return next((found for found in map(value, keywords) if found is not None), None)
