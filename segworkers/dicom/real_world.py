"""Real world value mapping (PS3.3 C.7.6.16.2.11): what an image says its stored values are, beside the rescale.

A mapping is kept where it is one item, linear, and of a unit that is known; whether it is applied is decided with the
rest of the header (`segworkers.dicom.pixel_facts`). It maps stored values, not rescaled ones, and only those from its
first to its last value: others have no real value.
"""

from __future__ import annotations

import math
from typing import Any

from segworkers.dicom.elements import Elements
from segworkers.dicom.functional_groups import FrameGroups, tag_of

UNITS = frozenset({
    "1", "%", "[hnsf'U]", "mm", "cm", "um", "mm2", "cm2", "mm3", "ml", "s", "ms", "us", "/s", "1/s", "/min", "1/min",
    "Hz", "kHz", "rad", "deg", "mm/s", "cm/s", "m/s", "mm2/s", "um2/s", "10*-6.mm2/s", "10-6.mm2/s", "1e-6.mm2/s",
    "s/mm2", "ml/s", "ml/min", "l/min", "ml/ml", "ml/100ml", "ml/(100.ml)", "ml/min/100ml", "ml/(100.ml)/min",
    "ml/100g/min", "ml/(100.g)/min", "mg/ml", "mg/cm3", "g/cm3", "g/ml", "ug/ml", "kg/m3", "mmol/l", "mmol/kg",
    "Bq/ml", "kBq/ml", "g/ml{SUVbw}", "g/ml{SUVlbm}", "cm2/ml{SUVbsa}", "{counts}", "{counts}/s", "Pa", "kPa", "Cel",
    "keV", "T", "mT", "uT", "[ppm]", "[arb'U]", "{ratio}", "{0:1}", "mGy", "Gy",
})  # fmt: skip
"""UCUM codes that may stand in tables (PS3.16 CID 82 to 84, CID 7180 and their like); no other text does."""

_SEQUENCE, _UNIT = tag_of("RealWorldValueMappingSequence"), tag_of("MeasurementUnitsCodeSequence")
_SLOPE, _INTERCEPT = tag_of("RealWorldValueSlope"), tag_of("RealWorldValueIntercept")
_FIRST, _LAST = tag_of("RealWorldValueFirstValueMapped"), tag_of("RealWorldValueLastValueMapped")
_TABLE, _CODE, _SCHEME = tag_of("RealWorldValueLUTData"), tag_of("CodeValue"), tag_of("CodingSchemeDesignator")


def real_world(at: FrameGroups, signed: bool, allocated: int) -> dict[str, Any]:
    """`real_world` and `real_world_unit` of a frame's header; {} where there is no such mapping, or not only one.

    signed, allocated: of the stored values. Raises DamagedHeaderError.
    """
    items = at.holder("RealWorldValueMappingSequence").items(_SEQUENCE)
    if len(items) != 1 or _TABLE in items[0].raw:
        return {}
    ends = (as_stored(items[0].integer(tag), signed, allocated) for tag in (_FIRST, _LAST))
    told = (items[0].number(_SLOPE), items[0].number(_INTERCEPT), *ends)
    numbers = tuple(float(each) for each in told if each is not None and math.isfinite(each))
    unit = _unit(items[0])
    if not unit or len(numbers) < len(told) or not numbers[0]:
        return {}
    return {"real_world": numbers, "real_world_unit": unit}


def _unit(item: Elements) -> str:
    codes = item.items(_UNIT)
    if len(codes) != 1 or codes[0].text(_SCHEME) != "UCUM":
        return ""
    unit = codes[0].text(_CODE)
    return unit if unit in UNITS else ""


def as_stored(value: int | None, signed: bool, allocated: int) -> int | None:
    """Two's complement: the VR of stored values is US or SS, and files often have the wrong one."""
    return value - (1 << allocated) if value is not None and signed and value >= 1 << (allocated - 1) else value
