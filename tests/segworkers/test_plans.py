"""Blocks of tasks: everything once, in order, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segworkers.plans import blocks


@given(weights=st.lists(st.integers(0, 50), max_size=40), most=st.integers(1, 9), weight=st.integers(1, 100))
def test_blocks_partition_the_positions_and_stay_bounded(weights: list[int], most: int, weight: int) -> None:
    found = list(blocks(weights, most, weight))
    assert [k for block in found for k in range(block.start, block.stop)] == list(range(len(weights)))
    for block in found:
        assert 1 <= block.stop - block.start <= most
        assert sum(weights[block][:-1]) < weight
    for block in found[:-1]:
        assert block.stop - block.start == most or sum(weights[block]) >= weight
