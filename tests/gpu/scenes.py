"""Small inputs in which models find something: rasters, and a CT series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine
from scipy import ndimage

from benchmarks.models.vehicle_backgrounds import Background
from benchmarks.models.vehicle_scenes import MODEL, sample
from tests.annotated import discs
from tests.dicom_files import Layout
from tests.segworkers.readers.rasters import write_raster
from tests.volume_truth import World


def field(side: int = 448) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Blurred discs of 28 to 48 px in noise, 0..1 (y, x), and what they were before (0 = ground)."""
    rng = np.random.default_rng(8)
    rows, columns = np.mgrid[:side, :side] + 0.5
    image, labels = np.zeros((side, side)), np.zeros((side, side), np.int32)
    for number, (y, x, r) in enumerate(discs(rng, side // 2, 60), start=1):
        inside = (rows - 2 * y) ** 2 + (columns - 2 * x) ** 2 < 4 * r * r
        image[inside], labels[inside] = rng.uniform(0.5, 1.0), number
    image = ndimage.gaussian_filter(image, 1.5) + rng.normal(0.05, 0.02, image.shape)
    return np.clip(image, 0, 1).astype(np.float32), labels


def cells(folder: Path, side: int = 448) -> Path:
    """The field as 16 bit."""
    return write_raster(folder / "cells.tif", (field(side)[0][None] * 50_000).astype(np.uint16))


def cars(folder: Path) -> Path:
    """A drawn car park at the pixel size of the model `vehicles`."""
    ground = np.random.default_rng(0).normal(0.4, 0.03, (700, 700)).astype(np.float32)
    scene = sample([Background("grey", ground, 0.1, 0.2)], 0, (0.2, 0.3)).image
    return _aerial(folder / "cars.tif", scene, MODEL)


def trees(folder: Path) -> Path:
    """Green rough discs with shade, at the pixel size of the model `tree-crowns`."""
    rng = np.random.default_rng(1)
    image = np.repeat(rng.normal(0.62, 0.02, (1, 320, 320)), 3, axis=0)
    y, x = np.mgrid[:320, :320]
    for cy in range(40, 300, 60):
        for cx in range(40, 300, 60):
            image[:, np.hypot(y - cy + 8, x - cx + 8) < 13] = 0.1
            crown = np.hypot(y - cy, x - cx) < 12
            image[:, crown] = np.array([[0.45], [0.5], [0.3]]) + rng.normal(0, 0.12, int(crown.sum()))
    return _aerial(folder / "trees.tif", image.astype(np.float32), 0.2)


def _aerial(path: Path, image: NDArray[np.float32], metres: float) -> Path:
    pixels = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return write_raster(path, pixels, transform=Affine(metres, 0.0, 500_000.0, 0.0, -metres, 5_000_000.0))


def organ(shape: tuple[int, int, int] = (20, 64, 64)) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """A body in HU (z, y, x): air, an organ in its middle, five lesions; where organ and lesions are."""
    rng = np.random.default_rng(4)
    places = np.indices(shape)

    def ball(centre: tuple[float, ...], axes: tuple[float, ...]) -> NDArray[np.bool_]:
        return sum(((p - c) / a) ** 2 for p, c, a in zip(places, centre, axes, strict=True)) <= 1

    whole = ball(tuple(n / 2 for n in shape), tuple(0.4 * n for n in shape))
    lesions = np.zeros(shape, bool)
    for dz, dy, dx in ((0, 0, 0), (-3, -12, 4), (3, 12, -4), (1, 6, 14), (-1, -5, -13)):
        centre = (shape[0] / 2 + dz, shape[1] / 2 + dy, shape[2] / 2 + dx)
        lesions |= ball(centre, (2.5, 4.0, 4.0))
    values = np.where(lesions, 20, np.where(whole, 120, -900))
    return np.rint(values + rng.normal(0, 6, shape)).astype(np.int64), whole, lesions


def series(folder: Path, values: NDArray[np.int64], spacing: tuple[float, float, float] = (2.5, 1.0, 1.0)) -> Path:
    """Values (z, y, x) as a CT series."""
    shape = (values.shape[0], values.shape[1], values.shape[2])
    World(values=values, layout=Layout(shape=shape, spacing=spacing), study={"study": "S1"}).save(folder / "ct")
    return folder / "ct"
