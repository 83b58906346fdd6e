"""Real pixels for the seam benchmark: microscopy images of nuclei, laid out anew for each seed, and a model for them.

The images and their nuclei, outlined by hand, are the demo's (`jobs.demo_mosaic`; docs/data.md names origin and
licence). The model is the demo's as well: background subtraction, threshold and a watershed of the distance transform,
nothing learned. It is given each window with the contrast of that window alone, as networks are whose input or
activations are normalised for every tile, so it says different things of one nucleus in different windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.seams.draws import stream
from jobs.demo_archives import cache_folder, fetch_archive
from jobs.demo_data import MNFINDER
from jobs.demo_models.nuclei import Nuclei
from jobs.demo_mosaic import PERCENTILES, WHITE, NucleiImage, arrange, read_images
from schemas.boxes import Box, Zyx
from segworkers.lattice import Lattice

MARGIN = 16
"""px of dark around each image, so that nuclei of different images never touch."""
OFFSET = 256
"""px; the layout starts at 0 to `OFFSET` - 1 from the upper and left edges, so that borders fall elsewhere."""
FAINTEST = WHITE // 10
"""Least contrast that a window's is taken for: of dark windows nothing but noise would be left."""

_LAYOUT = 100  # stream of random numbers, apart from those of the synthetic noises


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """Microscopy images side by side."""

    pixels: NDArray[np.uint16]
    """(y, x), 0..WHITE; 0 between images."""
    truth: NDArray[np.int32]
    """(y, x), 0 = background, nuclei have 1..`count`."""
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the model says of some pixels."""

    shape: tuple[int, int]
    """(y, x) of the pixels."""
    masks: Sequence[tuple[tuple[slice, slice], NDArray[np.bool_]]]
    """Place in the pixels (y, x) and shape of each object. Masks of one answer never share a pixel."""
    scores: Sequence[float]
    """In [0, 1]."""

    def painted(self) -> NDArray[np.int32]:
        """(y, x), 0 = background, mask k has value k + 1."""
        labels = np.zeros(self.shape, np.int32)
        for number, (place, mask) in enumerate(self.masks, start=1):
            labels[place][mask] = number
        return labels


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the model says of a mosaic."""

    windows: Mapping[Zyx, Answer]
    """Of each window of a lattice, by its index."""
    whole: Answer
    """Of all pixels at once."""


Model = Callable[[NDArray[np.uint16]], Answer]
"""Says what it sees in pixels (y, x)."""


def load(folder: Path | None = None) -> tuple[NucleiImage, ...]:
    """All images, from the demo's cache; fetched into it (68 MB) where it lacks them.

    folder: default `jobs.demo_archives.cache_folder()`. Raises InputError as `jobs.demo_archives.fetch_archive` does.
    """
    return tuple(read_images(fetch_archive(MNFINDER, (folder or cache_folder()) / "archives", print)))


def lay_out(images: Sequence[NucleiImage], seed: int, side: int) -> Mosaic:
    """A mosaic of side x side px: images in an order, turned and mirrored in ways and shifted as the seed says.

    Images are taken in that order for as long as they fit on shelves. Raises ValueError where not even one does.
    """
    rng = stream((seed, _LAYOUT))
    order: list[int] = rng.permutation(len(images)).tolist()
    ways: list[int] = rng.integers(0, 8, len(images)).tolist()
    down, right = (int(n) for n in rng.integers(0, OFFSET, 2))
    chosen = [images[k] for k in order]
    shapes = [_turned(image.pixels, way).shape for image, way in zip(chosen, ways, strict=True)]
    placed = _fitting([(y, x) for y, x in shapes], side - down, side - right)
    pixels, truth, count = np.zeros((side, side), np.uint16), np.zeros((side, side), np.int32), 0
    for image, way, box in zip(chosen, ways, placed, strict=False):  # those that fit
        _, rows, columns = box.shift((0, down, right)).within((0, 0, 0))
        pixels[rows, columns] = _turned(image.pixels, way)
        labels = _turned(image.labels, way)
        truth[rows, columns] = np.where(labels > 0, labels + np.int32(count), 0)
        count += image.count
    return Mosaic(pixels, truth, count)


def ask(pixels: NDArray[np.uint16]) -> Answer:
    """What the model says of these pixels (y, x), seeing no others; contrast is their own `PERCENTILES`."""
    low, high = np.percentile(pixels, PERCENTILES)
    image = np.clip((pixels - low) / max(high - low, FAINTEST), 0, 1).astype(np.float32)
    said = Nuclei().predict(image[None, None, None], np.ones((1, 1, *image.shape), np.bool_))[0]
    masks = [((slice(y0, y1), slice(x0, x1)), mask[0]) for (_, y0, x0, _, y1, x1), mask in said["masks"]]
    return Answer((image.shape[0], image.shape[1]), masks, said["scores"].tolist())


def ask_all(pixels: NDArray[np.uint16], lattice: Lattice, model: Model = ask) -> Answers:
    """What a model says of each window of a lattice over these pixels (y, x), and of all of them at once."""
    windows = dict[Zyx, Answer]()
    for index in lattice.indices((0, 0, 0), lattice.shape):
        _, rows, columns = lattice.real_box(index).within((0, 0, 0))
        windows[index] = model(pixels[rows, columns])
    return Answers(windows, model(pixels))


def _fitting(shapes: Sequence[tuple[int, int]], height: int, width: int) -> list[Box]:
    """Boxes of the first of these shapes, as many as fit."""
    boxes = list[Box]()
    if any(x + 2 * MARGIN > width for _, x in shapes):
        raise ValueError(f"expected images at most {width - 2 * MARGIN} px wide for this mosaic, found a wider one")
    for n in range(1, len(shapes) + 1):
        trial, extent = arrange(shapes[:n], width, MARGIN)
        if extent.shape[1] > height:
            break
        boxes = trial
    if not boxes:
        raise ValueError(f"expected images at most {height - 2 * MARGIN} px high for this mosaic, found higher ones")
    return boxes


def _turned(image: NDArray[Any], way: int) -> NDArray[Any]:
    """One of the eight ways to lay a rectangle on the grid: transposed, upside down, mirrored."""
    turned = image.T if way & 1 else image
    return turned[:: -1 if way & 2 else 1, :: -1 if way & 4 else 1]
