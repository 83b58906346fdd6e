"""Shards of a huge periodic raster without segmenting all of it: each kind of work tile once, then moved.

Tiles in the middle of a periodic raster differ in their position only, so one that the real worker has made stands for
all of them, and one of each edge and corner for the others. What follows, `segworkers segment --resume`, finds all work
tiles finished and does the rest of the job.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs import runfile
from jobs.config import JobSpec
from jobs.planning import prepare
from schemas.boxes import Box, Zyx, zyx
from schemas.sources import Source
from segworkers.commits import commit_receipts
from segworkers.objects import Objects
from segworkers.plans import Chunk, SourcePlan
from segworkers.readers.base import PixelBlock
from segworkers.receipts import Receipt
from segworkers.runs import RunTable
from segworkers.segmenters.loading import load_model
from segworkers.shards import Shard, object_sections, pack, view_sections
from segworkers.store import open_store
from segworkers.tiling import WorkTile
from segworkers.views import Pairs, Views
from segworkers.worker import TileWorker


class PeriodicReader:
    """A raster that repeats one period (y, x), anchored at pixel (0, 0)."""

    def __init__(self, period: NDArray[np.uint8]) -> None:
        self._period = period

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """The box's pixels, all valid."""
        height, width = self._period.shape
        y, x = np.arange(box.start[1], box.stop[1]) % height, np.arange(box.start[2], box.stop[2]) % width
        return PixelBlock(self._period[np.ix_(y, x)][None, None], np.ones(box.shape, bool), box)


@dataclass(frozen=True, slots=True)
class Made:
    """A work tile that was really segmented."""

    tile: WorkTile
    receipt: Receipt
    objects: Objects
    views: Views
    pixels: NDArray[np.int64]
    pairs: tuple[Pairs, NDArray[np.bool_], NDArray[np.bool_]]

    def moved(self, tile: WorkTile, plan: SourcePlan) -> bytes:
        """The shard of a tile that shows the same pixels."""
        lattice = plan.tiles.lattice
        shift = [b - a for a, b in zip(self.tile.core.start, tile.core.start, strict=True)]
        windows = lattice.flat(tile.start) - lattice.flat(self.tile.start)
        objects = replace(self.objects, masks=_shifted(self.objects.masks, shift))
        views = replace(self.views, window=self.views.window + windows, masks=_shifted(self.views.masks, shift))
        receipt = replace(self.receipt, tile=tile.index, core=plan.grid.native_box(tile.core))
        return pack(object_sections(objects) | view_sections(views, self.pixels, *self.pairs), receipt)


def _shifted(masks: RunTable, shift: list[int]) -> RunTable:
    z, y, x = shift
    return RunTable(masks.runs + np.array([z, x, y, y], np.int32), masks.owner)


class _OneShard:
    """A store of what was created last."""

    data = b""

    def exists(self, name: str) -> bool:
        """Never."""
        return False

    def create(self, name: str, data: bytes) -> bool:
        """Keep shards, forget the ledger."""
        if name.endswith(".zip"):
            self.data = data
        return True


def commit_shards(spec: JobSpec, period: NDArray[np.uint8]) -> None:
    """All shards and receipts of a job whose one input is a raster that repeats `period`; an instance model."""
    planned = prepare(spec)
    (plan,) = planned.plans
    store = open_store(spec.output.path)
    runfile.claim(store, spec, planned.manifest, resume=False)
    keeper: Any = _OneShard()
    reader: Any = PeriodicReader(period)
    worker = TileWorker(reader, load_model(planned.model, planned.manifest), keeper, planned.manifest)
    made: dict[Zyx, Made] = {}
    for tile in plan.tiles:
        # The first, the second, which stands for all in the middle, or the last, in each axis.
        kind = zyx([i if i == n - 1 else min(i, 1) for i, n in zip(tile.index, plan.tiles.shape, strict=True)])
        if kind not in made:
            made[kind] = _make(worker, keeper, plan, kind)
        shift = np.array(tile.core.start) - np.array(made[kind].tile.core.start)
        if (shift[1:] % period.shape).any():
            raise ValueError(f"work tiles begin every {shift[1:]} px, which {period.shape} does not divide")
        name, data = plan.shard_name(tile.index, planned.manifest), made[kind].moved(tile, plan)
        store.create(name, data)
        commit_receipts(store, [Shard(name, data).receipt()])


def _make(worker: TileWorker, keeper: _OneShard, plan: SourcePlan, index: Zyx) -> Made:
    (receipt,) = worker(Chunk(((plan, (index,)),)))
    if receipt.status != "done":
        raise RuntimeError(f"tile {index}: {receipt.status}, {receipt.message}")
    with Shard("made", keeper.data) as shard:
        views, pixels = shard.views()
        return Made(plan.tiles.tile(index), receipt.untimed(), shard.objects(), views, pixels, shard.pairs())
