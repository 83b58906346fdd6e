"""Several processes that train one network together: each makes and learns from its share of every batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import distributed, nn


def _nothing(_network: nn.Module) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """One process's place among those that train together; every process starts from the same weights."""

    rank: int = 0
    """The first validates and writes checkpoints; where these are, all of them read."""
    size: int = 1
    mean_gradients: Callable[[nn.Module], None] = _nothing
    """Replaces the gradients of a network's parameters by their mean over all processes; waits for the others."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"expected a rank below the team's size, found {self.rank} of {self.size}")


ALONE = Team()
"""A single process."""


def mean_gradients(network: nn.Module) -> None:
    """Over all processes of torch's default group; parameters that this process's crops did not touch count as 0."""
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
        parameter.grad /= distributed.get_world_size()
