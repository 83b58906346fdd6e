"""What is decided about each awkward series, by reason code, and where the phantom of a volume then is."""

import functools

import numpy as np
import pytest

from tests import dicom_decisions
from tests.dicom_decisions import decided, headers_in, measured, reasons, values_of, volumes
from tests.dicom_files import SENTINEL, UID_ROOT
from tests.dicom_variants import DOSE_BQ, NAMES, TRANSFER_SYNTAXES, make

VOLUMES = {
    "regular": [()],
    "shuffled_instance_numbers": [()],
    "reversed_normal": [()],
    "coronal": [()],
    "sagittal": [()],
    "oblique": [()],
    "non_square_pixels": [()],
    "missing_slice": [("missing_slices",)],
    "missing_slices": [("missing_slices",)],
    "two_spacings": [("variable_spacing",)],
    "jittered_spacing": [()],
    "gantry_tilt": [("gantry_tilt",)],
    "scout_in_series": [()],
    "two_phases": [("several_volumes",)] * 2,
    "two_acquisitions": [("several_volumes", "split_by_acquisition_number")] * 2,
    "uneven_acquisitions": [("several_volumes", "split_by_acquisition_number")] * 2,
    "one_acquisition_number_each": [()],
    "phases_by_time": [("several_volumes", "split_by_content_time")] * 2,
    "mr_two_echoes": [("several_volumes",)] * 2,
    "mr_dixon": [("several_volumes", "derived")] * 2,
    "mr_diffusion": [("several_volumes",)] * 2,
    "cardiac": [("several_volumes", "split_by_trigger_time")] * 3,
    "identical_duplicates": [("duplicates_dropped",)],
    "identical_pixels": [("duplicates_dropped",)],
    "zero_byte_file": [()],
    "truncated_header": [("missing_slices",)],
    "no_preamble": [()],
    "missing_frame_of_reference": [("missing_frame_of_reference",)],
    "overlong_position": [()],
    "monochrome1": [("monochrome1",)],
    "signed_12_bits": [()],
    "padding": [()],
    "padding_range": [()],
    "fractional_slope": [()],
    "one_fractional_slope": [()],
    "pet": [()],
    "pet_without_weight": [()],
    "pet_without_half_life": [()],
    "pet_not_attenuation_corrected": [()],
    "pet_decay_to_administration": [()],
    "pet_gml": [()],
    "pet_philips_counts": [()],
    "j2k_sign_mismatch": [()],
    **{f"transfer_{name}": [()] for name in TRANSFER_SYNTAXES},
    "lossy": [("lossy", "derived")],
    "burned_in": [("burned_in_annotation",)],
    "enhanced_ct": [()],
    "enhanced_mr": [("several_volumes",)] * 2,
    "enhanced_phases": [("several_volumes",)] * 2,
    "enhanced_concatenation": [()],
    "with_other_objects": [()],
}
"""Fixtures whose volumes hold the whole phantom, and the notes of each volume."""

REFUSALS = {
    "single_slice": {"single_slice": 1},
    "scout_in_series": {"localizer": 2},
    "duplicate_positions": {"duplicate_positions": 26},
    "duplicate_sop_uid": {"duplicate_sop_instance": 25},
    "truncated_file": {"truncated_file": 24},
    "missing_position": {"missing_position": 24},
    "missing_position_of_one": {"missing_position": 24},
    "blank_position": {"missing_position": 24},
    "nan_position": {"invalid_position": 24},
    "missing_orientation": {"missing_orientation": 24},
    "zero_cosines": {"invalid_orientation": 24},
    "missing_spacing": {"missing_spacing": 24},
    "zero_spacing": {"invalid_spacing": 24},
    "mosaic": {"mosaic": 3},
    "with_other_objects": {"not_an_image_volume": 8},
}
"""Slices or objects that are refused, by reason code; nothing is refused in other fixtures."""

WITHOUT_PHANTOM = {"mixed_matrices": [24, 6], "enhanced_two_stacks": [24, 10], "two_slices": [2]}
"""Fixtures with volumes that show the phantom in part or not at all: their slices."""


@pytest.fixture(scope="module")
def decide_on(tmp_path_factory):
    """Files, decisions and phantom of a fixture, made once."""
    return functools.cache(lambda name: decided(name, tmp_path_factory.mktemp(name)))


def test_every_fixture_is_accounted_for():
    assert set(NAMES) == set(VOLUMES) | set(REFUSALS) | set(WITHOUT_PHANTOM)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_refusals(name, decide_on):
    _, found, _ = decide_on(name)
    assert reasons(found) == REFUSALS.get(name, {})
    assert len(volumes(found)) == len(VOLUMES.get(name, WITHOUT_PHANTOM.get(name, [])))


@pytest.mark.parametrize("name", sorted(VOLUMES))
def test_the_phantom_is_where_it_is_and_as_large(name, decide_on):
    _, found, phantom = decide_on(name)
    assert [d.facts.notes for d in volumes(found)] == VOLUMES[name]
    for decision in volumes(found):
        level = (phantom.inside + phantom.outside) / 2
        volume, centroid = measured(decision, level)
        is_whole = "missing_slices" not in decision.facts.notes
        assert volume == pytest.approx(phantom.volume_mm3, rel=0.01 if is_whole else 0.02)
        np.testing.assert_allclose(centroid, phantom.centre, atol=0.1 if is_whole else 0.2)


@pytest.mark.parametrize("name", sorted(WITHOUT_PHANTOM))
def test_stacks_that_a_series_is_taken_apart_into(name, decide_on):
    _, found, _ = decide_on(name)
    assert [d.row["slices"] for d in volumes(found)] == WITHOUT_PHANTOM[name]


@pytest.mark.parametrize(
    ("name", "kind", "plane", "spacing"),
    [
        ("regular", "regular", "axial", (2.5, 1.0, 1.0)),
        ("coronal", "regular", "coronal", (2.5, 1.0, 1.0)),
        ("sagittal", "regular", "sagittal", (2.5, 1.0, 1.0)),
        ("oblique", "regular", "oblique", (2.5, 1.0, 1.0)),
        ("non_square_pixels", "regular", "axial", (2.5, 0.5, 0.8)),
        ("gantry_tilt", "sheared", "axial", (2.5 * np.cos(np.radians(13.5)), 1.0, 1.0)),
        ("missing_slices", "variable", "axial", (2.5 * 23 / 20, 1.0, 1.0)),
    ],
)
def test_geometry(name, kind, plane, spacing, decide_on):
    geometry = volumes(decide_on(name)[1])[0].facts.geometry
    assert (geometry.kind, geometry.plane) == (kind, plane)
    np.testing.assert_allclose(geometry.spacing_mm, spacing, rtol=1e-6)


def test_gantry_tilt_keeps_the_true_affine(decide_on):
    decision = volumes(decide_on("gantry_tilt")[1])[0]
    tilt = np.radians(13.5)
    np.testing.assert_allclose(decision.facts.geometry.slice_step, (0, 0, 2.5), atol=1e-9)
    np.testing.assert_allclose(decision.facts.geometry.row_step, (0, np.cos(tilt), np.sin(tilt)), atol=1e-9)
    assert decision.facts.geometry.voxel_volume_mm3 == pytest.approx(2.5 * np.cos(tilt))
    assert decision.row["tilt_deg"] == pytest.approx(13.5)
    assert decision.row["status"] == "repaired"


def test_missing_slices_are_counted_and_placed(decide_on):
    decision = volumes(decide_on("missing_slices")[1])[0]
    assert decision.row["missing_slices"] == 3
    assert decision.facts.geometry.gaps == (8, 12)
    heights = decision.facts.geometry.origins()[:, 2]
    np.testing.assert_allclose(np.delete(np.diff(heights), [8, 12]), 2.5)
    np.testing.assert_allclose(np.diff(heights)[[8, 12]], [5.0, 7.5])


def test_slices_are_sorted_by_position_whatever_their_numbers_say(decide_on):
    made, found, _ = decide_on("shuffled_instance_numbers")
    assert [one.place for one in volumes(found)[0].stack.slices] == list(map(str, made.files))


def test_a_reversed_normal_turns_the_order_and_not_the_patient(decide_on):
    made, found, _ = decide_on("reversed_normal")
    stack, geometry = volumes(found)[0].stack, volumes(found)[0].facts.geometry
    assert [one.place for one in stack.slices] == list(map(str, made.files))
    assert geometry.slice_step[2] == pytest.approx(-2.5)


def test_frames_of_a_multiframe_object_are_sorted_and_rescaled_one_by_one(decide_on):
    _, found, phantom = decide_on("enhanced_ct")
    stack = volumes(found)[0].stack
    assert sorted(one.frame for one in stack.slices) == list(range(24))
    assert [one.frame for one in stack.slices] != list(range(24))
    assert [one.intercept for one in stack.slices] == [-1024.0 + k for k in range(24)]
    assert set(np.unique(values_of(stack)[0])) == {phantom.inside, phantom.outside}


@pytest.mark.parametrize(
    ("name", "dtype", "unit"),
    [
        ("regular", "int16", "HU"),
        ("signed_12_bits", "int16", "HU"),
        ("fractional_slope", "float32", "HU"),
        ("one_fractional_slope", "float32", "HU"),
        ("pet", "float32", "BQML"),
        ("pet_gml", "float32", "GML"),
        ("mr_two_echoes", "int16", None),
        ("monochrome1", "int16", "HU"),
    ],
)
def test_type_and_unit(name, dtype, unit, decide_on):
    decision = volumes(decide_on(name)[1])[0]
    assert (decision.stack.dtype, decision.facts.unit) == (dtype, unit)


@pytest.mark.parametrize(("name", "expected"), [("padding", (-2000, -2000)), ("padding_range", (-2000, -1990))])
def test_padding_is_known_in_stored_values(name, expected, decide_on):
    decision = volumes(decide_on(name)[1])[0]
    values, valid = values_of(decision.stack)
    assert decision.stack.padding == expected
    assert 0 < (~valid).sum() < values.size / 2
    assert values[valid].min() == -80


@pytest.mark.parametrize(
    ("name", "factor", "reason"),
    [
        ("pet", 75_000 / (DOSE_BQ * 2 ** (-3720 / 6586.2)), None),
        ("pet_decay_to_administration", 75_000 / DOSE_BQ, None),
        ("pet_gml", 1.0, None),
        ("pet_philips_counts", 0.000271, None),
        ("pet_without_weight", None, "suv_weight"),
        ("pet_without_half_life", None, "suv_half_life"),
        ("pet_not_attenuation_corrected", None, "suv_not_corrected"),
        ("regular", None, None),
    ],
)
def test_suv_factor_or_the_reason_of_its_absence(name, factor, reason, decide_on):
    decision = volumes(decide_on(name)[1])[0]
    assert decision.facts.suv_factor == (factor if factor is None else pytest.approx(factor))
    assert decision.row["suv_reason"] == reason


@pytest.mark.parametrize(("name", "copies"), [("identical_duplicates", 3), ("identical_pixels", 1), ("regular", 0)])
def test_copies_are_dropped_and_counted(name, copies, decide_on):
    decision = volumes(decide_on(name)[1])[0]
    assert decision.row["duplicate_slices"] == copies
    assert decision.row["files"] == 24 + copies
    assert decision.row["slices"] == 24


def test_phases_are_not_mixed(decide_on):
    _, found, _ = decide_on("two_phases")
    inside = {frozenset(np.unique(values_of(d.stack)[0])) for d in volumes(found)}
    assert inside == {frozenset({-80.0, 60.0}), frozenset({-80.0, 100.0})}


def test_frames_of_reference_are_named_by_pseudonym(decide_on):
    made, found, _ = decide_on("regular")
    headers = headers_in(made.folder)[0]
    expected = dicom_decisions.NAMES.of("frame_of_reference", headers[0].frame_of_reference_uid)
    assert found[0].facts.frame_of_reference_id == expected
    no_frame = volumes(decide_on("missing_frame_of_reference")[1])[0]
    assert no_frame.facts.frame_of_reference_id == ""
    assert no_frame.row["frame_of_reference_id"] is None


@pytest.mark.parametrize("name", ["regular", "scout_in_series", "duplicate_positions", "with_other_objects", "pet"])
def test_nothing_that_may_be_shown_holds_an_original(name, tmp_path):
    made, _ = make(name, tmp_path, word=SENTINEL)
    for decision in dicom_decisions.decisions(headers_in(made.folder)[0]):
        shown = f"{decision!r} {decision.row!r} {decision.facts!r} {decision.problem!r} {decision.fingerprint}"
        assert SENTINEL not in shown
        assert UID_ROOT not in shown
        assert str(tmp_path) not in shown
