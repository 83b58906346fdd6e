"""The story of a run, one function a stage:

    plan      inputs and model to sources with lattices and work tiles          (headers only)
    segment   work tiles to shards and receipts                                 (workers, GPU)
    merge     open parts of neighbouring tiles to groups, source by source      (workers)
    measure   objects to rows                                                   (workers)
    publish   rows to sorted tables, ledger to tables, pointer last             (workers, then here)

The driver sees descriptors and receipts, never pixels, masks or rows. All state is in the run store: kill it anywhere,
run the same command with `--resume`, and it goes on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from jobs import bootstrap, runfile
from jobs.catalog import Skipped
from jobs.config import JobSpec
from jobs.engines.base import Engine, Resources
from jobs.events import Events
from jobs.ledger import Failed, Ledger, chunks, read_ledger, settle
from jobs.merging import merge_sources
from jobs.plan_report import general_warnings, model_warnings
from jobs.planning import Planned, prepare
from jobs.priors import with_priors
from jobs.privacy import BESIDE_DICOM, OTHER_FILES, public_spec
from jobs.publishing import Published, publish
from jobs.seams import verdict_line
from jobs.source_plans import DOUBLES_INPUTS
from jobs.stitched import write_masks
from jobs.volume_outputs import write_outputs
from schemas.errors import SegworkersError, SpecError, TileError
from segworkers.commits import commit_failure
from segworkers.plans import Chunk, SourcePlan
from segworkers.receipts import Receipt
from segworkers.statistics import Statistics, needs_statistics
from segworkers.store import Store, open_store

SMALL_RUN_PIXELS = 400_000_000
"""Below this the merge and what follows run in the driver: starting processes would take longer."""


LEFT_OUT = ("duplicate", DOUBLES_INPUTS, BESIDE_DICOM, OTHER_FILES)
"""Reasons for which an input is left out on purpose; nothing of it is missing."""

NOTHING_THERE = ("not_found", "no_match", "bad_name")
"""Reasons that speak of a mistake in the command rather than of a file."""

MOST_WARNINGS = 10
"""Sources whose warnings a run repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a finished run tells."""

    out: str
    sources: int
    failed_inputs: int
    objects: int
    counts: dict[str, int]
    tiles: int
    tiles_resumed: int
    pixels: int
    pixels_failed: int
    seconds: float
    generation: str
    seam: str
    """The seam profile's verdict as one line."""
    images: int = 1
    """Sources that a preview can show: rasters."""
    failed_outputs: int = 0
    """Objects of volumes (SEG, SR, NIfTI, pictures) that were asked for and could not be written."""


def run(spec: JobSpec, *, events: Events, resume: bool = False) -> RunSummary:
    """Do the job. Raises SpecError before any work, SegworkersError where the run cannot go on."""
    began = time.monotonic()
    events.stage("catalog")
    planned = prepare(spec)
    _require_inputs(spec, planned)
    store = open_store(spec.output.path)
    written = spec if planned.crosswalk is None else public_spec(spec, planned.crosswalk)
    runfile.claim(store, written, planned.manifest, resume=resume)
    failed = [
        Failed(s.uri, s.reason, s.message, s.hint, "skipped" if s.reason in LEFT_OUT else "input")
        for s in planned.skipped
    ]
    _warn(planned, failed, events)
    engine = bootstrap.engine(spec.engine, planned.model)
    try:
        plans = with_statistics(planned, spec, store, engine, failed, events)
        plans = with_priors(plans, planned, spec, store, engine, _model_resources(spec, engine), failed, events)
        ledger = segment(plans, planned, spec, store, engine, events)
        light = _light_engine(plans, engine)
        events.stage("merge")
        merged = merge_sources(plans, planned.manifest, ledger, store, light, spec, planned.reader)
        events.stage("publish")
        published = publish(plans, planned.manifest, ledger, merged, failed, planned.series, store, light, spec)
        for warning in published.warnings:
            events.warning(warning)
        if spec.output.masks != "none":
            published = write_masks(published, plans, planned.manifest, store, light, spec)
        if planned.crosswalk is not None:
            published = write_outputs(
                published,
                plans,
                planned.manifest,
                store,
                light,
                spec,
                planned.reader,
                planned.crosswalk,
                events,
                planned.model.codes,
            )
        store.replace("current.json", published.pointer())
    finally:
        engine.close()
    return _summary(published, ledger, plans, failed, store, time.monotonic() - began)


def _require_inputs(spec: JobSpec, planned: Planned) -> None:
    """Refuse a job that cannot be meant: nothing to work on, or results among the inputs."""
    problems = [f"{s.message} {s.hint}".strip() for s in planned.skipped if s.reason in NOTHING_THERE]
    if not planned.plans and len(problems) == len(planned.skipped):
        raise SpecError(problems or ["inputs: none found"])
    if spec.output.path in spec.inputs:
        raise SpecError(f"output.path: {spec.output.path} is an input; results need a folder of their own")


def _warn(planned: Planned, failed: Sequence[Failed], events: Events) -> None:
    """Say before any work what a careful person would want to know; `segworkers plan` has all of it."""
    for each in failed:
        events.warning(f"{each.message} {each.hint}".strip())
    for warning in general_warnings(planned):
        events.warning(warning)
    odd = [(plan, found) for plan in planned.plans if (found := model_warnings(plan, planned.manifest))]
    for plan, found in odd[:MOST_WARNINGS]:
        events.warning(f"{plan.source.uri}: {'; '.join(found)}")
    if len(odd) > MOST_WARNINGS:
        events.warning(f"{len(odd) - MOST_WARNINGS} more sources have warnings: see `segworkers plan`")


def with_statistics(
    planned: Planned, spec: JobSpec, store: Store, engine: Engine, failed: list[Failed], events: Events
) -> list[SourcePlan]:
    """The plans with their images' statistics, taken once per image and kept, where the model wants them."""
    if not needs_statistics(planned.manifest.normalise):
        return list(planned.plans)
    known: dict[str, Statistics] = {}
    missing: list[SourcePlan] = []
    for plan in planned.plans:
        name = _statistics_name(plan)
        if store.exists(name):
            known[plan.source.source_id] = Statistics.from_json(store.read(name).decode())
        else:
            missing.append(plan)
    by_id = {plan.source.source_id: plan for plan in missing}
    outcomes = engine.map(
        bootstrap.StatisticsWorkers(planned.reader),
        [(plan.source, plan.bands) for plan in missing],
        resources=Resources(threads=1, workers=spec.engine.workers),
        split=lambda _: (),
        describe=lambda item: item[0].uri,
    )
    for outcome in outcomes:
        plan = by_id[outcome.item[0].source_id]
        if isinstance(outcome.result, Statistics):
            store.create(_statistics_name(plan), outcome.result.to_json().encode())
            known[plan.source.source_id] = outcome.result
            continue
        told = outcome.result or Skipped(plan.source.uri, "unreadable", outcome.error or "", "Check the file.")
        failed.append(Failed(told.uri, told.reason, told.message, told.hint, "input"))
        events.warning(f"{told.uri}: {told.message} {told.hint}")
    return [
        replace(plan, statistics=known[plan.source.source_id])
        for plan in planned.plans
        if plan.source.source_id in known
    ]


def segment(
    plans: Sequence[SourcePlan], planned: Planned, spec: JobSpec, store: Store, engine: Engine, events: Events
) -> Ledger:
    """Every work tile to a shard. Tiles that kill their process are found and committed as failed."""
    events.stage("segment")
    known, ledger = read_ledger(store), Ledger()
    work = [part for plan in plans for part in settle(plan, planned.manifest, known, store, ledger) if part[1]]
    _announce(plans, ledger, events)
    resources = _model_resources(spec, engine)
    outcomes = engine.map(
        bootstrap.TileWorkers(store.url, planned.reader, planned.model, planned.manifest, spec.engine.threads),
        chunks(work, spec.engine.chunk_tiles, engine.places(resources)),
        resources=resources,
        split=Chunk.split,
        deadline_s=spec.engine.deadline_s,
        describe=str,
    )
    for outcome in outcomes:
        receipts = outcome.result
        if receipts is None:
            receipts = list(_commit_poison(outcome.item, outcome.error or "", outcome.reason, planned, store))
        for receipt in receipts:
            if ledger.add(receipt):
                events.tile_done(
                    pixels=receipt.counts.total, objects=receipt.detections, failed=receipt.status == "failed"
                )
                if receipt.status == "failed":
                    events.warning(f"tile {'-'.join(map(str, receipt.tile))}: {receipt.message}")
    _require_all(plans, ledger)
    capped = sum(receipt.capped_windows for plan in plans for receipt in ledger.of(plan))
    if capped:
        events.warning(
            f"{capped} windows reached the model's own limit of detections, so objects may be missing there; raise the "
            "limit or take smaller windows (the column capped_windows of `tiles` says where)"
        )
    return ledger


def _commit_poison(chunk: Chunk, error: str, reason: str | None, planned: Planned, store: Store) -> Iterable[Receipt]:
    """A tile whose process died or hung each time is a result too."""
    code = {"died": "process_died", "hung": "process_hung"}.get(reason or "", "worker_error")
    for plan, indices in chunk.parts:
        for index in indices:
            failure = TileError(code, error, "Check model and file; --resume tries the tile again.")
            yield commit_failure(store, plan, plan.tiles.tile(index), planned.manifest, failure)


def _announce(plans: Sequence[SourcePlan], ledger: Ledger, events: Events) -> None:
    found = [receipt for plan in plans for receipt in ledger.of(plan)]
    events.planned(
        sources=len(plans),
        tiles=sum(len(plan.tiles) for plan in plans),
        pixels=sum(_pixels(plan) for plan in plans),
        resumed_tiles=len(found),
        resumed_pixels=sum(receipt.counts.total for receipt in found),
    )


def _require_all(plans: Sequence[SourcePlan], ledger: Ledger) -> None:
    """Law 7: every pixel of every source is accounted for, or the run does not go on."""
    for plan in plans:
        counted = sum(receipt.counts.total for receipt in ledger.of(plan))
        if counted != _pixels(plan):
            found = f"the ledger accounts for {counted} of {_pixels(plan)} pixels"
            raise SegworkersError(f"{plan.source.uri}: {found}; run again with --resume")


def _model_resources(spec: JobSpec, engine: Engine) -> Resources:
    gpus = spec.engine.gpus_per_worker
    if gpus is None:
        wants = spec.model.reference != "threshold" and spec.model.device != "cpu"
        gpus = 1.0 if spec.model.device == "cuda" or (wants and engine.gpus() > 0) else 0.0
    return Resources(
        threads=spec.engine.threads,
        gpus=gpus,
        memory_bytes=spec.tiling.memory_bytes if spec.engine.address else None,
        workers=spec.engine.workers,
    )


def _light_engine(plans: Sequence[SourcePlan], engine: Engine) -> Engine:
    pixels = sum(_pixels(plan) for plan in plans)
    return bootstrap.inline_engine() if pixels <= SMALL_RUN_PIXELS else engine


def _statistics_name(plan: SourcePlan) -> str:
    key = hashlib.blake2b(f"{plan.source.fingerprint}/{plan.bands}".encode(), digest_size=8).hexdigest()
    return f"statistics/{plan.source.source_id}.{key}.json"


def _pixels(plan: SourcePlan) -> int:
    z, y, x = plan.source.grid.shape
    return z * y * x


def _summary(
    published: Published,
    ledger: Ledger,
    plans: Sequence[SourcePlan],
    failed: Sequence[Failed],
    store: Store,
    seconds: float,
) -> RunSummary:
    receipts = [receipt for plan in plans for receipt in ledger.of(plan)]
    return RunSummary(
        out=store.url,
        sources=len(plans),
        failed_inputs=sum(each.scope == "input" for each in failed),
        objects=sum(published.counts.values()),
        counts=published.counts,
        tiles=len(receipts),
        tiles_resumed=sum(receipt.resumed for receipt in receipts),
        pixels=sum(receipt.counts.total for receipt in receipts),
        pixels_failed=sum(receipt.counts.failed for receipt in receipts),
        seconds=seconds,
        generation=published.generation,
        seam=verdict_line(published.seam),
        images=sum(plan.source.series is None for plan in plans),
        failed_outputs=published.failed_outputs,
    )
