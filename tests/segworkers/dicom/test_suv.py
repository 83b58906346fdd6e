"""SUVbw by the vendor-neutral rules, and every way in which it stays unknown."""

from dataclasses import replace

import pytest

from segworkers.dicom.header import Header, PetHeader
from segworkers.dicom.suv import suv_of

SOUND = PetHeader(
    units="BQML",
    decay_correction="START",
    corrected_image=("ATTN", "DECY"),
    weight_kg=70.0,
    dose_bq=4e8,
    half_life_s=6586.2,
    injection_datetime="20210305090000",
    injection_time="090000",
    series_datetime="20210305100000",
    acquisition_datetime="20210305100000.50",
)


def suv(*changes, **same):
    """Factor and reason of a stack: one slice for each of `changes`."""
    pets = [replace(SOUND, **same, **change) for change in changes or ({},)]
    found = suv_of([Header(place="", modality="PT", pet=pet) for pet in pets])
    return found.factor, found.reason


def test_activity_decays_from_injection_to_the_start_of_the_series():
    assert suv() == (pytest.approx(70_000 / (4e8 * 2 ** (-3600 / 6586.2))), "")


def test_beds_that_were_scanned_later_are_corrected_to_the_same_start():
    assert suv({}, {"acquisition_datetime": "20210305101500"}) == suv()


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"injection_datetime": ""}, suv()[0]),
        ({"injection_datetime": "20210305090000.000000+0100"}, suv()[0]),
        ({"injection_datetime": "20210304233000"}, 70_000 / (4e8 * 2 ** (-(10.5 * 3600) / 6586.2))),
        ({"decay_correction": "ADMIN", "half_life_s": None}, 70_000 / 4e8),
        ({"units": "GML", "weight_kg": None}, 1.0),
        ({"units": "GML", "suv_type": "BW"}, 1.0),
        ({"units": "CNTS", "philips_suv_factor": 0.5}, 0.5),
        ({"units": "CNTS", "philips_suv_factor": 0.0, "philips_activity_factor": 2.0}, 2 * suv()[0]),
        ({"series_datetime": "20210305140000", "ge_scan_datetime": "20210305100000"}, suv()[0]),
    ],
)
def test_known(changes, factor):
    assert suv(**changes) == (pytest.approx(factor), "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"units": "CNTS"}, "suv_units"),
        ({"units": "PROPCPS"}, "suv_units"),
        ({"units": ""}, "suv_units"),
        ({"units": "GML", "suv_type": "LBM"}, "suv_type"),
        ({"corrected_image": ("ATTN",)}, "suv_not_corrected"),
        ({"corrected_image": ("DECY",)}, "suv_not_corrected"),
        ({"decay_correction": "NONE"}, "suv_decay_correction"),
        ({"weight_kg": None}, "suv_weight"),
        ({"weight_kg": 0.0}, "suv_weight"),
        ({"weight_kg": float("nan")}, "suv_weight"),
        ({"dose_bq": None}, "suv_dose"),
        ({"dose_bq": 400.0}, "suv_dose"),
        ({"half_life_s": None}, "suv_half_life"),
        ({"half_life_s": -1.0}, "suv_half_life"),
        ({"series_datetime": ""}, "suv_scan_time"),
        ({"series_datetime": "20210305140000"}, "suv_scan_time"),
        ({"series_datetime": "20211305140000"}, "suv_scan_time"),
        ({"acquisition_datetime": ""}, "suv_scan_time"),
        ({"injection_datetime": "", "injection_time": ""}, "suv_injection_time"),
        ({"injection_datetime": "", "injection_time": "113000"}, "suv_injection_time"),
        ({"injection_datetime": "20210305113000"}, "suv_injection_time"),
        ({"injection_datetime": "rubbish"}, "suv_injection_time"),
    ],
)
def test_unknown(changes, reason):
    assert suv(**changes) == (None, reason)


def test_slices_that_disagree_give_none():
    assert suv({}, {"weight_kg": 71.0}) == (None, "suv_attributes_vary")


@pytest.mark.parametrize("header", [Header(place="", modality="CT"), Header(place="", modality="PT")])
def test_without_pet_attributes_there_is_none(header):
    assert suv_of([header]).reason == "suv_not_pet"
