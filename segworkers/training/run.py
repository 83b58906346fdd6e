"""One training run: what it has learnt so far, how it did at each validation, and both as plain values for a file."""
# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false
# (torch's optimisers are partly untyped)

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segworkers.training.matching import NOTHING, Agreement


@dataclass(frozen=True, slots=True)
class Check:
    """One validation."""

    step: int
    loss: float
    """Mean training loss since the last one."""
    agreement: Agreement


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came out of training."""

    network: nn.Module
    """The best network of all validations, in evaluation mode, on the CPU."""
    best: Check
    history: tuple[Check, ...]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The best network's state dict, on the CPU."""
        return {name: value.detach().cpu() for name, value in self.network.state_dict().items()}


@dataclass(slots=True, eq=False)
class Run:
    """The changing state of a training run."""

    network: nn.Module
    """What is trained."""
    average: nn.Module
    """Its moving average, in evaluation mode."""
    kept: nn.Module
    """The average that did best so far."""
    optimiser: torch.optim.Optimizer
    step: int = 0
    """Steps done."""
    history: list[Check] = field(default_factory=list[Check])
    losses: list[float] = field(default_factory=list[float])
    """Of the steps since the last validation."""

    @property
    def best(self) -> Check | None:
        """The best validation: the largest mean F1, the later of equals; None before the first."""
        return max(reversed(self.history), key=lambda check: check.agreement.mean_f1, default=None)

    def keep(self, check: Check) -> None:
        """Take note of a validation of the average, which is kept where it is the best."""
        self.history.append(check)
        self.losses.clear()
        if self.best is check:
            self.kept = deepcopy(self.average)

    def result(self) -> Result:
        """The best network and the run's history. Processes that do not validate have the last, and an empty one."""
        best = self.best
        if best is None:
            return Result(deepcopy(self.average).cpu().eval(), Check(self.step, float("nan"), NOTHING), ())
        return Result(self.kept.cpu().eval(), best, tuple(self.history))

    def state(self) -> dict[str, Any]:
        """Everything that going on needs, as tensors, numbers and text; to be taken right after a validation."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "kept": self.kept.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "history": [asdict(check) for check in self.history],
            "random": torch.get_rng_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave, torch's random numbers included."""
        for name in ("network", "average", "kept", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.step = int(state["step"])
        self.history = [
            Check(entry["step"], entry["loss"], Agreement(**_agreement_fields(entry["agreement"])))
            for entry in state["history"]
        ]
        self.losses.clear()
        torch.set_rng_state(state["random"])


def _agreement_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "matched": tuple(int(count) for count in values["matched"])}
