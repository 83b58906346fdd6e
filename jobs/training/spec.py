"""TrainSpec: one training job, as the command line gives it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import SpecError
from schemas.models import Normalisation
from segworkers.segmenters import options as parse

SIZES = ("tiny", "small", "usual")
"""Of networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """One training job. Picklable: every process of a team reads the data itself."""

    data: Path
    output: Path
    family: str | None
    """None: that of `start`."""
    truth: tuple[Path, ...] = ()
    classes: tuple[str, ...] | None = None
    class_field: str | None = None
    bands: tuple[int, ...] | None = None
    normalise: Normalisation | None = None
    window: int | None = None
    size: str = "usual"
    start: str | None = None
    """A bundle to go on from."""
    validation: str = "0.2"
    """A share of the images, or a folder like `data`."""
    steps: int = 1500
    batch: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    """CPU threads of each process; None: see `thread_count`."""
    workers: int = 1
    """Processes that train together, with Ray Train."""
    name: str | None = None


MOST_THREADS = 8
"""More do not help networks of these sizes."""


def thread_count(spec: TrainSpec) -> int:
    """As given; else this machine's cores, at most `MOST_THREADS`, or 1 where several processes train together."""
    return spec.threads or (1 if spec.workers > 1 else min(os.cpu_count() or 1, MOST_THREADS))


def parse_spec(
    *, classes: str | None, bands: str | None, normalise: str | None, size: str, truth: Sequence[Path], **given: Any
) -> TrainSpec:
    """The job; other arguments are fields of TrainSpec. Raises SpecError with all problems."""
    problems, made = list[str](), dict[str, Any]()
    for option, name, text, parser in (
        ("--classes", "classes", classes, parse.names),
        ("--bands", "bands", bands, _band_numbers),
        ("--normalise", "normalise", normalise, parse.choice("none", "unit", "percentile", "zscore", "otsu")),
        ("--size", "size", size, parse.choice(*SIZES)),
    ):
        try:
            made[name] = None if text is None else parser(text)
        except ValueError as error:
            problems.append(f"{option}: {error}")
    rate = given.get("learning_rate")
    if rate is not None and not 0 < rate < 1:
        problems.append(f"--learning-rate: expected a number between 0 and 1, found {rate}")
    if problems:
        raise SpecError(problems)
    return TrainSpec(**given, **made, truth=tuple(truth))


def _band_numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise ValueError(f"expected 0-based indices such as 0,1,2, found {text!r}")
    return numbers


def validation_share(text: str) -> float | None:
    """The share of images, or None for a folder. Raises SpecError where it is neither."""
    try:
        share = float(text)
    except ValueError:
        return None
    if not 0 < share < 1:
        raise SpecError(f"--validation: expected a share between 0 and 1, or a folder, found {text}")
    return share


def command(spec: TrainSpec) -> str:
    """The command that trains this again; of paths only the last part."""
    words = ["segworkers", "train", spec.data.name]
    values = {
        "--family": spec.family,
        "--classes": ",".join(spec.classes) if spec.classes else None,
        "--bands": ",".join(map(str, spec.bands)) if spec.bands else None,
        "--normalise": spec.normalise,
        "--window": spec.window,
        "--size": spec.size if spec.size != "usual" else None,
        "--from": Path(spec.start).name if spec.start else None,
        "--validation": spec.validation if validation_share(spec.validation) else Path(spec.validation).name,
        "--steps": spec.steps,
        "--batch": spec.batch,
        "--learning-rate": spec.learning_rate,
        "--seed": spec.seed,
        "--threads": thread_count(spec),
        "--workers": spec.workers if spec.workers > 1 else None,
    }
    for name, value in values.items():
        if value is not None:
            words += [name, str(value)]
    return shlex.join(words)
