"""The aerial models that come along: they load, are small enough to ship, and find what they were made for."""

# rasterio and scipy.ndimage are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.models.vehicle_backgrounds import Background
from benchmarks.models.vehicle_scenes import sample
from segworkers.segmenters.base import Segmenter, WindowMasks
from segworkers.segmenters.bundles import open_bundle
from segworkers.segmenters.loading import load_model, resolve_model

pytest.importorskip("torch")
NAMES = ("tree-crowns", "vehicles")
MOST = 20_000_000
"""Bytes."""


def loaded(name: str) -> Segmenter:
    _, spec = resolve_model(name, {}, "cpu", 1)
    return load_model(spec)


def answer(model: Segmenter, image: np.ndarray) -> WindowMasks:
    """Of one window (bands, y, x)."""
    (said,) = model.predict(image[None, :, None], np.ones((1, 1, *image.shape[1:]), np.bool_))  # pyright: ignore[reportGeneralTypeIssues]
    assert isinstance(said, WindowMasks)
    return said


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_its_card_says_what_was_measured(name: str) -> None:
    bundle = open_bundle(name).definition
    assert sum(entry.size or MOST for entry in bundle.weights) < MOST
    assert all(entry.name.endswith(".safetensors") for entry in bundle.weights)
    assert "Not measured" not in bundle.card.accuracy
    assert "segworkers evaluate" in bundle.card.limits


def test_vehicles_finds_drawn_ones() -> None:
    ground = [Background("grey", np.random.default_rng(0).normal(0.4, 0.03, (700, 700)).astype(np.float32), 0.1, 0.2)]
    model, hits, annotated, said = loaded("vehicles"), 0, 0, 0
    for seed in range(6):
        scene = sample(ground, seed, (0.2, 0.3))
        found = np.zeros(scene.labels.shape, np.bool_)
        for box, mask in answer(model, scene.image).crops:
            found[box.within((0, 0, 0))[1:]] |= mask[0]
            said += 1
        share = np.bincount(scene.labels.ravel(), found.ravel()) / np.maximum(np.bincount(scene.labels.ravel()), 1)
        hits, annotated = hits + int((share[1:] > 0.5).sum()), annotated + int(scene.labels.max())
    assert annotated > 30
    assert hits > 0.8 * annotated
    assert said < 1.6 * annotated, "those that the scene's border cuts are found too and not annotated"


def test_tree_crowns_finds_round_things_with_shade_and_nothing_on_even_ground() -> None:
    rng, model = np.random.default_rng(1), loaded("tree-crowns")
    image = np.repeat(rng.normal(0.62, 0.02, (1, 256, 256)), 3, axis=0).astype(np.float32)
    assert len(answer(model, image).crops) <= 2
    y, x = np.mgrid[:256, :256]
    for cy in range(32, 250, 64):
        for cx in range(32, 250, 64):
            image[:, np.hypot(y - cy + 8, x - cx + 8) < 13] = 0.1
            crown = np.hypot(y - cy, x - cx) < 12
            texture = rng.normal(0, 0.12, int(crown.sum()))
            image[:, crown] = np.array([[0.45], [0.5], [0.3]], np.float32) + texture
    found = [np.array(box.start[1:]) / 2 + np.array(box.stop[1:]) / 2 for box, _ in answer(model, image).crops]
    centres = [(cy, cx) for cy in range(32, 250, 64) for cx in range(32, 250, 64)]
    hits = sum(any(np.hypot(*(place - centre)) < 8 for place in found) for centre in centres)
    assert hits >= len(centres) // 2
