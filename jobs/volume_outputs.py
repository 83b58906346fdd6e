"""Driving the standard objects of volumes: one task a series, listed in `current.json` beside the tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from jobs import bootstrap
from jobs.config import JobSpec
from jobs.engines.base import Engine
from jobs.events import Events
from jobs.merging import all_results
from jobs.publishing import Published
from schemas.models import ModelManifest
from segworkers.plans import SourcePlan
from segworkers.readers.base import Reader
from segworkers.store import Store

if TYPE_CHECKING:
    from segworkers.dicom.crosswalk import Crosswalk


def write_outputs(
    published: Published,
    plans: Sequence[SourcePlan],
    model: ModelManifest,
    store: Store,
    engine: Engine,
    spec: JobSpec,
    reader: Reader,
    crosswalk: Crosswalk,
    events: Events,
) -> Published:
    """The generation with what `output` asks for of each volume; what cannot be written is warned of."""
    from segworkers.dicom.derived import Algorithm
    from segworkers.dicom.outputs import Outputs, OutputTask, Wanted
    from segworkers.dicom.terms import BUILT_IN_TERMS, class_terms

    output = spec.output
    wanted = Wanted(seg=output.seg, sr=output.sr, nifti=output.nifti, montages=output.montages)
    volumes = [plan for plan in plans if plan.source.volume is not None]
    if not wanted or not volumes:
        return published
    began = str(json.loads(store.read("run.json"))["created"])
    algorithm = Algorithm(name=model.name, version=published.generation, digest=model.digest)
    terms = BUILT_IN_TERMS | class_terms(output.terms)
    asked = json.dumps([asdict(wanted), spec.dicom.mode, output.terms], sort_keys=True)
    key = hashlib.blake2b(asked.encode(), digest_size=4).hexdigest()  # what is there is never written again
    tasks = [
        OutputTask(
            source=plan.source,
            files=published.files_of.get(plan.source.source_id, ()),
            wanted=wanted,
            mode=spec.dicom.mode,
            generation=published.generation,
            made_at=began,
            algorithm=algorithm,
            terms=terms,
            name=f"dicom/{published.generation}.{key}",
        )
        for plan in volumes
    ]
    workers = bootstrap.OutputWorkers(store.url, reader, crosswalk)
    made: list[Outputs] = sorted(all_results(engine, workers, tasks, spec), key=lambda each: each.source_id)
    for each in made:
        for problem in each.problems:
            events.warning(problem)
    entries = [{**asdict(file), "source_id": each.source_id} for each in made for file in each.files]
    return published.with_outputs(sorted(entries, key=lambda entry: str(entry["path"])))
