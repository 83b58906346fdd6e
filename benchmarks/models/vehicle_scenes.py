"""Scenes with vehicles and exact truth: real ground, drawn roads, car parks, roofs and vehicles, one simulated camera.

Vehicles and ground pass through the same optics: everything is put together on a grid of `FINE` metres and then
blurred, sampled, made noisy, sharpened and compressed as a whole. A background whose pixels are too coarse for the
camera is taken for one with smaller pixels, so that sharpness tells nothing about what was drawn.
"""

# scipy.ndimage has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.models.vehicle_backgrounds import Background
from benchmarks.models.vehicle_drawing import FINE, Floats, Vehicle, footprints
from benchmarks.models.vehicle_places import Builder
from schemas.boxes import Box
from segworkers.readers.base import PixelBlock
from segworkers.resampling import reduce_block
from segworkers.training.samples import Sample

SIDE = 64.0
"""Metres of a scene."""
SENSORS = (0.1, 0.5)
"""Metres per pixel: span of cameras."""
MODEL = 0.25
"""Metres of a pixel of the model."""
LEAST_SEEN = 0.5
"""Vehicles of which less than this share lies in a scene are neither hits nor misses."""
Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is there, before anyone takes a picture."""

    ground: Floats
    """(y, x) reflectances at `FINE` metres per pixel."""
    vehicles: tuple[Vehicle, ...]
    sensor: float
    """Metres per pixel of the camera that the background's sharpness is enough for; `SIDE` is a multiple of it."""


def make_scene(backgrounds: Sequence[Background], rng: Rng, sensors: tuple[float, float] = SENSORS) -> Scene:
    """A scene for a camera with pixels drawn evenly, in their logarithm, from `sensors`."""
    wanted = math.exp(rng.uniform(math.log(sensors[0]), math.log(sensors[1])))
    sensor = SIDE / round(SIDE / wanted)
    chances = np.array([background.chance for background in backgrounds])
    background = backgrounds[int(rng.choice(len(backgrounds), p=chances / chances.sum()))]
    builder = Builder(ground(background, sensor, rng), rng)
    builder.build()
    return Scene(builder.image, tuple(builder.vehicles), sensor)


def ground(background: Background, sensor: float, rng: Rng) -> Floats:
    """A random piece of the background, turned by quarters and mirrored, at `FINE` metres per pixel."""
    side = round(SIDE / FINE)
    pixel = min(background.largest, background.pixel, sensor / rng.uniform(1.2, 2.0))
    needed = min(math.ceil(SIDE / pixel) + 2, *background.pixels.shape)
    y, x = (int(rng.integers(0, extent - needed + 1)) for extent in background.pixels.shape)
    piece = background.pixels[y : y + needed, x : x + needed]
    piece = np.rot90(piece, int(rng.integers(4)))[:: int(rng.choice([-1, 1]))]
    most = math.ceil(SIDE / pixel) + 2
    piece = np.pad(piece, ((0, most - needed), (0, most - needed)), mode="symmetric") if most > needed else piece
    step = pixel / FINE
    places = (np.arange(side) + 0.5) / step
    rows, columns = np.meshgrid(places, places, indexing="ij")
    seen = cast("Any", ndimage.map_coordinates)(piece, [rows, columns], order=1, mode="nearest")
    level, gain = rng.uniform(-0.05, 0.15), math.exp(rng.uniform(-0.4, 0.3))
    return np.asarray(np.clip(seen * gain + level, 0.01, None), np.float32)


def photograph(scene: Scene, rng: Rng) -> NDArray[np.uint8]:
    """(n, n) what a camera with pixels of `scene.sensor` metres makes of the scene, in 8 bits."""
    count = round(SIDE / scene.sensor)
    pixel = scene.sensor / FINE
    image = ndimage.gaussian_filter(scene.ground, pixel * rng.uniform(0.3, 0.8))
    image = resampled(np.asarray(image, np.float32), count)
    image = image + rng.normal(0, rng.uniform(0.002, 0.03), image.shape).astype(np.float32)
    if rng.random() < 0.5:
        image += rng.uniform(0, 1.2) * (image - ndimage.gaussian_filter(image, 1.0))
    low, high = np.percentile(image, (rng.uniform(0, 2), rng.uniform(98, 99.95)))
    bits = np.clip(255 * (image - low) / max(high - low, 0.05), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        file = io.BytesIO()
        Image.fromarray(bits).save(file, "JPEG", quality=int(rng.integers(40, 95)))
        bits = np.asarray(Image.open(file), np.uint8)
    return bits


def resampled(image: NDArray[Any], count: int) -> NDArray[Any]:
    """A square image on a grid of `count` x `count` pixels over the same extent, just as the pipeline does it."""
    side = image.shape[0]
    whole = Box((0, 0, 0), (1, side, side))
    block = PixelBlock(image[None, None], np.ones((1, side, side), np.bool_), whole)
    return reduce_block(block, Box((0, 0, 0), (1, count, count)), (1, side, side), (1, count, count)).pixels[0, 0]


def sample(backgrounds: Sequence[Background], seed: int, sensors: tuple[float, float] = SENSORS) -> Sample:
    """The scene of a seed as the model sees it, stretched as `normalise: percentile` does it, with its truth."""
    rng = np.random.default_rng((seed, 4))
    scene = make_scene(backgrounds, rng, sensors)
    side = round(SIDE / MODEL)
    image = resampled(photograph(scene, rng), side).astype(np.float32)
    low, high = np.percentile(image, (1, 99))
    shown = np.clip((image - low) / max(float(high - low), 1), 0, 1).astype(np.float32)
    labels = footprints(scene.vehicles, side, MODEL)
    whole = np.array([vehicle.length * vehicle.width for vehicle in scene.vehicles]) / MODEL**2
    cut = np.bincount(labels.ravel(), minlength=len(whole) + 1)[1:] < LEAST_SEEN * whole
    ignored = np.concatenate([[False], cut])[labels]
    return Sample(
        name=f"scene {seed}, {scene.sensor:.2f} m",
        image=shown[None],
        labels=np.where(ignored, 0, labels).astype(np.int32),
        ignored=ignored,
    )
