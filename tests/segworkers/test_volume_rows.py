"""The columns of a volume's objects: what is measured, what is read, and why the rest is null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import InputError
from schemas.grids import PixelGrid
from schemas.masks import to_runs
from schemas.sources import Source
from schemas.volumes import VolumeFacts
from segworkers.readers.base import PixelBlock
from segworkers.volume_rows import measure_volume
from tests.fakes import ArrayReader
from tests.mask_strategies import batch
from tests.volume_geometries import geometry

SHAPE = (6, 8, 9)
COLUMNS = """
series_id study_id voxel_count volume_mm3 centroid_x_mm centroid_y_mm centroid_z_mm long_axis_mm short_axis_mm
max_diameter_mm surface_mm2 long_axis_slice plane value_unit value_mean value_sd value_median value_p10 value_p90
value_min value_max suv_mean suv_max first_sop_id last_sop_id unknown_reason
"""


class VolumeReader(ArrayReader):
    """A volume in memory that knows its instances and remembers what was read."""

    def __init__(self, pixels: NDArray[Any], **options: Any) -> None:
        super().__init__(pixels, **options)
        self.boxes: list[Box] = []
        self.names: Sequence[str] | None = [f"sop{z}" for z in range(len(pixels))]

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        self.boxes.append(box)
        return super().read(source, box, bands)

    def instance_ids(self, source: Source) -> Sequence[str]:
        if self.names is None:
            raise InputError("changed", "the series is another one.")
        return self.names


def source_of(values: NDArray[Any], **facts: Any) -> Source:
    told: dict[str, Any] = {
        "geometry": geometry(SHAPE, (2.0, 0.5, 0.5)),
        "series_id": "series",
        "study_id": "study",
        "subject_id": "subject",
        "frame_of_reference_id": "frame",
        "modality": "CT",
        "unit": "HU",
    }
    volume = VolumeFacts(**(told | facts))
    grid = PixelGrid(shape=SHAPE)
    return Source(
        uri="dicom:series", fingerprint="0", grid=grid, dtype=str(values.dtype), bands=("value",), volume=volume
    )


def block(z: int, y: int, x: int, *shape: int) -> NDArray[np.int32]:
    return to_runs(np.ones(shape, bool), (z, y, x))


VALUES = np.random.default_rng(0).integers(-1000, 3000, SHAPE).astype(np.int16)


def test_all_columns_of_an_object() -> None:
    reader = VolumeReader(VALUES)
    found = measure_volume(*batch([block(1, 2, 3, 3, 4, 2)]), source_of(VALUES), reader)
    assert set(found) == set(COLUMNS.split())
    inside = VALUES[1:4, 2:6, 3:5].astype(float)
    told = {name: column[0] for name, column in found.items()}
    assert (told["series_id"], told["study_id"], told["value_unit"], told["plane"]) == (
        "series",
        "study",
        "HU",
        "axial",
    )
    assert (told["voxel_count"], told["volume_mm3"]) == (24, pytest.approx(12.0))
    assert (told["first_sop_id"], told["last_sop_id"], told["long_axis_slice"]) == ("sop1", "sop3", 1)
    at = [told[f"centroid_{axis}_mm"] for axis in "xyz"]
    assert at == pytest.approx([-120 + 3.5 * 0.5, -80 + 3.5 * 0.5, 40 + 2 * 2.0])
    assert told["long_axis_mm"] == pytest.approx(np.hypot(1.5, 0.5))
    assert told["max_diameter_mm"] == pytest.approx(np.sqrt(4.0**2 + 1.5**2 + 0.5**2))
    assert 0 < told["short_axis_mm"] < told["long_axis_mm"] and told["surface_mm2"] > 0
    assert told["value_mean"] == pytest.approx(inside.mean()) and told["value_sd"] == pytest.approx(inside.std())
    percentiles = np.percentile(inside, [10, 50, 90])
    assert [told["value_p10"], told["value_median"], told["value_p90"]] == pytest.approx(percentiles.tolist())
    assert (told["value_min"], told["value_max"]) == (inside.min(), inside.max())
    assert np.isnan(told["suv_mean"]) and np.isnan(told["suv_max"])
    assert told["unknown_reason"] is None


def test_only_slices_with_objects_are_read_once_and_cropped_to_what_is_in_them() -> None:
    reader = VolumeReader(VALUES)
    masks = [block(1, 2, 3, 1, 2, 2), block(1, 5, 0, 1, 1, 1), block(4, 0, 7, 1, 1, 2), block(4, 0, 7, 1, 1, 1)]
    measure_volume(*batch(masks), source_of(VALUES), reader)
    assert reader.boxes == [Box((1, 2, 0), (2, 6, 5)), Box((4, 0, 7), (5, 1, 9))]


def test_what_cannot_be_read_is_null_with_a_reason_and_nothing_else_is() -> None:
    reader = VolumeReader(VALUES, broken=[Box((2, 0, 0), (3, 8, 9))])
    masks = [block(1, 2, 3, 3, 2, 2), block(4, 2, 3, 1, 2, 2)]
    found = measure_volume(*batch(masks), source_of(VALUES), reader)
    assert found["unknown_reason"] == ["values_unreadable", None]
    for name in ("value_mean", "value_sd", "value_median", "value_p10", "value_p90", "value_min", "value_max"):
        assert np.isnan(found[name]).tolist() == [True, False], name
    assert found["volume_mm3"].tolist() == pytest.approx([6.0, 2.0])


def test_padding_is_no_value() -> None:
    valid = np.ones(SHAPE, bool)
    valid[:, 3:, :] = False
    reader = VolumeReader(VALUES, valid=valid)
    found = measure_volume(*batch([block(1, 2, 3, 1, 2, 2), block(1, 3, 3, 1, 2, 2)]), source_of(VALUES), reader)
    assert found["value_mean"][0] == pytest.approx(VALUES[1, 2, 3:5].mean())
    assert np.isnan(found["value_mean"][1]) and found["unknown_reason"] == [None, "no_valid_values"]


def test_small_objects_say_which_sizes_they_have_not() -> None:
    masks = [block(1, 2, 3, 1, 1, 1), block(1, 2, 3, 2, 1, 1), block(1, 2, 3, 1, 1, 3), block(1, 2, 3, 1, 2, 2)]
    found = measure_volume(*batch(masks), source_of(VALUES), VolumeReader(VALUES))
    assert found["unknown_reason"] == ["no_in_plane_extent, single_voxel", "no_in_plane_extent", "one_voxel_wide", None]
    assert found["long_axis_slice"] == [None, None, 1, 1]
    assert np.isnan(found["long_axis_mm"]).tolist() == [True, True, False, False]
    assert np.isnan(found["short_axis_mm"]).tolist() == [True, True, True, False]
    assert np.isnan(found["max_diameter_mm"]).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("modality", "factor", "reason"), [("PT", None, "suv_unknown"), ("PT", 0.25, None), ("MR", None, None)]
)
def test_suv_is_there_only_where_its_factor_is(modality: str, factor: float | None, reason: str | None) -> None:
    values = VALUES.astype(np.float32) / 3
    source = source_of(values, modality=modality, unit="BQML", suv_factor=factor)
    found = measure_volume(*batch([block(1, 2, 3, 2, 2, 2)]), source, VolumeReader(values))
    assert found["unknown_reason"] == [reason]
    inside = values[1:3, 2:4, 3:5].astype(np.float64)
    scale = np.nan if factor is None else factor
    assert found["suv_mean"][0] == pytest.approx(inside.mean() * scale, nan_ok=True)
    assert found["suv_max"][0] == pytest.approx(inside.max() * scale, nan_ok=True)


def test_an_unknown_unit_is_null_with_a_reason() -> None:
    found = measure_volume(*batch([block(1, 2, 3, 2, 2, 2)]), source_of(VALUES, unit=None), VolumeReader(VALUES))
    assert (found["value_unit"], found["unknown_reason"]) == ([None], ["unit_unknown"])
    assert not np.isnan(found["value_mean"]).any()


@pytest.mark.parametrize("names", [None, ["sop0"]])
def test_instances_that_cannot_be_known_are_null_with_a_reason(names: list[str] | None) -> None:
    reader = VolumeReader(VALUES)
    reader.names = names
    masks = batch([block(1, 2, 3, 2, 2, 2)])
    for each in (reader, ArrayReader(VALUES)):
        found = measure_volume(*masks, source_of(VALUES), each)
        assert (found["first_sop_id"], found["last_sop_id"]) == ([None], [None])
        assert found["unknown_reason"] == ["instances_unknown"]


def test_a_raster_is_refused() -> None:
    source = replace(source_of(VALUES), volume=None)
    with pytest.raises(ValueError, match="is no volume"):
        measure_volume(*batch([block(1, 2, 3, 2, 2, 2)]), source, VolumeReader(VALUES))


def test_no_objects_have_empty_columns() -> None:
    found = measure_volume(*batch([]), source_of(VALUES), VolumeReader(VALUES))
    assert set(found) == set(COLUMNS.split()) and all(len(column) == 0 for column in found.values())
