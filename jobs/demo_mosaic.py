"""A large raster of real nuclei: many microscopy images laid out side by side, with the instances they hold.

Each image is scaled once by its own percentiles and placed whole, with dark margins between images, so that its
objects keep their pixels and their neighbours. Tiles of a run cut through images and nuclei as they fall.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy.ndimage has no complete types)

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from schemas.boxes import Box

SPLITS = ("training", "validation", "test")
DUPLICATES = ("mnfinder/test-data/2023-05-31_misc/images/1.tif",)
"""Pixel for pixel training-data/2022-05-26_RPE1/images/1.tif: it would be counted twice, and is not held out."""
WHITE = 60_000
"""Pixel value of an image's upper percentile."""
PERCENTILES = (1.0, 99.8)
MARGIN = 48
WIDTH = 6144


@dataclass(frozen=True, slots=True, eq=False)
class NucleiImage:
    """One microscopy image and its nuclei."""

    name: str
    """Path in the archive."""
    split: str
    """The data set's own: training, validation or test."""
    pixels: NDArray[np.uint16]
    """(y, x), 0..WHITE."""
    labels: NDArray[np.int32]
    """(y, x), 0 = background, 1..count."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one image lies in the mosaic."""

    name: str
    split: str
    box: Box
    count: int
    """Nuclei annotated in it."""


def read_images(archive: Path) -> list[NucleiImage]:
    """Every annotated image of the archive but `DUPLICATES`, in the order of splits and names."""
    with zipfile.ZipFile(archive) as opened:
        names = [n for n in opened.namelist() if PurePosixPath(n).match("mnfinder/*-data/*/images/*.tif")]
        kept = sorted(set(names) - set(DUPLICATES), key=lambda name: (SPLITS.index(_split(name)), name))
        return [_read_image(opened, name) for name in kept]


def _split(name: str) -> str:
    return PurePosixPath(name).parts[1].removesuffix("-data")


def _read_image(opened: zipfile.ZipFile, name: str) -> NucleiImage:
    image = np.asarray(Image.open(io.BytesIO(opened.read(name))))
    path = PurePosixPath(name)
    mask = path.parent.parent / "nucleus_masks" / f"{path.stem}.png"
    labels, count = label_mask(np.asarray(Image.open(io.BytesIO(opened.read(str(mask))))))
    if image.shape != labels.shape:
        raise ValueError(f"{name}: image {image.shape} and mask {labels.shape} differ in shape")
    return NucleiImage(name, _split(name), scale(image), labels, count)


def label_mask(rgba: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """Nuclei of an RGBA mask (y, x, 4): 4-connected components of what is not transparent, and their number.

    Four neighbours, because the masks keep touching nuclei apart by gaps of one pixel that may run diagonally.
    """
    labels, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(rgba[..., 3] > 0))
    return labels.astype(np.int32), count


def scale(image: NDArray[Any]) -> NDArray[np.uint16]:
    """`PERCENTILES` of the image (y, x) to 0..WHITE, clipped."""
    low, high = np.percentile(image, PERCENTILES)
    return np.rint(np.clip((image - low) / max(high - low, 1e-9), 0, 1) * WHITE).astype(np.uint16)


def arrange(shapes: Sequence[tuple[int, int]], width: int = WIDTH, margin: int = MARGIN) -> tuple[list[Box], Box]:
    """Boxes of rectangles (y, x) on shelves, the tallest first, `margin` px around each; and the extent of all.

    Raises ValueError where a rectangle is wider than the shelf.
    """
    if any(x + 2 * margin > width for _, x in shapes):
        raise ValueError(f"an image is wider than the mosaic's {width - 2 * margin} px")
    boxes: dict[int, Box] = {}
    top, left, bottom = margin, margin, margin
    for k in sorted(range(len(shapes)), key=lambda k: (-shapes[k][0], k)):
        height, across = shapes[k]
        if left + across + margin > width:
            top, left = bottom + margin, margin
        boxes[k] = Box((0, top, left), (1, top + height, left + across))
        left += across + margin
        bottom = max(bottom, top + height)
    return [boxes[k] for k in range(len(shapes))], Box((0, 0, 0), (1, bottom + margin, width))


def assemble(
    images: Sequence[NucleiImage], width: int = WIDTH
) -> tuple[NDArray[np.uint16], NDArray[np.uint32], list[Placement]]:
    """The mosaic (y, x), its instances (y, x) numbered from 1 in the order of `images`, and the placements."""
    boxes, extent = arrange([(image.pixels.shape[0], image.pixels.shape[1]) for image in images], width)
    mosaic = np.zeros(extent.shape[1:], np.uint16)
    truth = np.zeros(extent.shape[1:], np.uint32)
    placements: list[Placement] = []
    total = 0
    for image, box in zip(images, boxes, strict=True):
        _, rows, columns = box.within((0, 0, 0))
        mosaic[rows, columns] = image.pixels
        truth[rows, columns] = np.where(image.labels > 0, image.labels.astype(np.uint32) + np.uint32(total), 0)
        total += image.count
        placements.append(Placement(name=image.name, split=image.split, box=box, count=image.count))
    return mosaic, truth, placements
