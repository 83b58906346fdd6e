"""The images that `nuclei` is trained, chosen and tested on: the package `mnfinder`, in its own three splits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.demo_archives import cache_folder, fetch_archive
from jobs.demo_data import MNFINDER
from jobs.demo_mosaic import DUPLICATES, WHITE, label_mask, scale
from segworkers.training.samples import Sample

MIXED = "2023-05-31_misc"
"""The folder of images of several cell lines; the others hold one line each, many images alike."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Micrograph:
    """One image, its nuclei and its micronuclei, outlined by hand."""

    name: str
    """Path in the archive, such as `mnfinder/test-data/…/images/1.tif`."""
    pixels: NDArray[np.uint16]
    """(y, x), the image's 1st to 99.8th percentile as 0..WHITE."""
    labels: NDArray[np.int32]
    """(y, x) nuclei: 0 = background, 1..count."""
    count: int
    micronuclei: NDArray[np.bool_]
    """(y, x): small bodies beside nuclei, which are no nuclei."""

    @property
    def is_duplicate(self) -> bool:
        """Whether the same pixels are in the training split."""
        return self.name in DUPLICATES


def read_split(split: str, folder: Path | None = None) -> list[Micrograph]:
    """Images of `training`, `validation` or `test` by name; the archive is fetched where the demo's cache lacks it.

    folder: default `jobs.demo_archives.cache_folder()`. Raises InputError as `jobs.demo_archives.fetch_archive` does.
    """
    archive = fetch_archive(MNFINDER, (folder or cache_folder()) / "archives", print)
    with zipfile.ZipFile(archive) as opened:
        names = [n for n in opened.namelist() if PurePosixPath(n).match(f"mnfinder/{split}-data/*/images/*.tif")]
        return [_read(opened, name) for name in sorted(names)]


def licence(folder: Path | None = None) -> str:
    """The images' licence, as the archive has it. folder: as of `read_split`."""
    archive = fetch_archive(MNFINDER, (folder or cache_folder()) / "archives", print)
    with zipfile.ZipFile(archive) as opened:
        return opened.read("mnfinder-1.2.3.dist-info/licenses/LICENSE.py").decode().strip() + "\n"


def _read(opened: zipfile.ZipFile, name: str) -> Micrograph:
    path = PurePosixPath(name)

    def read(folder: str, ending: str) -> NDArray[Any]:
        member = path.parent.parent / folder / f"{path.stem}{ending}"
        return np.asarray(Image.open(io.BytesIO(opened.read(str(member)))))

    labels, count = label_mask(read("nucleus_masks", ".png"))
    return Micrograph(
        name=name,
        pixels=scale(read("images", ".tif")),
        labels=labels,
        count=count,
        micronuclei=read("mn_masks", ".png")[..., 3] > 0,
    )


def samples(images: Sequence[Micrograph], mixed: float = 1.0, *, excuse: bool = False) -> list[Sample]:
    """Images as samples.

    mixed: how often images of several lines are drawn. excuse: whether what is found on micronuclei is not counted, for
    validation; in training they are background.
    """
    return [
        Sample(
            name=image.name,
            image=(image.pixels / np.float32(WHITE)).astype(np.float32)[None],
            labels=image.labels,
            ignored=image.micronuclei if excuse else None,
            chance=mixed if f"/{MIXED}/" in image.name else 1.0,
        )
        for image in images
    ]
