"""How well `nuclei` finds nuclei: `python -m benchmarks.nuclei_accuracy [--split test] [--model nuclei]`.

The images of a split of `mnfinder`, each scaled by its own percentiles, lie side by side in one raster with dark
margins between them. The raster goes through the job, tiled, and, with the same windows, through one tile in one
process; both are compared with the nuclei outlined by hand. A predicted nucleus that matches none at IoU 0.5 and lies
mostly on an outlined micronucleus is left out. Intervals (95 %) are bootstrapped over images, which are what was drawn
at random; with so few of them they are wide.

The test split is for releases: everything is chosen on the others. Of its 16 images (544 nuclei) one has the same
pixels as a training image; figures without it (471 nuclei) are the held-out ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.models.nuclei_data import Micrograph, read_split
from jobs.demo_mosaic import MARGIN, arrange
from jobs.events import NullEvents
from jobs.loading import load_spec
from jobs.results import open_results
from jobs.stages import run
from schemas.boxes import Box

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
WIDTH = 3072
"""px of the mosaic."""
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over images; adds up."""

    predicted: int = 0
    annotated: int = 0
    matched: tuple[int, ...] = (0,) * len(THRESHOLDS)
    overlap: float = 0.0
    """Sum of the IoU of the pairs matched at 0.5."""
    ignored: int = 0
    """Predictions on micronuclei, which are not in `predicted`."""

    def __add__(self, other: Score) -> Score:
        return Score(
            self.predicted + other.predicted,
            self.annotated + other.annotated,
            tuple(a + b for a, b in zip(self.matched, other.matched, strict=True)),
            self.overlap + other.overlap,
            self.ignored + other.ignored,
        )

    @property
    def measures(self) -> NDArray[np.float64]:
        """F1 at each threshold, PQ, precision and recall at 0.5, count error."""
        both = max(self.predicted + self.annotated, 1)
        f1 = [2 * matched / both for matched in self.matched]
        precision, recall = (self.matched[0] / max(n, 1) for n in (self.predicted, self.annotated))
        error = self.predicted / max(self.annotated, 1) - 1
        return np.array([*f1, 2 * self.overlap / both, precision, recall, error])


NAMES = (*(f"F1@{threshold:g}" for threshold in THRESHOLDS), "PQ", "precision@0.5", "recall@0.5", "count error")


def score(found: NDArray[Any], truth: NDArray[Any], micronuclei: NDArray[np.bool_]) -> Score:
    """Compare label rasters (y, x) of disjoint masks; pairs match above an IoU, which from 0.5 on makes them unique."""
    _, a = np.unique(np.append(found.ravel(), 0), return_inverse=True)
    _, b = np.unique(np.append(truth.ravel(), 0), return_inverse=True)
    a, b = a[:-1], b[:-1]
    size_a, size_b = np.bincount(a), np.bincount(b)
    pairs, common = np.unique(a * len(size_b) + b, return_counts=True)
    i, j = pairs // len(size_b), pairs % len(size_b)
    iou = common / (size_a[i] + size_b[j] - common)
    real = (i > 0) & (j > 0) & (iou > THRESHOLDS[0])
    on_small = np.bincount(a, micronuclei.ravel(), minlength=len(size_a)) > size_a / 2
    excused = on_small[1:] & ~np.isin(np.arange(1, len(size_a)), i[real])
    return Score(
        len(size_a) - 1 - int(excused.sum()),
        len(size_b) - 1,
        tuple(int((real & (iou > threshold)).sum()) for threshold in THRESHOLDS),
        float(iou[real].sum()),
        int(excused.sum()),
    )


def mistakes(found: NDArray[Any], truth: NDArray[Any], micronuclei: NDArray[np.bool_]) -> Counter[str]:
    """What the predictions are that match nothing at IoU 0.5 and count as wrong, by what lies under them.

    A piece: most of it lies in one nucleus, of which it is less than half. Joined: it holds most of two nuclei or more.
    Background: most of it lies on none. Outline: the rest, which found a nucleus but not its extent.
    """
    kinds = Counter[str]()
    sizes = np.bincount(truth.ravel())
    for number in np.unique(found[found > 0]):
        mask = found == number
        under = np.bincount(truth[mask], minlength=len(sizes))
        area = int(mask.sum())
        if (under[1:] / (area + sizes[1:] - under[1:]).clip(1) > THRESHOLDS[0]).any():
            continue
        if 2 * np.count_nonzero(micronuclei & mask) > area:
            continue
        whole = np.count_nonzero(2 * under[1:] > np.maximum(sizes[1:], 1))
        if whole >= 2:
            kinds["joined"] += 1
        elif 2 * under[0] > area:
            kinds["background"] += 1
        elif whole == 0 and 2 * under[1:].max(initial=0) > area:
            kinds["piece"] += 1
        else:
            kinds["outline"] += 1
    return kinds


def interval(scores: Sequence[Score]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high ends of each measure, by percentiles of resampled images."""
    rng = np.random.default_rng(0)
    draws = [
        sum((scores[k] for k in rng.integers(0, len(scores), len(scores))), Score()).measures for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return low, high


def write_mosaic(images: Sequence[Micrograph], path: Path) -> list[Box]:
    """The raster, and where each image lies in it."""
    from segworkers.rasters import write_tiled_geotiff

    boxes, extent = arrange([(image.pixels.shape[0], image.pixels.shape[1]) for image in images], WIDTH)
    mosaic = np.zeros(extent.shape[1:], np.uint16)
    for image, box in zip(images, boxes, strict=True):
        mosaic[box.within((0, 0, 0))[1:]] = image.pixels
    write_tiled_geotiff(path, mosaic)
    return boxes


def segment(raster: Path, out: Path, model: str, *options: str) -> NDArray[Any]:
    """Labels (y, x) of a run of the job. options: as after `--set`."""
    spec = load_spec(
        values={
            "inputs": [str(raster)],
            "model": {"reference": model},
            "output": {"path": str(out), "masks": "labels"},
        },
        overrides=options,
    )
    began = time.perf_counter()
    summary = run(spec, events=NullEvents())
    tiles = open_results(str(out)).sql("SELECT count(*) AS n FROM tiles").to_pylist()[0]["n"]
    seconds = time.perf_counter() - began
    print(f"{' '.join(options)}: {summary.objects:,} objects, {tiles} tiles, {seconds:.0f} s", flush=True)
    (labels,) = Path(out).glob("masks/*/*-labels.tif")
    return read_labels(labels)


def read_labels(path: Path) -> NDArray[Any]:
    """The first band (y, x)."""
    import rasterio

    with rasterio.open(path) as file:
        return file.read(1)


def per_image(
    labels: NDArray[Any], images: Sequence[Micrograph], boxes: Sequence[Box]
) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]]:
    """What was found, the truth and the micronuclei of each image and half of the margin around it."""
    half = MARGIN // 2
    return [
        (
            labels[box.grow((0, half, half)).within((0, 0, 0))[1:]],
            np.pad(image.labels, half),
            np.pad(image.micronuclei, half),
        )
        for image, box in zip(images, boxes, strict=True)
    ]


def report(title: str, scores: Sequence[Score]) -> NDArray[np.float64]:
    """Print the measures of some images together; return them."""
    total = sum(scores, Score())
    low, high = interval(scores)
    print(
        f"\n{title}: {len(scores)} images, {total.annotated} nuclei outlined, {total.predicted} found, "
        f"{total.matched[0]} of them the same; {total.ignored} more on micronuclei left out"
    )
    for name, value, a, b in zip(NAMES, total.measures, low, high, strict=True):
        print(f"  {name:14s} {value:7.4f}   [{a:.4f}, {b:.4f}]")
    return total.measures


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="validation", choices=["training", "validation", "test"])
    parser.add_argument("--model", default="nuclei", help="a name or a bundle's path")
    parser.add_argument("--engine", default="ray", choices=["ray", "inline"], help="of the tiled run")
    parser.add_argument("--window", type=int, help="px; the model's own by default")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    images = read_split(given.split)
    shared = [f"model.device={given.device}"]
    if given.window:
        shared += [f"model.window={given.window}", f"model.overlap={given.window // 4}"]
    with tempfile.TemporaryDirectory() as folder:
        raster = Path(folder) / "mosaic.tif"
        boxes = write_mosaic(images, raster)
        print(f"{given.split} split of mnfinder 1.2.3, model {given.model}")
        tiled_options = (*shared, f"engine.kind={given.engine}", "tiling.tile=1024")
        tiled = segment(raster, Path(folder) / "tiled", given.model, *tiled_options)
        whole = segment(raster, Path(folder) / "whole", given.model, *shared, "engine.kind=inline", "tiling.tile=65536")
    held_out = [k for k, image in enumerate(images) if not image.is_duplicate]
    cut, alone = per_image(tiled, images, boxes), [score(*each) for each in per_image(whole, images, boxes)]
    scores = [score(*each) for each in cut]
    for image, each in zip(images, scores, strict=True):
        print(f"  {each.measures[0]:.3f} F1@0.5  {each.predicted:4d} for {each.annotated:4d}  {image.name}")
    measures = report("Held out, tiled job", [scores[k] for k in held_out])
    wrong = sum((mistakes(*cut[k]) for k in held_out), Counter[str]())
    print(f"  wrong ones: {', '.join(f'{number} {kind}' for kind, number in wrong.most_common())}")
    single = report("Held out, one tile in one process", [alone[k] for k in held_out])
    print(f"\nlargest difference of the two: {np.abs(measures - single).max():.5f}; same labels: {same(tiled, whole)}")
    if len(held_out) < len(images):
        report("All images of the split, tiled job", scores)


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two label rasters differ in the numbers only."""
    pairs = np.unique(a.astype(np.int64).ravel() * (int(b.max()) + 1) + b.ravel())
    firsts, seconds = pairs // (int(b.max()) + 1), pairs % (int(b.max()) + 1)
    return len(set(firsts.tolist())) == len(firsts) == len(set(seconds.tolist()))


if __name__ == "__main__":
    main()
