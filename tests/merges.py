"""Merges of hand-made or random answers: what every window says is given, the real worker and merge do the rest."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from schemas.grids import PixelGrid
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers import merging
from segworkers.finishing import RowsPart, all_objects
from segworkers.lattice import Lattice
from segworkers.merging import MergeWorker, merge_tasks
from segworkers.objects import Objects, join_objects
from segworkers.plans import Chunk, SourcePlan
from segworkers.readers.base import PixelBlock
from segworkers.receipts import Receipt
from segworkers.rows import Filters, rows_of
from segworkers.segmenters.base import WindowMasks
from segworkers.worker import TileWorker
from tests.fakes import ArrayReader, MemoryStore
from tests.pipeline import plan_for

CLASSES = 3

Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One detection, in image coordinates."""

    start: Zyx
    bits: Bits
    label: int = 0
    score: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What is said of every window of a lattice, over an image that may have holes and may be unreadable in places."""

    lattice: Lattice
    said: Mapping[Zyx, Sequence[Mask]]
    """Window index to detections, best first; windows that say nothing may be left out."""
    valid: Bits | None = None
    """(z, y, x) of the image; None where all of it is."""
    broken: tuple[Box, ...] = field(default=())
    batch: Zyx = (1, 1, 1)
    """Windows that the model is asked about at once; work tiles are whole batches."""


def mask(*boxes: tuple[int, ...], label: int = 0, score: float = 0.5) -> Mask:
    """The union of boxes, (y0, x0, y1, x1) or (z0, y0, x0, z1, y1, x1)."""
    corners = np.array([(0, *b[:2], 1, *b[2:]) if len(b) == 4 else b for b in boxes])
    start, stop = corners[:, :3].min(0), corners[:, 3:].max(0)
    bits = np.zeros(stop - start, bool)
    for z0, y0, x0, z1, y1, x1 in corners - np.tile(start, 2):
        bits[z0:z1, y0:y1, x0:x1] = True
    return Mask(zyx(start.tolist()), bits, label, score)


def seen_in(whole: Mask, box: Box) -> Mask | None:
    """The part of a mask that lies in `box`; None where that is nothing."""
    common = Box(whole.start, zyx([a + n for a, n in zip(whole.start, whole.bits.shape, strict=True)])) & box
    if common is None:
        return None
    bits = whole.bits[common.within(whole.start)]
    return Mask(common.start, bits, whole.label, whole.score) if bits.any() else None


class Reader(ArrayReader):
    """An image in which every voxel's value is its position in C order: `Saying` knows its windows by that."""

    def __init__(self, case: Case) -> None:
        extent = case.lattice.extent
        super().__init__(np.arange(int(np.prod(extent)), dtype=np.int64).reshape(extent), case.valid, case.broken)

    def describe(self, uri: str) -> Source:
        """A source of the image's shape with georeferencing left out."""
        return Source(
            uri=uri, fingerprint="0", grid=PixelGrid(shape=self.valid.shape), dtype="int64", bands=("position",)
        )

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """A copy of the box."""
        return super().read(source, box, (0,))


class Saying:
    """A model that says of each window what the case says."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.manifest = ModelManifest(
            name="saying",
            kind="instance",
            window=case.lattice.window,
            overlap=case.lattice.overlap,
            batch=case.batch,
            classes=tuple(f"class_{k}" for k in range(CLASSES)),
        )

    def predict(self, windows: NDArray[Any], valid: Bits) -> list[WindowMasks]:
        """The case's detections, in window coordinates."""
        return [self._answer(window[0], real) for window, real in zip(windows, valid, strict=True)]

    def _answer(self, values: NDArray[Any], real: Bits) -> WindowMasks:
        lattice = self._case.lattice
        first = np.unravel_index(int(np.argmax(real)), real.shape)
        place = np.unravel_index(int(values[first]), lattice.extent)
        start = [int(p - f) for p, f in zip(place, first, strict=True)]
        index = zyx([a // s for a, s in zip(start, lattice.stride, strict=True)])
        said = self._case.said.get(index, ())
        crops = [(Box(m.start, zyx([a + n for a, n in zip(m.start, m.bits.shape, strict=True)])), m.bits) for m in said]
        crops = [(box.shift(zyx([-a for a in start])), bits) for box, bits in crops]
        return WindowMasks(np.array([m.label for m in said], np.int64), np.array([m.score for m in said]), crops)


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """What became of a case."""

    objects: Objects
    receipts: list[Receipt]
    plan: SourcePlan
    manifest: ModelManifest
    failed: tuple[Box, ...]

    @property
    def rows(self) -> bytes:
        """The rows of the `instances` table, in an order of their contents, byte for byte."""
        table = rows_of(self.objects, self.plan, self.manifest, self.failed, Filters())
        rows = sorted(table.to_pylist(), key=repr)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows, table.schema))
        return sink.getvalue().to_pybytes()

    @property
    def counts(self) -> dict[str, int]:
        """What the `images` table adds up over the tiles."""
        names = ("done", "empty", "nodata", "failed")
        sums = {name: sum(getattr(receipt.counts, name) for receipt in self.receipts) for name in names}
        return sums | {"detections": sum(receipt.detections for receipt in self.receipts)}

    @property
    def masks(self) -> list[frozenset[Zyx]]:
        """The pixels (z, y, x) of each object."""
        pixels: list[set[Zyx]] = [set() for _ in range(len(self.objects))]
        for (z, x, y0, y1), owner in zip(self.objects.masks.runs.tolist(), self.objects.masks.owner, strict=True):
            pixels[owner].update((z, y, x) for y in range(y0, y1))
        return [frozenset(each) for each in pixels]


def merged(case: Case, group: Zyx, *, seed: int = 0, tiles_per_task: int = 64, parts_per_task: int = 100_000) -> Merged:
    """The case through worker, merge and gathering; tiles, shards and tasks in an order that `seed` draws."""
    order = random.Random(seed)
    reader, model = Reader(case), Saying(case)
    store: Any = MemoryStore()
    plan = plan_for(reader, model, group)
    worker = TileWorker(reader, model, store, model.manifest)
    indices = [tile.index for tile in plan.tiles]
    order.shuffle(indices)
    half = order.randrange(len(indices) + 1)
    receipts: list[Receipt] = []
    for some in (indices[:half], indices[half:]):
        receipts.extend(worker(Chunk(((plan, tuple(some)),))) if some else [])
    receipts.sort(key=lambda receipt: receipt.tile)
    with patch.object(merging, "PARTS_PER_TASK", parts_per_task):
        tasks, resolve = merge_tasks(store, plan, model.manifest, receipts, tiles_per_task)
    work, groups = MergeWorker(store), None
    if resolve is not None:
        for task in order.sample(tasks, len(tasks)):
            work(task)
        groups = work(resolve)
    failed = tuple(box for receipt in receipts for box in receipt.failed_cells)
    cuts = sorted({0, order.randrange(len(receipts) + 1), order.randrange(len(receipts) + 1), len(receipts)})
    parts = [
        RowsPart(
            plan=plan,
            shards=tuple(receipt.shard for receipt in receipts[first:stop]),
            first=first,
            groups=groups,
            index=None if resolve is None else resolve.index,
            failed=failed,
        )
        for first, stop in pairwise(cuts)
    ]
    objects = join_objects([all_objects(store, part, model.manifest) for part in parts])
    return Merged(objects, receipts, plan, model.manifest, failed)


def whole_image(case: Case) -> Zyx:
    """The group that makes the image one work tile: nothing is left open, nothing merged."""
    return grown(case.lattice.shape, case.batch)


def grown(group: Zyx, batch: Zyx) -> Zyx:
    """The least whole batches that hold a group."""
    return zyx([-(-g // b) * b for g, b in zip(group, batch, strict=True)])


def windows_of(lattice: Lattice) -> Iterator[Zyx]:
    """All window indices."""
    return lattice.indices((0, 0, 0), lattice.shape)
