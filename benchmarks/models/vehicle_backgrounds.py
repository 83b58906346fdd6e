"""Real images that drawn vehicles are put into, in one band: forest, meadow, houses, port; never committed.

- NEON aerial RGB, 0.1 m (package `deepforest`, CC0-1.0 imagery): trained on; one part of each is held out.
- SpaceNet-4 Atlanta, 0.5 m, and SpaceNet-6 Rotterdam `pan2`, 0.5 m (source archive of `solaris` 0.4.0; imagery
  CC BY-SA 4.0, Maxar): trained on. `pan1` and `pan3` are for choosing and testing, and are no backgrounds.
"""

# rasterio is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.models.crowns_data import TRAINED, read_aerial
from jobs.demo_archives import cache_folder
from schemas.errors import InputError

SOLARIS = "solaris-0.4.0.tar.gz"
SOLARIS_SHA256 = "91d30c189e9e49e5e4e7e1d138fe8d4fe0fb76e51ca0ae89490e13ceb82708e9"
PAN = "solaris/data/preproc_tutorial/pan{}.tif"
PORT = 400
"""First row of `pan2` that is not open water."""
ATLANTA = "solaris/data/sample_geotiff.tif"
BUILT = 3.0
"""How often built-up ground is drawn, relative to forest and meadow: what is mistaken for vehicles lies there."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """One image in one band."""

    name: str
    pixels: Floats
    """(y, x), its 1st to 99th percentile as 0.05..0.85."""
    pixel: float
    """Metres."""
    largest: float
    """Metres: what a pixel may be taken for at most; less than it measures where the image shows vehicles of its own,
    which then are too small to be any."""
    chance: float = 1.0
    """How often it is drawn, relative to others."""


def solaris_archive(folder: Path | None = None) -> Path:
    """The source archive of solaris 0.4.0, which must lie in the demo's cache: pip cannot fetch it without building it.

    folder: default `jobs.demo_archives.cache_folder()`. Raises InputError: `fetch_failed`, `hash_mismatch`.
    """
    target = (folder or cache_folder()) / "archives" / SOLARIS
    if not target.exists():
        raise InputError(
            "fetch_failed",
            f"{target} is not there.",
            f"Get {SOLARIS} (sha256 {SOLARIS_SHA256}) of the package solaris 0.4.0 from a package index's page of "
            "files, put it there, and run again.",
        )
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SOLARIS_SHA256:
        raise InputError(
            "hash_mismatch",
            f"{target}: expected sha256 {SOLARIS_SHA256}, found {found}.",
            "Delete it and get it again.",
        )
    return target


def read_member(name: str, folder: Path | None = None) -> tuple[NDArray[np.uint16], bytes]:
    """The first band (y, x) of an image of solaris, and the file's bytes. name: below the archive's root."""
    from rasterio.io import MemoryFile

    with tarfile.open(solaris_archive(folder)) as archive:
        member = archive.extractfile(f"solaris-0.4.0/{name}")
        content = member.read() if member else b""
    with MemoryFile(content) as memory, memory.open() as file:
        return file.read(1), content


def stretched(pixels: NDArray[np.uint16] | NDArray[np.uint8] | Floats) -> Floats:
    """Values with the 1st percentile at 0.05 and the 99th at 0.85; at most 1.6."""
    seen = pixels[pixels > 0] if (pixels == 0).any() else pixels
    low, high = np.percentile(seen, (1, 99))
    return np.clip(0.05 + 0.8 * (pixels.astype(np.float32) - low) / max(high - low, 1), 0, 1.6).astype(np.float32)


def backgrounds(held_out: bool = False, folder: Path | None = None) -> list[Background]:
    """Those to train on; or the held-out right-hand parts of the same images, for synthetic tests."""
    found = list[Background]()
    for aerial in read_aerial(TRAINED, folder):
        for band, colour in enumerate(("red", "green")):
            pixels = stretched(aerial.pixels[..., band])
            found.append(Background(f"{aerial.name} {colour}", pixels, 0.1, 0.2))
    for name, first in ((ATLANTA, 0), (PAN.format(2), PORT)):
        found.append(Background(name, stretched(read_member(name, folder)[0][first:]), 0.5, 0.25, BUILT))
    border = [int(0.75 * each.pixels.shape[1]) for each in found]
    sides = [slice(b, None) if held_out else slice(0, b) for b in border]
    return [
        replace(each, pixels=np.ascontiguousarray(each.pixels[:, side]))
        for each, side in zip(found, sides, strict=True)
    ]
