"""The last step of the merge: whole objects of some tiles, gathered from the shards, measured, written as rows.

A tile reports the objects that were finished inside it, and those put together from open parts whose first part it
holds. Each object has exactly one such tile, so tasks over disjoint tiles report every object once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.models import ModelManifest
from segworkers.assembly import assemble
from segworkers.dense import Fragments, join_fragments
from segworkers.group_files import read_groups
from segworkers.linking import Groups
from segworkers.objects import Objects, join_objects
from segworkers.plans import SourcePlan
from segworkers.runs import RunTable, concatenate
from segworkers.shards import Shard
from segworkers.store import Store
from segworkers.views import Views, join_views


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsPart:
    """Some tiles of one source whose objects are to be reported."""

    plan: SourcePlan
    shards: tuple[str, ...]
    first: int
    """Position of the first of these tiles in plan order."""
    groups: str | None
    """The merge's groups; None where nothing was open."""
    index: str | None
    """The merge's list of shards by position; None where nothing was open."""
    failed: tuple[Box, ...]
    """Native boxes of the source that could not be processed."""


def gather(store: Store, part: RowsPart, model: ModelManifest) -> Iterator[Objects]:
    """The whole objects that the part reports, on the model's grid, in a few batches."""
    for name in part.shards:
        with Shard.open(store, name) as shard:
            objects = shard.objects()
        yield objects
    if part.groups is None or part.index is None:
        return
    columns = read_groups(store, part.groups, part.first, part.first + len(part.shards))
    if not len(columns["group"]):
        return
    shards: dict[str, str] = json.loads(store.read(part.index))
    yield _assembled(store, part.plan, model, columns, shards)


def _assembled(
    store: Store, plan: SourcePlan, model: ModelManifest, columns: dict[str, NDArray[Any]], shards: dict[str, str]
) -> Objects:
    """Objects from open parts; reads each contributing shard once and keeps only the parts that are asked for."""
    order = np.lexsort((columns["part"], columns["tile"]))
    columns = {name: column[order] for name, column in columns.items()}
    names, group = np.unique(columns["group"], return_inverse=True)
    overlap = np.full(len(names), np.nan)
    overlap[group] = columns["overlap"]
    cuts = np.flatnonzero(np.diff(columns["tile"])) + 1
    pieces: list[Any] = []
    for rows in np.split(np.arange(len(group)), cuts):
        name = shards[str(int(columns["tile"][rows[0]]))]
        wanted = columns["part"][rows]
        with Shard.open(store, name) as shard:
            if model.kind == "dense":
                pieces.append(_take_fragments(shard.fragments(faces=False), wanted))
            else:
                pieces.append(shard.views()[0].take(wanted))
    if model.kind == "dense":
        label, score_sum, masks = zip(*pieces, strict=True)
        start = np.cumsum([0, *(len(part) for part in label)])
        joined = concatenate([RunTable(m.runs, m.owner + s) for m, s in zip(masks, start, strict=False)])
        return join_fragments(np.concatenate(label), np.concatenate(score_sum), joined, group, plan.tiles.lattice)
    views: Views = join_views(pieces)
    return assemble(views, Groups(group, overlap), plan.tiles.lattice)


def _take_fragments(fragments: Fragments, wanted: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], RunTable]:
    name = np.full(len(fragments), -1, np.int64)
    name[wanted] = np.arange(len(wanted))
    return fragments.label[wanted], fragments.score_sum[wanted], fragments.masks.renumber(name).canonical()


def all_objects(store: Store, part: RowsPart, model: ModelManifest) -> Objects:
    """All of `gather` at once; for tests and small sources."""
    return join_objects(list(gather(store, part, model)))
