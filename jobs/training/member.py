"""What one process of a training job does: read the data, plan, train, measure, write the bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.training.data import TrainingData, training_data
from jobs.training.spec import TrainSpec, command, thread_count
from schemas.errors import SpecError

if TYPE_CHECKING:
    from schemas.bundles import Card
    from segworkers.segmenters.bundles import OpenBundle
    from segworkers.training.loop import Options
    from segworkers.training.product import Figures
    from segworkers.training.recipes import Planned
    from segworkers.training.samples import Sample
    from segworkers.training.team import Team

Progress = Callable[[str], None]
CHECKPOINT = "training.pt"
"""In the bundle's folder while it is trained; removed when it is done."""
_FINDS_NOTHING = "The finished model finds nothing in the validation images."


def train_member(spec: TrainSpec, progress: Progress, team: Team | None = None) -> None:
    """What each process of a team does; the first writes the bundle."""
    from schemas.bundles import ClassCodes
    from segworkers.segmenters.torch_device import pick_device
    from segworkers.training.loop import Options, train
    from segworkers.training.matching import NOTHING
    from segworkers.training.product import Figures, write_product
    from segworkers.training.team import ALONE

    team = team or ALONE
    data, planned, start = prepare(spec)
    device = pick_device(spec.device)
    options = Options(
        steps=spec.steps,
        batch=spec.batch or planned.recipe.batch,
        learning_rate=spec.learning_rate or planned.recipe.learning_rate / (4 if start else 1),
        warmup=min(50, max(1, spec.steps // 10)),
        check_every=max(20, spec.steps // 10),
        seed=spec.seed,
        device=device,
        threads=thread_count(spec),
    )
    if team.rank == 0:
        progress(_opening(data, planned, device))
    checked = [_as_said(sample, planned) for sample in data.validation]
    path = spec.output / CHECKPOINT
    result = train(
        planned.family, data.samples, checked, options, planned.augmentation, progress, checkpoint=path, team=team
    )
    if team.rank:
        return
    known = start.definition.codes if start else dict[str, ClassCodes]()
    codes = {name: code for name, code in known.items() if name in planned.manifest.classes}
    unmeasured = _card(spec, data, Figures((NOTHING,)), start)
    with tempfile.TemporaryDirectory(prefix="segworkers-train-") as scratch:
        write_product(Path(scratch), planned, result.network, unmeasured, result.history, codes)
        figures = _as_run(Path(scratch), checked, options)
    card = _card(spec, data, figures, start)
    write_product(spec.output, planned, result.network, card, result.history, codes)
    path.unlink(missing_ok=True)
    progress(f"{spec.output}: {card.accuracy}")
    if figures.total.annotated and not figures.total.predicted:
        progress(f"warning: {_FINDS_NOTHING} Train longer (--steps), or look at the annotations")


def _as_run(bundle: Path, samples: Sequence[Sample], options: Options) -> Figures:
    """How the finished model in that folder does on the validation samples, run as `segment` runs it."""
    from jobs.training.as_run import agreements_as_run
    from segworkers.training.product import Figures

    return Figures(tuple(agreements_as_run(bundle, samples, options.device, options.threads)))


def prepare(spec: TrainSpec) -> tuple[TrainingData, Planned, OpenBundle | None]:
    """The data, what the network and the model will be, and what it begins with. Raises SpecError."""
    start = _start(spec)
    data = training_data(spec, start.definition.manifest if start else None)
    return data, _planned(spec, data, start), start


def _start(spec: TrainSpec) -> OpenBundle | None:
    if spec.start is None:
        if spec.family is None:
            raise SpecError("--family: expected star-unet, maskrcnn or unet; only with --from it may be left out")
        return None
    from segworkers.segmenters.bundles import open_bundle
    from segworkers.training.recipes import RECIPES, recipe_for_bundle

    start = open_bundle(spec.start)
    found = recipe_for_bundle(start.definition.family)
    if found is None or spec.family not in (None, found):
        raise SpecError(
            f"--from {spec.start}: is of the family {start.definition.family}, expected "
            f"{spec.family or ' or '.join(RECIPES)}"
        )
    return start


def _planned(spec: TrainSpec, data: TrainingData, start: OpenBundle | None) -> Planned:
    from segworkers.training.product import load_start
    from segworkers.training.recipes import Shown, WarmFamily, plan_training, recipe_for_bundle

    read = data.annotated
    shown = Shown(
        classes=read.classes,
        channels=data.samples[0].image.shape[0],
        bands=read.bands,
        normalise=read.normalise,
    )
    name = _name(spec.name or spec.output.name)
    if start is None:
        assert spec.family is not None, "checked where the start was opened"
        return plan_training(spec.family, name, shown, data.samples, window=spec.window, size=spec.size)
    known = start.definition
    family = recipe_for_bundle(known.family)
    assert family is not None, "checked where the start was opened"
    planned = plan_training(
        family, name, shown, data.samples, window=spec.window, start=(known.manifest, known.parameters)
    )
    return replace(planned, family=WarmFamily(planned.family, load_start(start), known.name))


def _name(text: str) -> str:
    """A name as bundles have them."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:64] or "model"


def _as_said(sample: Sample, planned: Planned) -> Sample:
    from segworkers.training.recipes import as_components

    return as_components(sample) if planned.recipe.kind == "dense" else sample


def _opening(data: TrainingData, planned: Planned, device: str) -> str:
    read = data.annotated
    return (
        f"{read.images} images, {read.objects} objects of {', '.join(read.classes)}; validation: {data.how}; "
        f"{planned.recipe.bundle_family}, window {planned.manifest.window[1]}, overlap {planned.manifest.overlap[1]}, "
        f"crops of {planned.augmentation.side} px, {device}"
    )


def _card(spec: TrainSpec, data: TrainingData, figures: Figures, start: OpenBundle | None) -> Card:
    from schemas.bundles import Card

    read = data.annotated
    names = ", ".join(read.classes)
    first = start.definition if start else None
    origin = f", begun with the weights of {first.name}" if first else ""
    return Card(
        summary=f"{names}, trained with `segworkers train`",
        licence="not stated: it follows from that of the images and annotations"
        + (f", and of {first.name}: {first.card.licence}" if first else ""),
        attribution="not stated" + (f"; of {first.name}: {first.card.attribution}" if first else ""),
        training_data=f"{read.images} annotated images with {read.objects} objects: {data.counts}{origin}. "
        f"Command: {command(spec)}",
        accuracy=f"On validation only ({data.how}; the best of the training's validations was kept), through "
        f"windows as it runs: {figures.text()}",
        use=f"{names} in images like those that it was trained on.",
        limits=("" if figures.total.predicted else f"{_FINDS_NOTHING} ")
        + "Measured on validation only, on which the training run was chosen too: images that nobody trained or "
        "chose on will do worse. Objects of very different size in pixels, other sensors and other contrast were not "
        "tried.",
    )
