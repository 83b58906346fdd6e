"""Figures of a run's objects against annotated ones: read from the run's tables and masks, with 95 % intervals."""

# pyarrow has no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.events import NullEvents
from jobs.loading import load_spec
from jobs.results import open_results
from jobs.stages import run
from segworkers.evaluation.intervals import wilson
from segworkers.evaluation.matching import best_matching
from segworkers.evaluation.pairs import box_pairs_by_iou


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one or more images; adds up."""

    found: int = 0
    """Predictions that count: those on ignored places do not, unless they match."""
    annotated: int = 0
    matched: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.found + other.found, self.annotated + other.annotated, self.matched + other.matched)

    @property
    def precision(self) -> float:
        """Share of what was found that is annotated."""
        return self.matched / max(self.found, 1)

    @property
    def recall(self) -> float:
        """Share of what is annotated that was found."""
        return self.matched / max(self.annotated, 1)

    @property
    def f1(self) -> float:
        """The harmonic mean of the two."""
        return 2 * self.matched / max(self.found + self.annotated, 1)


def match_boxes(found: NDArray[np.float64], truth: NDArray[np.float64], iou: float) -> NDArray[np.int64]:
    """Indices of the boxes found that have a partner, one to one. Boxes are (k, 4): y0, x0, y1, x1."""
    flat = [np.insert(np.insert(boxes.reshape(-1, 4), 0, 0.0, axis=1), 3, 1.0, axis=1) for boxes in (found, truth)]
    return best_matching(box_pairs_by_iou(flat[0], flat[1]), iou).prediction


def line(title: str, counts: Counts) -> str:
    """One line of text; intervals are Wilson's, which take objects for independent and so are too narrow."""
    shares = ((counts.matched, counts.found), (counts.matched, counts.annotated))
    precision, recall = (
        "not defined"
        if not whole
        else f"{part / whole:.3f} [{wilson(part, whole)[0]:.3f}, {wilson(part, whole)[1]:.3f}]"
        for part, whole in shares
    )
    return (
        f"{title}: {counts.annotated} annotated, {counts.found} found, {counts.matched} matched; "
        f"precision {precision}, recall {recall}, F1 {counts.f1:.3f}"
    )


def segment(rasters: Sequence[Path], out: Path, model: str, options: Sequence[str]) -> None:
    """Run the job over some rasters. options: as after `--set`."""
    values: dict[str, Any] = {
        "inputs": [str(path) for path in rasters],
        "model": {"reference": model},
        "output": {"path": str(out), "masks": "labels"},
    }
    run(load_spec(values=values, overrides=list(options)), events=NullEvents())


def found_boxes(out: Path) -> dict[str, NDArray[np.float64]]:
    """Boxes (k, 4) y0, x0, y1, x1 in pixels by the raster's file name."""
    rows = open_results(str(out)).sql("SELECT source_uri, y_min, x_min, y_max, x_max FROM instances")
    found: dict[str, list[list[float]]] = {}
    for row in rows.to_pylist():
        name = Path(row["source_uri"]).name
        found.setdefault(name, []).append([row["y_min"], row["x_min"], row["y_max"], row["x_max"]])
    return {name: np.array(boxes, np.float64).reshape(-1, 4) for name, boxes in found.items()}


def label_raster(out: Path, stem: str) -> NDArray[Any]:
    """(y, x) 0 = background, else a number for each object of the raster whose file name has that stem."""
    import rasterio

    rows = open_results(str(out)).sql("SELECT source_id, source_uri FROM images").to_pylist()
    (source,) = (row["source_id"] for row in rows if Path(row["source_uri"]).stem == stem)
    (path,) = out.glob(f"masks/*/{source}-labels.tif")
    with rasterio.open(path) as file:
        return file.read(1)
