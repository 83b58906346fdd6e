"""One training loop for every family: seeded, deterministic on a CPU for a number of threads, bfloat16 on CUDA.

AdamW (Loshchilov and Hutter, ICLR 2019) with a warm-up and a cosine decay of the learning rate; the weights that are
validated and kept are an exponential moving average of those that are trained.
"""

# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false
# (torch's optimisers are partly untyped)

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segworkers.segmenters.torch_device import fix_threads
from segworkers.training.augment import Augmentation
from segworkers.training.checkpoints import load_state, run_key, save_state
from segworkers.training.families import TrainingFamily
from segworkers.training.matching import NOTHING, Agreement, agreement
from segworkers.training.run import Check, Result, Run
from segworkers.training.samples import Crop, Sample
from segworkers.training.team import ALONE, Team

__all__ = ["Check", "Options", "Result", "describe", "rate", "train", "validate"]

Progress = Callable[[str], None]
_CLIP = 5.0
"""Largest norm of the gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how to train. Checks itself; raises ValueError."""

    steps: int
    batch: int = 8
    """Crops in a step."""
    learning_rate: float = 2e-3
    """The highest, after the warm-up."""
    weight_decay: float = 1e-2
    warmup: int = 50
    """Steps over which the learning rate rises."""
    average: float = 0.99
    """Share of the old average kept at each step; 0 keeps none."""
    check_every: int = 200
    """Steps between validations; the last step is always followed by one."""
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    """CPU threads of torch: part of what makes a run repeatable."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.check_every, self.threads) < 1:
            raise ValueError(f"expected steps, batch, check_every and threads of at least 1, found {self}")
        if not 0 <= self.average < 1 or self.learning_rate <= 0:
            raise ValueError(f"expected average in [0, 1) and a learning rate above 0, found {self}")


def train(
    family: TrainingFamily,
    samples: Sequence[Sample],
    validation: Sequence[Sample],
    options: Options,
    augmentation: Augmentation,
    progress: Progress = print,
    *,
    checkpoint: Path | None = None,
    team: Team = ALONE,
) -> Result:
    """Train a new network of the family and return the one that did best on the validation samples.

    Best: largest mean F1 over IoU thresholds (`Agreement.mean_f1`), the later of equals. Without validation samples
    the last. progress: called with one line for each validation.
    checkpoint: file written after each validation; where it exists, the run goes on from it and ends as it would have.
    team: the processes that train together; each makes its share of every batch, the first validates.
    Raises ValueError without samples, FloatingPointError where the loss is not a finite number, SpecError where the
    checkpoint is of another run.
    """
    if not samples:
        raise ValueError("expected at least one sample to train on, found none")
    fix_threads(options.threads)
    run, key = _start(family, options), ""
    if checkpoint is not None:
        key = run_key(repr((family, options, augmentation)), run.network, samples, validation)
        if (state := load_state(checkpoint, key)) is not None:
            run.restore(state)
            progress(f"step {run.step}: going on from {checkpoint}")
    if team.rank:
        torch.manual_seed(hash((options.seed, run.step, team.rank)))
    for crops, targets in _batches(family, samples, options, augmentation, run.step, team):
        run.step += 1
        for group in run.optimiser.param_groups:
            group["lr"] = options.learning_rate * rate(run.step, options)
        run.losses.append(_step(family, run, (crops, targets), options.device, team))
        _follow(run.average, run.network, min(options.average, run.step / (run.step + 10)))
        if team.rank or (run.step % options.check_every and run.step != options.steps):
            continue
        check = Check(run.step, float(np.mean(run.losses)), validate(family, run.average, validation, options.device))
        progress(describe(check))
        run.keep(check)
        if checkpoint is not None:
            save_state(checkpoint, key, run.state())
    return run.result()


def _start(family: TrainingFamily, options: Options) -> Run:
    torch.manual_seed(options.seed)
    network = family.build().to(options.device)
    optimiser = torch.optim.AdamW(_groups(network, options.weight_decay), lr=options.learning_rate)
    average = deepcopy(network).eval()
    return Run(network, average, deepcopy(average), optimiser)


def validate(family: TrainingFamily, network: nn.Module, samples: Sequence[Sample], device: str) -> Agreement:
    """How well the network's masks fit the samples' objects, over all samples."""
    network.eval()
    total = NOTHING
    with torch.inference_mode():
        for sample in samples:
            total += agreement(family.predict(network, sample.image, device), sample)
    return total


def describe(check: Check) -> str:
    """One line of text."""
    f1 = " ".join(f"{value:.3f}" for value in check.agreement.f1)
    counts = f"{check.agreement.predicted} for {check.agreement.annotated}"
    return (
        f"step {check.step}: loss {check.loss:.4f}, validation F1 {f1} (mean {check.agreement.mean_f1:.4f}), {counts}"
    )


def rate(step: int, options: Options) -> float:
    """Share of the highest learning rate at a step: linear warm-up, then half a cosine down to a hundredth."""
    if step <= options.warmup:
        return step / options.warmup
    done = (step - options.warmup) / max(options.steps - options.warmup, 1)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _batches(
    family: TrainingFamily,
    samples: Sequence[Sample],
    options: Options,
    augmentation: Augmentation,
    first: int,
    team: Team,
) -> Iterator[tuple[list[Crop], list[Any]]]:
    """This process's part of the batches from step `first` on.

    Crop i of step s depends on the seed, s and i alone, whichever thread or process makes it.
    """
    chances = np.array([sample.chance for sample in samples])
    chances /= chances.sum()

    def make(step: int, index: int) -> tuple[Crop, Any]:
        rng = np.random.default_rng((options.seed, step, index))
        crop = augmentation.crop(samples[int(rng.choice(len(samples), p=chances))], rng)
        return crop, family.targets(crop)

    with ThreadPoolExecutor(options.threads) as pool:

        def order(step: int) -> list[Any]:
            return [pool.submit(make, step, index) for index in range(team.rank, options.batch, team.size)]

        ahead = order(first) if first < options.steps else []
        for step in range(first, options.steps):
            now, ahead = ahead, order(step + 1) if step + 1 < options.steps else []
            made = [future.result() for future in now]
            yield [crop for crop, _ in made], [target for _, target in made]


def _step(
    family: TrainingFamily, run: Run, batch: tuple[Sequence[Crop], Sequence[Any]], device: str, team: Team
) -> float:
    """One step of the optimiser; the loss of this process's part of the batch."""
    run.network.train()
    with torch.autocast("cuda", torch.bfloat16, enabled=device.startswith("cuda")):
        parts = family.loss(run.network, *batch, device)
    loss = torch.stack(list(parts.values())).sum()
    if not bool(torch.isfinite(loss)):
        found = ", ".join(f"{name} {float(value):g}" for name, value in parts.items())
        raise FloatingPointError(f"training: expected a finite loss, found {found}; lower the learning rate")
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    team.mean_gradients(run.network)
    nn.utils.clip_grad_norm_(run.network.parameters(), _CLIP)
    run.optimiser.step()
    return float(loss.detach())


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights of convolutions and layers decay; norms and biases do not. Frozen parameters are left out."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, share: float) -> None:
    """Move the average towards the network, buffers included; whole numbers are copied."""
    for old, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.mul_(share).add_(new, alpha=1 - share)
        else:
            old.copy_(new)
