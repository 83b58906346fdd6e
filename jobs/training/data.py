"""Samples to train on and samples to validate on, of one folder or of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jobs import bootstrap
from jobs.training.annotated import Annotated, ReadOptions, read_annotated
from jobs.training.spec import TrainSpec, validation_share
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.training.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What is trained on, and what is validated on."""

    annotated: Annotated
    samples: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    how: str
    """Where the validation samples come from."""

    @property
    def counts(self) -> str:
        """Pieces and objects on both sides, in words that say how often an object counts that several pieces show."""
        return (
            f"trained on {_pieces(self.samples)}, validated on {_pieces(self.validation)}; neighbouring pieces "
            "overlap, and an object counts in each piece that shows a part of it"
        )


def training_data(spec: TrainSpec, known: ModelManifest | None) -> TrainingData:
    """Read the annotated images and set some apart. known: manifest of the model to go on from. Raises SpecError."""
    reader = bootstrap.reader()
    share = validation_share(spec.validation)
    options = ReadOptions(
        classes=spec.classes,
        known=known.classes if known else (),
        class_field=spec.class_field,
        bands=spec.bands or _numbered(known),
        normalise=spec.normalise or (known.normalise if known else None),
        part=share,
    )
    read = read_annotated(spec.data, spec.truth, reader, options)
    if share is None:
        same = replace(options, classes=read.classes, bands=read.bands, normalise=read.normalise)
        apart = read_annotated(Path(spec.validation), (), reader, same)
        how = f"the folder {Path(spec.validation).name}"
        return TrainingData(annotated=read, samples=read.samples, validation=apart.samples, how=how)
    chosen = {1} if read.images == 1 else split_groups(read.groups, share, spec.seed)
    pairs = list(zip(read.samples, read.groups, strict=True))
    return TrainingData(
        annotated=read,
        samples=tuple(sample for sample, group in pairs if group not in chosen),
        validation=tuple(sample for sample, group in pairs if group in chosen),
        how=f"{share:g} of the only image, apart from the rest of it"
        if read.images == 1
        else f"{len(chosen)} of {read.images} images, drawn with seed {spec.seed}",
    )


def _numbered(known: ModelManifest | None) -> tuple[int, ...] | None:
    """The bands of the model to go on from. Raises SpecError where it tells them by name."""
    if known is None or known.bands is None:
        return None
    numbers = tuple(band for band in known.bands if isinstance(band, int))
    if len(numbers) != len(known.bands):
        raise SpecError(f"--from {known.name}: sees the bands {list(known.bands)} by name; say which with --bands")
    return numbers


def split_groups(groups: Sequence[int], share: float, seed: int) -> set[int]:
    """The images to validate on: at least one, not all, drawn at random."""
    count = max(groups) + 1
    wanted = min(max(1, round(share * count)), count - 1)
    return set(np.random.default_rng(seed).permutation(count)[:wanted].tolist())


def _pieces(samples: Sequence[Sample]) -> str:
    return f"{len(samples)} pieces of images that show {_objects(samples)} objects"


def _objects(samples: Sequence[Sample]) -> int:
    return sum(int(np.count_nonzero(np.bincount(sample.labels.ravel())[1:])) for sample in samples)
