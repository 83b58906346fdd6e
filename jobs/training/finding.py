"""Which files of a folder are images, and which are annotations.

    DATA/images/...           images, in any folder below; without such a folder: the rasters of DATA itself
    DATA/...                  annotations: COCO JSON, GeoJSON or another vector file, label rasters (`jobs.truth`);
                              folders that hold a model or a run of ours are passed over

Beside images, a label raster is told by its name: that of its image and `_labels`, `_label`, `_mask`, `_masks`,
`_truth` or `_instances`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.catalog import RASTER_SUFFIXES, find_inputs
from schemas.errors import SpecError

_LABELS = re.compile(r"[._-](labels?|masks?|truth|instances)$", re.IGNORECASE)
_OURS = {"model.json", "run.json"}
_ANNOTATIONS = {".json", ".geojson", ".gpkg", ".shp", ".fgb", ".gml", ".kml", ".csv"}


def find_annotated(data: Path, truth: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The images and the annotation files of a folder. Raises SpecError where either is missing."""
    if not data.is_dir():
        raise SpecError(f"{data}: expected a folder with images and annotations, found {_what(data)}")
    apart = data / "images"
    inputs, _ = find_inputs([str(apart if apart.is_dir() else data)])
    rasters = [Path(each) for each in inputs if Path(each).suffix.lower() in RASTER_SUFFIXES]
    images = rasters if apart.is_dir() else [each for each in rasters if not _is_label_raster(each, rasters)]
    if not images:
        raise SpecError(f"{data}: expected images (TIFF, PNG, JPEG, ...) in it or in its folder `images`, found none")
    if truth:
        return images, list(truth)
    own = {each.absolute() for each in images}
    files = [
        each
        for each in sorted(_files_below(data))
        if not each.name.startswith(".")
        and each.suffix.lower() in _ANNOTATIONS | RASTER_SUFFIXES
        and each.absolute() not in own
    ]
    if not files:
        raise SpecError(
            f"{data}: expected annotations beside the images (COCO JSON, GeoJSON, or label rasters such as "
            f"{images[0].stem}_labels.tif), found none; or say where they are with --truth"
        )
    return images, files


def _files_below(data: Path) -> Iterator[Path]:
    """All files but those of models and runs that were put into folders of it: their tables are no annotations."""
    for place, folders, names in os.walk(data):
        folder = Path(place)
        if folder != data and not _OURS.isdisjoint(names):
            folders.clear()
            continue
        yield from (folder / name for name in names)


def _what(path: Path) -> str:
    return "a file" if path.exists() else "nothing"


def _is_label_raster(path: Path, rasters: Sequence[Path]) -> bool:
    named = _LABELS.sub("", path.stem)
    return named != path.stem and any(each.stem == named and each != path for each in rasters)
