"""Groups files: every home's rows are found again, and not much besides is fetched."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segworkers.group_files import group_columns, pack_groups, read_groups
from tests.fakes import MemoryStore


class Counting(io.BytesIO):
    """A file that knows how much of it was read."""

    fetched = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.fetched += len(data)
        return data

    def close(self) -> None:
        """Stays readable."""


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Counting] = []

    def open(self, name: str) -> Any:
        self.opened.append(Counting(self.files[name]))
        return self.opened[-1]


@given(
    homes=st.lists(st.integers(0, 30), max_size=60),
    batch_rows=st.integers(1, 20),
    first=st.integers(0, 32),
    count=st.integers(1, 32),
)
def test_a_range_of_homes_gives_exactly_its_rows_in_order(
    homes: list[int], batch_rows: int, first: int, count: int
) -> None:
    store: Any = MemoryStore()
    home = np.sort(np.array(homes, np.int64))
    columns = {"home": home, "overlap": np.linspace(0, 1, len(home))}
    store.create("groups", pack_groups(columns, batch_rows))
    mine = (home >= first) & (home < first + count)
    found = read_groups(store, "groups", first, first + count)
    assert list(found) == list(columns)
    for name, values in columns.items():
        assert found[name].dtype == values.dtype
        assert found[name].tolist() == values[mine].tolist()


def test_little_more_is_fetched_than_asked_for() -> None:
    store: Any = CountingStore()
    rows = 200_000
    columns = {"home": np.arange(rows) // 10, "noise": np.random.default_rng(0).integers(0, 1 << 60, rows)}
    store.create("groups", pack_groups(columns, 5_000))
    assert len(read_groups(store, "groups", 700, 701)["home"]) == 10
    (file,) = store.opened
    assert file.fetched < len(store.files["groups"]) / 20


def test_an_object_is_reported_by_the_tile_of_its_first_part() -> None:
    """Parts 0..2 lie in tile 3, part 3 in tile 5, parts 4 and 5 in tile 9; part 1 goes."""
    group = np.array([0, -1, 1, 1, 2, 0])
    columns = group_columns(group, np.array([0.5, 0.25, np.nan]), (3, 5, 9), (3, 1, 2))
    rows = list(zip(*(columns[name].tolist() for name in ("home", "group", "tile", "part")), strict=True))
    assert rows == [(3, 0, 3, 0), (3, 0, 9, 1), (3, 1, 3, 2), (3, 1, 5, 0), (9, 2, 9, 0)]
    assert columns["overlap"][:4].tolist() == [0.5, 0.5, 0.25, 0.25]
