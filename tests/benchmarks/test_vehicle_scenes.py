"""Drawn scenes: exact truth, no vehicle on another, the same scene for the same seed; cameras that keep the place."""

# rasterio and scipy.ndimage are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.models.vehicle_backgrounds import Background
from benchmarks.models.vehicle_drawing import CORNER, FINE, Vehicle, draw_vehicle, footprints
from benchmarks.models.vehicle_scenes import SIDE, make_scene, photograph, resampled, sample

GROUND = [Background("noise", np.random.default_rng(0).uniform(0.2, 0.6, (700, 700)).astype(np.float32), 0.1, 0.2)]


@settings(max_examples=20, deadline=None)
@given(
    angle=st.floats(0, 2 * math.pi),
    length=st.floats(3, 12),
    width=st.floats(1.5, 2.6),
    kind=st.sampled_from(["car", "van", "lorry"]),
)
def test_a_footprint_has_the_area_of_its_rounded_rectangle(
    angle: float, length: float, width: float, kind: str
) -> None:
    vehicle = Vehicle(y=12, x=13, angle=angle, length=length, width=width, kind=kind)  # pyright: ignore[reportArgumentType]
    there = footprints([vehicle], 400, FINE) == 1
    area = length * width - (4 - math.pi) * CORNER[vehicle.kind] ** 2
    # a border through pixels' centres takes them in on both sides
    assert there.sum() * FINE**2 == pytest.approx(area, rel=0.03, abs=FINE * (length + width))
    y, x = ((np.nonzero(there)[axis].mean() + 0.5) * FINE for axis in (0, 1))
    assert (y, x) == pytest.approx((12, 13), abs=0.05)


def test_what_is_drawn_is_the_footprint() -> None:
    vehicle = Vehicle(y=8, x=8, angle=0.4, length=4.5, width=1.8, body=0.9, roof=0.7, glass=0.1)
    image = np.full((256, 256), -1, np.float32)
    draw_vehicle(image, vehicle, 0.2)
    assert np.array_equal(image >= 0, footprints([vehicle], 256, FINE) == 1)


def test_the_front_lies_where_the_angle_points() -> None:
    van = Vehicle(y=8, x=8, angle=math.pi / 2, length=6, width=2, kind="van", body=0.9, roof=0.9, glass=0.05)
    image = np.zeros((256, 256), np.float32)
    draw_vehicle(image, van, 0.0)
    windscreen = np.argwhere((image > 0) & (image < 0.1))
    assert windscreen[:, 0].min() > 8 / FINE, "y grows in the direction of its angle"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_seed_is_the_same_scene_and_no_vehicle_lies_on_another(seed: int) -> None:
    first, again = (make_scene(GROUND, np.random.default_rng(seed)) for _ in range(2))
    assert first.vehicles == again.vehicles
    assert np.array_equal(first.ground, again.ground)
    alone = [footprints([each], round(SIDE / FINE), FINE) for each in first.vehicles]
    assert all(each.any() for each in alone)
    assert np.sum([each > 0 for each in alone], axis=0).max(initial=0) <= 1


def test_other_seeds_are_other_scenes() -> None:
    made = [make_scene(GROUND, np.random.default_rng(seed)) for seed in range(4)]
    assert len({scene.vehicles for scene in made}) == 4
    assert len({scene.sensor for scene in made}) == 4
    assert sum(len(scene.vehicles) for scene in made) > 10


def test_a_camera_keeps_things_where_they_are() -> None:
    scene = make_scene(GROUND, np.random.default_rng(5), (0.25, 0.25))
    scene.ground[:] = 0.2
    scene.ground[256:512, 512:1024] = 1.0  # 16 m x 32 m around y = 24 m, x = 48 m
    picture = photograph(scene, np.random.default_rng(5)).astype(float)
    bright = np.argwhere(picture > (picture.max() + picture.min()) / 2)
    assert picture.shape == (round(SIDE / scene.sensor),) * 2
    assert (bright.mean(axis=0) + 0.5) * scene.sensor == pytest.approx((24, 48), abs=0.2)


def test_a_sample_is_what_the_model_sees() -> None:
    made = [sample(GROUND, seed) for seed in range(6)]
    assert {each.image.shape for each in made} == {(1, 256, 256)}
    assert all(each.image.min() == 0 and each.image.max() == 1 for each in made)
    crowded = max(made, key=lambda each: int(each.labels.max()))
    assert np.array_equal(crowded.image, sample(GROUND, made.index(crowded)).image)
    inside = crowded.image[0][crowded.labels > 0]
    assert inside.std() > crowded.image[0][crowded.labels == 0].std() / 2, "vehicles are painted in"


@pytest.mark.parametrize("count", [128, 256, 512])
def test_resampling_keeps_the_mean(count: int) -> None:
    image = np.random.default_rng(1).uniform(0, 1, (256, 256)).astype(np.float32)
    assert resampled(image, count).mean() == pytest.approx(image.mean(), abs=2e-3)
