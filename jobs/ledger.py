"""The ledger while a run works: which tiles are finished, which are to be done, and in what chunks they go out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from schemas.boxes import Zyx
from schemas.models import ModelManifest
from segworkers.plans import Chunk, SourcePlan
from segworkers.receipts import Receipt, load_receipts
from segworkers.store import Store

CHUNK_PIXELS = 64_000_000
"""Pixels of one call at most: seconds of work, so that a lost call costs little and a call's overhead nothing."""

CHUNK_TILES = 64
"""Work tiles of one call at most, for archives of small images."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An input that could not be used."""

    uri: str
    reason: str
    message: str
    hint: str
    scope: str


@dataclass(slots=True)
class Ledger:
    """Receipts by source and tile. The last attempt of a tile counts."""

    receipts: dict[str, dict[Zyx, Receipt]] = field(default_factory=dict[str, dict[Zyx, Receipt]])

    def add(self, receipt: Receipt) -> bool:
        """Enter a tile's receipt; whether the tile is new."""
        tiles = self.receipts.setdefault(receipt.source_id, {})
        new = receipt.tile not in tiles
        tiles[receipt.tile] = receipt
        return new

    def of(self, plan: SourcePlan) -> list[Receipt]:
        """All receipts of a finished source, in plan order."""
        tiles = self.receipts.get(plan.source.source_id, {})
        return [tiles[index] for index in sorted(tiles)]


def read_ledger(store: Store) -> dict[str, Receipt]:
    """All receipts in the store, by shard; where two workers wrote one tile both hold the surviving shard's."""
    found: dict[str, Receipt] = {}
    for name in store.list("ledger"):
        for receipt in load_receipts(store.read(name)):
            found[receipt.shard] = receipt.found()
    return found


def settle(
    plan: SourcePlan, model: ModelManifest, known: dict[str, Receipt], store: Store, ledger: Ledger
) -> list[tuple[SourcePlan, list[Zyx]]]:
    """Enter what an earlier run finished, and return what is to be done: plans (by attempt) with their tiles.

    A tile that failed is tried again, as a new attempt: what was in the way may be gone.
    """
    todo: dict[int, list[Zyx]] = {}
    for tile in plan.tiles:
        attempt, last = 0, None
        while known:
            receipt = known.get(replace(plan, attempt=attempt).shard_name(tile.index, model))
            if receipt is None:
                break
            last, attempt = receipt, attempt + 1
            if receipt.status != "failed":
                break
        if last is None or last.status == "failed" or not store.exists(last.shard):
            todo.setdefault(attempt if last is None or last.status == "failed" else attempt - 1, []).append(tile.index)
        else:
            ledger.add(last)
    return [(replace(plan, attempt=attempt), tiles) for attempt, tiles in sorted(todo.items())]


def chunks(work: Sequence[tuple[SourcePlan, list[Zyx]]], limit: int | None) -> Iterator[Chunk]:
    """Work in calls: neighbouring tiles of one source, or many small sources, up to CHUNK_PIXELS and CHUNK_TILES."""
    total = sum(len(tiles) for _, tiles in work)
    most = limit or max(1, min(CHUNK_TILES, total // 16))
    parts: list[tuple[SourcePlan, list[Zyx]]] = []
    tiles, pixels = 0, 0
    for plan, indices in work:
        size = plan.tiles.tile((0, 0, 0)).read.volume
        for index in indices:
            if tiles and (tiles >= most or pixels + size > CHUNK_PIXELS):
                yield Chunk(tuple((p, tuple(i)) for p, i in parts))
                parts, tiles, pixels = [], 0, 0
            if not parts or parts[-1][0] is not plan:
                parts.append((plan, []))
            parts[-1][1].append(index)
            tiles, pixels = tiles + 1, pixels + size
    if parts:
        yield Chunk(tuple((p, tuple(i)) for p, i in parts))
