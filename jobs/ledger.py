"""The ledger while a run works: which tiles are finished, which are to be done, and in what chunks they go out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from schemas.boxes import Zyx
from schemas.models import ModelManifest
from segworkers.plans import Chunk, SourcePlan
from segworkers.receipts import Receipt, load_receipts
from segworkers.shards import Shard
from segworkers.store import Store

CHUNK_PIXELS = 64_000_000
"""Pixels of one call at most: seconds of work, so that a lost call costs little and a call's overhead nothing."""

CALLS = 64
"""Calls that a run is cut into at least, where it has as many tiles: enough for every worker to have some."""

CHUNK_TILES = 64
"""Work tiles of one call at most, for archives of small images."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An input that could not be used, or an object of one that could not be written."""

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
    """All receipts in the store, by shard. Where two disagree on its bytes neither counts: the shard itself does."""
    found: dict[str, Receipt] = {}
    doubtful: set[str] = set()
    for name in store.list("ledger"):
        for receipt in load_receipts(store.read(name)):
            earlier = found.setdefault(receipt.shard, receipt.found())
            if earlier.shard_sha256 != receipt.shard_sha256:
                doubtful.add(receipt.shard)
    return {shard: receipt for shard, receipt in found.items() if shard not in doubtful}


def settle(
    plan: SourcePlan, model: ModelManifest, known: dict[str, Receipt], store: Store, ledger: Ledger
) -> list[tuple[SourcePlan, list[Zyx]]]:
    """Enter what an earlier run finished, and return what is to be done: plans (by attempt) with their tiles.

    The shards that are there decide; receipts only spare reading them. A tile that failed is tried again, as a new
    attempt: what was in the way may be gone.
    """
    todo: dict[int, list[Zyx]] = {}
    there = set(store.list(f"shards/{plan.source.source_id}"))
    for tile in plan.tiles:
        attempt = 0
        while (name := replace(plan, attempt=attempt).shard_name(tile.index, model)) in there:
            receipt = known.get(name) or Shard(name, store.read(name)).receipt().found()
            if receipt.status != "failed":
                ledger.add(receipt)
                break
            attempt += 1
        else:
            todo.setdefault(attempt, []).append(tile.index)
    return [(replace(plan, attempt=attempt), tiles) for attempt, tiles in sorted(todo.items())]


def chunks(work: Sequence[tuple[SourcePlan, list[Zyx]]], limit: int | None, places: int) -> Iterator[Chunk]:
    """Work in calls: neighbouring tiles of one source, or many small sources, up to CHUNK_PIXELS and CHUNK_TILES.

    Slabs of a volume stay together, in order, so that what one of them decoded serves the next: each volume is one call
    but for the last few, too few to give every process one, which are shared evenly. limit: tiles of a call; places:
    processes that there is room for.
    """
    most = limit or max(1, min(CHUNK_TILES, sum(len(tiles) for _, tiles in work) // CALLS))
    parts: list[tuple[SourcePlan, list[Zyx]]] = []
    tiles, pixels = 0, 0
    for plan, piece, is_share in _pieces(work, limit, places):
        size = len(piece) * plan.grid.native_box(plan.tiles.tile((0, 0, 0)).read).volume
        if tiles and (is_share or tiles >= most or pixels + size > CHUNK_PIXELS):
            yield Chunk(tuple((p, tuple(i)) for p, i in parts))
            parts, tiles, pixels = [], 0, 0
        if not parts or parts[-1][0] is not plan:
            parts.append((plan, []))
        parts[-1][1].extend(piece)
        tiles, pixels = (most if is_share else tiles + len(piece)), pixels + size
    if parts:
        yield Chunk(tuple((p, tuple(i)) for p, i in parts))


def _pieces(
    work: Sequence[tuple[SourcePlan, list[Zyx]]], limit: int | None, places: int
) -> Iterator[tuple[SourcePlan, list[Zyx], bool]]:
    """What is not taken apart, and whether it is a share of a volume, which makes a call of its own."""
    left = sum(plan.source.volume is not None for plan, _ in work)
    shared = left % places
    for plan, indices in work:
        together, is_share = 1, False
        if plan.source.volume is not None:
            is_share = left <= shared and limit is None
            together = limit or -(-len(indices) // (-(-places // shared) if is_share else 1))
            left -= 1
        for start in range(0, len(indices), together):
            yield plan, indices[start : start + together], is_share
