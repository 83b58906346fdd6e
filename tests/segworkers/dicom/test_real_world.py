"""Real world value mappings: applied where nothing else calibrates, and said so; remarked or refused elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from segworkers.dicom.pixel_facts import is_real_world, rescale_of, unit_of
from tests.dicom_decisions import decisions, header_series, headers_in, reasons, values_of
from tests.dicom_files import Phantom, Pixels, ct_series, save, stored_of
from tests.dicom_multiframe import enhanced

MR = {"modality": "MR", "sop_class": MRImageStorage, "slope": None, "intercept": None, "rescale_type": ""}
MAPPED = {"has_real_world_mapping": True, "real_world": (0.5, -3.0, 0.0, 4095.0), "real_world_unit": "um2/s"}


def item(**changes: Any) -> Dataset:
    """A linear mapping of 12 bits to square micrometres a second."""
    made, unit = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "um2/s", "UCUM", "um2/s"
    made.RealWorldValueSlope, made.RealWorldValueIntercept = 0.5, -3.0
    made.add_new("RealWorldValueFirstValueMapped", "US", 0)
    made.add_new("RealWorldValueLastValueMapped", "US", 4095)
    made.MeasurementUnitsCodeSequence, made.LUTLabel, made.LUTExplanation = [unit], "ADC", "of Erika"
    for keyword, value in changes.items():
        if keyword in ("CodeValue", "CodingSchemeDesignator"):
            setattr(unit, keyword, value)
        elif value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def mr_series(*items: Dataset, pixels: Pixels | None = None) -> list[Dataset]:
    bright = Phantom(inside=700.0, outside=100.0)
    slices = ct_series(values=bright, sop_class=MRImageStorage, modality="MR", pixels=pixels or Pixels(intercept=0.0))
    for one in slices:
        del one.RescaleSlope, one.RescaleIntercept, one.KVP, one.ConvolutionKernel
        one.RealWorldValueMappingSequence = list(items)
    return slices


def test_a_mapping_that_is_the_only_calibration_gives_values_and_unit(tmp_path: Path) -> None:
    slices = mr_series(item())
    (one,) = decisions(headers_in(save(slices, tmp_path).folder)[0])
    assert (one.row["status"], one.row["value_unit"], one.row["dtype"]) == ("accepted", "um2/s", "float32")
    assert one.row["decisions"] == ["real_world_mapping"]
    assert one.stack is not None and one.facts is not None and one.facts.unit == "um2/s"
    expected = np.concatenate([stored_of(each) for each in slices]) * 0.5 - 3.0
    np.testing.assert_array_equal(values_of(one.stack)[0], expected.astype(np.float32))


def test_a_whole_mapping_of_an_enhanced_image_stays_exact(tmp_path: Path) -> None:
    slices = mr_series(item(RealWorldValueSlope=2.0))
    for one in slices:
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = "1", "0", "US"
        del one.RealWorldValueMappingSequence
    made = enhanced(slices, list(range(len(slices)))[::-1], modality="MR", sop_class="1.2.840.10008.5.1.4.1.1.4.1")
    made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [item(RealWorldValueSlope=2.0)]
    (found,) = decisions(headers_in(save([made], tmp_path).folder)[0])
    assert (found.row["value_unit"], found.row["dtype"]) == ("um2/s", "int16")
    assert found.stack is not None
    expected = np.concatenate([stored_of(each) for each in slices]) * 2 - 3
    np.testing.assert_array_equal(values_of(found.stack)[0], expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"CodingSchemeDesignator": "99ACME"},
        {"CodeValue": "Erika"},
        {"RealWorldValueSlope": 0.0},
        {"RealWorldValueSlope": float("nan")},
        {"RealWorldValueIntercept": None},
        {"RealWorldValueLastValueMapped": 4094},
        {"RealWorldValueFirstValueMapped": 1},
        {"RealWorldValueLUTData": [0.0, 1.0]},
        {"MeasurementUnitsCodeSequence": None},
    ],
)
def test_a_mapping_that_is_not_certain_is_remarked_and_not_applied(changes: dict[str, Any], tmp_path: Path) -> None:
    slices = mr_series(item(**changes))
    (one,) = decisions(headers_in(save(slices, tmp_path).folder)[0])
    assert (one.row["status"], one.row["value_unit"]) == ("accepted", None)
    assert one.row["decisions"] == ["real_world_mapping_ignored"]
    assert one.stack is not None
    np.testing.assert_array_equal(values_of(one.stack)[0], np.concatenate([stored_of(each) for each in slices]))


def test_of_several_mappings_none_is_chosen(tmp_path: Path) -> None:
    found, _ = headers_in(save(mr_series(item(), item(RealWorldValueSlope=0.25)), tmp_path).folder)
    assert {each.real_world for each in found} == {()}
    assert decisions(found)[0].row["decisions"] == ["real_world_mapping_ignored"]


def test_values_of_a_signed_image_are_mapped_with_its_sign(tmp_path: Path) -> None:
    made = item(RealWorldValueFirstValueMapped=63488, RealWorldValueLastValueMapped=2047)  # -2048 as unsigned
    slices = mr_series(made, pixels=Pixels(intercept=0.0, signed=True))
    (one,) = decisions(headers_in(save(slices, tmp_path).folder)[0])
    assert one.row["decisions"] == ["real_world_mapping"]


def test_slices_of_which_only_some_are_mapped_are_refused() -> None:
    fields = MR | {name: [value if k else type(value)() for k in range(24)] for name, value in MAPPED.items()}
    assert reasons(decisions(header_series(**fields))) == {"mixed_units": 24}


@pytest.mark.parametrize(
    ("fields", "unit"),
    [
        ({"modality": "CT", "slope": 1.0, "intercept": 0.0, "rescale_type": "HU"}, "HU"),
        ({"modality": "CT", "slope": 1.0, "intercept": 0.0, "rescale_type": ""}, "HU"),
        ({"modality": "CT", "slope": 1.0, "intercept": 0.0, "rescale_type": "US"}, "um2/s"),
        ({"modality": "CT", "slope": None, "intercept": None, "rescale_type": ""}, "HU"),
        ({"modality": "MR", "slope": 2.0, "intercept": 0.0, "rescale_type": "US"}, None),
        ({"modality": "MR", "slope": 1.0, "intercept": 0.0, "rescale_type": "PCT"}, "PCT"),
        ({"modality": "MR", "slope": 1.0, "intercept": 0.0, "rescale_type": "US", "has_modality_lut": True}, None),
        ({"modality": "MR", "slope": 1.0, "intercept": 0.0, "rescale_type": "", "bits_stored": 16}, None),
        ({"modality": "PT", "slope": 1.0, "intercept": 0.0}, None),
    ],
)
def test_another_calibration_goes_before_a_mapping(fields: dict[str, Any], unit: str | None) -> None:
    header = header_series(**(MAPPED | {"bits_stored": 12} | fields))[0]
    assert unit_of(header) == unit
    assert is_real_world(header) == (unit == "um2/s")
    assert rescale_of(header) == (
        (0.5, -3.0) if unit == "um2/s" else (fields["slope"] or 1.0, fields["intercept"] or 0.0)
    )
