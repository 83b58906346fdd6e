"""One source through the real worker, merge and gathering, in any order of tiles, without engine or files of pixels."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx
from segworkers.finishing import RowsPart, all_objects
from segworkers.lattice import Lattice
from segworkers.merging import MergeWorker, merge_tasks
from segworkers.model_grid import ModelGrid
from segworkers.objects import Objects
from segworkers.orientation import NO_FLIPS, Flips
from segworkers.plans import Chunk, SourcePlan
from segworkers.receipts import Receipt
from segworkers.tiling import TilePlan, margin_of
from segworkers.worker import TileWorker
from tests.fakes import MemoryStore


def plan_for(reader: Any, segmenter: Any, group: Zyx) -> SourcePlan:
    """The plan of the reader's source with work tiles of `group` windows."""
    source = reader.describe("memory://image")
    shape = source.grid.shape
    lattice = Lattice(segmenter.manifest.window, segmenter.manifest.overlap, shape)
    tiles = TilePlan(lattice, group, (1, 1, 1), margin_of(segmenter.manifest), segmenter.manifest.context)
    return SourcePlan(source=source, grid=ModelGrid(shape, shape), tiles=tiles, bands=tuple(range(len(source.bands))))


def run_source(
    reader: Any, segmenter: Any, group: Zyx, seed: int = 0, flips: Flips = NO_FLIPS
) -> tuple[Objects, list[Receipt]]:
    """All objects, and the receipts in plan order."""
    plan = replace(plan_for(reader, segmenter, group), flips=flips)
    return run_plan(reader, segmenter, plan, MemoryStore(), seed)


def run_plan(reader: Any, segmenter: Any, plan: SourcePlan, store: Any, seed: int = 0) -> tuple[Objects, list[Receipt]]:
    """All objects of a plan, and its receipts in plan order; store: may hold what the plan refers to."""
    worker = TileWorker(reader, segmenter, store, segmenter.manifest)
    indices = [tile.index for tile in plan.tiles]
    random.Random(seed).shuffle(indices)
    receipts = sorted(worker(Chunk(((plan, tuple(indices)),))), key=lambda receipt: receipt.tile)
    link_tasks, resolve = merge_tasks(store, plan, segmenter.manifest, receipts, tiles_per_task=3)
    merge = MergeWorker(store)
    groups = None
    if resolve is not None:
        for task in random.Random(seed + 1).sample(link_tasks, len(link_tasks)):
            merge(task)
        groups = merge(resolve)
    failed = tuple(box for receipt in receipts for box in receipt.failed_cells)
    part = RowsPart(
        plan=plan,
        shards=tuple(receipt.shard for receipt in receipts),
        first=0,
        groups=groups,
        index=None if resolve is None else resolve.index,
        failed=failed,
    )
    return all_objects(store, part, segmenter.manifest), receipts


def paint(objects: Objects, shape: Zyx) -> NDArray[np.int64]:
    """Objects as a label image (number + 1); raises where two of them share a pixel."""
    image = np.zeros(shape, np.int64)
    for (z, x, y0, y1), owner in zip(objects.masks.runs, objects.masks.owner, strict=True):
        assert not image[z, y0:y1, x].any(), "two objects share a pixel"
        image[z, y0:y1, x] = owner + 1
    return image


def same_partition(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two label images differ in the names of their labels only (0 is background in both)."""
    if ((a == 0) != (b == 0)).any():
        return False
    pairs = np.unique(np.stack((a[a > 0], b[b > 0]), axis=1), axis=0)
    return len(np.unique(pairs[:, 0])) == len(pairs) == len(np.unique(pairs[:, 1]))
