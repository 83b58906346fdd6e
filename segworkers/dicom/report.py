"""Measurement reports of the lesions of one series: TID 1500 (PS3.16) as Comprehensive 3D SR, through highdicom.

One measurement group a lesion (TID 1411), which names its segment in the segmentation object. Measurements that are
null in the tables are left out. Everything is automatic and unverified, and the report says so.
"""
# highdicom is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from highdicom import sr
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from schemas.volumes import VolumeFacts
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
from segworkers.dicom.lesions import Lesion, in_order
from segworkers.dicom.segmentation import SERIES_NUMBER, tracking_uid
from segworkers.dicom.stack import Stack
from segworkers.dicom.terms import DEFAULT_TERMS, Term

MAX_GROUPS = 1_000
"""Lesions of one report: a group is about 100 content items, which readers and highdicom keep as objects."""

MILLIMETRE = Term("mm", "UCUM", "mm")
"""The unit of lengths."""

MAXIMUM = Term("56851009", "SCT", "Maximum")
BETWEEN_CENTRES = Term("VOXEL_CENTRES", "99SEGWORKERS", "Distance between voxel centres")
"""How diameters are measured; the standard has no code for it (a private one: PS3.16 8)."""

LENGTHS: dict[str, tuple[Term, Term | None]] = {
    "long_axis_mm": (Term("103339001", "SCT", "Long axis"), None),
    "short_axis_mm": (Term("103340004", "SCT", "Short axis"), None),
    "max_diameter_mm": (Term("81827009", "SCT", "Diameter"), MAXIMUM),
}
"""Column to concept (PS3.16 CID 7470) and derivation. IBSI's maximum 3-D diameter (L0JK) is one between corners of a
mesh, which is about a voxel longer, so it is not named here."""

STATISTICS = {
    "value_mean": Term("373098007", "SCT", "Mean"),
    "value_sd": Term("386136009", "SCT", "Standard Deviation"),
    "value_median": Term("373099004", "SCT", "Median"),
    "value_min": Term("255605001", "SCT", "Minimum"),
    "value_max": MAXIMUM,
}
"""Column to derivation (PS3.16 CID 7464)."""

_NO_UNIT = Term("1", "UCUM", "no units")
_SUV = (
    Term("126401", "DCM", "SUVbw"),
    Term("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight"),
)
_PROCEDURES = {
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": codes.LN.MRIUnspecifiedBodyRegion,
    "PT": codes.LN.PETUnspecifiedBodyRegion,
}
_IMAGING = Term("363679005", "SCT", "Imaging procedure")


@dataclass(frozen=True, slots=True)
class Quantity:
    """What the values of a series are."""

    name: Term
    unit: Term
    factor: float = 1.0
    """What a value of the tables is multiplied by."""


def write_sr(
    stack: Stack,
    facts: VolumeFacts,
    objects: Iterable[Lesion],
    segmentations: Sequence[Path],
    options: ObjectOptions,
    folder: Path,
) -> list[Path]:
    """Write `SERIES-report.dcm` (and `SERIES-report-2.dcm` … for more than `MAX_GROUPS` lesions) into `folder`.

    `segmentations` are the files that `segworkers.dicom.segmentation.write_seg` wrote for the same lesions. Returns the
    files, none where there are no lesions: TID 1500 wants a measurement group. Raises InputError: `output_failed`, or
    what opening the source raises.
    """
    lesions = in_order(objects)
    if not lesions:
        return []
    header = source_header(stack, options.mode)
    written: list[Path] = []
    with guarded(facts, "report"):
        references = references_of(stack, header, options)
        segments = _segments(segmentations)
        for number, start in enumerate(range(0, len(lesions), MAX_GROUPS), 1):
            part = lesions[start : start + MAX_GROUPS]
            made = _report(part, number, segments, facts, references, options)
            finish(made, header, facts, options)
            name = f"{facts.series_id}-report.dcm" if number == 1 else f"{facts.series_id}-report-{number}.dcm"
            written.append(save(made, folder / name))
    return written


def quantity(unit: str | None, facts: VolumeFacts) -> Quantity | None:
    """What values in a unit of the tables mean (PS3.16 CID 7469, CID 83, CID 84).

    Becquerels become SUVbw where the factor is known. MR signals are numbers without a unit; where MR values have one,
    it does not say what they are. None for anything else: a number of nothing in particular is not reported.
    """
    if unit == "HU":
        return Quantity(Term("112031", "DCM", "Attenuation Coefficient"), Term("[hnsf'U]", "UCUM", "Hounsfield unit"))
    if unit in {"SUVbw", "SUV", "GML", "g/ml"}:
        return Quantity(*_SUV)
    if unit == "BQML":
        if facts.suv_factor is not None:
            return Quantity(*_SUV, facts.suv_factor)
        concentration = Term("126377", "DCM", "Tracer Concentration")
        return Quantity(concentration, Term("Bq/ml", "UCUM", "Becquerels/milliliter"))
    if facts.modality == "MR" and unit is None:
        return Quantity(Term("110852", "DCM", "MR signal intensity"), _NO_UNIT)
    return None


def _report(
    lesions: Sequence[Lesion],
    number: int,
    segments: dict[str, tuple[Dataset, int]],
    facts: VolumeFacts,
    references: References,
    options: ObjectOptions,
) -> sr.Comprehensive3DSR:
    """One report, still without an owner."""
    names = (facts.series_id, options.generation, options.mode, options.made_at.isoformat())
    groups = [_group(lesion, segments[lesion.instance_id], facts, references, options) for lesion in lesions]
    content = sr.MeasurementReport(
        observation_context=_observer(options),
        procedure_reported=_PROCEDURES.get(facts.modality, concept(_IMAGING)),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    used = {segments[lesion.instance_id][0].SOPInstanceUID: segments[lesion.instance_id][0] for lesion in lesions}
    uid = derived_uid("report", *names, *used, *(lesion.instance_id for lesion in lesions))
    return sr.Comprehensive3DSR(
        evidence=[_evidence(segmentation, references) for segmentation in used.values()],
        content=content[0],
        series_instance_uid=derived_uid("report series", *names),
        series_number=SERIES_NUMBER + 1,
        sop_instance_uid=uid,
        instance_number=number,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description="Measurements (automatic)",
        manufacturer_model_name=MANUFACTURER,
        software_versions=software_version(),
        device_serial_number=options.algorithm.digest[:64] or "none",
        content_date=options.made_at.date(),
        content_time=options.made_at.time(),
        specific_character_set="ISO_IR 192",
    )


def _observer(options: ObjectOptions) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("observer", options.algorithm.name, options.algorithm.version, options.algorithm.digest),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=f"{MANUFACTURER} {software_version()}",
        serial_number=options.algorithm.digest[:64] or "none",
    )
    context = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return sr.ObservationContext(observer_device_context=context)


def _group(
    lesion: Lesion,
    segment: tuple[Dataset, int],
    facts: VolumeFacts,
    references: References,
    options: ObjectOptions,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    terms = options.terms.get(lesion.label, DEFAULT_TERMS)
    segmentation, number = segment
    algorithm = options.algorithm
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking_uid(lesion), identifier=lesion.instance_id),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(references.series_uid),
        ),
        finding_category=concept(terms.category),
        finding_type=concept(terms.type),
        finding_sites=[sr.FindingSite(anatomic_location=concept(site)) for site in terms.sites] or None,
        algorithm_id=sr.AlgorithmIdentification(
            name=algorithm.name, version=algorithm.version, parameters=[f"digest={algorithm.digest}"]
        ),
        measurements=_measurements(lesion, facts),
    )


def _measurements(lesion: Lesion, facts: VolumeFacts) -> list[sr.Measurement]:
    """Those that are known."""
    found: list[sr.Measurement] = []
    if lesion.volume_mm3 is not None:
        found.append(sr.Measurement(name=codes.SCT.Volume, value=lesion.volume_mm3, unit=codes.UCUM.CubicMillimeter))
    for column, (name, derivation) in LENGTHS.items():
        value = getattr(lesion, column)
        if value is not None:
            found.append(
                sr.Measurement(
                    name=concept(name),
                    value=value,
                    unit=concept(MILLIMETRE),
                    derivation=derivation and concept(derivation),
                    method=concept(BETWEEN_CENTRES),
                )
            )
    what = quantity(lesion.value_unit, facts)
    for column, derivation in STATISTICS.items():
        value = getattr(lesion, column)
        if value is not None and what is not None:
            found.append(
                sr.Measurement(
                    name=concept(what.name),
                    value=value * what.factor,
                    unit=concept(what.unit),
                    derivation=concept(derivation),
                )
            )
    return found


def _segments(segmentations: Sequence[Path]) -> dict[str, tuple[Dataset, int]]:
    """Tracking identifier, which is the lesion's instance_id, to its segmentation's header and its segment number."""
    found: dict[str, tuple[Dataset, int]] = {}
    names = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SegmentSequence"]
    for path in segmentations:
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(names))
        for item in header.SegmentSequence:
            if "TrackingID" in item:
                found[str(item.TrackingID)] = header, int(item.SegmentNumber)
    return found


def _evidence(segmentation: Dataset, references: References) -> Dataset:
    """What highdicom wants to know of an object that the report names; no patient, `finish` brings that."""
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = segmentation.SOPClassUID, segmentation.SOPInstanceUID
    item.StudyInstanceUID, item.SeriesInstanceUID = references.study_uid, segmentation.SeriesInstanceUID
    item.PatientID = item.PatientName = item.PatientBirthDate = item.PatientSex = ""
    item.AccessionNumber = item.StudyID = item.StudyDate = item.StudyTime = item.ReferringPhysicianName = ""
    return item
