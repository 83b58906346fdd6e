"""How well `vehicles` finds vehicles: `python -m benchmarks.vehicles_accuracy [--model vehicles] [--part validation]`.

Two things that are printed apart:

- **Drawn scenes** of seeds that no one trained or chose on, at four pixel sizes, as 8-bit GeoTIFFs: masks at IoU 0.5.
- **Real images**, panchromatic, 0.5 m, Rotterdam (SpaceNet 6): the vehicles of `pan1`, labelled by hand
  (`benchmarks/models/labels/rotterdam_pan1.geojson` says how). Few pixels make a vehicle there, so a match is an IoU of
  masks of at least 0.3; the figures at 0.5 stand beside it. What is found mostly on places labelled as doubtful counts
  neither way. `--part validation` is the western half, on which things were chosen; `--part test` the eastern half, for
  releases. `pan3` has hardly any vehicles: what is found there is mostly false.

Everything runs through the tiled job. `--real RASTER LABELS` measures another raster with labels in its CRS instead.
"""

# rasterio is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.models.boxes_and_masks import Counts, label_raster, line, segment
from benchmarks.models.vehicle_backgrounds import PAN, backgrounds, read_member
from benchmarks.models.vehicle_drawing import footprints
from benchmarks.models.vehicle_scenes import SIDE, make_scene, photograph

LABELS = Path(__file__).parent / "models" / "labels" / "rotterdam_pan1.geojson"
BORDER = 300
"""Column of `pan1` that parts validation and test."""
SIZES = (0.1, 0.2, 0.3, 0.5)
"""Metres per pixel of drawn scenes."""
SEEDS = range(2_000_000, 2_000_010)
CORNER = (500_000.0, 4_000_000.0)
Labels = NDArray[Any]


def compare(found: Labels, truth: Labels, doubtful: NDArray[np.bool_], least: float) -> Counts:
    """Masks (y, x) of disjoint objects, matched one to one by IoU, greedily from the largest.

    What is found mostly on doubtful places, or on places outside the part that is compared, and matches nothing does
    not count.
    """
    _, a = np.unique(np.append(found.ravel(), 0), return_inverse=True)
    _, b = np.unique(np.append(truth.ravel(), 0), return_inverse=True)
    a, b = a[:-1], b[:-1]
    size_a, size_b = np.bincount(a), np.bincount(b)
    pairs, common = np.unique(a * len(size_b) + b, return_counts=True)
    i, j = pairs // len(size_b), pairs % len(size_b)
    iou = common / (size_a[i] + size_b[j] - common)
    free_a, free_b, hits = np.ones(len(size_a), np.bool_), np.ones(len(size_b), np.bool_), 0
    for k in np.argsort(-iou, kind="stable"):
        if iou[k] >= least and i[k] > 0 and j[k] > 0 and free_a[i[k]] and free_b[j[k]]:
            free_a[i[k]] = free_b[j[k]] = False
            hits += 1
    excused = (np.bincount(a, doubtful.ravel(), minlength=len(size_a)) > size_a / 2) & free_a
    return Counts(len(size_a) - 1 - int(excused[1:].sum()), len(size_b) - 1, hits)


def drawn(model: str, options: Sequence[str]) -> None:
    """Print the figures on drawn scenes."""
    from rasterio.crs import CRS

    from segworkers.rasters import write_tiled_geotiff

    ground, crs = backgrounds(held_out=True), str(CRS.from_epsg(32611).to_wkt())  # pyright: ignore[reportUnknownMemberType]
    total = Counts()
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            rasters, truths = list[Path](), list[Labels]()
            for seed in SEEDS:
                rng = np.random.default_rng((seed, round(100 * size)))
                scene = make_scene(ground, rng, (size, size))
                path = Path(folder) / f"scene{seed}.tif"
                affine = (scene.sensor, 0.0, CORNER[0], 0.0, -scene.sensor, CORNER[1])
                write_tiled_geotiff(path, photograph(scene, rng), affine=affine, crs_wkt=crs)
                rasters.append(path)
                truths.append(footprints(scene.vehicles, round(SIDE / scene.sensor), scene.sensor))
            segment(rasters, Path(folder) / "run", model, options)
            counts = Counts()
            for path, truth in zip(rasters, truths, strict=True):
                found = label_raster(Path(folder) / "run", path.stem)
                counts += compare(found, truth, np.zeros(truth.shape, np.bool_), 0.5)
        print(line(f"drawn, {size:g} m, IoU 0.5", counts), flush=True)
        total += counts
    print(line("drawn, all, IoU 0.5", total))


def labelled(labels: Path, shape: tuple[int, int], affine: Any) -> tuple[Labels, NDArray[np.bool_]]:
    """Truth (y, x) as numbers and doubtful places of a raster, whose CRS the labels are in."""
    from rasterio.features import rasterize

    features = json.loads(labels.read_text(encoding="utf-8"))["features"]
    sure = [each["geometry"] for each in features if not each["properties"].get("ignore")]
    doubt = [each["geometry"] for each in features if each["properties"].get("ignore")]
    shapes = [(geometry, number) for number, geometry in enumerate(sure, start=1)]
    truth = np.asarray(rasterize(shapes, shape, transform=affine, dtype="int32"))
    if not doubt:
        return truth, np.zeros(shape, np.bool_)
    return truth, np.asarray(rasterize(doubt, shape, transform=affine, dtype="uint8"), np.bool_)


def measured(model: str, raster: Path, labels: Path | None, columns: slice, options: Sequence[str]) -> None:
    """Print the figures on a real raster; without labels, how much was found on how large an area."""
    import rasterio

    with rasterio.open(raster) as file:
        shape, affine, seen = (file.height, file.width), file.transform, file.read(1) > 0
    with tempfile.TemporaryDirectory() as folder:
        segment([raster], Path(folder) / "run", model, options)
        found = label_raster(Path(folder) / "run", raster.stem)
    if labels is None:
        area = float(seen.sum()) * abs(affine.a * affine.e) * 1e-4
        print(f"real, {raster.name}: {len(np.unique(found)) - 1} found on {area:.1f} ha with hardly any vehicles")
        return
    truth, doubtful = labelled(labels, shape, affine)
    outside = np.ones(shape, np.bool_)
    outside[:, columns] = False
    # an object belongs to the part that its middle lies in
    middles = {int(k): float(np.nonzero(truth == k)[1].mean()) for k in np.unique(truth) if k}
    elsewhere = [k for k, x in middles.items() if outside[0, int(x)]]
    doubtful = doubtful | outside | np.isin(truth, elsewhere)
    truth = np.where(np.isin(truth, elsewhere), 0, truth)
    for iou in (0.3, 0.5):
        print(line(f"real, {raster.name}, IoU {iou}", compare(found, truth, doubtful, iou)))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vehicles", help="a name or a bundle's path")
    parser.add_argument("--part", default="validation", choices=["validation", "test"])
    parser.add_argument("--engine", default="ray", choices=["ray", "inline"])
    parser.add_argument("--set", action="append", default=[], help="further settings of the job")
    parser.add_argument("--no-drawn", action="store_true", help="real images only")
    parser.add_argument("--real", nargs=2, type=Path, metavar=("RASTER", "LABELS"))
    given = parser.parse_args()
    options = [f"engine.kind={given.engine}", "tiling.tile=512", *given.set]
    print(f"{given.model}, {given.part}")
    if given.real:
        measured(given.model, given.real[0], given.real[1], slice(None), options)
        return
    if not given.no_drawn:
        drawn(given.model, options)
    columns = slice(0, BORDER) if given.part == "validation" else slice(BORDER, None)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pan1", "pan3") if given.part == "test" else ("pan1",):
            raster = Path(folder) / f"{name}.tif"
            raster.write_bytes(read_member(PAN.format(name[3:]))[1])
            measured(given.model, raster, LABELS if name == "pan1" else None, columns, options)


if __name__ == "__main__":
    main()
