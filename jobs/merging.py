"""Driving the merge: link and resolve tasks of all sources, then rows tasks, each on workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict

from jobs import bootstrap
from jobs.config import JobSpec
from jobs.engines.base import Engine, Item, Resources, Result, Worker
from jobs.ledger import Ledger
from schemas.errors import SegworkersError
from schemas.fields import SCHEMA_VERSION
from schemas.models import ModelManifest
from segworkers.finishing import RowsPart
from segworkers.merging import LinkTask, MergeTask, ResolveTask, merge_tasks
from segworkers.plans import SourcePlan, blocks
from segworkers.readers.base import Reader
from segworkers.receipts import Receipt
from segworkers.rows import ROWS_VERSION, Filters, RowsReceipt, RowsTask
from segworkers.store import Store

TILES_PER_TASK = 64
"""Work tiles whose objects one rows task measures, at most."""

OBJECTS_PER_TASK = 50_000
"""Objects and open parts of the tiles of a rows task, about: seconds of work, and a bound on the memory it takes."""


def merge_sources(
    plans: Sequence[SourcePlan],
    model: ModelManifest,
    ledger: Ledger,
    store: Store,
    engine: Engine,
    spec: JobSpec,
    reader: Reader,
) -> list[RowsReceipt]:
    """All objects of all sources as rows files, in the order of the sources; reader: for values inside volumes."""
    linking, resolving = list[LinkTask](), dict[str, ResolveTask]()
    for plan in plans:
        tasks, resolve = merge_tasks(store, plan, model, ledger.of(plan))
        if resolve is not None:
            linking += tasks
            resolving[plan.source.source_id] = resolve
    workers = bootstrap.MergeWorkers(store.url)
    stages: tuple[list[MergeTask], ...] = ([*linking], [*resolving.values()])
    for tasks in stages:
        for _ in all_results(engine, workers, tasks, spec):
            pass
    tasks = rows_tasks(plans, model, ledger, resolving, _filters(spec))
    receipts = all_results(engine, bootstrap.RowsWorkers(store.url, reader), tasks, spec)
    order = {task.name: number for number, task in enumerate(tasks)}
    return sorted(receipts, key=lambda receipt: order[receipt.name])


def rows_tasks(
    plans: Sequence[SourcePlan],
    model: ModelManifest,
    ledger: Ledger,
    resolving: dict[str, ResolveTask],
    filters: Filters,
) -> list[RowsTask]:
    """Every tile of every source in exactly one task; many small sources share one."""
    tasks: list[RowsTask] = []
    parts: list[RowsPart] = []
    told: list[Receipt] = []
    for part, receipts in _parts(plans, ledger, resolving):
        parts.append(part)
        told += receipts
        if len(told) >= TILES_PER_TASK or sum(map(_weight, told)) >= OBJECTS_PER_TASK:
            tasks.append(_task(parts, told, model, filters))
            parts, told = [], []
    if parts:
        tasks.append(_task(parts, told, model, filters))
    return tasks


def all_results(
    engine: Engine, factory: Callable[[], Worker[Item, Result]], items: Iterable[Item], spec: JobSpec
) -> Iterator[Result]:
    """Results of light work on CPU workers. Unlike a tile, a step of the merge that fails ends the run."""
    pending = list(items)
    if not pending:
        return
    resources = Resources(threads=1, workers=spec.engine.workers)
    for outcome in engine.map(factory, pending, resources=resources, split=lambda _: (), describe=_name):
        if outcome.result is None:
            raise SegworkersError(f"{_name(outcome.item)}: {outcome.error}; run again with --resume")
        yield outcome.result


def _parts(
    plans: Sequence[SourcePlan], ledger: Ledger, resolving: dict[str, ResolveTask]
) -> Iterator[tuple[RowsPart, Sequence[Receipt]]]:
    """Parts that fit into a task, with the receipts of their tiles."""
    for plan in plans:
        receipts = ledger.of(plan)
        resolve = resolving.get(plan.source.source_id)
        failed = tuple(box for receipt in receipts for box in receipt.failed_cells)
        # Slices of a volume are decoded once for each part of it, so it is taken apart for many objects only.
        tiles = TILES_PER_TASK if plan.source.volume is None else max(1, len(receipts))
        for block in blocks([_weight(receipt) for receipt in receipts], tiles, OBJECTS_PER_TASK):
            some = receipts[block]
            part = RowsPart(
                plan=plan,
                shards=tuple(receipt.shard for receipt in some),
                first=block.start,
                groups=None if resolve is None else resolve.name,
                index=None if resolve is None else resolve.index,
                failed=failed,
            )
            yield part, some


def _weight(receipt: Receipt) -> int:
    return receipt.objects + receipt.open


def _task(parts: Sequence[RowsPart], receipts: Sequence[Receipt], model: ModelManifest, filters: Filters) -> RowsTask:
    """The task, named after everything that its rows depend on."""
    identity = [
        f"rows {ROWS_VERSION}, schema {SCHEMA_VERSION}",
        json.dumps(asdict(filters), sort_keys=True),
        *(f"{part.plan.source.source_id} {part.groups} {part.failed} {part.shards}" for part in parts),
        *(repr(part.plan.source.volume) for part in parts),
        *(receipt.shard_sha256 for receipt in receipts),
    ]
    key = hashlib.blake2b("\n".join(identity).encode(), digest_size=10).hexdigest()
    return RowsTask(parts=tuple(parts), model=model, filters=filters, name=f"rows/{key}.rows")


def _filters(spec: JobSpec) -> Filters:
    output = spec.output
    return Filters(
        fill_holes=output.fill_holes,
        min_pixels=output.min_pixels,
        max_pixels=output.max_pixels,
        min_score=output.min_score,
        border=output.border,
    )


def _name(item: object) -> str:
    return str(getattr(item, "name", None) or getattr(item, "folder", item))
