"""The merge of one source: links across work tiles, then groups. Works on facts and strips, never on rasters.

    link     tiles a..b with their later neighbours: which open parts touch or match across the seam   (parallel)
    resolve  all links of the source: which open parts are one object, and the tile that reports it    (one task)

Every pair of neighbouring tiles is looked at exactly once, from the earlier one. A link depends on its two parts alone,
so neither the split into tasks nor their order can change the outcome. Masks are read by link tasks alone, a few tiles
at a time; resolving reads what they wrote: numbers of parts, 100 to 500 bytes of memory for each open part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx, zyx
from schemas.models import ModelManifest
from segworkers.components import groups_of
from segworkers.dense import Fragments, forward_neighbours, touching_pairs
from segworkers.finishing import RowsPart, all_objects
from segworkers.group_files import group_columns, pack_groups
from segworkers.linking import LINK, ViewFacts, group_views
from segworkers.objects import Objects
from segworkers.plans import SourcePlan, blocks
from segworkers.receipts import Receipt
from segworkers.shards import Shard, from_ipc, to_ipc
from segworkers.slivers import relations
from segworkers.store import Store
from segworkers.views import Pairs, Views, join_views

MERGE_VERSION = 9
"""Raised whenever the same shards would give other groups."""

CACHED_TILES = 16
"""Tiles whose open parts a link task keeps while it walks along a row: three of each of the five rows it looks at."""

PARTS_PER_TASK = 100_000
"""Open parts of the tiles of one link task, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTask:
    """Find the links of some tiles with their later neighbours."""

    plan: SourcePlan
    model: ModelManifest
    key: str
    """Folder of this merge: a hash of all shards of the source."""
    tiles: tuple[int, ...]
    """Positions of the tiles in plan order."""
    shards: Mapping[int, str]
    """Shard of each of them and of their later neighbours."""
    first: Mapping[int, int]
    """Number of the first open part of each of those tiles; parts are numbered through the whole source."""

    @property
    def name(self) -> str:
        """Where the links are kept."""
        return f"merge/{self.plan.source.source_id}/{self.key}/links-{self.tiles[0]:08d}-{len(self.tiles)}.arrow"

    @property
    def facts(self) -> str:
        """Where instance models' facts about the tiles' own open views are kept: what grouping must know of them."""
        return f"merge/{self.plan.source.source_id}/{self.key}/facts-{self.tiles[0]:08d}-{len(self.tiles)}.arrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveTask:
    """Decide which open parts of a source are one object."""

    plan: SourcePlan
    model: ModelManifest
    key: str
    positions: tuple[int, ...]
    """Of all tiles with open parts: where they stand in plan order."""
    counts: tuple[int, ...]
    """Open parts of each of those tiles."""
    links: tuple[str, ...]
    """What the link tasks found."""
    facts: tuple[str, ...]
    """What they noted, in the order of the tiles."""

    @property
    def name(self) -> str:
        """Where the groups are kept."""
        return f"merge/{self.plan.source.source_id}/{self.key}/groups.arrow"

    @property
    def index(self) -> str:
        """Where the shards of the tiles with open parts are listed by position."""
        return f"merge/{self.plan.source.source_id}/{self.key}/shards.json"


MergeTask = LinkTask | ResolveTask

Columns = dict[str, NDArray[Any]]
"""Columns of equal length by name."""


def later_neighbours(plan: SourcePlan, position: int, connectivity: int) -> list[tuple[int, Zyx]]:
    """Positions of the tiles after `position` that share a seam with it, and their offsets."""
    shape = plan.tiles.shape
    index = zyx([int(i) for i in np.unravel_index(position, shape)])
    found: list[tuple[int, Zyx]] = []
    for offset in forward_neighbours(connectivity):
        there = [i + d for i, d in zip(index, offset, strict=True)]
        if all(0 <= i < n for i, n in zip(there, shape, strict=True)):
            found.append((int(np.ravel_multi_index(there, shape)), offset))
    return found


class MergeWorker:
    """Runs link and resolve tasks. Holds no state but a small cache; results are commits, so repeats do no harm."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, task: MergeTask) -> str:
        """Do the task unless its result is there already; the name of the result."""
        if not self._store.exists(task.name):
            data = self._link(task) if isinstance(task, LinkTask) else self._resolve(task)
            self._store.create(task.name, data)
        return task.name

    def _link(self, task: LinkTask) -> bytes:
        find = self._dense_links if task.model.kind == "dense" else self._instance_links
        return to_ipc(_joined(find(task)))

    def _dense_links(self, task: LinkTask) -> list[Columns]:
        @lru_cache(CACHED_TILES)
        def fragments(position: int) -> Fragments:
            with Shard.open(self._store, task.shards[position]) as shard:
                return shard.fragments(masks=False)

        found = [_no_links()]
        for position in task.tiles:
            for other, offset in later_neighbours(task.plan, position, task.model.connectivity):
                if other in task.shards:
                    i, j = touching_pairs(fragments(position), fragments(other), offset, task.model.connectivity)
                    found.append(_link_columns(i + task.first[position], j + task.first[other]))
        return found

    def _instance_links(self, task: LinkTask) -> list[Columns]:
        """Pairs within the tiles as well as across; also writes down the tiles' facts."""

        @lru_cache(CACHED_TILES)
        def views(position: int) -> tuple[Views, NDArray[np.int64]]:
            with Shard.open(self._store, task.shards[position]) as shard:
                return shard.views()

        found, facts = [_no_links()], list[Columns]()
        for position in task.tiles:
            others = [p for p, _ in later_neighbours(task.plan, position, 26) if p in task.shards]
            near = [views(p) for p in (position, *others)]
            facts.append(_facts_columns(*near[0]))
            with Shard.open(self._store, task.shards[position]) as shard:
                found.append(_pair_columns(*shard.pairs(), np.arange(len(near[0][0])) + task.first[position]))
            if others:
                number = np.concatenate(
                    [task.first[p] + np.arange(len(v)) for p, (v, _) in zip((position, *others), near, strict=True)]
                )
                found.append(_across(near, number, task.plan))
        self._store.create(task.facts, to_ipc(_joined(facts)))
        return found

    def _resolve(self, task: ResolveTask) -> bytes:
        joined = _joined([from_ipc(self._store.read(name)) for name in task.links])
        if task.model.kind == "dense":
            group = groups_of(sum(task.counts), joined["i"], joined["j"])
            overlap = np.full(int(group.max(initial=-1)) + 1, np.nan)
        else:
            pairs = Pairs(joined["i"], joined["j"], joined["overlap"], joined["shared"])
            facts = ViewFacts(**_joined([from_ipc(self._store.read(name)) for name in task.facts]))
            groups = group_views(facts, pairs, joined["kind"])
            group, overlap = groups.group, groups.min_overlap
        return pack_groups(group_columns(group, overlap, task.positions, task.counts))


def _across(near: list[tuple[Views, NDArray[np.int64]]], number: NDArray[np.int64], plan: SourcePlan) -> Columns:
    """Pairs between the first tile's open views and those of all the others, by number in the source."""
    joined = join_views([views for views, _ in near])
    pixels = np.concatenate([pixels for _, pixels in near])
    family = np.ones(len(joined), np.int64)
    family[: len(near[0][0])] = 0
    return _pair_columns(*relations(joined, pixels, plan.tiles.lattice, family), number)


def _pair_columns(pairs: Pairs, kind: NDArray[np.int8], number: NDArray[np.int64]) -> Columns:
    """number: of each part in the source."""
    return {
        "i": number[pairs.i],
        "j": number[pairs.j],
        "overlap": pairs.overlap,
        "shared": pairs.shared,
        "kind": kind,
    }


def _facts_columns(views: Views, pixels: NDArray[np.int64]) -> Columns:
    """The fields of `ViewFacts`."""
    return {"window": views.window, "rank": views.rank, "pixels": pixels, "marginal": views.marginal, "cut": views.cut}


def _link_columns(i: NDArray[np.int64], j: NDArray[np.int64]) -> Columns:
    n = len(i)
    return {
        "i": i,
        "j": j,
        "overlap": np.full(n, np.nan),
        "shared": np.zeros(n, np.int64),
        "kind": np.full(n, LINK, np.int8),
    }


def _no_links() -> Columns:
    none = np.empty(0, np.int64)
    return _link_columns(none, none)


def _joined(tables: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def whole_objects(store: Store, plan: SourcePlan, model: ModelManifest, receipts: Sequence[Receipt]) -> Objects:
    """All objects of one small source, merged in this process. receipts: of all its tiles, in plan order."""
    tasks, resolve = merge_tasks(store, plan, model, receipts)
    work = MergeWorker(store)
    for task in tasks:
        work(task)
    part = RowsPart(
        plan=plan,
        shards=tuple(receipt.shard for receipt in receipts),
        first=0,
        groups=None if resolve is None else work(resolve),
        index=None if resolve is None else resolve.index,
        failed=tuple(box for receipt in receipts for box in receipt.failed_cells),
    )
    return all_objects(store, part, model)


def merge_tasks(
    store: Store, plan: SourcePlan, model: ModelManifest, receipts: Sequence[Receipt], tiles_per_task: int = 64
) -> tuple[list[LinkTask], ResolveTask | None]:
    """The tasks that merge one source; no tasks and None where nothing was left open.

    receipts: of all tiles of the source, in plan order. Also keeps the list of shards for whoever reads the groups.
    """
    open_tiles = [position for position, receipt in enumerate(receipts) if receipt.open]
    if not open_tiles:
        return [], None
    identity = f"merge {MERGE_VERSION} {''.join(r.shard_sha256 for r in receipts)}"
    key = hashlib.blake2b(identity.encode(), digest_size=10).hexdigest()
    counts = [receipts[position].open for position in open_tiles]
    first = dict(zip(open_tiles, np.cumsum([0, *counts]).tolist(), strict=False))
    shards = {position: receipts[position].shard for position in open_tiles}
    tasks: list[LinkTask] = []
    for block in blocks(counts, tiles_per_task, PARTS_PER_TASK):
        tiles = tuple(open_tiles[block])
        near = {p for tile in tiles for p, _ in later_neighbours(plan, tile, 26)} & shards.keys()
        near.update(tiles)
        tasks.append(
            LinkTask(
                plan=plan,
                model=model,
                key=key,
                tiles=tiles,
                shards={p: shards[p] for p in sorted(near)},
                first={p: first[p] for p in sorted(near)},
            )
        )
    resolve = ResolveTask(
        plan=plan,
        model=model,
        key=key,
        positions=tuple(open_tiles),
        counts=tuple(counts),
        links=tuple(task.name for task in tasks),
        facts=tuple(task.facts for task in tasks) if model.kind == "instance" else (),
    )
    store.create(resolve.index, json.dumps({str(p): name for p, name in shards.items()}).encode())
    return tasks, resolve
