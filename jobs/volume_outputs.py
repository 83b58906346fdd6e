"""Driving the standard objects of volumes: one task a series, listed in `current.json` beside the tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from jobs import bootstrap
from jobs.config import JobSpec
from jobs.engines.base import Engine, Resources
from jobs.events import Events
from jobs.ledger import Failed
from jobs.publishing import Published, with_failures
from schemas.bundles import ClassCodes
from schemas.errors import SegworkersError
from schemas.models import ModelManifest
from segworkers.plans import SourcePlan
from segworkers.readers.base import Reader
from segworkers.store import Store

if TYPE_CHECKING:
    from segworkers.dicom.crosswalk import Crosswalk
    from segworkers.dicom.outputs import Outputs, OutputTask


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
    codes: Mapping[str, ClassCodes],
) -> Published:
    """The generation with what `output` asks for of each volume; what cannot be written is a row of `failures`.

    codes: coded terms that the model brings along, where `output.terms` says nothing else.
    """
    from segworkers.dicom.derived import Algorithm
    from segworkers.dicom.outputs import OutputTask, Wanted
    from segworkers.dicom.terms import class_terms, model_terms

    output = spec.output
    wanted = Wanted(seg=output.seg, sr=output.sr, nifti=output.nifti, montages=output.montages)
    # A map without a lesion would say that there are none, which nobody knows where the first stage found no organ.
    volumes = [plan for plan in plans if plan.source.volume is not None and not plan.lacks_organ]
    if not wanted or not volumes:
        return published
    began = str(json.loads(store.read("run.json"))["created"])
    algorithm = Algorithm(name=model.name, version=published.generation, digest=model.digest)
    terms = class_terms(output.terms, model_terms(codes))
    named = {label: asdict(each) for label, each in terms.items()}
    asked = json.dumps([asdict(wanted), spec.dicom.mode, named], sort_keys=True)
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
    made = sorted(_written(engine, workers, tasks, spec), key=lambda each: each.source_id)
    for each in made:
        for text in (*each.warnings, *(f"{failure.message} {failure.hint}".strip() for failure in each.failures)):
            events.warning(text)
    entries = [{**asdict(file), "source_id": each.source_id} for each in made for file in each.files]
    failed = [
        Failed(each.source_uri, failure.reason, failure.message, failure.hint, "output")
        for each in made
        for failure in each.failures
    ]
    return with_failures(published.with_outputs(sorted(entries, key=lambda entry: str(entry["path"]))), failed, store)


def _written(
    engine: Engine, workers: bootstrap.OutputWorkers, tasks: Sequence[OutputTask], spec: JobSpec
) -> Iterator[Outputs]:
    """Outcomes of all volumes: one that kills or hangs its process each time is a failure of its own."""
    from segworkers.dicom.outputs import OutputFailure, Outputs

    resources = Resources(threads=1, workers=spec.engine.workers)
    for outcome in engine.map(workers, tasks, resources=resources, split=lambda _: (), describe=_name):
        source = outcome.item.source
        if outcome.result is not None:
            yield outcome.result
        elif outcome.reason == "raised":  # storage or crosswalk: the next volume would fare no better
            raise SegworkersError(f"{source.uri}: {outcome.error}; run again with --resume")
        else:
            failure = OutputFailure(
                reason="process_died" if outcome.reason == "died" else "process_hung",
                message=f"{source.uri}: the process that writes its objects {outcome.reason} each time.",
                hint="Is there enough memory? --resume tries again.",
            )
            yield Outputs(source_id=source.source_id, source_uri=source.uri, failures=(failure,))


def _name(task: OutputTask) -> str:
    return task.source.uri
