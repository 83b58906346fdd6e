"""How well `tree-crowns` finds crowns: `python -m benchmarks.crowns_accuracy [--model tree-crowns] [--split test]`.

The images go through the tiled job; the boxes of the crowns found are compared with those annotated by hand, at IoU
0.4, the threshold of the NEON crown benchmark. The test images are of two other sites than the training images and
are for releases: everything is chosen on the held-out right-hand part of the training images (`--split validation`).
PNG images have no georeference; they are given 0.1 m pixels at an arbitrary place.
"""

# NumPy knows no more of these indices.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.models.boxes_and_masks import Counts, found_boxes, line, match_boxes, segment
from benchmarks.models.crowns_data import HELD, PIXEL, REDUCED, TESTED, TRAINED, Aerial, read_aerial

IOU = 0.4
ANYWHERE = (PIXEL, 0.0, 500_000.0, 0.0, -PIXEL, 4_000_000.0)
"""Affine of images without a georeference, in UTM 11 N."""


def georeferenced(aerial: Aerial, folder: Path) -> Path:
    """The image as a GeoTIFF with 0.1 m pixels; what has a georeference already stays as it is."""
    from rasterio.crs import CRS

    from segworkers.rasters import write_tiled_geotiff

    if aerial.path.suffix == ".tif":
        return aerial.path
    path = folder / f"{aerial.path.stem}.tif"
    crs = str(CRS.from_epsg(32611).to_wkt())  # pyright: ignore[reportUnknownMemberType]
    write_tiled_geotiff(path, aerial.pixels.transpose(2, 0, 1).copy(), affine=ANYWHERE, crs_wkt=crs)
    return path


def held_out(aerial: Aerial) -> Aerial:
    """The part of a training image that is not trained on, with the crowns whose middles lie in it."""
    border = REDUCED * int(aerial.pixels.shape[1] // REDUCED * (1 - HELD))
    inside = aerial.crowns[:, [1, 3]].mean(axis=1) >= border
    crowns = aerial.crowns[inside] - (0, border, 0, border)
    return replace(aerial, pixels=aerial.pixels[:, border:], crowns=crowns)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tree-crowns", help="a name, a bundle's path, or python:FILE:CLASS")
    parser.add_argument("--split", default="validation", choices=["validation", "test"])
    parser.add_argument("--engine", default="ray", choices=["ray", "inline"])
    parser.add_argument("--set", action="append", default=[], help="further settings of the job")
    given = parser.parse_args()
    images = read_aerial(TESTED) if given.split == "test" else [held_out(each) for each in read_aerial(TRAINED)]
    total = Counts()
    with tempfile.TemporaryDirectory() as folder:
        rasters = [georeferenced(aerial, Path(folder)) for aerial in images]
        options = [f"engine.kind={given.engine}", "tiling.tile=512", *given.set]
        segment(rasters, Path(folder) / "run", given.model, options)
        found = found_boxes(Path(folder) / "run")
    print(f"{given.model}, {given.split} images, boxes at IoU {IOU}")
    for aerial, raster in zip(images, rasters, strict=True):
        boxes = found.get(raster.name, aerial.crowns[:0])
        counts = Counts(len(boxes), len(aerial.crowns), len(match_boxes(boxes, aerial.crowns, IOU)))
        print(line(aerial.name, counts))
        total += counts
    print(line("all", total))


if __name__ == "__main__":
    main()
