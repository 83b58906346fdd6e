"""How well the demo's classical models count: `python -m benchmarks.demo_models`.

Each image is segmented as one window, so tiling and merging play no part. Parameters were tuned on training images
only (Otsu has none to tune). Nuclei match where masks overlap with IoU > 0.5, crowns
where boxes do (their truth is boxes). Needs the demo's images (fetched once).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy has no complete types)

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from jobs.demo_data import DemoData, DemoImage, prepare_demo, read_crowns
from jobs.demo_models.nuclei import Nuclei
from jobs.demo_models.tree_crowns import TreeCrowns
from jobs.demo_mosaic import MARGIN, SPLITS
from schemas.boxes import Box
from segworkers.readers.geotiff import RasterReader
from segworkers.statistics import image_statistics, normalise

STATISTICS_SIDE = 2048
"""Side of the thumbnail that a run takes its statistics from."""


@dataclass(frozen=True, slots=True)
class Score:
    """Objects counted, objects there, and how many of them are the same; adds up."""

    found: int = 0
    true: int = 0
    matched: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.found + other.found, self.true + other.true, self.matched + other.matched)

    def row(self, model: str, data: str, use: str, rate: float) -> str:
        """One line of the table; rate in Mpx/s."""
        error = 100 * (self.found - self.true) / max(self.true, 1)
        f1 = 2 * self.matched / max(self.found + self.true, 1)
        precision, recall = self.matched / max(self.found, 1), self.matched / max(self.true, 1)
        counts = f"{self.found:8,d} {self.true:8,d} {error:+9.1f} %"
        return f"{model:15s} {data:24s} {use:9s} {counts} {precision:6.3f} {recall:6.3f} {f1:6.3f} {rate:7.1f}"


HEADER = (
    f"{'model':15s} {'data':24s} {'use':9s} {'counted':>8s} {'true':>8s} {'error':>11s} "
    f"{'P':>6s} {'R':>6s} {'F1@.5':>6s} {'Mpx/s':>7s}"
)


def match_masks(found: NDArray[Any], truth: NDArray[Any]) -> Score:
    """Compare two label rasters (y, x). Above IoU 0.5 a match of disjoint masks is unique, so none has to be chosen."""
    _, a = np.unique(found, return_inverse=True)
    names, b = np.unique(truth, return_inverse=True)
    a, b = a.ravel() + (0 if (found == 0).any() else 1), b.ravel() + (0 if names[0] == 0 else 1)
    area_a, area_b = np.bincount(a), np.bincount(b)
    pairs, common = np.unique(a * area_b.size + b, return_counts=True)
    i, j = pairs // area_b.size, pairs % area_b.size
    iou = common / (area_a[i] + area_b[j] - common)
    return Score(area_a.size - 1, area_b.size - 1, int(((i > 0) & (j > 0) & (iou > 0.5)).sum()))


def match_boxes(found: NDArray[np.float64], truth: NDArray[np.float64], least: float = 0.5) -> Score:
    """Compare boxes (k, 4) as y0, x0, y1, x1: the one-to-one assignment with the most pairs of IoU >= least."""
    low = np.maximum(found[:, None, :2], truth[None, :, :2])
    high = np.minimum(found[:, None, 2:], truth[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (found, truth))
    iou = common / (area_a[:, None] + area_b[None] - common)
    rows, columns = linear_sum_assignment((iou >= least) + 1e-3 * iou, maximize=True)
    return Score(len(found), len(truth), int((iou[rows, columns] >= least).sum()))


def read_normalised(uri: str, bands: Sequence[int], kind: Any) -> NDArray[np.float32]:
    """The whole image (bands, y, x) as a run would show it to a model that declares `kind`."""
    reader = RasterReader()
    source = reader.describe(uri)
    statistics = image_statistics(reader.thumbnail(source, tuple(bands), STATISTICS_SIDE))
    block = reader.read(source, Box.of_shape(source.grid.shape), tuple(bands))
    return normalise(block.pixels[None], kind, statistics, source.dtype)[0, :, 0]


def paint(answer: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The masks of a plugin's answer as labels (y, x)."""
    labels = np.zeros(shape, np.int32)
    for number, ((_, y0, x0, _, y1, x1), mask) in enumerate(answer["masks"], start=1):
        labels[y0:y1, x0:x1][mask[0]] = number
    return labels


def run_nuclei(image: NDArray[np.float32]) -> NDArray[np.int32]:
    """The demo model on one image (y, x)."""
    return paint(Nuclei().predict(image[None, None, None], np.ones((1, 1, *image.shape), np.bool_))[0], image.shape)


def run_otsu(level: float, least: int) -> Callable[[NDArray[np.float32]], NDArray[np.int32]]:
    """Connected components (8 neighbours) above `level`, of at least `least` px."""

    def run(image: NDArray[np.float32]) -> NDArray[np.int32]:
        labels: NDArray[np.int32] = cast("Any", ndimage.label(image > level, np.ones((3, 3))))[0]
        labels[(np.bincount(labels.ravel()) < least)[labels]] = 0
        return labels

    return run


def score_mosaic(
    name: str, model: Callable[[NDArray[np.float32]], NDArray[Any]], image: NDArray[np.float32], data: DemoData
) -> None:
    """Print one line for each split of the mosaic, and one for all of it."""
    truth = read_whole(data.mosaic.truth_uri)
    total, pixels, spent = Score(), 0, 0.0
    for split in SPLITS:
        score, area, seconds = Score(), 0, 0.0
        placements = [p for p in data.placements if p.split == split]
        for placement in placements:
            _, rows, columns = placement.box.grow((0, MARGIN // 2, MARGIN // 2)).within((0, 0, 0))
            begin = time.perf_counter()
            found = model(image[rows, columns])
            seconds += time.perf_counter() - begin
            area += found.size
            score += match_masks(found, truth[rows, columns])
        use = "-" if name != "nuclei" else "tuned on" if split == "training" else "held out"
        print(score.row(name, f"nuclei {split} ({len(placements)})", use, area / 1e6 / seconds))
        total, pixels, spent = total + score, pixels + area, spent + seconds
    print(total.row(name, f"nuclei mosaic ({len(data.placements)})", "-", pixels / 1e6 / spent))


def read_whole(uri: str) -> NDArray[Any]:
    """First band of a raster (y, x)."""
    reader = RasterReader()
    source = reader.describe(uri)
    return reader.read(source, Box.of_shape(source.grid.shape), (0,)).pixels[0, 0]


def score_crowns(image: DemoImage) -> None:
    """Print one line for an aerial image."""
    pixels = read_normalised(image.uri, TreeCrowns.bands, TreeCrowns.normalise)
    begin = time.perf_counter()
    answer = TreeCrowns().predict(pixels[None, :, None], np.ones((1, 1, *pixels.shape[1:]), np.bool_))[0]
    seconds = time.perf_counter() - begin
    found = np.array([(b[1], b[2], b[4], b[5]) for b, _ in answer["masks"]], np.float64).reshape(-1, 4)
    score = match_boxes(found, np.array(read_crowns(Path(image.truth_uri)), np.float64))
    use = "held out" if image.is_held_out else "tuned on"
    print(score.row("tree_crowns", image.name, use, pixels[0].size / 1e6 / seconds))


def main() -> None:
    """Print the table."""
    data = prepare_demo(progress=lambda line: print(line, file=sys.stderr))
    print(HEADER)
    image = read_normalised(data.mosaic.uri, Nuclei.bands, Nuclei.normalise)[0]
    score_mosaic("nuclei", run_nuclei, image, data)
    level = 0.5  # `otsu` puts the image's Otsu level there
    image = read_normalised(data.mosaic.uri, (0,), "otsu")[0]
    score_mosaic("otsu", run_otsu(level, 1), image, data)
    score_mosaic("otsu, >= 100 px", run_otsu(level, 100), image, data)
    for aerial in data.aerial:
        score_crowns(aerial)


if __name__ == "__main__":
    main()
