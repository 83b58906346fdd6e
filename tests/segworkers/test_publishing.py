"""Publishing: one row for each identity, numbered by source, summed up, found again when it is repeated."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.tables import INSTANCES
from segworkers import publishing
from segworkers.objects import Objects
from segworkers.publishing import PublishedRows, PublishTask, PublishWorker
from segworkers.rows import ROW_SCHEMA, Filters, rows_of
from segworkers.store import LocalStore
from tests.segworkers.test_rows import MODEL, PLAN, objects

SOURCE = PLAN.source.source_id


def publish(folder: Path, *batches: Objects, largest_only: bool = False) -> tuple[PublishedRows, pa.Table]:
    """Each batch as a rows file of its own, published together."""
    store = LocalStore(folder)
    for k, batch in enumerate(batches):
        sink = io.BytesIO()
        pq.write_table(rows_of(batch, PLAN, MODEL.manifest, (), Filters()).cast(ROW_SCHEMA), sink)
        store.create(f"rows/{k}.rows", sink.getvalue())
    names = tuple(f"rows/{k}.rows" for k in range(len(batches)))
    task = PublishTask(folder="tables/g/instances", first=0, sources=(SOURCE,), files=names, largest_only=largest_only)
    made = PublishWorker(store)(task)
    assert PublishWorker(store)(task) == made, "what is published is found again"
    return made, pa.concat_tables([pq.read_table(folder / file.path) for file in made.files])


def test_one_mask_of_one_class_is_one_row_wherever_it_was_found_twice(tmp_path: Path) -> None:
    first = objects((10, 10, 12, 12), (50, 50, 60, 60), score=[0.3, 0.5])
    second = objects((10, 10, 12, 12), (10, 10, 12, 12), label=[0, 1], score=[0.8, 0.1])
    made, table = publish(tmp_path, first, second)
    found = sorted(zip(table["label"].to_pylist(), table["score"].to_pylist(), strict=True))
    assert found == [("class_1", 0.5), ("class_1", 0.8), ("class_2", 0.1)]
    assert sorted(table["mask_value"].to_pylist()) == [1, 2, 3]
    assert {label: sums.objects for label, sums in made.totals[SOURCE].items()} == {"class_1": 2, "class_2": 1}
    assert made.totals[SOURCE]["class_1"].pixels == 104


def test_rows_do_not_depend_on_how_they_came(tmp_path: Path) -> None:
    boxes = [(y, x, y + 3, x + 4) for y in range(0, 90, 9) for x in range(0, 90, 11)]
    _, whole = publish(tmp_path / "a", objects(*boxes))
    _, parts = publish(tmp_path / "b", objects(*boxes[40:]), objects(*boxes[:40]))
    assert whole.equals(parts)
    assert whole.schema.equals(INSTANCES)


def test_a_source_with_many_rows_makes_several_files_with_running_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "ROWS_PER_GROUP", 10)
    monkeypatch.setattr(publishing, "ROWS_PER_FILE", 30)
    boxes = [(y, x, y + 3, x + 4) for y in range(0, 90, 9) for x in range(0, 90, 11)]
    made, table = publish(tmp_path, objects(*boxes))
    assert [file.rows for file in made.files] == [30, 30, 30]
    assert table["mask_value"].to_pylist() == list(range(1, 91))


def test_the_largest_of_each_class_is_found_over_all_files_and_equal_ones_are_told_apart_by_identity(
    tmp_path: Path,
) -> None:
    first = objects((10, 10, 12, 12), (50, 50, 60, 60), (0, 0, 3, 3), label=[0, 0, 1])
    second = objects((70, 70, 80, 80), (30, 50, 40, 60), (50, 50, 60, 60), (5, 5, 6, 6), label=[0, 0, 0, 1])
    _, everything = publish(tmp_path / "all", first, second)
    tied = [row["instance_id"] for row in everything.to_pylist() if row["pixel_count"] == 100]
    assert len(tied) == 3
    for name, batches in {"a": (first, second), "b": (second, first)}.items():
        made, table = publish(tmp_path / name, *batches, largest_only=True)
        rows = {row["label"]: row for row in table.to_pylist()}
        assert table.num_rows == len(rows) == 2
        assert rows["class_1"]["instance_id"] == min(tied)
        assert rows["class_2"]["pixel_count"] == 9
        assert sorted(table["mask_value"].to_pylist()) == [1, 2]
        sums = {label: (total.objects, total.pixels) for label, total in made.totals[SOURCE].items()}
        assert sums == {"class_1": (1, 100), "class_2": (1, 9)}
