"""What the merge adds to the errors of an imperfect model, in every world and for one kind of error at a time.

The other tests of links, slivers and parts say what the rules do. This one says what they are for.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from benchmarks.seams import oracle, ours
from benchmarks.seams.alike import alike_objects
from benchmarks.seams.cases import Case
from benchmarks.seams.noise import say
from benchmarks.seams.plan import SPACE_WINDOWS, space_case
from benchmarks.seams.score import score
from benchmarks.seams.worlds import PLANE, SPACE

KINDS = ("perfect_parts", "miss5", "short20", "jitter1", "jitter2", "shift1", "glue1", "scores")
"""One kind of error at a time."""

EVERY_CHANGE = {
    *product(("car_parks", "roads_rivers", "cells"), ("jitter2", "glue1")),
    ("cells", "miss5"),
    ("cells3d", "glue1"),
}

REPORTED_APART = ("vessels", "perfect_parts")
"""Thin trees in windows' corners: parts of them are counted (docs/decisions/0012)."""

EXCESS = 0.01
"""Of the true objects. docs/benchmarks/seams.md shows it over five seeds of each world; one is a smaller sample."""

GLUED_IN_PLANE = 0.005
"""Instead, where glued pairs in a plane are counted less those that look like one object. Of touching cells it is more
if cut pieces are no witnesses (docs/decisions/0011)."""

FEW = 3
"""Objects that are always allowed."""

F1_LOSS = 0.02
"""A glued mask goes to one of its objects whole, so that the other one is smaller than it would be with the oracle."""


def _case(world: str, noise: str) -> Case:
    seed = 11  # one of those with which constants were chosen: a change that makes these worse is seen here first
    if world in SPACE:
        return space_case(world, noise, seed, *SPACE_WINDOWS[1])
    # Glued pairs are lost where borders cut them, so smaller windows than docs/benchmarks/seams.md has.
    side, window, overlap = (1024, 256, 64) if noise == "glue1" else (1536, 512, 96)
    truth = PLANE[world](np.random.default_rng(seed), side)
    return say(truth, (1, window, window), (0, overlap, overlap), noise, seed)


@pytest.mark.parametrize(
    ("world", "noise"),
    [
        pytest.param(*cell, marks=() if cell in EVERY_CHANGE else pytest.mark.long)
        for cell in product((*PLANE, *SPACE), KINDS)
        if cell != REPORTED_APART
    ],
)
def test_the_merge_adds_errors_on_few_of_the_objects(world: str, noise: str) -> None:
    """Errors of each kind, which a count alone would let cancel."""
    case = _case(world, noise)
    found, best = score(ours.merge_alone(case), case.world), score(oracle.merge(case), case.world)
    excess = GLUED_IN_PLANE if noise == "glue1" and world in PLANE else EXCESS
    allowed = max(FEW, excess * case.world.count)
    alike = alike_objects(case) if noise == "glue1" else 0
    assert -allowed - alike <= found.found_count - best.found_count <= allowed
    assert found.merged <= best.merged + allowed + alike
    assert found.split <= best.split + allowed
    assert found.duplicates <= best.duplicates + allowed
    assert found.missed <= best.missed + allowed
    assert found.f1_50 >= best.f1_50 - F1_LOSS
