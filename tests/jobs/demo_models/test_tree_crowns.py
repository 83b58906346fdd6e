"""The classical crown model on drawn crowns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.demo_models.tree_crowns import TreeCrowns, find_blobs, halve
from segworkers.segmenters.declaration import class_problems, read_manifest

CROWNS = [(60, 60, 22), (60, 160, 22), (150, 100, 30), (200, 200, 18)]


def draw(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Green discs on grey ground (3, y, x)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full((3, *shape), 0.6, np.float32)
    for row, column, radius in CROWNS:
        image[:, (y - row) ** 2 + (x - column) ** 2 <= radius**2] = np.array([[0.4], [0.6], [0.2]], np.float32)
    return image


def predict(image: NDArray[np.float32], valid: NDArray[np.bool_] | None = None):
    valid = np.ones(image.shape[1:], np.bool_) if valid is None else valid
    return TreeCrowns("cpu").predict(image[None, :, None], valid[None, None])[0]


def test_it_declares_what_a_plugin_must() -> None:
    assert class_problems(TreeCrowns, {"radius": 2.2}) == []
    assert read_manifest(TreeCrowns, "TreeCrowns", "").bands == (0, 1, 2)


def test_each_crown_is_found_once_where_it_stands() -> None:
    answer = predict(draw((260, 260)))
    middles = sorted(((b[1] + b[4]) / 2, (b[2] + b[5]) / 2) for b, _ in answer["masks"])
    assert len(middles) == len(CROWNS)
    for (y, x), (row, column, radius) in zip(middles, sorted(CROWNS), strict=True):
        assert np.hypot(y - row, x - column) < radius / 3
    assert all(mask.shape == (1, b[4] - b[1], b[5] - b[2]) and mask.any() for b, mask in answer["masks"])


def test_masks_do_not_overlap_and_skip_invalid_pixels() -> None:
    image = draw((260, 260))
    valid = np.ones((260, 260), np.bool_)
    valid[:, :60] = False
    seen = np.zeros((260, 260), np.int32)
    for (_, y0, x0, _, y1, x1), mask in predict(image, valid)["masks"]:
        seen[y0:y1, x0:x1] += mask[0]
    assert seen.max() == 1
    assert not seen[:, :60].any()


def test_bare_ground_has_no_trees_and_odd_windows_work() -> None:
    assert len(predict(np.full((3, 101, 77), 0.5, np.float32))["scores"]) == 0


def test_halving_averages_and_repeats_an_odd_edge() -> None:
    assert halve(np.array([[[1, 3, 5], [1, 3, 7]]], np.float32)).tolist() == [[[2, 6]]]


def test_of_two_blobs_in_one_place_the_stronger_stays() -> None:
    y, x = np.mgrid[:80, :80]
    bump = np.exp(-((y - 40.0) ** 2 + (x - 40.0) ** 2) / 200).astype(np.float32)
    assert [(row, column) for row, column, _ in find_blobs(bump, 0.1, 2.0)] == [(40, 40)]
