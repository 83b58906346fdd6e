"""Shards: what is packed comes back, and whoever needs one section reads no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.boxes import Box
from schemas.errors import StoreError
from segworkers.encoding import nothing_found
from segworkers.objects import Objects
from segworkers.receipts import CellCounts, Receipt
from segworkers.runs import RunTable
from segworkers.shards import Shard, object_sections, pack, view_sections
from tests.segworkers.test_group_files import CountingStore

RECEIPT = Receipt(
    source_id="s", tile=(0, 0, 0), core=Box((0, 0, 0), (1, 9, 9)), status="done", counts=CellCounts(done=81), read_s=1.0
)
MANY = 20_000


def shard_bytes() -> bytes:
    """Many objects of one run each, no views."""
    rng = np.random.default_rng(0)
    runs = rng.integers(0, 1 << 20, (MANY, 4)).astype(np.int32)
    none = np.full(MANY, np.nan)
    whole = np.zeros(MANY, bool)
    ones = np.ones(MANY, np.int64)
    objects = Objects(ones, none, RunTable(runs, np.arange(MANY)), ones, none, whole)
    rest: Any = nothing_found("instance").open
    views = view_sections(rest.views, rest.pixels, rest.pairs, rest.kind)
    return pack(object_sections(objects) | views, RECEIPT)


@pytest.fixture
def store() -> Any:
    made: Any = CountingStore()
    made.create("a.zip", shard_bytes())
    return made


def test_what_is_read_is_what_was_packed(store: Any) -> None:
    with Shard.open(store, "a.zip") as lazy:
        objects, receipt = lazy.objects(), lazy.receipt()
    assert len(objects) == MANY
    assert objects.masks.runs.tobytes() == Shard("a.zip", store.read("a.zip")).objects().masks.runs.tobytes()
    assert replace(receipt, shard="", shard_sha256="") == RECEIPT.untimed()
    assert receipt == Shard("a.zip", store.read("a.zip")).receipt()


def test_one_section_is_read_without_the_others(store: Any) -> None:
    with Shard.open(store, "a.zip") as shard:
        assert len(shard.views()[0]) == 0
    assert store.opened[0].fetched < len(store.files["a.zip"]) / 20


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: b"", lambda data: data[:50] + data[80:]])
def test_half_a_shard_is_refused(store: Any, damage: Any) -> None:
    store.files["a.zip"] = damage(store.files["a.zip"])
    with pytest.raises(StoreError, match="delete it and resume"), Shard.open(store, "a.zip") as shard:
        shard.objects()


def test_a_flipped_byte_is_noticed(store: Any) -> None:
    data = bytearray(store.files["a.zip"])
    data[len(data) // 2] ^= 255
    store.files["a.zip"] = bytes(data)
    with pytest.raises(StoreError, match="is damaged"), Shard.open(store, "a.zip") as shard:
        shard.objects()
