"""From a file to its headers: what is told of each slice, and what becomes of files that are damaged or no DICOM."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.fileset import FileSet
from pydicom.multival import MultiValue

from segworkers.dicom import header_bytes
from segworkers.dicom.file_headers import WANTED, read_headers
from segworkers.dicom.functional_groups import tag_of
from segworkers.dicom.header import Header
from segworkers.dicom.header_bytes import read_elements
from segworkers.dicom.places import Candidate, Places, Unusable
from tests import dicom_variants
from tests.dicom_decisions import decisions
from tests.dicom_files import ct_series, save
from tests.dicom_multiframe import enhanced

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def outcome(file: Path, *, promised: bool = False) -> list[Header] | Unusable | None:
    places = Places()
    return read_headers(places, Candidate(str(file), places.state(str(file)), promised))


def headers(folder: Path) -> list[Header]:
    """Of all files, sorted by name."""
    found = [outcome(file) for file in sorted(folder.rglob("*")) if file.is_file()]
    return [each for one in found if isinstance(one, list) for each in one]


def one(made: Dataset, folder: Path) -> Header:
    (header,) = headers(save([made], folder).folder)
    return header


def reason(file: Path, *, promised: bool = False) -> str | None:
    found = outcome(file, promised=promised)
    return found.reason if isinstance(found, Unusable) else None


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return save(ct_series()[:1], tmp_path / "made").files[0].read_bytes()


def test_a_slice_is_told_as_the_file_says_it(tmp_path: Path) -> None:
    made = save(ct_series()[3:4], tmp_path)
    (header,), (slice_,) = headers(tmp_path), made.slices
    stat = made.files[0].stat()
    assert (header.place, header.size, header.stamp) == (str(made.files[0]), stat.st_size, str(stat.st_mtime_ns))
    assert (header.frame, header.frames, header.is_truncated, header.has_pixels) == (0, 1, False, True)
    assert (header.sop_uid, header.series_uid) == (slice_.SOPInstanceUID, slice_.SeriesInstanceUID)
    assert (header.study_uid, header.frame_of_reference_uid) == (slice_.StudyInstanceUID, slice_.FrameOfReferenceUID)
    assert (header.patient_id, header.issuer) == ("P1", "HOSPITAL")
    assert (header.sop_class, header.transfer_syntax, header.modality) == (slice_.SOPClassUID, EXPLICIT, "CT")
    assert header.ipp == tuple(map(float, slice_.ImagePositionPatient))
    assert header.iop == tuple(map(float, slice_.ImageOrientationPatient))
    assert (header.pixel_spacing, header.slice_thickness) == ((1.0, 1.0), 2.5)
    assert (header.rows, header.columns, header.samples) == (40, 48, 1)
    assert (header.bits_allocated, header.bits_stored, header.high_bit, header.signed) == (16, 12, 11, False)
    assert (header.slope, header.intercept, header.rescale_type) == (1.0, -1024.0, "HU")
    assert (header.image_type, header.instance_number) == (("ORIGINAL", "PRIMARY", "AXIAL"), 4)
    assert (header.acquisition_time, header.content_time) == ("20210305101730", "20210305101730")
    assert (header.kvp, header.kernel, header.manufacturer, header.model) == (120.0, "B30f", "ACME", "Scanner 1")
    assert (header.padding, header.echo_time, header.gradient, header.burned_in) == (None, None, (), "")


@pytest.mark.parametrize("syntax", sorted(dicom_variants.TRANSFER_SYNTAXES))
def test_the_transfer_syntax_is_recorded_and_changes_nothing_else(tmp_path: Path, syntax: str) -> None:
    made, _ = dicom_variants.make(f"transfer_{syntax}", tmp_path / syntax)
    plain, _ = dicom_variants.make("regular", tmp_path / "plain")
    found = headers(made.folder)
    assert {each.transfer_syntax for each in found} == {dicom_variants.TRANSFER_SYNTAXES[syntax]}
    for each, other in zip(found, headers(plain.folder), strict=True):
        assert (each.ipp, each.iop, each.slope, each.rows) == (other.ipp, other.iop, other.slope, other.rows)
        assert each.has_pixels and not each.is_truncated


def test_big_endian(tmp_path: Path) -> None:
    slice_ = ct_series()[0]
    turned = Dataset()
    turned.update(slice_)
    turned.file_meta = slice_.file_meta
    turned.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    turned.save_as(tmp_path / "IM1", enforce_file_format=True)
    (header,) = headers(tmp_path)
    assert (header.rows, header.columns, header.ipp) == (40, 48, tuple(map(float, slice_.ImagePositionPatient)))


def test_without_preamble_it_is_found_by_its_first_attributes(tmp_path: Path, data: bytes) -> None:
    made, _ = dicom_variants.make("no_preamble", tmp_path / "all")
    found = headers(made.folder)
    assert len(found) == 24 and {each.transfer_syntax for each in found} == {IMPLICIT}
    assert found[0].rows == 40
    (tmp_path / "IM2").write_bytes(data[132:])  # file meta information, but no preamble
    (tmp_path / "x.bin").write_bytes(data[132:])
    (tmp_path / "x.dcm").write_bytes(data[132:])
    assert isinstance(outcome(tmp_path / "IM2"), list)
    assert outcome(tmp_path / "x.bin") is None
    assert isinstance(outcome(tmp_path / "x.dcm", promised=True), list)


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"\2\0" * 100,
        b"\x08\0\x05\0" + b"z" * 300,
        b"\x08\0\x16\0UI\x1a\0" + b"1" * 26 + b"\xff" * 40,
        bytes(4096),
    ],
)
def test_what_is_no_dicom_is_passed_over_unless_it_was_promised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert outcome(tmp_path / "x") is None
    assert reason(tmp_path / "x", promised=True) == "not_dicom"


def test_a_file_of_zero_bytes_is_told(tmp_path: Path) -> None:
    (tmp_path / "IM1").write_bytes(b"")
    assert reason(tmp_path / "IM1") == "empty_file"


def test_a_header_that_ends_early_is_damaged_and_pixels_that_do_are_truncated(tmp_path: Path, data: bytes) -> None:
    pixels = len(data) - 40 * 48 * 2
    sizes = range(140, pixels - 12, 3)
    ends = [size for size in sizes if is_told(tmp_path, data[:size])]
    assert len(ends) < len(sizes) / 8  # between two attributes it may end: then it is a header without pixels
    for size in ends:
        (tmp_path / "IM1").write_bytes(data[:size])
        assert [each.has_pixels for each in headers(tmp_path) if each.place.endswith("IM1")] == [False]
    for size in (pixels + 1, len(data) - 1):
        (tmp_path / "IM1").write_bytes(data[:size])
        found = outcome(tmp_path / "IM1")
        assert isinstance(found, list) and found[0].is_truncated
    (tmp_path / "IM1").write_bytes(data)
    found = outcome(tmp_path / "IM1")
    assert isinstance(found, list) and not found[0].is_truncated


def is_told(folder: Path, data: bytes) -> bool:
    (folder / "IM1").write_bytes(data)
    found = outcome(folder / "IM1")
    assert isinstance(found, list) or (isinstance(found, Unusable) and found.reason == "damaged_header")
    return isinstance(found, list)


@pytest.mark.parametrize("syntax", ["rle", "jpeg_ls", "deflated"])
def test_compressed_pixels_that_end_early_are_truncated(tmp_path: Path, syntax: str) -> None:
    made = save(dicom_variants.in_transfer_syntax(ct_series()[:1], syntax), tmp_path)
    whole = made.files[0].read_bytes()
    made.files[0].write_bytes(whole[:-10])
    found = outcome(made.files[0])
    assert isinstance(found, list) and found[0].is_truncated
    made.files[0].write_bytes(whole + (b"" if syntax == "deflated" else b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0"))
    found = outcome(made.files[0])
    assert isinstance(found, list) and not found[0].is_truncated


def test_a_long_header_is_read_in_more_than_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = ct_series()[:2]
    block = slices[0].private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", b"x" * 300_000)
    long, short = headers(save(slices, tmp_path).folder)
    assert long.pixel_spacing == short.pixel_spacing and long.has_pixels
    monkeypatch.setattr(header_bytes, "MAX_HEADER_BYTES", 200_000)
    assert reason(tmp_path / "IM0001") == "header_too_long"


@pytest.mark.parametrize("first", [140, 333, 700, 2000])
def test_how_much_is_read_at_first_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    made, _ = dicom_variants.make("enhanced_two_stacks", tmp_path)
    whole = headers(made.folder)
    monkeypatch.setattr("segworkers.dicom.file_headers.FIRST_BYTES", first)
    monkeypatch.setattr(header_bytes, "GROWTH", 2)
    assert headers(made.folder) == whole


def raw(tag: bytes, vr: bytes, value: bytes) -> bytes:
    return tag + vr + len(value).to_bytes(2, "little") + value


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        (b"DS", b"1\\2\\3 ", (1.0, 2.0, 3.0)),
        (b"DS", b"1.00000000000000000001\\-2.5e+01\\3", (1.0, -25.0, 3.0)),
        (b"DS", b"NaN\\2\\3 ", (math.nan, 2.0, 3.0)),
        (b"DS", b"1,5\\2\\3 ", (math.nan, 2.0, 3.0)),
        (b"DS", b"1\\2 ", (1.0, 2.0)),
        (b"DS", b"", None),
        (b"DS", b"  ", None),
        (b"LO", b"1\\2\\3 ", (1.0, 2.0, 3.0)),
        (b"UN", b"1\\2\\3 ", (1.0, 2.0, 3.0)),
        (b"FL", b"\0\0\x80?\0\0\0@\0\0@@", (1.0, 2.0, 3.0)),
        (b"DS", b"\xff\xfe\\2\\3\\", (math.nan, 2.0, 3.0, math.nan)),
    ],
)
def test_a_position_is_told_as_it_is(
    tmp_path: Path, data: bytes, vr: bytes, value: bytes, expected: tuple[float, ...] | None
) -> None:
    tag = b"\x20\x00\x32\x00"
    at = data.index(tag + b"DS")
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    new = raw(tag, vr, value)
    if vr == b"UN":  # its length has four bytes
        new = tag + b"UN\0\0" + len(value).to_bytes(4, "little") + value
    (tmp_path / "IM1").write_bytes(data[:at] + new + data[at + 8 + length :])
    found = outcome(tmp_path / "IM1")
    assert isinstance(found, list)
    assert repr(found[0].ipp) == repr(expected)  # NaN is not equal to itself


def test_enhanced_frames_have_their_own_geometry_and_rescale(tmp_path: Path) -> None:
    made, _ = dicom_variants.make("enhanced_ct", tmp_path)
    found = headers(made.folder)
    assert [each.frame for each in found] == list(range(24)) and {each.frames for each in found} == {24}
    dataset = made.slices[0]
    for each, groups in zip(found, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        assert each.ipp == tuple(map(float, groups.PlanePositionSequence[0].ImagePositionPatient))
        assert each.intercept == float(groups.PixelValueTransformationSequence[0].RescaleIntercept)
        assert each.in_stack_position == groups.FrameContentSequence[0].InStackPositionNumber
        assert each.image_type == tuple(groups.CTImageFrameTypeSequence[0].FrameType)
        assert (each.iop, each.pixel_spacing, each.stack_id) == ((1, 0, 0, 0, 1, 0), (1.0, 1.0), "1")
        assert (each.rows, each.columns, each.has_pixels) == (40, 48, True)
    assert len({each.intercept for each in found}) == 24


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("enhanced_mr", lambda h: h.b_value),
        ("enhanced_phases", lambda h: h.temporal_position),
        ("enhanced_two_stacks", lambda h: h.stack_id),
        (
            "enhanced_concatenation",
            lambda h: (h.concatenation_number, h.concatenation_total, bool(h.concatenation_uid)),
        ),
        ("cardiac", lambda h: h.trigger_time),
        ("mr_two_echoes", lambda h: (h.echo_numbers, h.echo_time)),
    ],
)
def test_what_tells_stacks_of_one_series_apart(tmp_path: Path, name: str, values: Callable[[Header], Any]) -> None:
    made, _ = dicom_variants.make(name, tmp_path)
    expected = {
        "enhanced_mr": {0.0, 800.0},
        "enhanced_phases": {1, 2},
        "enhanced_two_stacks": {"1", "2"},
        "enhanced_concatenation": {(1, 3, True), (2, 3, True), (3, 3, True)},
        "cardiac": {0.0, 120.0, 240.0},
        "mr_two_echoes": {((1,), 2.5), ((2,), 4.9)},
    }
    assert {values(each) for each in headers(made.folder)} == expected[name]


def test_a_wrong_number_of_frames_is_damage(tmp_path: Path) -> None:
    made, _ = dicom_variants.make("enhanced_ct", tmp_path)
    made.slices[0].NumberOfFrames = 23
    made.slices[0].save_as(made.files[0])
    assert reason(made.files[0]) == "damaged_header"


def test_sequences_of_known_and_of_unknown_length_say_the_same(tmp_path: Path) -> None:
    made, _ = dicom_variants.make("enhanced_ct", tmp_path)
    known = headers(made.folder)
    dataset = pydicom.dcmread(made.files[0])
    for sequence in (dataset["PerFrameFunctionalGroupsSequence"], dataset["SharedFunctionalGroupsSequence"]):
        sequence.is_undefined_length = True
        for item in sequence.value:
            item.is_undefined_length_sequence_item = True
    dataset.save_as(made.files[0])
    unknown = headers(made.folder)
    assert [each.ipp for each in unknown] == [each.ipp for each in known]
    assert unknown[0].size > known[0].size


def test_pet_files_tell_what_suv_needs(tmp_path: Path) -> None:
    made, _ = dicom_variants.make("pet_philips_counts", tmp_path)
    first, *_ = headers(made.folder)
    assert first.pet is not None
    assert (first.pet.units, first.pet.decay_correction, first.pet.weight_kg) == ("CNTS", "START", 75.0)
    assert (first.pet.dose_bq, first.pet.half_life_s) == (dicom_variants.DOSE_BQ, 6586.2)
    assert (first.pet.injection_time, first.pet.injection_datetime) == ("091500.00", "20210305091500.00")
    assert (first.pet.series_datetime, first.pet.acquisition_datetime) == ("20210305101700", "20210305101730")
    assert (first.pet.philips_suv_factor, first.pet.philips_activity_factor) == (0.000271, 1.75)
    assert "DECY" in first.pet.corrected_image
    made, _ = dicom_variants.make("regular", tmp_path / "ct")
    assert headers(made.folder)[0].pet is None


@pytest.mark.parametrize(("vr", "implicit"), [("SS", False), ("US", False), ("SS", True)])
def test_padding_of_signed_pixels_is_signed_whatever_its_vr(tmp_path: Path, vr: str, implicit: bool) -> None:
    slice_ = ct_series()[0]
    slice_.PixelRepresentation = 1
    slice_.add_new("PixelPaddingValue", vr, -2000 if vr == "SS" else 65536 - 2000)
    if implicit:
        slice_.file_meta.TransferSyntaxUID = IMPLICIT
    header = one(slice_, tmp_path)
    assert (header.padding, header.padding_limit, header.signed) == (-2000, None, True)


def test_identities_are_read_in_the_files_character_set(tmp_path: Path) -> None:
    for charset in ("ISO_IR 100", "ISO_IR 192"):
        slice_ = ct_series()[0]
        slice_.SpecificCharacterSet, slice_.PatientID = charset, "Müller"
        assert one(slice_, tmp_path / charset).patient_id == "Müller"


def test_objects_that_are_no_slices_are_told_by_their_class(tmp_path: Path) -> None:
    made, _ = dicom_variants.make("with_other_objects", tmp_path)
    found = headers(made.folder)
    slices = [each for each in found if each.modality == "CT" and each.has_pixels]
    others = [each for each in found if not each.has_pixels]
    assert len(slices) == 24 and others
    assert {each.sop_class for each in others} >= {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.11"}
    assert all(each.series_uid and each.sop_uid for each in others)


def test_a_dicomdir_is_none_of_ours(tmp_path: Path) -> None:
    made = save(ct_series()[:1], tmp_path / "a")
    files = FileSet()
    files.add(made.files[0])
    files.write(tmp_path / "m")
    assert outcome(tmp_path / "m/DICOMDIR") is None


def test_a_file_that_went_away_or_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "IM1").write_bytes(b"x" * 500)
    places = Places()
    candidate = Candidate(str(tmp_path / "IM1"), places.state(str(tmp_path / "IM1")))
    (tmp_path / "IM1").unlink()
    found = read_headers(places, candidate)
    assert isinstance(found, Unusable) and found.reason == "missing_file"

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(os, "open", refuse)
    found = read_headers(places, candidate)
    assert isinstance(found, Unusable) and found.reason == "access_denied"


def test_patient_data_do_not_show(tmp_path: Path) -> None:
    made, _ = dicom_variants.make("pet", tmp_path, word="ZZPHI")
    found = headers(made.folder)
    assert len(found) == 24 and found[0].place.count("ZZPHI")
    shown = io.StringIO()
    print(found, file=shown)
    assert "ZZPHI" not in shown.getvalue() and "2.999.4711" not in shown.getvalue()


KINDS = ("private", "text", "sequence", "open sequence", "open private", "open bytes", "overlay", "empty")


def add(dataset: Dataset, kind: str, k: int) -> None:
    """An attribute that nobody asks for, in the way of those that are."""
    item = Dataset()
    item.PatientID, item.ImagePositionPatient, item.Rows = "other", ["9", "9", "9"], 99
    if kind in ("private", "open private", "open bytes"):
        block = dataset.private_block(0x0009 + 2 * k, "ACME", create=True)
        if kind == "private":
            block.add_new(1, "UN", b"\x20\0\x32\0DS\x04\0" * (k + 1))
        elif kind == "open private":
            block.add_new(1, "SQ", [item, item])
            block[1].is_undefined_length = True
        else:
            block.add_new(1, "OB", encapsulate([b"\x28\0\x10\0US\x02\0\x01\x01"]))
            block[1].is_undefined_length = True
    elif kind == "overlay":
        dataset.add_new(0x60003000, "OW", bytes(300 * (k + 1)))
    elif kind == "text":
        dataset.add_new("ImageComments", "LT", "x" * 9 * k)
    elif kind == "empty":
        dataset.add_new("SliceLocation", "DS", None)
    else:
        dataset.add_new("SourceImageSequence", "SQ", [item] * k)
        dataset["SourceImageSequence"].is_undefined_length = kind == "open sequence"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(KINDS), max_size=8), syntax=st.sampled_from([IMPLICIT, EXPLICIT]))
def test_whatever_lies_between_the_same_is_read_as_by_pydicom(tmp_path: Path, kinds: list[str], syntax: str) -> None:
    slice_ = ct_series()[5]
    slice_.file_meta.TransferSyntaxUID = syntax
    for k, kind in enumerate(kinds):
        if not (kind == "open bytes" and syntax == IMPLICIT):  # the standard has no such thing
            add(slice_, kind, k)
    file = save([slice_], tmp_path).files[0]
    expected = pydicom.dcmread(file)
    places = Places()
    state = places.state(str(file))
    found = read_elements(partial(places.read, str(file)), state.size, WANTED, lambda _: True, 256)
    assert (found.syntax, found.pixel_bytes) == (syntax, len(expected.PixelData))
    assert found.pixels_at == expected["PixelData"].file_tell
    for tag in WANTED & {int(tag) for tag in expected.keys()}:  # noqa: SIM118
        value = expected[tag].value
        if expected[tag].VR in ("DS", "IS", "US"):
            several = value if isinstance(value, MultiValue) else [value]
            assert found.numbers(tag) == tuple(map(float, several))
        elif expected[tag].VR != "SQ":
            several = value if isinstance(value, MultiValue) else [value]
            assert found.texts(tag) == tuple(str(each) for each in several if str(each))


def damaged(data: bytes, cuts: Sequence[tuple[int, bytes]]) -> bytes:
    changed = bytearray(data)
    for at, new in cuts:
        start = at % len(changed)
        changed[start : start + len(new)] = new
    return bytes(changed)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.tuples(st.integers(128, 1400), st.binary(min_size=1, max_size=6)), max_size=4),
    size=st.integers(0, 5000),
)
def test_whatever_is_wrong_with_a_file_nothing_raises(
    tmp_path: Path, data: bytes, cuts: list[tuple[int, bytes]], size: int
) -> None:
    (tmp_path / "IM1").write_bytes(damaged(data, cuts)[:size])
    found = outcome(tmp_path / "IM1", promised=True)
    assert isinstance(found, list | Unusable)


def test_a_character_set_that_is_no_text_is_not_looked_up_in_itself(tmp_path: Path, data: bytes) -> None:
    place = data.index(b"ISO_IR 192")
    changed = data[:place] + b"\xff" + data[place + 1 :]
    named = changed.index(b"Muster")
    (tmp_path / "IM1").write_bytes(changed[:named] + b"\xe9" + changed[named + 1 :])
    assert isinstance(outcome(tmp_path / "IM1", promised=True), list)


def planted(folder: Path, **texts: str) -> list[Header]:
    """Slices with these texts in place of those of the standard."""
    slices = ct_series()
    for made in slices:
        for keyword, text in texts.items():
            made.add(DataElement(keyword, dictionary_VR(tag_of(keyword)), text, validation_mode=0))
    return headers(save(slices, folder).folder)


@pytest.mark.parametrize("lacks", ["", "RescaleSlope"])
def test_no_text_in_a_code_reaches_messages_or_facts(lacks: str, tmp_path: Path) -> None:
    texts = dict.fromkeys(("Modality", "BurnedInAnnotation", "ImageType", "PhotometricInterpretation"), "ZZPHI ERIKA")
    told = planted(tmp_path, **texts, **({lacks: ""} if lacks else {}))
    assert {each.modality for each in told} == {"OT"}
    assert "ZZPHI" not in shown(told)


def test_a_sop_class_that_is_no_uid_is_not_repeated(tmp_path: Path) -> None:
    told = planted(tmp_path, SOPClassUID="ZZPHI^ERIKA")
    assert {each.sop_class for each in told} == {""}
    assert "ZZPHI" not in shown(told) and "no SOP class" in shown(told)


def shown(told: list[Header]) -> str:
    """Everything that leaves the crosswalk's company."""
    return "".join(
        repr((d.row, d.facts, d.problem, d.problem and (d.problem.message, d.problem.hint))) for d in decisions(told)
    )


@pytest.mark.parametrize("shared", [False, True])
def test_a_real_world_mapping_is_seen_in_the_image_and_in_its_groups(shared: bool, tmp_path: Path) -> None:
    made = enhanced(ct_series()) if shared else ct_series()[0]
    assert not any(each.has_real_world_mapping for each in headers(save([made], tmp_path / "without").folder))
    holder = made.SharedFunctionalGroupsSequence[0] if shared else made
    holder.RealWorldValueMappingSequence = [Dataset()]
    holder.RealWorldValueMappingSequence[0].LUTLabel = "ADC"
    assert all(each.has_real_world_mapping for each in headers(save([made], tmp_path / "with").folder))
