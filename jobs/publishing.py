"""Publishing a generation of tables: instances by workers; images, tiles and failures here; the pointer last.

`instances` and `images` depend on inputs, model and filters only. `tiles` and `failures` tell how the work went.
"""
# pyarrow ships no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from jobs import bootstrap
from jobs.config import JobSpec
from jobs.engines.base import Engine
from jobs.images import image_rows
from jobs.ledger import Failed, Ledger
from jobs.merging import all_results
from jobs.seams import SourceSeams, run_verdict, seam_warnings
from schemas.fields import SCHEMA_VERSION
from schemas.models import ModelManifest
from schemas.sources import source_id_of
from schemas.tables import SCHEMAS
from segworkers.plans import SourcePlan
from segworkers.publishing import (
    GEO_INSTANCES,
    ROWS_PER_FILE,
    PublishedRows,
    PublishTask,
    put_bytes,
    table_bytes,
)
from segworkers.publishing import Published as PublishedFile
from segworkers.receipts import CellCounts, Receipt
from segworkers.rows import RowsReceipt
from segworkers.seam_test import SeamVerdict
from segworkers.segmenters.two_stage import NO_ORGAN
from segworkers.store import Store

ROWS_PER_TASK = ROWS_PER_FILE
"""Rows after which a publishing task is full; a larger source makes a larger task of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A whole generation of tables, before the pointer to it is written."""

    generation: str
    tables: dict[str, list[PublishedFile]]
    counts: dict[str, int]
    """Objects of each class, in the model's order."""
    files_of: dict[str, tuple[str, ...]]
    """Files of `instances` by the sources that have rows in them."""
    seam: SeamVerdict
    """Over all sources."""
    masks: tuple[dict[str, Any], ...] = ()
    """Stitched masks, as the pointer lists them."""
    outputs: tuple[dict[str, Any], ...] = ()
    """SEG, SR, NIfTI and pictures of volumes, likewise."""
    warnings: tuple[str, ...] = ()
    """What a careful person would want to know about the result."""
    failed_outputs: int = 0
    """Objects of volumes that were asked for and could not be written."""

    def pointer(self) -> bytes:
        """`current.json`: what the run folder shows from now on."""
        tables = {name: [asdict(file) for file in files] for name, files in self.tables.items()}
        content = {
            "generation": self.generation,
            "schema_version": SCHEMA_VERSION,
            "tables": tables,
            "masks": list(self.masks),
            "outputs": list(self.outputs),
            "seam": asdict(self.seam),
        }
        return json.dumps(content, indent=2, sort_keys=True).encode()

    def with_masks(self, masks: Sequence[dict[str, Any]]) -> Published:
        """The same with stitched masks."""
        return replace(self, masks=tuple(masks))

    def with_outputs(self, outputs: Sequence[dict[str, Any]]) -> Published:
        """The same with the standard objects of volumes."""
        return replace(self, outputs=tuple(outputs))


def publish(
    plans: Sequence[SourcePlan],
    model: ModelManifest,
    ledger: Ledger,
    merged: Sequence[RowsReceipt],
    failed: Sequence[Failed],
    series: Sequence[dict[str, Any]],
    store: Store,
    engine: Engine,
    spec: JobSpec,
) -> Published:
    """Write all tables of a generation; series: rows of the table of that name."""
    largest_only = spec.output.largest_only
    generation = _generation(plans, model, ledger, merged, failed, series, largest_only=largest_only)
    folder = f"tables/{generation}"
    tasks = [replace(task, largest_only=largest_only) for task in _publish_tasks(plans, merged, f"{folder}/instances")]
    written = list(all_results(engine, bootstrap.PublishWorkers(store.url), tasks, spec))
    totals = {source: by_class for part in written for source, by_class in part.totals.items()}
    seams = _seams(plans, ledger, written)
    small = {
        "images": image_rows(model, ledger, totals, seams, failed),
        "series": list(series),
        "seams": [row for each in seams for row in each.rows()],
        "tiles": [_tile_row(plan, receipt) for plan in plans for receipt in ledger.of(plan)],
        "failures": _failures(plans, ledger, failed),
    }
    tables = {"instances": sorted((file for part in written for file in part.files), key=lambda file: file.path)}
    if not tables["instances"]:  # a table without a file is one that nobody can read
        nothing = table_bytes(GEO_INSTANCES.empty_table())
        tables["instances"] = [put_bytes(store, f"{folder}/instances/part-00000.parquet", nothing, 0)]
    for name, rows in small.items():
        table = pa.Table.from_pylist(rows, schema=SCHEMAS[name])
        tables[name] = [put_bytes(store, f"{folder}/{name}/part-00000.parquet", table_bytes(table), len(rows))]
    counts = {
        label: sum(by_class[label].objects for by_class in totals.values() if label in by_class)
        for label in model.classes
    }
    files_of = {source: tuple(file.path for file in part.files) for part in written for source in part.sources}
    verdict = run_verdict(seams)
    return Published(
        generation=generation,
        tables=tables,
        counts=counts,
        files_of=files_of,
        seam=verdict,
        warnings=tuple(seam_warnings(verdict, seams, model)),
    )


def with_failures(published: Published, failed: Sequence[Failed], store: Store) -> Published:
    """The generation with more rows of `failures`, in a file of their own: what failed after it was written."""
    if not failed:
        return published
    rows = _input_rows(failed)
    data = table_bytes(pa.Table.from_pylist(rows, schema=SCHEMAS["failures"]))
    name = f"tables/{published.generation}/failures/{hashlib.blake2b(data, digest_size=8).hexdigest()}.parquet"
    files = [*published.tables["failures"], put_bytes(store, name, data, len(rows))]
    return replace(published, tables=published.tables | {"failures": files}, failed_outputs=len(rows))


def _seams(plans: Sequence[SourcePlan], ledger: Ledger, written: Sequence[PublishedRows]) -> list[SourceSeams]:
    """The profile of each source, in the table's order."""
    totals = {source: sums for part in written for source, sums in part.seams.items()}
    return [
        SourceSeams.of(
            plan,
            sum((receipt.counts for receipt in ledger.of(plan)), CellCounts()),
            totals.get(plan.source.source_id),
        )
        for plan in sorted(plans, key=lambda each: (each.source.uri, each.source.source_id))
    ]


def _generation(
    plans: Sequence[SourcePlan],
    model: ModelManifest,
    ledger: Ledger,
    merged: Sequence[RowsReceipt],
    failed: Sequence[Failed],
    series: Sequence[dict[str, Any]],
    *,
    largest_only: bool,
) -> str:
    """A hash of everything that the tables depend on."""
    lines = [SCHEMA_VERSION, model.digest, f"largest only: {largest_only}", *(receipt.name for receipt in merged)]
    lines += [receipt.shard_sha256 for plan in plans for receipt in ledger.of(plan)]
    lines += [f"{each.uri} {each.reason} {each.message}" for each in failed]
    lines += [json.dumps(row, sort_keys=True) for row in series]
    lines += [f"{plan.source.source_id} {NO_ORGAN}" for plan in plans if plan.lacks_organ]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def _publish_tasks(plans: Sequence[SourcePlan], merged: Sequence[RowsReceipt], folder: str) -> Iterator[PublishTask]:
    """Whole sources in the table's order, cut where a task has ROWS_PER_TASK rows."""
    rows: dict[str, int] = {}
    files: dict[str, list[str]] = {}
    for receipt in merged:
        for source, count in receipt.rows.items():
            rows[source] = rows.get(source, 0) + count
            if count:
                files.setdefault(source, []).append(receipt.name)
    first, held, sources = 0, 0, list[SourcePlan]()
    for plan in plans:
        source = plan.source.source_id
        if not rows.get(source):
            continue
        sources.append(plan)
        held += rows[source]
        if held >= ROWS_PER_TASK:
            yield _publish_task(folder, first, sources, files)
            first, held, sources = first + -(-held // ROWS_PER_FILE), 0, []
    if sources:
        yield _publish_task(folder, first, sources, files)


def _publish_task(folder: str, first: int, plans: Sequence[SourcePlan], files: dict[str, list[str]]) -> PublishTask:
    sources = tuple(plan.source.source_id for plan in plans)
    names = tuple(dict.fromkeys(name for source in sources for name in files[source]))
    frames = tuple(plan.seams for plan in plans)
    return PublishTask(folder=folder, first=first, sources=sources, files=names, frames=frames)


def _tile_row(plan: SourcePlan, receipt: Receipt) -> dict[str, Any]:
    return {
        "source_id": plan.source.source_id,
        "source_uri": plan.source.uri,
        "tile": "-".join(map(str, receipt.tile)),
        **_box(receipt),
        "status": receipt.status,
        "reason": receipt.reason,
        "message": receipt.message,
        "pixels": receipt.counts.total,
        "pixels_done": receipt.counts.done,
        "pixels_empty": receipt.counts.empty,
        "pixels_nodata": receipt.counts.nodata,
        "pixels_failed": receipt.counts.failed,
        "windows": receipt.windows,
        "detections": receipt.detections,
        "capped_windows": receipt.capped_windows,
        "read_s": receipt.read_s,
        "predict_s": receipt.predict_s,
        "encode_s": receipt.encode_s,
        "shard": receipt.shard,
        "shard_sha256": receipt.shard_sha256,
    }


def _input_rows(failed: Sequence[Failed]) -> list[dict[str, Any]]:
    return [
        dict.fromkeys(SCHEMAS["failures"].names)
        | {
            "source_id": source_id_of(each.uri),
            "source_uri": each.uri,
            "scope": each.scope,
            "reason": each.reason,
            "message": each.message,
            "hint": each.hint or None,
        }
        for each in failed
    ]


def _failures(plans: Sequence[SourcePlan], ledger: Ledger, failed: Sequence[Failed]) -> list[dict[str, Any]]:
    empty, rows = dict.fromkeys(SCHEMAS["failures"].names), _input_rows(failed)
    for plan in plans:
        for receipt in ledger.of(plan):
            if receipt.status == "failed":
                tile_row = _tile_row(plan, receipt)
                shared = {name: tile_row[name] for name in SCHEMAS["failures"].names if name in tile_row}
                rows += [empty | shared | {"scope": "tile", "hint": receipt.hint}]
    return rows


def _box(receipt: Receipt) -> dict[str, int]:
    start, stop = receipt.core.start, receipt.core.stop
    return {f"{axis}_min": start[k] for k, axis in enumerate("zyx")} | {
        f"{axis}_max": stop[k] for k, axis in enumerate("zyx")
    }
