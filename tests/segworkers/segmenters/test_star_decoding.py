"""Decoding of star maps: perfect maps give their shapes back; order, place and batch do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segworkers.segmenters.star_decoding import STEP, StarSettings, assign, candidates, decode, depth, suppress
from segworkers.training.star_unet import border_distances, middles

SIDE = 96
RAYS = 32
USUAL = StarSettings()
EXACT = StarSettings(core=0.0)
"""Masks are foreground alone: polygons say whose it is, never what its outline is."""


def star(centre: tuple[int, int], radii: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A star-convex shape: pixels within the polygon's edge."""
    y, x = np.indices(shape)
    flat = [depth(float(a - centre[0]), float(b - centre[1]), radii) <= 1 for a, b in zip(y.flat, x.flat, strict=True)]
    return np.array(flat).reshape(shape)


def perfect(labels: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The maps of a network that makes no mistake."""
    rays = border_distances(labels, RAYS, STEP)
    return middles(labels)[::STEP, ::STEP].copy(), rays, (labels > 0).astype(np.float32)


def painted(crops: Any, shape: tuple[int, int]) -> NDArray[np.int32]:
    out = np.zeros(shape, np.int32)
    for number, (box, mask) in enumerate(crops, start=1):
        _, rows, columns = box.within((0, 0, 0))
        assert not (out[rows, columns][mask[0]]).any(), "masks share pixels"
        out[rows, columns][mask[0]] = number
    return out


def same_partition(a: NDArray[np.int32], b: NDArray[np.int32]) -> bool:
    """Equal but for the numbers of the objects."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    firsts, seconds = pairs
    return bool(((a > 0) == (b > 0)).all() and len(set(firsts)) == len(firsts) and len(set(seconds)) == len(seconds))


@st.composite
def scenes(draw: Any) -> NDArray[np.int32]:
    """Up to nine star-convex shapes on a 3 x 3 grid of places, some cut by the window's border."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number in range(1, draw(st.integers(1, 9)) + 1):
        i, j = divmod(number - 1, 3)
        centre = (16 + 32 * i + int(rng.integers(-3, 4)), 16 + 32 * j + int(rng.integers(-3, 4)))
        if rng.random() < 0.2:
            centre = (centre[0], 2 if j == 0 else centre[1])
        smooth = np.cos(np.arange(RAYS) * 2 * np.pi / RAYS * rng.integers(1, 4) + rng.uniform(0, 6))
        radii = 9 + 2.0 * smooth + rng.uniform(-1, 1)
        labels[star(centre, radii, labels.shape) & (labels == 0)] = number
    return labels


@settings(max_examples=30, deadline=None)
@given(scenes())
def test_perfect_maps_give_back_star_convex_shapes_exactly(labels: NDArray[np.int32]) -> None:
    scores, crops = decode(*perfect(labels), np.ones(labels.shape, bool), EXACT)
    assert same_partition(painted(crops, labels.shape), labels)
    assert (np.diff(scores) <= 0).all()


def test_touching_shapes_are_told_apart() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[star((40, 30), np.full(RAYS, 15.0), labels.shape)] = 1
    labels[star((40, 59), np.full(RAYS, 15.0), labels.shape) & (labels == 0)] = 2
    _, crops = decode(*perfect(labels), np.ones(labels.shape, bool), USUAL)
    assert len(crops) == 2
    assert (painted(crops, labels.shape) > 0).sum() == (labels > 0).sum()


def test_outlines_need_not_be_star_convex() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[30:50, 20:60] = 1
    labels[44:58, 50:60] = 1  # a hook, partly out of its middle's sight
    _, crops = decode(*perfect(labels), np.ones(labels.shape, bool), StarSettings(reach=2.0))
    assert same_partition(painted(crops, labels.shape), labels)


@settings(max_examples=20, deadline=None)
@given(scenes(), st.integers(0, 7))
def test_turning_the_window_turns_the_masks(labels: NDArray[np.int32], way: int) -> None:
    def turned(a: NDArray[Any]) -> NDArray[Any]:
        b = a.T if way & 1 else a
        return np.ascontiguousarray(b[:: -1 if way & 2 else 1, :: -1 if way & 4 else 1])

    first = painted(decode(*perfect(labels), np.ones(labels.shape, bool), EXACT)[1], labels.shape)
    second = painted(decode(*perfect(turned(labels)), np.ones(labels.shape, bool), EXACT)[1], labels.shape)
    assert same_partition(turned(first), second)


@settings(max_examples=20, deadline=None)
@given(scenes(), st.integers(0, 2**32 - 1))
def test_the_same_maps_give_the_same_masks_and_the_maps_are_left_alone(labels: NDArray[np.int32], seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [
        np.clip(values + rng.normal(0, 0.05, values.shape), 0.01, None).astype(np.float32) for values in perfect(labels)
    ]
    before = [values.copy() for values in maps]
    valid = rng.random(labels.shape) < 0.97
    first, second = (decode(maps[0], maps[1], maps[2], valid, USUAL) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(maps, before, strict=True))
    assert np.array_equal(first[0], second[0])
    assert all(a == b and np.array_equal(m, n) for (a, m), (b, n) in zip(first[1], second[1], strict=True))
    for box, mask in first[1]:
        _, rows, columns = box.within((0, 0, 0))
        assert valid[rows, columns][mask[0]].all()
        assert mask.sum() >= USUAL.least
        assert mask[0].any(axis=0)[[0, -1]].all() and mask[0].any(axis=1)[[0, -1]].all(), "boxes are tight"


def test_nothing_comes_of_nothing() -> None:
    empty = np.zeros((24, 24), np.float32)
    scores, crops = decode(
        empty, np.ones((RAYS, 24, 24), np.float32), np.zeros((48, 48), np.float32), np.ones((48, 48), bool), USUAL
    )
    assert scores.shape == (0,) and crops == []


def test_a_plateau_has_one_middle() -> None:
    flat = np.zeros((9, 9), np.float32)
    flat[3:5, 3:6] = 0.9
    assert candidates(flat, 0.5).tolist() == [[3, 3]]


@pytest.mark.parametrize(("most", "stay"), [(0.0, [True, False]), (0.9, [True, True])])
def test_the_less_probable_of_two_that_overlap_goes(most: float, stay: list[bool]) -> None:
    centres = np.array([[30, 30], [30, 42]])
    assert suppress(centres, np.full((2, RAYS), 10.0, np.float32), 64, 64, most).tolist() == stay


def test_a_polygon_within_a_larger_one_goes() -> None:
    centres = np.array([[30, 30], [36, 36]])
    radii = np.stack([np.full(RAYS, 20.0), np.full(RAYS, 5.0)]).astype(np.float32)
    assert suppress(centres, radii, 64, 64, 0.4).tolist() == [True, False]


def test_pixels_go_to_the_polygon_they_are_deepest_in() -> None:
    centres = np.array([[10, 10], [10, 30]])
    radii = np.stack([np.full(RAYS, 5.0), np.full(RAYS, 15.0)]).astype(np.float32)
    solid = np.ones((21, 46), bool)
    owner = assign(centres, radii, solid, np.ones_like(solid), 1.0, 0.0)
    assert owner[10, 14] == 1 and owner[10, 16] == 2 and owner[10, 45] == 2 and owner[0, 0] == 0


def test_depth_is_1_on_the_polygon() -> None:
    radii = np.array([10.0, 5.0, 8.0, 3.0])
    for k, radius in enumerate(radii):
        angle = 2 * np.pi * k / 4
        assert depth(radius * np.sin(angle), radius * np.cos(angle), radii) == pytest.approx(1)
    assert depth(2.5, 5.0, radii) == pytest.approx(1), "half-way along an edge"
    assert depth(0.0, 0.0, radii) == 0


@pytest.mark.parametrize("bad", [{"middle": 1.5}, {"reach": 0.5}, {"least": 0}])
def test_settings_refuse_what_makes_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        StarSettings(**bad)
