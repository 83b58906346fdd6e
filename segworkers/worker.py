"""TileWorker: one process's share of a run. Follow one work tile from top to bottom here.

    read    pixels of the tile's read box, once                                  (reader thread)
    predict its windows, in batches of constant shape                            (the caller's thread, under a lock)
    encode  finished objects, open views or fragments, counts by cell            (encoder thread)
    commit  the shard, create-if-absent; then the chunk's receipts in the ledger

Reading the next tile, predicting this one and encoding the last one overlap. Nothing but receipts leaves the process.
What fails is isolated to single windows: their cells are counted as failed, with a reason, and the rest goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx
from schemas.discretion import one_line
from schemas.errors import InputError, StoreError, TileError
from schemas.models import ModelManifest
from segworkers.blending import Blender
from segworkers.cells import count_cells
from segworkers.commits import commit_failure, commit_receipts, commit_shard, open_sections, reason_of
from segworkers.encoding import EncodedTile, encode_dense, encode_instances
from segworkers.lattice import Lattice
from segworkers.orientation import Flips, flipped
from segworkers.plans import Chunk, SourcePlan
from segworkers.priors import from_bytes, with_codes
from segworkers.readers.base import PixelBlock, Reader
from segworkers.receipts import Receipt, TileStatus
from segworkers.segmenters.base import DenseAnswer, DenseProbabilities, Segmenter, WindowMasks
from segworkers.segmenters.turned import flipped_back
from segworkers.segmenters.two_stage import OUTSIDE, OrganMap
from segworkers.shards import Sections, Shard, object_sections, pack
from segworkers.statistics import normalise
from segworkers.store import Store
from segworkers.tile_pixels import read_tile
from segworkers.tiling import WorkTile
from segworkers.windows import Batch, batches, crop_to_cell, cut_windows

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Work:
    """A work tile on its way through the stages."""

    plan: SourcePlan
    tile: WorkTile
    name: str
    block: PixelBlock | None = None
    """What the windows see."""
    valid: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0, 0), bool))
    """(z, y, x) of the core."""
    failed: dict[Zyx, InputError] = field(default_factory=dict[Zyx, InputError])
    dense: dict[Zyx, tuple[NDArray[Any], NDArray[np.float32] | None]] = field(
        default_factory=dict[Zyx, tuple[NDArray[Any], "NDArray[np.float32] | None"]]
    )
    blender: Blender | None = None
    masks: dict[Zyx, WindowMasks] = field(default_factory=dict[Zyx, WindowMasks])
    windows: int = 0
    read_s: float = 0.0
    predict_s: float = 0.0


class TileWorker:
    """Turns chunks into shards and receipts. Safe to call from two threads: predictions take turns, the rest not."""

    def __init__(self, reader: Reader, segmenter: Segmenter, store: Store, manifest: ModelManifest) -> None:
        self._reader = reader
        self._segmenter = segmenter
        self._store = store
        self._manifest = manifest
        self._organ: tuple[str, OrganMap | None] = ("", None)
        self._lock = threading.Lock()
        self._encoding = threading.Lock()

    def __call__(self, chunk: Chunk) -> list[Receipt]:
        """Process every tile of the chunk that has no shard yet. Returns one receipt for each tile."""
        receipts: list[Receipt] = []
        with ThreadPoolExecutor(1, "read") as readers, ThreadPoolExecutor(1, "encode") as encoders:
            encoding: Future[Receipt] | None = None
            for item in self._read_ahead(chunk, readers):
                if isinstance(item, Receipt):
                    receipts.append(item)
                    continue
                self._predict(item)
                if encoding is not None:  # at most one tile waits: memory stays bounded
                    receipts.append(encoding.result())
                encoding = encoders.submit(self._encode_or_fail, item)
            if encoding is not None:
                receipts.append(encoding.result())
        commit_receipts(self._store, receipts)
        return receipts

    def _read_ahead(self, chunk: Chunk, readers: ThreadPoolExecutor) -> Iterator[_Work | Receipt]:
        """Tiles in order, each read while the one before it is in the model."""
        todo = ((plan, plan.tiles.tile(index)) for plan, indices in chunk.parts for index in indices)
        ahead: Future[_Work | Receipt] | None = None
        for plan, tile in todo:
            following = readers.submit(self._read, plan, tile)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()

    def _read(self, plan: SourcePlan, tile: WorkTile) -> _Work | Receipt:
        name = plan.shard_name(tile.index, self._manifest)
        if self._store.exists(name):
            return Shard(name, self._store.read(name)).receipt()
        began = time.perf_counter()
        work = _Work(plan, tile, name)
        if self._manifest.blend != "none":
            work.blender = Blender(plan.tiles.lattice, tile.start, tile.stop, len(self._manifest.classes) + 1)
        read = read_tile(self._reader, plan, tile)
        work.block, work.valid, work.failed = read.block, read.valid, read.failed
        if plan.prior is not None and work.block is not None:
            work.block = self._with_prior(work.block, plan.prior, plan.tiles.lattice)
        work.read_s = time.perf_counter() - began
        return work

    def _with_prior(self, block: PixelBlock, name: str, lattice: Lattice) -> PixelBlock:
        """The block with what the first stage found as its last channel."""
        known, organ = self._organ
        if known != name or organ is None:
            organ = from_bytes(self._store.read(name))
            self._organ = (name, organ)
        return replace(block, pixels=with_codes(block, organ, lattice.extent, lattice.region))

    def _predict(self, work: _Work) -> None:
        began = time.perf_counter()
        for batch in batches(work.tile, work.plan.tiles.lattice, self._manifest.batch):
            self._predict_batch(work, batch)
            if work.blender is not None:
                for index in batch.indices:  # those that failed or have no valid pixel: nobody need wait for them
                    work.dense |= work.blender.add(index, None)
        assert work.blender is None or work.blender.complete, "a tile shows all windows that meet its core"
        work.predict_s = time.perf_counter() - began

    def _predict_batch(self, work: _Work, batch: Batch) -> None:
        usable = _without(batch, work.failed, work.plan.tiles.lattice)
        if not usable.indices:
            return
        windows, real = self._windows(work, usable)
        if not real.any() or _all_outside(windows, work.plan):
            return
        try:
            self._keep(work, usable, self._ask(windows, real, work.plan.flips))
        except Exception as error:  # noqa: BLE001 - a model may raise anything; each window is tried alone below
            _log.debug("%s, tile %s: %s", work.plan.source.uri, work.tile.name, error)
            self._predict_by_window(work, usable, error)
        work.windows += int(real.any(axis=(1, 2, 3)).sum())

    def _predict_by_window(self, work: _Work, batch: Batch, first_error: Exception) -> None:
        """After a failed batch: its windows one at a time (same batch shape), so that only the bad ones fail."""
        for index, slot in zip(batch.indices, batch.slots, strict=True):
            single = Batch((index,), (slot,), batch.size)
            windows, real = self._windows(work, single)
            if not real.any():
                continue
            try:
                self._keep(work, single, self._ask(windows, real, work.plan.flips))
            except Exception as error:  # noqa: BLE001 - recorded as the window's failure
                work.failed[index] = _as_tile_error(error, self._manifest, index)
        if not any(index in work.failed for index in batch.indices):
            _log.warning("each window passed on its own after the batch had failed with: %s", first_error)

    def _windows(self, work: _Work, batch: Batch) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        block, plan, manifest = work.block, work.plan, self._manifest
        assert block is not None, "a window that is asked sees something"
        tiles = plan.tiles
        windows, real = cut_windows(block.pixels, block.valid, block.box.start, tiles.lattice, batch, tiles.context)
        if manifest.normalise != "none":
            windows = normalise(windows, manifest.normalise, plan.statistics, plan.source.dtype)
        return windows, real

    def _ask(self, windows: NDArray[Any], real: NDArray[np.bool_], flips: Flips) -> DenseAnswer | Sequence[WindowMasks]:
        with self._lock:
            answer = self._segmenter.predict(flipped(windows, flips), flipped(real, flips))
        return flipped_back(answer, flips, self._manifest.window)

    def _keep(self, work: _Work, batch: Batch, answer: DenseAnswer | Sequence[WindowMasks]) -> None:
        windows = list(zip(batch.indices, batch.slots, strict=True))
        if isinstance(answer, Sequence):
            work.masks |= {index: answer[slot] for index, slot in windows}
        elif work.blender is not None:
            values = _probabilities(answer, self._manifest)
            for index, slot in windows:
                work.dense |= work.blender.add(index, values[slot])
        else:
            maps = answer.winners() if isinstance(answer, DenseProbabilities) else answer
            for index, slot in windows:
                crop, _ = crop_to_cell(index, work.plan.tiles.lattice)
                probability = None if maps.probability is None else maps.probability[slot][crop].copy()
                work.dense[index] = (maps.classes[slot][crop].copy(), probability)

    def _encode_or_fail(self, work: _Work) -> Receipt:
        """A tile that cannot be encoded fails alone, not with its whole chunk. One at a time: it takes memory."""
        try:
            with self._encoding:
                return self._encode(work)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - recorded as the tile's failure, with its traceback in the log
            _log.exception("%s, tile %s", work.plan.source.uri, work.tile.name)
            failure = TileError("worker_error", one_line(error), "Report this with the log; --resume tries again.")
            return commit_failure(self._store, work.plan, work.tile, self._manifest, failure)

    def _encode(self, work: _Work) -> Receipt:
        began = time.perf_counter()
        encoded, sections = self._encoded(work)
        failed = {index: error for index, error in work.failed.items() if work.tile.owns(index)}
        counts, failed_boxes = count_cells(work.plan, work.tile, work.valid, encoded.busy_cells, frozenset(failed))
        receipt = Receipt(
            source_id=work.plan.source.source_id,
            tile=work.tile.index,
            core=work.plan.grid.native_box(work.tile.core),
            status=_status(counts.failed, counts.done, counts.empty),
            counts=counts,
            windows=work.windows,
            detections=encoded.detections,
            objects=len(encoded.objects),
            open=len(encoded.open),
            capped_windows=sum(answer.capped for answer in work.masks.values()),
            failed_cells=failed_boxes,
            read_s=round(work.read_s, 4),
            predict_s=round(work.predict_s, 4),
            encode_s=round(time.perf_counter() - began, 4),
            **reason_of(failed),
        )
        return commit_shard(self._store, work.name, pack(sections, receipt)).timed_as(receipt)

    def _encoded(self, work: _Work) -> tuple[EncodedTile, Sections]:
        block, lattice = work.block, work.plan.tiles.lattice
        manifest = self._manifest
        if manifest.kind == "dense":
            shown = _within(work.valid, work.tile, lattice)
            encoded = encode_dense(work.dense, shown, work.tile, lattice, manifest.connectivity)
        else:
            assert block is not None, "windows of instance models see the whole image"
            encoded = encode_instances(work.masks, block.valid, block.box.start, work.tile, lattice)
        return encoded, object_sections(encoded.objects) | open_sections(encoded)


def _probabilities(answer: DenseAnswer, manifest: ModelManifest) -> NDArray[np.floating[Any]]:
    if isinstance(answer, DenseProbabilities):
        return answer.values
    raise TileError(
        "bad_prediction",
        f"{manifest.name}: expected class probabilities, because blend is {manifest.blend}, found class maps.",
        "Set model.blend=none, or have the model give probabilities.",
    )


def _all_outside(windows: NDArray[Any], plan: SourcePlan) -> bool:
    """Whether the first stage left nothing to look at: such windows hold no object, and the model need not be asked."""
    return plan.prior is not None and not (windows[:, -1] != OUTSIDE).any()


def _within(valid: NDArray[np.bool_], tile: WorkTile, lattice: Lattice) -> NDArray[np.bool_]:
    """The valid pixels of the core that windows may see: a window at a region's border reaches beyond it."""
    if lattice.region is None:
        return valid
    shown, part = np.zeros_like(valid), tile.core & lattice.region
    if part is not None:
        place = part.within(tile.core.start)
        shown[place] = valid[place]
    return shown


def _without(batch: Batch, failed: Mapping[Zyx, InputError], lattice: Lattice) -> Batch:
    """The batch's windows that were read, and that meet what windows may see."""
    both = zip(batch.indices, batch.slots, strict=True)
    kept = [(index, slot) for index, slot in both if index not in failed and lattice.sees(index)]
    return replace(batch, indices=tuple(i for i, _ in kept), slots=tuple(s for _, s in kept))


def _status(failed: int, done: int, empty: int) -> TileStatus:
    if failed:
        return "failed"
    return "done" if done else "empty" if empty else "nodata"


def _as_tile_error(error: Exception, manifest: ModelManifest, index: Zyx) -> InputError:
    where = f"model {manifest.name}, window {'-'.join(map(str, index))}"
    hint = "Run the model on this window alone to see the full traceback."
    if isinstance(error, InputError):
        return TileError(error.reason, f"{where}: {error.message}", error.hint or hint)
    return TileError("model_error", f"{where}: {one_line(error)}", hint)
