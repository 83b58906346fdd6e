"""DICOM Segmentation objects of the lesions of one series, through highdicom (PS3.3 A.51, C.8.20).

One segment a lesion; frames lie on the source's own slices, each with its own position, so that tilted stacks, varying
steps and missing slices need no regular volume. Frames without a pixel are not written. Pixels are made frame by frame
from runs.
"""
# highdicom is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Literal, cast

import highdicom as hd
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless
from pydicom.valuerep import format_number_as_ds

from schemas.volumes import VolumeFacts, VolumeGeometry
from segworkers.dicom.derived import (
    MANUFACTURER,
    ObjectOptions,
    References,
    concept,
    derived_uid,
    finish,
    guarded,
    references_of,
    save,
    software_version,
    source_header,
)
from segworkers.dicom.lesions import Lesion, check_inside, in_order, overlap
from segworkers.dicom.segment_frames import BinaryFrames, LabelFrames
from segworkers.dicom.stack import Stack
from segworkers.dicom.terms import DEFAULT_TERMS

MAX_SEGMENTS = 65_535
"""Segment Number is an unsigned short (PS3.3 C.8.20.2)."""
MAX_FRAMES = 16_384
"""Frames of one object: readers keep a description of each in memory."""
MAX_PIXEL_BYTES = 1 << 28
"""Pixels of one binary object: they are held twice while it is written; DICOM would allow 4 GiB (PS3.5 7.1.1)."""

SERIES_NUMBER = 9_001
"""Of the segmentations; reports have the next. Far from what scanners count up to."""


def write_seg(
    stack: Stack, facts: VolumeFacts, objects: Iterable[Lesion], options: ObjectOptions, folder: Path
) -> list[Path]:
    """Write `SERIES-seg.dcm` (and `SERIES-seg-2.dcm` … where one object cannot hold them all) into `folder`.

    Segments are numbered 1 and up in the order of `segworkers.dicom.lesions.in_order`. Returns the files, none where
    there are no lesions: an object without a segment is not allowed. Raises InputError: `output_failed`, or what
    opening the source raises.
    """
    lesions = in_order(objects)
    if not lesions:
        return []
    header = source_header(stack, options.mode)
    with guarded(facts, "segmentation"):
        check_inside(lesions, facts.geometry.shape)
        references = references_of(stack, header, options)
        kind = segmentation_type(lesions, options)
        written: list[Path] = []
        for number, part in enumerate(parts_of(lesions, facts.geometry, kind), 1):
            made = _segmentation(part, number, kind, facts, references, header, options)
            finish(made, header, facts, options)
            name = f"{facts.series_id}-seg.dcm" if number == 1 else f"{facts.series_id}-seg-{number}.dcm"
            written.append(save(made, folder / name))
    return written


def segmentation_type(lesions: Sequence[Lesion], options: ObjectOptions) -> Literal["binary", "labelmap"]:
    """What is written: a label map holds one lesion a voxel, so lesions that overlap are written as binary."""
    if options.segmentation == "labelmap" and not overlap(lesions):
        return "labelmap"
    return "binary"


def parts_of(
    lesions: Sequence[Lesion], geometry: VolumeGeometry, kind: Literal["binary", "labelmap"]
) -> list[list[Lesion]]:
    """Lesions in order, cut where an object is full: of segments, or, where it is binary, of frames or bytes.

    A label map has one frame a slice, however many lesions there are.
    """
    most_frames = min(MAX_FRAMES, MAX_PIXEL_BYTES * 8 // (geometry.shape[1] * geometry.shape[2]))
    parts: list[list[Lesion]] = [[]]
    frames = 0
    for lesion in lesions:
        own = len(np.unique(lesion.runs[:, 0])) if kind == "binary" else 0
        if parts[-1] and (len(parts[-1]) == MAX_SEGMENTS or frames + own > most_frames):
            parts.append([])
            frames = 0
        parts[-1].append(lesion)
        frames += own
    return parts


def _segmentation(
    lesions: Sequence[Lesion],
    number: int,
    kind: Literal["binary", "labelmap"],
    facts: VolumeFacts,
    references: References,
    header: Dataset,
    options: ObjectOptions,
) -> Segmentation:
    """One object, still without an owner."""
    names = (facts.series_id, options.generation, options.mode, options.made_at.isoformat(), kind)
    shape = facts.geometry.shape
    frames = BinaryFrames(lesions, shape) if kind == "binary" else LabelFrames(lesions, shape)
    made = Segmentation(
        source_images=_stand_ins(facts, references, header),
        pixel_array=cast(Any, frames),
        segmentation_type=SegmentationTypeValues.BINARY if kind == "binary" else SegmentationTypeValues.LABELMAP,
        segment_descriptions=[_description(k, lesion, options) for k, lesion in enumerate(lesions, 1)],
        series_instance_uid=derived_uid("segmentation series", *names),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("segmentation", *names, str(number), *(each.instance_id for each in lesions)),
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=software_version(),
        device_serial_number=options.algorithm.digest[:64] or "none",
        content_label="LESIONS",
        series_description="Segmentation (automatic)",
        content_date=options.made_at.date(),
        content_time=options.made_at.time(),
        transfer_syntax_uid=ExplicitVRLittleEndian if kind == "binary" else RLELossless,
        workers=_PydicomEncoder() if kind == "labelmap" and shape[1] * shape[2] % 2 else 0,
        specific_character_set="ISO_IR 192",
    )
    _name_sources(made, references)
    organisation = derived_uid("dimensions", made.SOPInstanceUID)
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = organisation
    for index in made.DimensionIndexSequence:
        index.DimensionOrganizationUID = organisation
    return made


class _PydicomEncoder(Executor):
    """Encodes frames here and now, with pydicom's own encoder.

    For frames of an odd number of pixels: GDCM, ten times as fast and taken by default where it is installed, ends the
    process on them (a failed assertion in its RLE codec).
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The frame, encoded; `fn`, highdicom's own function, leaves no choice of encoder."""
        array, described = kwargs["array"], {name: value for name, value in kwargs.items() if name.startswith("bits_")}
        future: Future[Any] = Future()
        future.set_result(
            RLELosslessEncoder.encode(
                array,
                encoding_plugin="pydicom",
                rows=array.shape[0],
                columns=array.shape[1],
                number_of_frames=1,
                samples_per_pixel=1,
                photometric_interpretation=str(kwargs["photometric_interpretation"]),
                pixel_representation=0,
                **described,
            )
        )
        return future


def _description(number: int, lesion: Lesion, options: ObjectOptions) -> SegmentDescription:
    terms = options.terms.get(lesion.label, DEFAULT_TERMS)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=options.algorithm.name[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=options.algorithm.version[:64],
        parameters={"digest": options.algorithm.digest},
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=f"{lesion.label[:50]} {lesion.mask_value or number}",
        segmented_property_category=concept(terms.category),
        segmented_property_type=concept(terms.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid(lesion),
        tracking_id=lesion.instance_id,
        anatomic_regions=[concept(site) for site in terms.sites] or None,
    )


def tracking_uid(lesion: Lesion) -> str:
    """The same in every object that tells of the lesion."""
    return derived_uid("tracking", lesion.instance_id)


def _stand_ins(facts: VolumeFacts, references: References, header: Dataset) -> list[Dataset]:
    """One single-frame CT image a slice, for highdicom to read geometry from, whatever the source's own class is.

    It wants one multi-frame image, or single-frame images whose orientations are equal to the last digit; slices of a
    stack may come from several files of frames, and differ by rounding. UIDs are places in the stack, to be replaced by
    `_name_sources`; there is no patient, because highdicom quotes one in warnings.
    """
    geometry = facts.geometry
    rows, columns = geometry.pixel_spacing_mm
    cosines = np.r_[np.array(geometry.column_step) / columns, np.array(geometry.row_step) / rows]
    stand_ins: list[Dataset] = []
    for z, origin in enumerate(geometry.origins()):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = CTImageStorage, f"2.25.{z + 1}", facts.modality
        one.StudyInstanceUID, one.SeriesInstanceUID = references.study_uid, references.series_uid
        one.FrameOfReferenceUID = references.frame_of_reference_uid
        one.PatientID = one.PatientName = one.PatientBirthDate = one.PatientSex = ""
        one.AccessionNumber = one.StudyID = one.StudyDate = one.StudyTime = one.ReferringPhysicianName = ""
        _, one.Rows, one.Columns = geometry.shape
        one.ImageOrientationPatient = [format_number_as_ds(float(value)) for value in cosines]
        one.ImagePositionPatient = [format_number_as_ds(float(value)) for value in origin]
        one.PixelSpacing = [format_number_as_ds(rows), format_number_as_ds(columns)]
        one.SliceThickness = format_number_as_ds(_slice_thickness(header) or geometry.spacing_mm[0])
        for name in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if header.get(name):
                setattr(one, name, header[name].value)
        stand_ins.append(one)
    return stand_ins


def _slice_thickness(header: Dataset) -> float | None:
    """Nominal thickness, from the header or the functional groups that frames share; None where not said."""
    value = header.get("SliceThickness")
    if value is None and header.get("SharedFunctionalGroupsSequence"):
        measures = header.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence")
        value = measures[0].get("SliceThickness") if measures else None
    return float(value) if value else None


def _name_sources(made: Any, references: References) -> None:
    """Replace the stand-ins by the images that they stand for."""
    by_stand_in = {f"2.25.{z + 1}": named for z, named in enumerate(references.instances)}
    instances = list(dict.fromkeys(uid for uid, _ in references.instances))
    made.SourceImageSequence = [_reference(references.sop_class_uid, uid) for uid in instances]
    made.ReferencedSeriesSequence[0].ReferencedInstanceSequence = [
        _reference(references.sop_class_uid, uid) for uid in instances
    ]
    for frame in made.PerFrameFunctionalGroupsSequence:
        for item in frame.DerivationImageSequence[0].SourceImageSequence:
            uid, number = by_stand_in.get(item.ReferencedSOPInstanceUID, (None, None))
            if uid is None:  # highdicom shares items among the segments of a slice: this one is done
                continue
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = references.sop_class_uid, uid
            if number is not None:
                item.ReferencedFrameNumber = number


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item
