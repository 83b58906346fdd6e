"""The images that `tree-crowns` is trained, chosen and tested on: NEON's aerial images in the package `deepforest`.

Crowns are annotated as boxes; they are learnt as the ellipses inscribed in them.
"""

# NumPy knows no more of these values.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.demo_archives import cache_folder, fetch_archive, unpack_members
from jobs.demo_data import DEEPFOREST, read_crowns
from segworkers.training.samples import Sample

PIXEL = 0.1
"""Metres."""
REDUCED = 2
"""Image pixels along a side of the model's pixel, which measures 0.2 m."""
TRAINED = ("2019_YELL_2_541000_4977000_image_crop.png", "2019_YELL_2_528000_4978000_image_crop2.png")
TESTED = ("OSBS_029.tif", "SOAP_061.png")
"""`SOAP_031.png` is in the package too, but without annotations."""
HELD = 0.3
"""Share of each training image, at its right-hand side, that choices are made on."""
PLOT = 40.0
"""Metres: contrast is also taken from squares of this side, as if they were images of their own (NEON's plots are)."""
VARIANTS = 8

Floats = NDArray[np.float32]
Bounds = tuple[Floats, Floats]
"""(bands, 1, 1) values that become 0 and 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Aerial:
    """One image and its crowns."""

    name: str
    path: Path
    pixels: NDArray[np.uint8]
    """(y, x, 3) red, green, blue; 0.1 m."""
    crowns: NDArray[np.float64]
    """(k, 4) boxes y0, x0, y1, x1 in pixels."""


def read_aerial(names: Sequence[str], folder: Path | None = None) -> list[Aerial]:
    """Images by file name; the package is fetched where the demo's cache lacks it.

    folder: default `jobs.demo_archives.cache_folder()`. Raises InputError as `jobs.demo_archives.fetch_archive` does.
    """
    root = folder or cache_folder()
    archive, aerial = fetch_archive(DEEPFOREST, root / "archives", print), root / "aerial"
    files = [file for name in names for file in (name, f"{Path(name).stem}.xml")]
    unpack_members(archive, {f"deepforest/data/{file}": file for file in files}, aerial)
    return [
        Aerial(
            name=name,
            path=aerial / name,
            pixels=np.asarray(Image.open(aerial / name).convert("RGB")),
            crowns=np.array(read_crowns((aerial / name).with_suffix(".xml")), np.float64).reshape(-1, 4),
        )
        for name in names
    ]


def ellipses(crowns: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.int32]:
    """(y, x) 0 = background, k = crown k - 1 as the ellipse in its box; where two overlap the smaller is on top.

    crowns: (k, 4) y0, x0, y1, x1 in pixels. A pixel is inside where its centre is.
    """
    labels = np.zeros(shape, np.int32)
    areas = (crowns[:, 2] - crowns[:, 0]) * (crowns[:, 3] - crowns[:, 1])
    for index in np.argsort(-areas, kind="stable"):
        y0, x0, y1, x1 = crowns[index]
        top, left = max(int(y0), 0), max(int(x0), 0)
        part = labels[top : int(np.ceil(y1)), left : int(np.ceil(x1))]
        y, x = np.ogrid[: part.shape[0], : part.shape[1]]
        dy, dx = (top + y + 0.5 - (y0 + y1) / 2) / (y1 - y0), (left + x + 0.5 - (x0 + x1) / 2) / (x1 - x0)
        part[dy**2 + dx**2 <= 0.25] = index + 1
    return labels


def reduced(pixels: NDArray[np.uint8]) -> Floats:
    """(3, y, x) means of REDUCED x REDUCED pixels; what is left over at the end is left out."""
    height, width = (extent // REDUCED * REDUCED for extent in pixels.shape[:2])
    blocks = (
        pixels[:height, :width].astype(np.float32).reshape(height // REDUCED, REDUCED, width // REDUCED, REDUCED, 3)
    )
    return blocks.mean((1, 3)).transpose(2, 0, 1).copy()


def contrast(image: Floats) -> Bounds:
    """The 1st and 99th percentile of each band, as `normalise: percentile` takes them from whole images."""
    low, high = np.percentile(image, (1, 99), axis=(1, 2)).astype(np.float32)
    return low[:, None, None], high[:, None, None]


def stretched(image: Floats, bounds: Bounds) -> Floats:
    """Values in 0..1."""
    low, high = bounds
    return np.clip((image - low) / np.maximum(high - low, 1), 0, 1).astype(np.float32)


def training_samples(images: Sequence[Aerial], seed: int = 0) -> tuple[list[Sample], list[Sample]]:
    """What is trained on, and the held-out right-hand parts.

    Each training part is there `VARIANTS` times and once more: as the contrast of the whole image shows it, and as the
    contrasts of random plots in it do, with a random gamma for each band.
    """
    rng = np.random.default_rng(seed)
    training, held = list[Sample](), list[Sample]()
    for aerial in images:
        image = reduced(aerial.pixels)
        labels = ellipses(aerial.crowns / REDUCED, image.shape[1:])  # pyright: ignore[reportArgumentType]
        border = int(image.shape[2] * (1 - HELD))
        whole = stretched(image, contrast(image))
        held.append(Sample(name=f"{aerial.name}, right", image=whole[:, :, border:], labels=labels[:, border:]))
        part = image[:, :, :border]
        shown = [whole[:, :, :border], *(_variant(part, rng) for _ in range(VARIANTS))]
        training += [
            Sample(name=f"{aerial.name}, left {k}", image=each, labels=labels[:, :border], chance=float(labels.size))
            for k, each in enumerate(shown)
        ]
    return training, held


def _variant(image: Floats, rng: np.random.Generator) -> Floats:
    side = round(PLOT / PIXEL / REDUCED)
    y, x = (int(rng.integers(0, max(extent - side, 0) + 1)) for extent in image.shape[1:])
    seen = stretched(image, contrast(image[:, y : y + side, x : x + side]))
    return (seen ** rng.uniform(0.7, 1.4, (3, 1, 1)).astype(np.float32)).astype(np.float32)
