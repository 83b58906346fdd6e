"""What a PET file says that SUV depends on (PS3.3 C.8.9.1, C.8.9.2), with the private attributes of two vendors."""

from __future__ import annotations

from segworkers.dicom.elements import Elements
from segworkers.dicom.functional_groups import tag_of
from segworkers.dicom.header import PetHeader

_TOP = (
    *(
        "Units",
        "SUVType",
        "DecayCorrection",
        "CorrectedImage",
        "PatientWeight",
        "RadiopharmaceuticalInformationSequence",
    ),
    *("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime"),
    "AcquisitionDateTime",
)
_GE, _GE_CREATOR = 0x0009, "GEMS_PETD_01"
_PHILIPS, _PHILIPS_CREATOR = 0x7053, "Philips PET Private Group"
_BLOCKS = range(0x10, 0x14)
"""Blocks of private attributes that are looked into; scanners use the first."""

PET_TAGS = frozenset(
    (
        *map(tag_of, _TOP),
        *(group << 16 | block for group in (_GE, _PHILIPS) for block in _BLOCKS),
        *(_GE << 16 | block << 8 | 0x0D for block in _BLOCKS),
        *(_PHILIPS << 16 | block << 8 | element for block in _BLOCKS for element in (0x00, 0x09)),
    )
)
"""Tags that `pet_header` looks at."""


def pet_header(top: Elements) -> PetHeader:
    """Raises DamagedHeaderError where the sequence of drugs cannot be read."""
    drug = next(iter(top.items(tag_of("RadiopharmaceuticalInformationSequence"))), Elements({}))
    return PetHeader(
        units=top.text(tag_of("Units")),
        suv_type=top.text(tag_of("SUVType")),
        decay_correction=top.text(tag_of("DecayCorrection")),
        corrected_image=top.texts(tag_of("CorrectedImage")),
        weight_kg=top.number(tag_of("PatientWeight")),
        dose_bq=drug.number(tag_of("RadionuclideTotalDose")),
        half_life_s=drug.number(tag_of("RadionuclideHalfLife")),
        injection_datetime=drug.text(tag_of("RadiopharmaceuticalStartDateTime")),
        injection_time=drug.text(tag_of("RadiopharmaceuticalStartTime")),
        series_datetime=top.text(tag_of("SeriesDate")) + top.text(tag_of("SeriesTime")),
        acquisition_datetime=acquisition_time(top),
        ge_scan_datetime=top.text(_private(top, _GE, _GE_CREATOR, 0x0D)),
        philips_suv_factor=top.number(_private(top, _PHILIPS, _PHILIPS_CREATOR, 0x00)),
        philips_activity_factor=top.number(_private(top, _PHILIPS, _PHILIPS_CREATOR, 0x09)),
    )


def acquisition_time(top: Elements) -> str:
    """AcquisitionDate and AcquisitionTime joined, else AcquisitionDateTime."""
    time = top.text(tag_of("AcquisitionTime"))
    return top.text(tag_of("AcquisitionDate")) + time if time else top.text(tag_of("AcquisitionDateTime"))


def _private(top: Elements, group: int, creator: str, element: int) -> int:
    """Tag of an element in the block that `creator` reserved (PS3.5 7.8.1); 0, which no file has, where it did not."""
    for block in _BLOCKS:
        if top.text(group << 16 | block) == creator:
            return group << 16 | block << 8 | element
    return 0
