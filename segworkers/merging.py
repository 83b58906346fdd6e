"""The merge of one source: links across work tiles, then groups. Works on facts and strips, never on rasters.

    link     tiles a..b with their later neighbours: which open parts touch or match across the seam   (parallel)
    resolve  all links of the source: which open parts are one object, and the tile that reports it    (one task)

Every pair of neighbouring tiles is looked at exactly once, from the earlier one. A link depends on its two parts alone,
so neither the split into tasks nor their order can change the outcome.
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
from segworkers.dense import forward_neighbours, touching_pairs
from segworkers.linking import ViewFacts, covers, group_views, links
from segworkers.plans import SourcePlan
from segworkers.receipts import Receipt
from segworkers.shards import Shard, from_ipc, to_ipc
from segworkers.store import Store
from segworkers.views import Pairs, Views, compare, join_views

MERGE_VERSION = 1
"""Raised whenever the same shards would give other groups."""

CACHED_TILES = 64
"""Open parts kept in memory while a link task walks along its tiles: more than two rows of neighbours."""


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
        return f"merge/{self.plan.source.source_id}/{self.key}/links-{self.tiles[0]:08d}.arrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveTask:
    """Decide which open parts of a source are one object."""

    plan: SourcePlan
    model: ModelManifest
    key: str
    shards: tuple[str, ...]
    """Of all tiles with open parts, in plan order."""
    counts: tuple[int, ...]
    """Open parts of each of those tiles."""
    positions: tuple[int, ...]
    """Where those tiles stand in plan order."""
    links: tuple[str, ...]

    @property
    def name(self) -> str:
        """Where the groups are kept."""
        return f"merge/{self.plan.source.source_id}/{self.key}/groups.arrow"

    @property
    def index(self) -> str:
        """Where the shards of the tiles with open parts are listed by position."""
        return f"merge/{self.plan.source.source_id}/{self.key}/shards.json"


MergeTask = LinkTask | ResolveTask


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

    def _shard(self, name: str) -> Shard:
        return Shard(name, self._store.read(name))

    def _link(self, task: LinkTask) -> bytes:
        find = self._dense_links if task.model.kind == "dense" else self._instance_links
        found = find(task)
        return to_ipc({name: np.concatenate([part[name] for part in found]) for name in found[0]})

    def _dense_links(self, task: LinkTask) -> list[dict[str, NDArray[Any]]]:
        @lru_cache(CACHED_TILES)
        def fragments(position: int) -> Any:
            return self._shard(task.shards[position]).fragments(masks=False)

        found = [_no_links()]
        for position in task.tiles:
            for other, offset in later_neighbours(task.plan, position, task.model.connectivity):
                if other in task.shards:
                    i, j = touching_pairs(fragments(position), fragments(other), offset, task.model.connectivity)
                    found.append(_link_columns(i + task.first[position], j + task.first[other]))
        return found

    def _instance_links(self, task: LinkTask) -> list[dict[str, NDArray[Any]]]:
        @lru_cache(CACHED_TILES)
        def views(position: int) -> tuple[Views, NDArray[np.int64]]:
            return self._shard(task.shards[position]).views()

        found = [_no_links()]
        for position in task.tiles:
            others = [p for p, _ in later_neighbours(task.plan, position, 26) if p in task.shards]
            if others:
                near = [views(p) for p in (position, *others)]
                number = np.concatenate(
                    [task.first[p] + np.arange(len(v)) for p, (v, _) in zip((position, *others), near, strict=True)]
                )
                found.append(_across(near, number, task.plan))
        return found

    def _resolve(self, task: ResolveTask) -> bytes:
        tables = [from_ipc(self._store.read(name)) for name in task.links]
        joined = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
        total = sum(task.counts)
        if task.model.kind == "dense":
            group = groups_of(total, joined["i"], joined["j"])
            overlap = np.full(int(group.max(initial=-1)) + 1, np.nan)
        else:
            group, overlap = self._group_views(task, joined)
        return to_ipc(_group_columns(group, overlap, task))

    def _group_views(
        self, task: ResolveTask, joined: dict[str, NDArray[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        facts: list[tuple[NDArray[Any], ...]] = []
        inside: list[tuple[Pairs, NDArray[np.bool_], NDArray[np.bool_]]] = []
        start = 0
        for name, count in zip(task.shards, task.counts, strict=True):
            shard = self._shard(name)
            views, pixels = shard.views(masks=False)
            facts.append((views.window, views.rank, pixels, views.cut))
            pairs, is_link, is_cover = shard.pairs()
            inside.append((Pairs(pairs.i + start, pairs.j + start, pairs.overlap, pairs.shared), is_link, is_cover))
            start += count
        across = Pairs(joined["i"], joined["j"], joined["overlap"], joined["shared"])
        inside.append((across, joined["is_link"].astype(bool), joined["is_cover"].astype(bool)))
        window, rank, pixels, cut = (np.concatenate(column) for column in zip(*facts, strict=True))
        linked, covering = (_join_pairs([pairs.take(flags[which]) for pairs, *flags in inside]) for which in (0, 1))
        groups = group_views(ViewFacts(window, rank, pixels, cut), linked, covering)
        return groups.group, groups.min_overlap


def _across(
    near: list[tuple[Views, NDArray[np.int64]]], number: NDArray[np.int64], plan: SourcePlan
) -> dict[str, NDArray[Any]]:
    """Pairs between the first tile's open views and those of all the others, by number in the source."""
    joined = join_views([views for views, _ in near])
    pixels = np.concatenate([pixels for _, pixels in near])
    family = np.ones(len(joined), np.int64)
    family[: len(near[0][0])] = 0
    facts = ViewFacts(joined.window, joined.rank, pixels, joined.cut)
    pairs = compare(joined, plan.tiles.lattice, family)
    is_link, is_cover = links(pairs, facts), covers(pairs, facts)
    keep = is_link | is_cover
    kept = pairs.take(keep)
    return {
        "i": number[kept.i],
        "j": number[kept.j],
        "overlap": kept.overlap,
        "shared": kept.shared,
        "is_link": is_link[keep],
        "is_cover": is_cover[keep],
    }


def _link_columns(i: NDArray[np.int64], j: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    n = len(i)
    return {
        "i": i,
        "j": j,
        "overlap": np.full(n, np.nan),
        "shared": np.zeros(n, np.int64),
        "is_link": np.ones(n, bool),
        "is_cover": np.zeros(n, bool),
    }


def _no_links() -> dict[str, NDArray[Any]]:
    none = np.empty(0, np.int64)
    return _link_columns(none, none)


def _join_pairs(batches: list[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate([getattr(b, name) for b in batches]) for name in ("i", "j", "overlap", "shared")))


def _group_columns(
    group: NDArray[np.int64], overlap: NDArray[np.float64], task: ResolveTask
) -> dict[str, NDArray[Any]]:
    """One row for each open part that is kept, sorted by the tile that reports its object: that of its first part."""
    start = np.cumsum([0, *task.counts])
    number = np.flatnonzero(group >= 0)
    kept = group[number]
    where = np.searchsorted(start, number, side="right") - 1
    tile = np.array(task.positions, np.int64)[where]
    home = np.full(len(overlap), np.iinfo(np.int64).max)
    np.minimum.at(home, kept, tile)
    order = np.lexsort((number, kept, home[kept]))
    columns = {
        "home": home[kept],
        "group": kept,
        "tile": tile,
        "part": number - start[where],
        "overlap": overlap[kept],
    }
    return {name: column[order] for name, column in columns.items()}


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
    for start in range(0, len(open_tiles), tiles_per_task):
        tiles = tuple(open_tiles[start : start + tiles_per_task])
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
        shards=tuple(shards.values()),
        counts=tuple(counts),
        positions=tuple(open_tiles),
        links=tuple(task.name for task in tasks),
    )
    store.create(resolve.index, json.dumps({str(p): name for p, name in shards.items()}).encode())
    return tasks, resolve
