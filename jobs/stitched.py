"""Driving the stitched masks: one task for each source, listed beside the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from jobs import bootstrap
from jobs.config import JobSpec
from jobs.engines.base import Engine
from jobs.merging import all_results
from jobs.publishing import Published
from schemas.models import ModelManifest
from segworkers.plans import SourcePlan
from segworkers.publishing import Published as PublishedFile
from segworkers.stitched import MaskTask
from segworkers.store import Store


def write_masks(
    published: Published,
    plans: Sequence[SourcePlan],
    model: ModelManifest,
    store: Store,
    engine: Engine,
    spec: JobSpec,
) -> Published:
    """The generation with one cloud-optimised GeoTIFF for each image; volumes have SEG and NIfTI instead."""
    assert spec.output.masks != "none", "asked for masks"
    tasks = [
        MaskTask(
            source=plan.source,
            files=published.files_of.get(plan.source.source_id, ()),
            values=spec.output.masks,
            classes=model.classes,
            stuff=model.stuff,
            name=f"masks/{published.generation}/{plan.source.source_id}-{spec.output.masks}.tif",
        )
        for plan in plans
        if plan.source.volume is None
    ]
    written: list[PublishedFile] = list(all_results(engine, bootstrap.MaskWorkers(store.url), tasks, spec))
    source_of = {task.name: task.source.source_id for task in tasks}
    entries = [{**asdict(file), "source_id": source_of[file.path]} for file in written]
    return published.with_masks(sorted(entries, key=lambda entry: str(entry["path"])))
