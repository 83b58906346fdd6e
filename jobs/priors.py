"""Driving the first stage of models of two stages: an organ for each volume, before its tiles are segmented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs import bootstrap
from jobs.config import JobSpec
from jobs.engines.base import Engine, Resources
from jobs.events import Events
from jobs.ledger import Failed
from jobs.planning import Planned
from jobs.source_plans import around
from jobs.volumes import volume_flips, volume_grid
from schemas.errors import InputError
from schemas.models import ModelManifest
from segworkers.plans import SourcePlan
from segworkers.priors import PriorFailure, PriorTask, box_in, prior_name
from segworkers.segmenters.two_stage import NO_ORGAN, Prior
from segworkers.store import Store


def with_priors(
    plans: Sequence[SourcePlan],
    planned: Planned,
    spec: JobSpec,
    store: Store,
    engine: Engine,
    resources: Resources,
    failed: list[Failed],
    events: Events,
) -> list[SourcePlan]:
    """The plans of volumes with where their organ is kept, found where it is not there yet; others as they are.

    Windows of dense models are laid around the organ. A volume whose organ cannot be looked for fails as an input.
    """
    prior, first = planned.model.prior, planned.model.first
    if prior is None or first is None:
        return list(plans)
    events.stage("first stage")
    tasks = dict[str, PriorTask]()
    done: list[SourcePlan] = []
    for plan in plans:
        try:
            task = _task(plan, prior)
        except InputError as error:
            _fail(plan, PriorFailure(reason=error.reason, message=error.message, hint=error.hint), failed, events)
            continue
        tasks[plan.source.source_id] = task
        done.append(replace(plan, prior=task.name))
    missing = [task for task in tasks.values() if not store.exists(task.name)]
    by_id = {plan.source.source_id: plan for plan in done}
    outcomes = engine.map(
        bootstrap.PriorWorkers(store.url, planned.reader, first, prior, spec.engine.threads),
        missing,
        resources=resources,
        split=lambda _: (),
        deadline_s=spec.engine.deadline_s,
        describe=lambda task: task.source.uri,
    )
    for outcome in outcomes if missing else ():
        problem = outcome.result
        if problem is None and not store.exists(outcome.item.name):
            hint = "Run again with --resume; if it fails again, look at memory and at the log."
            problem = PriorFailure(reason="worker_error", message=outcome.error or "", hint=hint)
        if problem is not None:
            _fail(by_id.pop(outcome.item.source.source_id), problem, failed, events)
    found = [_around_organ(plan, planned.manifest, spec, store) for plan in done if plan.source.source_id in by_id]
    lacking = sum(plan.lacks_organ for plan in found)
    if lacking:
        events.warning(
            f"{lacking} of {len(found)} volumes: {prior.manifest.name} found no organ, so {planned.manifest.name} saw "
            f"nothing of them and their counts are not known (`{NO_ORGAN}` in the column reason of `images`)"
        )
    return found


def _around_organ(plan: SourcePlan, manifest: ModelManifest, spec: JobSpec, store: Store) -> SourcePlan:
    """The plan with windows around the organ; without an organ with a note of that."""
    assert plan.prior is not None, "set before"
    organ = box_in(store.read(plan.prior))
    if organ is None:
        return replace(plan, lacks_organ=True)
    return plan if manifest.kind != "dense" else around(plan, organ, manifest, spec)


def _task(plan: SourcePlan, prior: Prior) -> PriorTask:
    facts = plan.source.volume
    if facts is None:
        raise InputError(
            "not_a_volume", f"{plan.source.uri}: an image of one plane, and the model looks for an organ in volumes."
        )
    grid = volume_grid(plan.source.grid.shape, facts, prior.manifest)
    flips = volume_flips(facts, prior.manifest)
    extent = plan.grid.shape
    name = prior_name(plan.source, grid, flips, extent, prior)
    return PriorTask(source=plan.source, grid=grid, flips=flips, extent=extent, name=name)


def _fail(plan: SourcePlan, problem: PriorFailure, failed: list[Failed], events: Events) -> None:
    failed.append(Failed(plan.source.uri, problem.reason, problem.message, problem.hint, "input"))
    events.warning(f"{plan.source.uri}: {problem.message} {problem.hint}".strip())
