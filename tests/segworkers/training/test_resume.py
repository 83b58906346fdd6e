"""A run that died goes on from its last validation and ends as it would have; several processes learn as one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from schemas.boxes import Box
from schemas.errors import SpecError
from segworkers.segmenters.base import WindowMasks
from segworkers.training.augment import Augmentation
from segworkers.training.loop import Options, train
from segworkers.training.samples import Crop, Sample
from segworkers.training.team import ALONE, Team

SIDE = 32


@dataclass(frozen=True)
class Level:
    """Learns a brightness from which pixels belong to objects; draws random numbers of torch as it does."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Dropout(0.2), nn.ReLU(), nn.Conv2d(2, 1, 1))

    def targets(self, crop: Crop) -> NDArray[np.float32]:
        return (crop.labels > 0).astype(np.float32)

    def loss(
        self, network: nn.Module, crops: Sequence[Crop], targets: Sequence[NDArray[np.float32]], device: str
    ) -> Mapping[str, Tensor]:
        images = torch.from_numpy(np.stack([crop.image for crop in crops]))
        said = network(images)[:, 0]
        return {"entropy": functional.binary_cross_entropy_with_logits(said, torch.from_numpy(np.stack(targets)))}

    def predict(self, network: nn.Module, image: NDArray[np.float32], device: str) -> WindowMasks:
        mask = network(torch.from_numpy(image[None]))[0].numpy() > 0
        crops = [(Box.of_shape(mask.shape), mask)] if mask.any() else []
        return WindowMasks(np.zeros(len(crops), np.int64), np.ones(len(crops)), crops)


def _sample(seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[8:20, 6:22] = 1
    image = (labels + rng.normal(0, 0.1, labels.shape)).astype(np.float32)
    return Sample(name=f"sample {seed}", image=image[None], labels=labels)


SAMPLES, CHECKED = [_sample(1), _sample(2)], [_sample(3)]
OPTIONS = Options(steps=12, batch=4, check_every=4, warmup=2, learning_rate=1e-2, seed=3)
AUGMENTATION = Augmentation(side=SIDE)


class KilledError(Exception):
    """The process died."""


def _train(path: Path | None = None, die_at: int | None = None, team: Team = ALONE, **given: Any) -> Any:
    def progress(line: str) -> None:
        if die_at is not None and line.startswith(f"step {die_at}:"):
            raise KilledError

    chosen = given.pop("options", OPTIONS)
    return train(Level(), SAMPLES, CHECKED, chosen, AUGMENTATION, progress, checkpoint=path, team=team)


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("die_at", [8, 12])
def test_a_run_that_died_ends_as_it_would_have(tmp_path, die_at):
    whole = _train()
    path = tmp_path / "training.pt"
    with pytest.raises(KilledError):
        _train(path, die_at)
    torch.manual_seed(99)  # what happened in between does not matter
    again = _train(path)
    assert _same(whole.weights, again.weights)
    assert whole.history == again.history and whole.best == again.best


def test_a_finished_run_is_not_trained_again(tmp_path):
    path = tmp_path / "training.pt"
    first, lines = _train(path), list[str]()
    second = train(Level(), SAMPLES, CHECKED, OPTIONS, AUGMENTATION, lines.append, checkpoint=path)
    assert _same(first.weights, second.weights)
    assert lines == [f"step 12: going on from {path}"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "training.pt"
    _train(path)
    other = Options(steps=12, batch=4, check_every=4, warmup=2, learning_rate=2e-2, seed=3)
    with pytest.raises(SpecError, match="is of another training run"):
        _train(path, options=other)


def _relabelled(sample: Sample, value: int) -> Sample:
    return replace(sample, labels=np.where(sample.labels > 0, value, 0).astype(np.int32))


@dataclass(frozen=True)
class Begun(Level):
    """Begins with given weights, which its text does not show."""

    level: float = field(repr=False)

    def build(self) -> nn.Module:
        network = super().build()
        nn.init.constant_(next(network.parameters()), self.level)
        return network


@pytest.mark.parametrize(
    "other",
    [
        {"samples": [_relabelled(SAMPLES[0], 2), SAMPLES[1]]},
        {"samples": [replace(SAMPLES[0], image=SAMPLES[0].image + 1), SAMPLES[1]]},
        {"samples": [replace(SAMPLES[0], classes=np.array([1])), SAMPLES[1]]},
        {"samples": [replace(SAMPLES[0], ignored=SAMPLES[0].labels > 0), SAMPLES[1]]},
        {"samples": [replace(SAMPLES[0], chance=2.0), SAMPLES[1]]},
        {"validation": [_relabelled(CHECKED[0], 3)]},
        {"validation": []},
        {"family": Begun(0.2)},
    ],
    ids=["labels", "image", "classes", "ignored", "chance", "validation", "no validation", "start"],
)
def test_a_checkpoint_of_the_same_names_and_other_data_is_refused(tmp_path, other):
    path = tmp_path / "training.pt"
    given = {"family": Begun(0.1), "samples": SAMPLES, "validation": CHECKED}
    options = replace(OPTIONS, steps=1, warmup=1)

    def run(family: Any, samples: list[Sample], validation: list[Sample]) -> None:
        train(family, samples, validation, options, AUGMENTATION, lambda _: None, checkpoint=path)

    run(**given)
    run(**given)
    with pytest.raises(SpecError, match="is of another training run"):
        run(**given | other)


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_a_torn_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "training.pt"
    path.write_bytes(content)
    with pytest.raises(SpecError, match="cannot be read"):
        _train(path)


@dataclass(frozen=True)
class Plain(Level):
    """Without torch's random numbers, which the threads of this process share."""

    def build(self) -> nn.Module:
        network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 1))
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.1)
        nn.init.constant_(network[2].bias, -0.2)
        return network


def _plain(team: Team = ALONE) -> Any:
    return train(Plain(), SAMPLES, CHECKED, OPTIONS, AUGMENTATION, lambda _: None, team=team)


def test_two_members_of_a_team_learn_what_one_process_learns():
    results, gradients, barrier = dict[int, Any](), dict[int, list[Tensor]](), threading.Barrier(2, timeout=60)

    def member(rank: int) -> None:
        def mean(network: nn.Module) -> None:
            parameters = list(network.parameters())
            gradients[rank] = [p.grad.clone() for p in parameters if p.grad is not None]
            barrier.wait()
            for parameter, one, two in zip(parameters, gradients[0], gradients[1], strict=True):
                parameter.grad = (one + two) / 2
            barrier.wait()

        results[rank] = _plain(Team(rank=rank, size=2, mean_gradients=mean))

    threads = [threading.Thread(target=member, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = _plain()
    assert results[1].history == () and len(results[0].history) == len(alone.history) == 3
    assert not _same(alone.weights, Plain().build().state_dict())
    for name, value in alone.weights.items():
        assert torch.allclose(value, results[0].weights[name], atol=1e-4), name
        assert torch.allclose(value, results[1].weights[name], atol=1e-2), name


def test_a_rank_lies_in_its_team():
    with pytest.raises(ValueError, match="below the team's size"):
        Team(rank=2, size=2)
