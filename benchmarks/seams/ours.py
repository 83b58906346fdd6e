"""This project's merge on a case: the real worker, merge and gathering, fed with the case's detections.

The image holds each pixel's own position, so the model knows which window it is shown and answers from the case.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.seams.cases import Case, Detection, Mask, Outcome
from schemas.boxes import Box, Zyx, zyx
from schemas.grids import PixelGrid
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.assembly import assemble
from segworkers.encoding import views_of
from segworkers.lattice import Lattice
from segworkers.linking import Groups, ViewFacts, group_views
from segworkers.merging import whole_objects
from segworkers.model_grid import ModelGrid
from segworkers.objects import Objects
from segworkers.plans import Chunk, SourcePlan
from segworkers.readers.base import PixelBlock
from segworkers.runs import bounding_boxes
from segworkers.segmenters.base import WindowMasks
from segworkers.slivers import relations
from segworkers.tiling import TilePlan
from segworkers.views import Views, without_duplicates
from segworkers.worker import TileWorker
from tests.fakes import MemoryStore


class PositionReader:
    """A source in which every voxel's value is its position in C order."""

    def __init__(self, shape: Zyx) -> None:
        self._shape = shape

    def describe(self, uri: str) -> Source:
        """The source."""
        return Source(uri=uri, fingerprint="0", grid=PixelGrid(shape=self._shape), dtype="int64", bands=("position",))

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """Positions inside the box."""
        z, y, x = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
        _, height, width = self._shape
        position = (z[:, None, None] * height + y[:, None]) * width + x
        return PixelBlock(position[None], np.ones(box.shape, bool), box)

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        """Every voxel; never asked for."""
        return self.read(source, Box.of_shape(self._shape), bands)


class Said:
    """A model that says of each window what the case says."""

    def __init__(self, case: Case) -> None:
        self._shape = case.world.truth.shape
        self._answers = {start: case.windows[index] for index, start in case.starts()}
        classes = tuple(f"class_{k}" for k in range(int(case.world.label.max(initial=0)) + 1))
        self.manifest = ModelManifest(
            name="said", kind="instance", window=case.window, overlap=case.overlap, classes=classes
        )

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> list[WindowMasks]:
        """The case's detections, in window coordinates."""
        starts = (np.unravel_index(int(window[0, 0, 0, 0]), self._shape) for window in windows)
        return [self.answer(zyx([int(i) for i in start])) for start in starts]

    def said(self, start: Zyx) -> list[Detection]:
        """The detections in an order that tells nothing: their place among a window's is the merge's last tie-break."""
        found = self._answers[start]
        return [found[k] for k in np.random.default_rng([len(found), *start]).permutation(len(found))]

    def answer(self, start: Zyx) -> WindowMasks:
        """What is said of the window that starts there."""
        z, y, x = start
        said = self.said(start)
        crops = [(Box(d.mask.start, d.mask.stop).shift((-z, -y, -x)), d.mask.pixels) for d in said]
        return WindowMasks(np.array([d.label for d in said], np.int64), np.array([d.score for d in said]), crops)


def merge(case: Case, group: Zyx = (1, 4, 4)) -> Outcome:
    """The case through worker and merge, with work tiles of `group` windows."""
    objects, seconds = merged_objects(case, group)
    return Outcome(masks_of(objects), objects.label, seconds)


def merge_alone(case: Case) -> Outcome:
    """The same rule without worker, shards and store: from runs in memory to whole objects in memory.

    What peers are timed at as well; theirs start from label arrays or lists of masks.
    """
    views, lattice = views_in(case)
    began = time.perf_counter()
    objects = assemble(*grouped(views, lattice), lattice)
    seconds = time.perf_counter() - began
    return Outcome(masks_of(objects), objects.label, seconds)


def views_in(case: Case) -> tuple[Views, Lattice]:
    """All that the case's windows say."""
    shape = case.world.truth.shape
    lattice = Lattice(case.window, case.overlap, shape)
    said = Said(case)
    answers = {index: said.answer(start) for index, start in case.starts()}
    return views_of(answers, np.ones(shape, bool), (0, 0, 0), lattice), lattice


def grouped(views: Views, lattice: Lattice) -> tuple[Views, Groups]:
    """The views without duplicates, and which of them are one object."""
    views = without_duplicates(views)
    pixels = views.masks.pixel_counts(len(views))
    pairs, kind = relations(views, pixels, lattice, views.window)
    facts = ViewFacts(views.window, views.rank, pixels, views.marginal, views.cut)
    return views, group_views(facts, pairs, kind)


def merged_objects(case: Case, group: Zyx) -> tuple[Objects, float]:
    """Whole objects, and the seconds spent on everything after the model."""
    reader, segmenter, store = PositionReader(case.world.truth.shape), Said(case), MemoryStore()
    source = reader.describe("memory://case")
    lattice = Lattice(case.window, case.overlap, source.grid.shape)
    tiles = TilePlan(lattice, group, (1, 1, 1))
    plan = SourcePlan(source=source, grid=ModelGrid(lattice.extent, lattice.extent), tiles=tiles, bands=(0,))
    worker = TileWorker(reader, segmenter, store, segmenter.manifest)  # pyright: ignore[reportArgumentType]
    began = time.perf_counter()
    # Tile by tile: the next one's answers, made in Python here, would hold up the encoding that is timed.
    receipts = [receipt for tile in tiles for receipt in worker(Chunk(((plan, (tile.index,)),)))]
    spent = time.perf_counter() - began - sum(receipt.read_s + receipt.predict_s for receipt in receipts)
    failed = [receipt.message for receipt in receipts if receipt.status == "failed"]
    if failed:
        raise RuntimeError(f"{case.world.name}: {failed[0]}")
    began = time.perf_counter()
    objects = whole_objects(store, plan, segmenter.manifest, receipts)  # pyright: ignore[reportArgumentType]
    return objects, spent + time.perf_counter() - began


def masks_of(objects: Objects) -> Sequence[Mask]:
    """Objects as dense masks in their bounding boxes."""
    n = len(objects)
    boxes = bounding_boxes(objects.masks, n)
    masks = [Mask((int(b[0]), int(b[1]), int(b[2])), np.zeros(b[3:] - b[:3], bool)) for b in boxes]
    for (z, x, y0, y1), owner in zip(objects.masks.runs.tolist(), objects.masks.owner.tolist(), strict=True):
        z0, top, left = masks[owner].start
        masks[owner].pixels[z - z0, y0 - top : y1 - top, x - left] = True
    return masks
