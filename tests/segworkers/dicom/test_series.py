"""Decisions on headers without files: what fixtures do not show."""

from dataclasses import replace

import pytest

from schemas.errors import InputError
from schemas.patient_tables import SERIES
from segworkers.dicom.series import VOLUME_CLASSES, decide
from tests.dicom_decisions import NAMES, header_series, reasons, volumes
from tests.dicom_files import AXIAL, Layout


def by_uid(header):
    return header.sop_uid


def decisions(headers, digest=by_uid):
    return decide(headers, NAMES, digest)


def change(headers, index, **fields):
    return [replace(h, **fields) if k == index else h for k, h in enumerate(headers)]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"samples": 3, "photometric": "RGB"}, "unsupported_pixel_format"),
        ({"bits_allocated": 32}, "unsupported_pixel_format"),
        ({"high_bit": 15}, "unsupported_pixel_format"),
        ({"has_pixels": False}, "unsupported_pixel_format"),
        ({"rows": 0}, "unsupported_pixel_format"),
        ({"slope": None, "intercept": None}, "missing_rescale"),
        ({"slope": 0.0}, "invalid_rescale"),
        ({"intercept": float("nan")}, "invalid_rescale"),
        ({"iop": (1.0, 0.0, 0.0, 0.1, 0.99, 0.0)}, "invalid_orientation"),
        ({"iop": (1.0, 0.0, 0.0)}, "invalid_orientation"),
        ({"pixel_spacing": (1.0, -1.0)}, "invalid_spacing"),
        ({"ipp": (1.0, 2.0)}, "invalid_position"),
        ({"ipp": (1.0, 2.0, float("inf"))}, "invalid_position"),
        ({"sop_uid": ""}, "missing_uid"),
        ({"study_uid": ""}, "missing_uid"),
    ],
)
def test_refusals_of_a_whole_series(fields, reason):
    headers = [replace(h, **fields) for h in header_series()]
    assert reasons(decisions(headers)) == {reason: 24}
    assert not volumes(decisions(headers))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"bits_stored": 10, "high_bit": 9}, "mixed_pixel_formats"),
        ({"signed": True}, "mixed_pixel_formats"),
        ({"photometric": "MONOCHROME1"}, "mixed_pixel_formats"),
        ({"padding": 0}, "mixed_padding"),
        ({"rescale_type": "ED"}, "mixed_units"),
        ({"slope": None}, "missing_rescale"),
        ({"patient_id": "P2"}, "mixed_patients"),
        ({"is_truncated": True}, "truncated_file"),
        ({"ipp": (40.0, 0.0, 78.0)}, "displaced_slices"),
        ({"ipp": None}, "missing_position"),
    ],
)
def test_one_odd_slice_refuses_the_stack_that_it_belongs_to(fields, reason):
    headers = header_series()
    if reason == "displaced_slices":
        fields = {"ipp": (headers[9].ipp[0] + 5.0, *headers[9].ipp[1:])}
    assert reasons(decisions(change(headers, 9, **fields))) == {reason: 24}


def test_a_refusal_has_no_stack_and_the_same_columns_as_a_volume():
    refused = decisions(change(header_series(), 9, ipp=None))[0]
    volume = decisions(header_series())[0]
    assert (refused.stack, refused.facts) == (None, None)
    assert refused.row.keys() == volume.row.keys() >= set(SERIES.names)
    assert (refused.row["status"], refused.row["reason"]) == ("rejected", "missing_position")
    assert (volume.row["status"], volume.row["reason"]) == ("accepted", None)


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        ({}, "int16"),
        ({"slope": 2.0}, "int16"),
        ({"slope": 16.0}, "float32"),
        ({"intercept": -1024.5}, "float32"),
        ({"bits_stored": 16, "high_bit": 15}, "float32"),
        ({"bits_stored": 16, "high_bit": 15, "signed": True, "intercept": 0.0}, "int16"),
        ({"bits_stored": 16, "high_bit": 15, "signed": True}, "float32"),
        ({"bits_stored": 15, "high_bit": 14}, "int16"),
        ({"bits_allocated": 8, "bits_stored": 8, "high_bit": 7}, "int16"),
        ({"has_modality_lut": True, "slope": None, "intercept": None}, "float32"),
    ],
)
def test_int16_only_where_every_stored_value_is_exact_in_it(fields, dtype):
    assert decisions([replace(h, **fields) for h in header_series()])[0].stack.dtype == dtype


def test_the_type_is_decided_from_all_slices():
    last = change(header_series(), 23, slope=0.5)
    first = change(header_series(), 0, slope=0.5)
    assert [decisions(h)[0].stack.dtype for h in (last, first)] == ["float32", "float32"]


@pytest.mark.parametrize(
    ("fields", "unit"),
    [
        ({}, "HU"),
        ({"rescale_type": "HU"}, "HU"),
        ({"rescale_type": "US"}, None),
        ({"rescale_type": "ED"}, "ED"),
        ({"rescale_type": "Erika Muster"}, None),
        ({"modality": "MR"}, None),
        ({"modality": "MR", "rescale_type": "HU"}, None),
        ({"has_modality_lut": True}, None),
    ],
)
def test_units(fields, unit):
    assert decisions([replace(h, **fields) for h in header_series()])[0].facts.unit == unit


@pytest.mark.parametrize(
    ("padding", "limit", "signed", "expected"),
    [
        (None, None, True, None),
        (-2000, None, True, (-2000, -2000)),
        (63536, None, True, (-2000, -2000)),
        (-1, None, False, (65535, 65535)),
        (-1990, -2000, True, (-2000, -1990)),
        (None, -2000, True, None),
    ],
)
def test_padding_takes_the_sign_of_the_pixels(padding, limit, signed, expected):
    headers = [replace(h, padding=padding, padding_limit=limit, signed=signed) for h in header_series()]
    assert decisions(headers)[0].stack.padding == expected


def test_orientation_that_differs_by_rounding_is_one():
    headers = change(header_series(), 5, iop=(0.9999999, 0.0004, 0.0, -0.0004, 0.9999999, 0.0))
    assert decisions(headers)[0].row["slices"] == 24
    turned = change(header_series(), 5, iop=(0.999, 0.0447, 0.0, -0.0447, 0.999, 0.0))
    assert reasons(decisions(turned)) == {"single_slice": 1}
    assert volumes(decisions(turned))[0].row["missing_slices"] == 1


def test_stacks_of_other_frames_of_reference_are_apart():
    headers = header_series()
    other = [replace(h, sop_uid=f"{h.sop_uid}.1", frame_of_reference_uid="2.999.8") for h in headers]
    found = volumes(decisions([*headers, *other]))
    assert len({d.facts.frame_of_reference_id for d in found}) == 2


def test_step_and_shoot_is_one_volume_and_a_repeated_region_two():
    assert len(volumes(decisions(header_series(acquisition_number=list(range(24)))))) == 1
    again = [replace(h, sop_uid=f"{h.sop_uid}.1", acquisition_number=2) for h in header_series()]
    assert len(volumes(decisions([*header_series(acquisition_number=1), *again]))) == 2


def test_directions_and_repetitions_are_told_apart_together():
    headers = [
        replace(h, sop_uid=f"{h.sop_uid}.{n}.{k}", b_value=800.0, acquisition_number=n, gradient=direction)
        for n in (1, 2)
        for k, direction in enumerate([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
        for h in header_series()
    ]
    found = volumes(decisions(headers))
    assert [d.row["slices"] for d in found] == [24] * 4
    assert found[0].facts.notes == ("several_volumes", "split_by_acquisition_number", "split_by_gradient")
    assert len({d.series_id for d in found}) == 4


def test_two_multiframe_objects_of_one_region_are_two_volumes():
    headers = [
        replace(h, sop_uid=f"2.999.5.{n}", frame=k, frames=24) for n in (1, 2) for k, h in enumerate(header_series())
    ]
    assert [d.row["slices"] for d in volumes(decisions(headers))] == [24, 24]


def test_clocks_tell_passes_apart_only_where_one_ends_before_the_next():
    def twice(times):
        late = [replace(h, sop_uid=f"{h.sop_uid}.1", content_time=times[1](k)) for k, h in enumerate(header_series())]
        return decisions([*(replace(h, content_time=times[0](k)) for k, h in enumerate(header_series())), *late])

    apart = twice((lambda k: f"20210305100{k:03d}", lambda k: f"20210305110{k:03d}"))
    assert [d.row["slices"] for d in volumes(apart)] == [24, 24]
    interleaved = twice((lambda k: f"202103051{2 * k:05d}", lambda k: f"202103051{2 * k + 1:05d}"))
    assert reasons(interleaved) == {"duplicate_positions": 48}


def test_pixels_are_asked_for_only_where_frames_may_be_copies():
    asked = []

    def digest(header):
        asked.append(header.sop_uid)
        return ""

    headers = header_series()
    assert len(decisions(headers, digest)) == 1
    assert not asked
    decisions([*headers, replace(headers[3], place="/copy")], digest)
    assert set(asked) == {headers[3].sop_uid}


def test_pixels_that_cannot_be_read_refuse_the_stack():
    def digest(header):
        raise InputError("read_failed", "It cannot be read.")

    headers = header_series()
    assert reasons(decisions([*headers, replace(headers[3], place="/copy")], digest)) == {"read_failed": 25}


def test_a_concatenation_must_be_whole():
    parts = header_series(
        sop_uid=[f"2.999.5.{k // 8}" for k in range(24)],
        frame=[k % 8 for k in range(24)],
        frames=8,
        concatenation_uid="2.999.6",
        concatenation_number=[k // 8 + 1 for k in range(24)],
        concatenation_total=3,
    )
    assert volumes(decisions(parts))[0].row["slices"] == 24
    assert reasons(decisions(parts[:16])) == {"incomplete_concatenation": 16}


def test_without_a_patient_id_studies_are_not_one_subject():
    here = header_series(patient_id="")
    there = header_series(patient_id="", study_uid="2.999.77", series_uid="2.999.78")
    found = decisions([*here, *there])
    assert len({d.facts.subject_id for d in found}) == 2
    assert all(d.facts.notes == ("missing_patient_id",) for d in found)


def test_originals_name_what_the_pseudonyms_stand_for():
    decision = decisions(header_series(issuer="HOSPITAL"))[0]
    known = {(kind, pseudonym): original for kind, pseudonym, original in decision.originals}
    assert known["subject", decision.facts.subject_id] == "HOSPITAL|P1"
    assert known["study", decision.facts.study_id] == "2.999.1"
    assert known["series", decision.series_id] == "2.999.1.2"
    assert all(NAMES.of(kind, original) == p for (kind, p), original in known.items() if p != decision.series_id)


def test_technical_attributes_are_checked_and_only_named_where_all_slices_agree():
    row = decisions(header_series(manufacturer="ACME", model="A^B", kernel=["B30f"] * 23 + ["B70f"], kvp=120.0))[0].row
    assert (row["manufacturer"], row["model_name"], row["kernel"], row["kvp"]) == ("ACME", None, None, 120.0)


def test_the_affine_of_a_row_maps_columns_rows_slices():
    row = decisions(header_series(Layout(shape=(4, 8, 8), spacing=(3.0, 0.5, 0.8), iop=AXIAL)))[0].row
    assert row["affine"][0] == pytest.approx(0.8)
    assert row["affine"][5] == pytest.approx(0.5)
    assert row["affine"][10] == pytest.approx(3.0)
    assert row["affine"][12:] == [0, 0, 0, 1]


def test_only_images_of_ct_mr_and_pet_make_volumes():
    assert len(VOLUME_CLASSES) == 9
    others = [replace(h, sop_class="1.2.840.10008.5.1.4.1.1.7") for h in header_series()]
    assert reasons(decisions(others)) == {"not_an_image_volume": 24}


def test_an_edited_copy_with_other_geometry_is_seen_across_the_series():
    sound = header_series()
    copies = [replace(each, place=f"{each.place}b", pixel_spacing=(2.0, 2.0)) for each in sound[:3]]
    apart = [replace(each, sop_uid=f"{each.sop_uid}.7", image_type=("ORIGINAL",)) for each in sound]
    found = decisions([*sound, *copies, *apart])
    assert reasons(found) == {"duplicate_sop_instance": len(sound) + len(copies)}
    assert [one.row["slices"] for one in volumes(found)] == [len(apart)]


def test_a_real_world_mapping_is_remarked():
    (one,) = decisions(header_series(has_real_world_mapping=[k == 3 for k in range(Layout().shape[0])]))
    assert one.row["decisions"] == ["real_world_mapping_ignored"] and one.row["status"] == "accepted"


def test_the_fingerprint_names_what_is_read_but_not_where_it_lies():
    headers = header_series()
    (one,) = decisions(headers)
    (moved,) = decisions([replace(each, place=f"/elsewhere{each.place}") for each in headers])
    (other,) = decisions([replace(each, intercept=7.0) for each in headers])
    assert moved.fingerprint == one.fingerprint != other.fingerprint
