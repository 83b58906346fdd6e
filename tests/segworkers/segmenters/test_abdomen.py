"""Where the abdomen lies in a scan of a body made of cylinders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.boxes import Box
from segworkers.segmenters.abdomen import abdomen_box

SPACING = (3.0, 3.0, 3.0)
LARGEST = (136, 136, 163)
SHAPE = (200, 110, 130)


@dataclass(frozen=True)
class Body:
    """HU of a phantom, z to the head: thighs at 12, hip at 40, spine, lungs from 130 on."""

    lungs: bool = True
    lungs_from: int = 130
    hip: int = 40
    table: bool = True

    def scan(self) -> NDArray[np.int16]:
        return scan_of(self).copy()

    def made(self) -> NDArray[np.int16]:
        z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
        hu = np.full(SHAPE, -1000, np.int16)
        trunk = ((y - 50) / 35.0) ** 2 + ((x - 65) / 50.0) ** 2 <= 1
        hu[np.broadcast_to(trunk, SHAPE)] = 40
        bone = ((y - 75) ** 2 + (x - 65) ** 2 <= 36) & (z >= 0)
        hu[bone] = 700
        beside = ((abs(x - 35) < 10) | (abs(x - 95) < 10)) & (abs(y - 60) < 8)
        wings = beside & ((abs(z - self.hip) < 8) | (abs(z - 12) < 4))
        hu[np.broadcast_to(wings, SHAPE)] = 700
        thorax = (z >= self.lungs_from) & (abs(np.sqrt(((y - 50) / 35.0) ** 2 + ((x - 65) / 50.0) ** 2) - 0.9) < 0.03)
        hu[thorax & trunk & ((z // 4) % 2 == 0)] = 700
        if self.lungs:
            for middle in (42, 88):
                lung = ((y - 50) / 24.0) ** 2 + ((x - middle) / 17.0) ** 2 <= 1
                hu[np.broadcast_to(lung, SHAPE) & (z >= self.lungs_from)] = -850
        if self.table:
            hu[:, 95:98, 10:120] = 100
        return hu


@cache
def scan_of(body: Body) -> NDArray[np.int16]:
    return body.made()


def box_of(hu: NDArray[np.int16]) -> Box:
    return abdomen_box(hu, np.ones(hu.shape, bool), SPACING, LARGEST)


def test_it_reaches_from_the_hip_to_above_the_dome() -> None:
    box = box_of(Body().scan())
    assert abs(box.stop[0] - (130 + 70 // 3)) <= 3
    assert abs(box.start[0] - (40 - 20 // 3)) <= 3
    # trunk, eroded by a voxel, without the table
    assert abs(box.start[1] - 16) <= 1 and abs(box.stop[1] - 85) <= 1
    assert abs(box.start[2] - 16) <= 1 and abs(box.stop[2] - 115) <= 1


def test_one_place_with_much_bone_is_no_hip_yet() -> None:
    box = box_of(Body(hip=12).scan())
    assert box.stop[0] - box.start[0] == LARGEST[0], "as tall as fits"


def test_it_moves_with_the_patient() -> None:
    hu = Body().scan()
    moved = np.roll(hu, (0, 5, -7), (0, 1, 2))
    assert box_of(moved) == box_of(hu).shift((0, 5, -7))


def test_without_lungs_the_upper_part_is_taken_as_tall_as_fits() -> None:
    box = box_of(Body(lungs=False).scan())
    assert (box.start[0], box.stop[0]) == (SHAPE[0] - LARGEST[0], SHAPE[0])


@pytest.mark.parametrize("lungs_from", [1, 3, 8])
def test_a_scan_of_the_chest_gives_what_lies_below_the_lungs_and_the_margin(lungs_from: int) -> None:
    box = box_of(Body(lungs_from=lungs_from).scan())
    assert box.start[0] == 0 and abs(box.stop[0] - (lungs_from + 70 // 3)) <= 3


def test_air_alone_and_tiny_scans_give_a_box_inside_the_scan() -> None:
    for shape in ((200, 200, 200), (1, 1, 1), (2, 300, 2), (5, 5, 5)):
        for value in (-1000, 40, 900):
            hu = np.full(shape, value, np.int16)
            box = box_of(hu)
            assert box in Box.of_shape(shape)
            assert all(side <= room for side, room in zip(box.shape, LARGEST, strict=True))


def test_padding_counts_as_air() -> None:
    hu, valid = Body(table=False).scan(), np.ones(SHAPE, bool)
    expected = box_of(hu)
    hu[:, :10], valid[:, :10] = 3000, False
    assert abdomen_box(hu, valid, SPACING, LARGEST) == expected


def test_a_body_larger_than_the_window_keeps_its_middle_and_its_upper_end() -> None:
    hu = Body(table=False).scan()
    whole = box_of(hu)
    cut = abdomen_box(hu, np.ones(SHAPE, bool), SPACING, (60, 50, 60))
    assert cut.shape == (60, 50, 60) and cut in whole
    assert cut.stop[0] == whole.stop[0]
    assert abs(cut.start[2] + 30 - 65) <= 3
