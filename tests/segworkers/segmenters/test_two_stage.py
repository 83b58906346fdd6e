"""An organ is found once, in its region, and told to a second model on another grid as codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from schemas.errors import TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseMaps, DenseProbabilities
from segworkers.segmenters.two_stage import AROUND, ORGAN, OUTSIDE, OrganMap, Prior, find_organ

MANIFEST = ModelManifest(
    name="first", kind="dense", window=(8, 9, 10), context=(1, 2, 3), overlap=(0, 0, 0), classes=("organ",)
)


class Above:
    """Class 1 where a valid value is above 10; remembers what it was shown."""

    manifest = MANIFEST
    shown: NDArray[Any]
    real: NDArray[np.bool_]

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseProbabilities:
        assert windows.shape == (1, 1, *MANIFEST.shown) and valid.shape == (1, *MANIFEST.shown)
        self.shown, self.real = windows[0, 0], valid[0]
        inner = tuple(slice(c, n - c) for c, n in zip(MANIFEST.context, MANIFEST.shown, strict=True))
        one = ((windows[0, 0] > 10) & valid[0])[inner][None, None].astype(np.float32)
        return DenseProbabilities(np.concatenate([1 - one, one], axis=1))


def prior(**changes: Any) -> Prior:
    return Prior(**{"reference": "first", "manifest": MANIFEST, "region": "whole", **changes})


def test_the_largest_part_is_the_organ_at_its_own_place() -> None:
    values = np.zeros((6, 7, 8), np.int16)
    values[1:4, 2:5, 3:7] = 20
    values[5, 6, 0:3] = 20
    found = find_organ(prior(), Above(), values, np.ones(values.shape, bool), (3, 3, 3))
    expected = np.zeros(values.shape, bool)
    expected[1:4, 2:5, 3:7] = True
    assert np.array_equal(found.organ, expected)


@pytest.mark.parametrize("shape", [(6, 7, 8), (8, 9, 10), (1, 1, 1), (7, 8, 9), (5, 4, 3)])
def test_the_series_is_centred_in_the_window_and_the_rest_is_not_valid(shape: Zyx) -> None:
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape) + 1
    model = Above()
    found = find_organ(prior(), model, values, np.ones(shape, bool), (3, 3, 3))
    start = [c + w // 2 - n // 2 for c, w, n in zip(MANIFEST.context, MANIFEST.window, shape, strict=True)]
    place = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    assert np.array_equal(model.shown[place], values)
    assert model.real[place].all() and model.real.sum() == values.size
    assert np.array_equal(found.organ, values > 10)


def test_what_is_not_valid_is_no_organ() -> None:
    values, valid = np.full((4, 4, 4), 20, np.int16), np.ones((4, 4, 4), bool)
    valid[:, :, 2:] = False
    found = find_organ(prior(), Above(), values, valid, (3, 3, 3))
    assert np.array_equal(found.organ, valid)


def test_opening_cuts_thin_bridges_and_gives_the_organ_its_size_back() -> None:
    values = np.zeros((8, 9, 10), np.int16)
    values[2:7, 2:7, 1:6] = 20
    values[4, 4, 6:10] = 20
    plain = find_organ(prior(), Above(), values, np.ones(values.shape, bool), (3, 3, 3))
    opened = find_organ(prior(opened=True), Above(), values, np.ones(values.shape, bool), (3, 3, 3))
    assert plain.organ[4, 4, 9] and not opened.organ[4, 4, 7:].any()
    assert opened.organ[2:7, 4, 3].all() and not (opened.organ & (values == 0)).any()


def test_no_organ_is_an_empty_map() -> None:
    values = np.zeros((4, 4, 4), np.int16)
    for opened in (False, True):
        found = find_organ(prior(opened=opened), Above(), values, np.ones((4, 4, 4), bool), (3, 3, 3))
        assert not found.organ.any() and found.box((9, 9, 9)) is None
        assert not found.codes(Box.of_shape((9, 9, 9)), (9, 9, 9)).any()


def test_a_region_larger_than_the_window_is_refused() -> None:
    values = np.zeros((8, 9, 11), np.int16)
    with pytest.raises(TileError, match=r"\(8, 9, 10\).*\(8, 9, 11\)") as caught:
        find_organ(prior(), Above(), values, np.ones(values.shape, bool), (3, 3, 3))
    assert caught.value.reason == "region_too_large"


def test_a_first_model_may_give_class_maps() -> None:
    class Maps:
        manifest = MANIFEST

        def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseMaps:
            return Above().predict(windows, valid).winners()

    values = np.full((3, 3, 3), 20, np.int16)
    assert find_organ(prior(), Maps(), values, np.ones((3, 3, 3), bool), (3, 3, 3)).organ.all()


def test_codes_on_the_same_grid() -> None:
    organ = np.zeros((5, 6, 7), bool)
    organ[1:3, 2:4, 3] = True
    made = OrganMap(organ, (1, 1, 9))
    box = made.box((5, 6, 7))
    assert box == Box((0, 1, 0), (4, 5, 7))
    codes = made.codes(Box.of_shape((5, 6, 7)), (5, 6, 7))
    assert np.array_equal(codes == ORGAN, organ)
    expected = np.full((5, 6, 7), OUTSIDE, np.uint8)
    expected[box.within((0, 0, 0))] = AROUND
    assert np.array_equal(codes[~organ], expected[~organ])


def test_a_finer_grid_shows_the_organ_where_it_was() -> None:
    organ = np.zeros((10, 10, 10), bool)
    organ[3:7, 2:8, 4:6] = True
    codes = OrganMap(organ, (2, 2, 2)).codes(Box.of_shape((10, 30, 40)), (10, 30, 40))
    # linear between centres, cut at one half: corners are rounded off, faces stay where they are
    assert np.array_equal(np.flatnonzero((codes == ORGAN)[5, :, 20]), np.arange(6, 24))
    assert np.array_equal(np.flatnonzero((codes == ORGAN)[5, 15]), np.arange(16, 24))
    assert np.array_equal(np.flatnonzero((codes == ORGAN).any((1, 2))), np.arange(3, 7))


@st.composite
def boxes_in(draw: st.DrawFn, extent: Zyx) -> Box:
    start = [draw(st.integers(0, n - 1)) for n in extent]
    return Box(zyx(start), zyx([draw(st.integers(a + 1, n)) for a, n in zip(start, extent, strict=True)]))


@given(data=st.data(), seed=st.integers(0, 2**16), share=st.sampled_from([0.0, 0.02, 0.3, 1.0]))
def test_codes_of_a_box_are_a_part_of_the_whole(data: st.DataObject, seed: int, share: float) -> None:
    shape, extent = (
        zyx([data.draw(st.integers(1, 9)) for _ in range(3)]),
        zyx([data.draw(st.integers(1, 14)) for _ in range(3)]),
    )
    organ = np.random.default_rng(seed).random(shape) < share
    made = OrganMap(organ, (1, 0, 2))
    whole = made.codes(Box.of_shape(extent), extent)
    box = data.draw(boxes_in(extent))
    assert np.array_equal(made.codes(box, extent), whole[box.within((0, 0, 0))])
    around = made.box(extent)
    assert (whole == ORGAN).any() == (around is not None)
    if around is not None:
        assert np.argwhere(whole != OUTSIDE).min(0).tolist() == list(around.start)
        assert (np.argwhere(whole != OUTSIDE).max(0) + 1).tolist() == list(around.stop)
        assert (whole != OUTSIDE).sum() == around.volume
