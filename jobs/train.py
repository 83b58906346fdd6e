"""`segworkers train`: from annotated images to a bundle that `segment` runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.training.member import train_member
from jobs.training.spec import TrainSpec
from schemas.errors import SpecError


def train_bundle(spec: TrainSpec, progress: Callable[[str], None], address: str | None = None) -> Path:
    """Train, and write the bundle; returns its folder.

    Interrupted, the same command goes on from its last validation. address: Ray cluster of `spec.workers` processes.
    Raises SpecError with what is wrong.
    """
    from schemas.bundles import FILE_NAME

    if (spec.output / FILE_NAME).exists():
        raise SpecError(f"{spec.output}: holds a finished model; choose another folder with -o, or delete it")
    if spec.workers > 1:
        from jobs.training.together import train_together

        train_together(spec, address, progress)
    else:
        train_member(spec, progress)
    return spec.output
