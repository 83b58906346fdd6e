from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.truth.base import TruthItem
from jobs.truth.rasters import ArrayTruth, components, labelled
from schemas.boxes import Box
from schemas.errors import SpecError
from schemas.masks import to_array


@given(arrays(np.int64, (2, 5, 6), elements=st.sampled_from([-3, 0, 1, 2, 700, 1 << 30])), st.booleans())
def test_objects_are_the_values_above_0(labels: np.ndarray, tabled: bool):
    if tabled:
        labels = np.minimum(labels, 700)
    box = Box((3, 10, 20), (5, 15, 26))
    block = labelled(labels, box)
    assert block.keys.tolist() == [value for value in np.unique(labels) if value > 0]
    for place, key in enumerate(block.keys):
        runs = block.masks.take(block.masks.owner == place).runs
        np.testing.assert_array_equal(to_array(runs, box), labels == key)


def test_pieces_touch_at_corners_and_in_space_and_keep_their_class():
    labels = np.zeros((2, 4, 6), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 5
    labels[0, 3, 5] = 5
    labels[0, 3, 4] = 9
    whole = ArrayTruth(labels, lambda key: TruthItem(name=str(key), label=f"class {key}"))
    pieces = components(whole, (2, 4, 6))
    block = pieces.block(Box.of_shape((2, 4, 6)))
    told = sorted(
        (pieces.item(int(key)).label, int((block.masks.owner == place).sum())) for place, key in enumerate(block.keys)
    )
    assert told == [("class 5", 1), ("class 5", 2), ("class 9", 1)], "runs of each piece"


def test_what_is_too_large_to_be_labelled_whole_is_refused():
    nothing = ArrayTruth(np.zeros((1, 1, 1), np.uint8), lambda key: TruthItem(name=""))
    with pytest.raises(SpecError, match="--components"):
        components(nothing, (1, 1 << 16, 1 << 16))
