"""SUVbw: the factor from calibrated PET values to standardised uptake values by body weight, or why there is none.

The vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance (QIBA): nothing is assumed, neither a
half-life nor a weight; a factor that is not certain is None with a reason. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from segworkers.dicom.header import Header, PetHeader

LEAST_DOSE_BQ = 1e5
"""A smaller dose is no imaging dose: somebody wrote it in MBq."""


_FORMATS = {14: "%Y%m%d%H%M%S", 12: "%Y%m%d%H%M"}


@dataclass(frozen=True, slots=True)
class Suv:
    """A factor, or the reason code of its absence."""

    factor: float | None
    reason: str = ""


def suv_of(headers: Sequence[Header]) -> Suv:
    """Of one stack.

    Reasons: `suv_not_pet`, `suv_attributes_vary`, `suv_units`, `suv_type`, `suv_not_corrected`,
    `suv_decay_correction`, `suv_weight`, `suv_dose`, `suv_half_life`, `suv_injection_time`, `suv_scan_time`.
    """
    pets = [h.pet for h in headers]
    first = pets[0]
    if any(h.modality != "PT" for h in headers) or first is None:
        return Suv(None, "suv_not_pet")
    if any(pet is None or _constant(pet) != _constant(first) for pet in pets):
        return Suv(None, "suv_attributes_vary")
    if first.units == "GML":
        return Suv(1.0) if first.suv_type in {"", "BW"} else Suv(None, "suv_type")
    if first.units == "CNTS":
        if _is_positive(first.philips_suv_factor):
            return Suv(first.philips_suv_factor)
        if not _is_positive(first.philips_activity_factor):
            return Suv(None, "suv_units")
    elif first.units != "BQML":
        return Suv(None, "suv_units")
    by_dose = _by_dose(first, [pet.acquisition_datetime for pet in pets if pet])
    if by_dose.factor is None or first.units == "BQML":
        return by_dose
    return Suv(by_dose.factor * (first.philips_activity_factor or math.nan))


def _constant(pet: PetHeader) -> PetHeader:
    return replace(pet, acquisition_datetime="")


def _by_dose(pet: PetHeader, acquisitions: Sequence[str]) -> Suv:
    """Weight in grams over the activity left at the time that the values are corrected to, for values in Bq/ml."""
    weight, dose = pet.weight_kg or math.nan, pet.dose_bq or math.nan
    for reason, is_good in (
        ("suv_not_corrected", {"ATTN", "DECY"} <= set(pet.corrected_image)),
        ("suv_decay_correction", pet.decay_correction in {"START", "ADMIN"}),
        ("suv_weight", _is_positive(weight)),
        ("suv_dose", _is_positive(dose) and dose >= LEAST_DOSE_BQ),
    ):
        if not is_good:
            return Suv(None, reason)
    if pet.decay_correction == "ADMIN":
        return Suv(weight * 1000 / dose)
    half_life = pet.half_life_s or math.nan
    if not _is_positive(half_life):
        return Suv(None, "suv_half_life")
    scan = _scan_time(pet, acquisitions)
    if scan is None:
        return Suv(None, "suv_scan_time")
    injection = _injection_time(pet, scan)
    if injection is None or scan < injection:
        return Suv(None, "suv_injection_time")
    return Suv(weight * 1000 / (dose * 2 ** (-(scan - injection).total_seconds() / half_life)))


def _scan_time(pet: PetHeader, acquisitions: Sequence[str]) -> datetime | None:
    """The start to which values are corrected: of the series, if no slice was acquired before; else what GE says.

    A series that was computed later carries a later SeriesTime, so that its start is not known from it.
    """
    series, first = _moment(pet.series_datetime), [_moment(text) for text in acquisitions]
    known = [moment for moment in first if moment is not None]
    if series is not None and len(known) == len(first) and series <= min(known):
        return series
    return _moment(pet.ge_scan_datetime)


def _injection_time(pet: PetHeader, scan: datetime) -> datetime | None:
    """RadiopharmaceuticalStartDateTime; else the time alone, on the day of the scan."""
    if pet.injection_datetime:
        return _moment(pet.injection_datetime)
    if len(pet.injection_time) < 4:
        return None
    return _moment(scan.strftime("%Y%m%d") + pet.injection_time)


def _moment(text: str) -> datetime | None:
    """A DICOM DT (PS3.5 6.2), to the minute at least. Offsets from UTC are dropped: all clocks are one scanner's."""
    digits, _, rest = text.strip().partition(".")
    digits = digits.split("+")[0].split("-")[0]
    fraction = rest.split("+")[0].split("-")[0]
    if len(digits) not in {14, 12} or not digits.isdigit():
        return None
    try:
        whole = datetime.strptime(digits, _FORMATS[len(digits)]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return whole + timedelta(seconds=float(f"0.{fraction}") if fraction.isdigit() else 0.0)


def _is_positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0
