"""Commits: how a work tile's outcome becomes durable, also where the outcome is that there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schemas.boxes import Zyx
from schemas.errors import InputError
from schemas.models import ModelManifest
from segworkers.cells import count_cells
from segworkers.dense import Fragments
from segworkers.encoding import EncodedTile, nothing_found
from segworkers.plans import SourcePlan
from segworkers.receipts import Receipt, dump_receipts
from segworkers.shards import Sections, Shard, fragment_sections, object_sections, pack, view_sections
from segworkers.store import Store
from segworkers.tiling import WorkTile


def open_sections(encoded: EncodedTile) -> Sections:
    """The shard's sections of what is still open."""
    rest = encoded.open
    if isinstance(rest, Fragments):
        return fragment_sections(rest)
    return view_sections(rest.views, rest.pixels, rest.pairs, rest.kind)


def commit_shard(store: Store, name: str, data: bytes) -> Receipt:
    """Make a shard durable; the receipt of the shard that is there afterwards, whoever wrote it."""
    if not store.create(name, data):
        data = store.read(name)
    return Shard(name, data).receipt()


def commit_receipts(store: Store, receipts: Sequence[Receipt]) -> None:
    """Write the ledger's file for some finished tiles; equal tiles give an equal name, so repeats do no harm."""
    if receipts:
        names = "\n".join(sorted(f"{receipt.shard} {receipt.shard_sha256}" for receipt in receipts))
        key = hashlib.blake2b(names.encode(), digest_size=10).hexdigest()
        store.create(f"ledger/{key}.jsonl", dump_receipts(receipts))


def commit_failure(
    store: Store, plan: SourcePlan, tile: WorkTile, manifest: ModelManifest, error: InputError
) -> Receipt:
    """Commit a tile that could not be processed at all: a failure is a result too, so every run ends."""
    lattice = plan.tiles.lattice
    nothing = nothing_found(manifest.kind)
    failed: Mapping[Zyx, InputError] = dict.fromkeys(lattice.indices(tile.start, tile.stop), error)
    counts, boxes = count_cells(plan, tile, np.zeros(tile.core.shape, bool), frozenset(), frozenset(failed))
    receipt = Receipt(
        source_id=plan.source.source_id,
        tile=tile.index,
        core=plan.grid.native_box(tile.core),
        status="failed",
        counts=counts,
        failed_cells=boxes,
        **reason_of(failed),
    )
    sections = object_sections(nothing.objects) | open_sections(nothing)
    committed = commit_shard(store, plan.shard_name(tile.index, manifest), pack(sections, receipt))
    commit_receipts(store, [committed])
    return committed


def reason_of(failed: Mapping[Zyx, InputError]) -> dict[str, Any]:
    """The receipt's `reason`, `message` and `hint` for the windows that failed: those of the first in lattice order."""
    if not failed:
        return {}
    index, error = min(failed.items(), key=lambda pair: pair[0])
    more = f" ({len(failed)} windows failed; the first is {'-'.join(map(str, index))})" if len(failed) > 1 else ""
    return {"reason": error.reason, "message": error.message + more, "hint": error.hint or None}
