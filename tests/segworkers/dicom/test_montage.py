from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.boxes import Box
from schemas.volumes import VolumeFacts
from segworkers.dicom.lesions import Lesion
from segworkers.dicom.montage import (
    LONG_AXIS,
    LUNG_HU,
    OUTLINE,
    SHORT_AXIS,
    SOFT_TISSUE_HU,
    MontageOptions,
    montage,
    outline,
    slices_shown,
    window,
    write_montages,
)
from tests.dicom_files import Layout
from tests.dicom_outputs import bitmaps, geometry_of, lesions

SHAPE = (20, 60, 64)


def facts_of(spacing: tuple[float, float, float] = (2.0, 1.0, 1.0)) -> VolumeFacts:
    return VolumeFacts(
        geometry=geometry_of(Layout(shape=SHAPE, spacing=spacing)),
        series_id="a" * 32,
        study_id="b" * 32,
        subject_id="c" * 32,
        frame_of_reference_id="d" * 32,
        modality="CT",
        unit="HU",
    )


class Reads:
    """Hands out values and remembers which boxes were asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.boxes: list[Box] = []

    def __call__(self, box: Box) -> np.ndarray:
        self.boxes.append(box)
        return self.values[box.within((0, 0, 0))]


def one(z: slice, y: slice, x: slice) -> Lesion:
    mask = np.zeros((1, *SHAPE), bool)
    mask[0, z, y, x] = True
    return lesions(mask)[0]


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.unique(np.asarray(image).reshape(-1, 3), axis=0).tolist()}


def test_only_crops_of_the_lesions_own_slices_are_read(tmp_path: Path) -> None:
    read = Reads(np.zeros(SHAPE, np.int16))
    lesion = one(slice(3, 6), slice(20, 30), slice(40, 45))
    write_montages(facts_of(), [lesion], read, tmp_path, MontageOptions(margin_mm=4))
    assert read.boxes == [Box((z, 16, 36), (z + 1, 34, 49)) for z in (3, 4, 5)]


def test_pixels_have_their_true_aspect(tmp_path: Path) -> None:
    lesion = one(slice(3, 4), slice(20, 30), slice(20, 30))
    options = MontageOptions(margin_mm=0, tile_px=200)
    read = Reads(np.zeros(SHAPE, np.int16))
    assert montage(facts_of(), lesion, read, options).size == (200, 200)
    assert montage(facts_of((2.0, 1.0, 0.5)), lesion, read, options).size == (100, 200)
    assert montage(facts_of((2.0, 0.25, 0.5)), lesion, read, options).size == (200, 100)


def test_outline_and_axes_are_drawn(tmp_path: Path) -> None:
    lesion = one(slice(3, 6), slice(20, 30), slice(20, 44))
    read = Reads(np.full(SHAPE, -1000, np.int16))
    picture = montage(facts_of(), lesion, read, MontageOptions(columns=3))
    assert {OUTLINE, LONG_AXIS, SHORT_AXIS} <= colours(picture)
    width = picture.size[0] // 3
    axes = [bool({LONG_AXIS} & colours(picture.crop((k * width, 0, (k + 1) * width, 200)))) for k in range(3)]
    assert sum(axes) == 1  # in the slice where they were measured
    single = montage(facts_of(), one(slice(3, 4), slice(20, 21), slice(20, 21)), read, MontageOptions())
    assert OUTLINE in colours(single) and LONG_AXIS not in colours(single)


def test_the_outline_encloses_the_lesion(tmp_path: Path) -> None:
    lesion = one(slice(3, 4), slice(20, 30), slice(20, 40))
    read = Reads(np.zeros(SHAPE, np.int16))
    picture = np.asarray(montage(facts_of(), lesion, read, MontageOptions(margin_mm=10, tile_px=400)))
    y, x = np.nonzero((picture == OUTLINE).all(axis=2))
    assert (x.min(), x.max(), y.min(), y.max()) == (100, 300, 100, 200)  # 10 px a voxel, 10 voxels around


def test_outline_of_known_masks() -> None:
    assert outline(np.zeros((3, 4), bool)) == []
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:5] = True
    assert sorted(outline(mask)) == sorted([((1, 2), (1, 5)), ((3, 2), (3, 5)), ((1, 2), (3, 2)), ((1, 5), (3, 5))])


def test_the_outline_is_as_long_as_the_edges_of_the_pixels() -> None:
    mask = np.random.default_rng(3).random((30, 40)) < 0.5
    lines = outline(mask)
    length = sum(abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in lines)
    padded = np.pad(mask, 1)
    assert length == (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()


@pytest.mark.parametrize("most", [1, 2, 5, 12])
@pytest.mark.parametrize("measured", [-1, 0, 7, 19])
def test_slices_are_spread_and_hold_the_measured_one(most: int, measured: int) -> None:
    lesion = one(slice(0, 20), slice(1, 3), slice(1, 3))
    shown = slices_shown(lesion, measured, most)
    assert len(shown) <= most and shown == sorted(set(shown))
    assert measured == -1 or measured in shown
    if most >= 5:
        assert shown[0] <= 2 and shown[-1] >= 17


def test_windows_suit_the_tissue() -> None:
    facts = facts_of()
    assert window(np.full((2, 3, 3), 50, np.int16), facts) == SOFT_TISSUE_HU
    assert window(np.full((2, 3, 3), -800, np.int16), facts) == LUNG_HU
    other = replace(facts, modality="MR", unit=None)
    values = np.arange(1000, dtype=np.float32).reshape(1, 10, 100)
    low, high = window(values, other)
    assert 0 < low < 20 and 980 < high < 999
    assert window(np.full((1, 2, 2), np.nan, np.float32), other) == (0.0, 1.0)
    assert window(np.full((1, 2, 2), 5.0, np.float32), other) == (5.0, 6.0)


def test_values_that_are_unknown_are_black() -> None:
    values = np.full(SHAPE, 500, np.float32)
    lesion = one(slice(3, 4), slice(20, 30), slice(20, 30))
    bright = np.asarray(montage(facts_of(), lesion, Reads(values), MontageOptions()))
    assert (bright[100, 20] == 255).all()
    values[:, :20] = np.nan
    dark = np.asarray(montage(facts_of(), lesion, Reads(values), MontageOptions()))
    assert (dark[50, 120] == 0).all()


def test_the_largest_lesions_get_one_and_bytes_repeat(tmp_path: Path) -> None:
    found = lesions(bitmaps(SHAPE, 3))
    read = Reads(np.random.default_rng(0).integers(-200, 200, SHAPE).astype(np.int16))
    paths = write_montages(facts_of(), found, read, tmp_path, MontageOptions(limit=2))
    by_size = sorted(found, key=lambda lesion: -lesion.voxel_count)
    assert [path.name for path in paths] == [f"{'a' * 32}-{lesion.instance_id}.png" for lesion in by_size[:2]]
    before = [path.read_bytes() for path in paths]
    again = write_montages(facts_of(), found[::-1], read, tmp_path, MontageOptions(limit=2))
    assert before == [path.read_bytes() for path in again]
    assert Image.open(paths[0]).info == {}
    assert len(list(tmp_path.iterdir())) == 2
