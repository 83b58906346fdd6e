"""What the merge's tasks are cut into: every tile once, no task too large."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from jobs.ledger import Ledger
from jobs.merging import OBJECTS_PER_TASK, TILES_PER_TASK, rows_tasks
from schemas.boxes import Box
from schemas.grids import PixelGrid
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.plans import SourcePlan
from segworkers.receipts import CellCounts, Receipt
from segworkers.rows import Filters
from segworkers.tiling import TilePlan

MODEL = ModelManifest(name="m", kind="instance", window=(1, 8, 8), overlap=(0, 0, 0), classes=("a",))


def source(uri: str, weights: list[int], ledger: Ledger) -> SourcePlan:
    """A row of tiles with so many objects each, half of them open."""
    shape = (1, 8, 8 * len(weights))
    plan = SourcePlan(
        source=Source(uri=uri, fingerprint="0", grid=PixelGrid(shape=shape), dtype="uint8", bands=("b",)),
        grid=ModelGrid(shape, shape),
        tiles=TilePlan(Lattice(MODEL.window, MODEL.overlap, shape), (1, 1, 1), (1, 1, 1)),
        bands=(0,),
    )
    for x, weight in enumerate(weights):
        ledger.add(
            Receipt(
                source_id=plan.source.source_id,
                tile=(0, 0, x),
                core=Box((0, 0, 8 * x), (1, 8, 8 * x + 8)),
                status="done",
                counts=CellCounts(done=64),
                objects=weight // 2,
                open=weight - weight // 2,
                shard=f"{uri} {x}",
                shard_sha256=f"{uri} {x}",
            )
        )
    return plan


@given(
    sources=st.lists(
        st.lists(st.sampled_from([0, 7, OBJECTS_PER_TASK // 3, 3 * OBJECTS_PER_TASK]), min_size=1, max_size=90),
        max_size=5,
    )
)
def test_rows_tasks_take_every_tile_once_and_stay_bounded(sources: list[list[int]]) -> None:
    ledger = Ledger()
    plans = [source(f"s{k}", weights, ledger) for k, weights in enumerate(sources)]
    tasks = rows_tasks(plans, MODEL, ledger, {}, Filters())
    assert [shard for task in tasks for part in task.parts for shard in part.shards] == [
        f"s{k} {x}" for k, weights in enumerate(sources) for x in range(len(weights))
    ]
    weight = {f"s{k} {x}": w for k, weights in enumerate(sources) for x, w in enumerate(weights)}
    for task in tasks:
        shards = [shard for part in task.parts for shard in part.shards]
        assert len(shards) < 2 * TILES_PER_TASK
        assert sum(weight[shard] for shard in shards[:-1]) < 2 * OBJECTS_PER_TASK
        for part in task.parts:
            first = ledger.of(part.plan)[part.first]
            assert first.shard == part.shards[0]
    assert len({task.name for task in tasks}) == len(tasks)


def test_a_task_is_named_after_its_shards_and_filters() -> None:
    ledger = Ledger()
    plans = [source("s", [5, 5], ledger)]
    (before,) = rows_tasks(plans, MODEL, ledger, {}, Filters())
    assert rows_tasks(plans, MODEL, ledger, {}, Filters(min_pixels=2))[0].name != before.name
    ledger.add(replace(ledger.of(plans[0])[1], shard_sha256="other"))
    assert rows_tasks(plans, MODEL, ledger, {}, Filters())[0].name != before.name
