"""Texts of makers, models and kernels: shown where they are technical, withheld where they repeat a person's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dicom_catalog import catalog_dicom
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.technical_texts import KERNELS, MAKERS, kernel_text, maker_text, model_text, repeats
from tests.dicom_decisions import headers_in
from tests.dicom_files import Layout, ct_series, save

NAMES = st.text("abcdefghijklmnopqrstuvwxyzäöüéø", min_size=4, max_size=12)


@pytest.mark.parametrize(
    ("text", "person", "is_repeated"),
    [
        ("Scanner of Muster", "Muster^Erika", True),
        ("MUSTER-CT", "muster^erika", True),
        ("xErikax 64", "Muster^Erika", True),
        ("Müller 1", "MULLER^A", True),
        ("LiWei One", "Li^Wei", True),
        ("Model Li", "Li^Wei", True),
        ("Weili", "Li^Wei", True),
        ("Alison 2", "Li^X", False),
        ("Sensation 64", "64", False),
        ("Scanner 4711", "ACC4711", False),
        ("Scanner ACC4711", "ACC4711", True),
        ("SN 20210305", "20210305", True),
        ("Discovery CT750 HD", "Muster^Erika", False),
        ("A", "A^B", False),
        ("", "Muster", False),
        ("Scanner", "", False),
    ],
)
def test_what_repeats_a_person(text: str, person: str, is_repeated: bool) -> None:
    assert repeats(text, ["other", person]) == is_repeated


@given(NAMES, NAMES, st.sampled_from(["", " ", "-", "_", "."]), st.booleans())
def test_a_name_is_found_however_it_is_written(first: str, last: str, separator: str, is_upper: bool) -> None:
    text = f"One {last}{separator}{first} 64"
    assert repeats(text.upper() if is_upper else text, [f"{last}^{first}"])


def test_known_names_are_shown_whatever_people_are_called() -> None:
    assert maker_text("Siemens", ["Siemens^Werner"]) == "Siemens"
    assert maker_text("Siemens Werner", ["Siemens^Werner"]) == ""
    assert model_text("Siemens", ["Siemens^Werner"]) == ""
    assert all(maker_text(maker.upper(), [maker]) for maker in MAKERS)


@pytest.mark.parametrize(
    "text", ["B30f", "Br40d", "Hr60", "I31f", "FC08", "STANDARD", "BONEPLUS", "LUNG", "B", "YA", "SOFT"]
)
def test_kernels_of_scanners_are_shown(text: str) -> None:
    assert kernel_text(text) == text


@pytest.mark.parametrize("text", ["Erika", "Muster^Erika", "B30f Erika", "STANDARD of Muster", "Li", "12345", "P4711x"])
def test_other_kernels_are_not(text: str) -> None:
    assert kernel_text(text) == "" and not KERNELS.fullmatch(text)


def test_nothing_of_a_person_leaves_the_header_or_gets_into_the_cache_and_the_tables(tmp_path: Path) -> None:
    slices = ct_series(Layout(shape=(4, 8, 8)))
    for one in slices:
        one.PatientName, one.OtherPatientIDs = "Geheimnis^Ute", "MRN998877"
        one.Manufacturer, one.ManufacturerModelName, one.ConvolutionKernel = "Geheimnis", "MRN998877 CT", "Ute"
    made = save(slices, tmp_path / "in")
    found, _ = headers_in(made.folder)
    assert {(each.manufacturer, each.model, each.kernel) for each in found} == {("", "", "")}
    crosswalk = Crosswalk.open(str(tmp_path / "crosswalk"))
    listed = catalog_dicom([str(made.folder)], crosswalk, 1)
    assert [(row["manufacturer"], row["model_name"], row["kernel"]) for row in listed.series] == [(None, None, None)]
    for file in (path for path in (tmp_path / "crosswalk").rglob("*") if path.is_file()):
        assert b"Geheimnis" not in file.read_bytes() and b"MRN998877" not in file.read_bytes()
