"""What calls hold: slabs of a volume stay together, tiles of rasters fill calls."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from jobs.ledger import chunks
from schemas.boxes import Zyx
from schemas.grids import PixelGrid
from schemas.sources import Source
from schemas.volumes import VolumeFacts
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.plans import SourcePlan
from segworkers.tiling import TilePlan
from tests.volume_geometries import geometry

FACTS = VolumeFacts(
    series_id="a",
    study_id="b",
    subject_id="c",
    frame_of_reference_id="d",
    modality="CT",
    unit="HU",
    geometry=geometry(),
)


def work(uri: str, tiles: int, *, volume: bool) -> tuple[SourcePlan, list[Zyx]]:
    """A source of one plane a tile."""
    shape = (tiles, 300, 300)
    source = Source(uri=uri, fingerprint="0", grid=PixelGrid(shape=shape), dtype="int16", bands=("b",))
    plan = SourcePlan(
        source=replace(source, volume=FACTS) if volume else source,
        grid=ModelGrid(shape, shape),
        tiles=TilePlan(Lattice((1, 300, 300), (0, 0, 0), shape), (1, 1, 1), (1, 1, 1)),
        bands=(0,),
    )
    return plan, [(z, 0, 0) for z in range(tiles)]


@given(
    volumes=st.lists(st.integers(1, 40), max_size=12),
    rasters=st.lists(st.integers(1, 30), max_size=5),
    limit=st.none() | st.integers(1, 7),
    places=st.integers(1, 9),
)
def test_calls_hold_every_tile_once_in_order_and_volumes_whole(
    volumes: list[int], rasters: list[int], limit: int | None, places: int
) -> None:
    todo = [work(f"v{k}", n, volume=True) for k, n in enumerate(volumes)]
    todo += [work(f"r{k}", n, volume=False) for k, n in enumerate(rasters)]
    found = list(chunks(todo, limit, places))
    told = [(plan.source.uri, index) for chunk in found for plan, indices in chunk.parts for index in indices]
    assert told == [(plan.source.uri, index) for plan, indices in todo for index in indices]
    calls = [sum(any(p is plan for p, _ in chunk.parts) for chunk in found) for plan, _ in todo[: len(volumes)]]
    if limit is not None:
        assert all(len(chunk) < 2 * limit for chunk in found)
    else:
        assert sum(count > 1 for count in calls) < places
        assert all(count <= places for count in calls)


@given(volumes=st.integers(1, 30), places=st.integers(1, 16))
def test_volumes_are_whole_calls_but_for_the_last_which_all_processes_share(volumes: int, places: int) -> None:
    slabs = 16
    found = list(chunks([work(f"v{k}", slabs, volume=True) for k in range(volumes)], None, places))
    shared = volumes % places
    whole = volumes - shared
    assert all(len(chunk) == slabs for chunk in found[:whole])
    assert all(len(chunk) <= -(-slabs // -(-places // shared)) for chunk in found[whole:])
    assert (len(found) == whole) == (shared == 0)


def test_slabs_of_a_few_volumes_make_enough_calls() -> None:
    assert [len(chunk) for chunk in chunks([work("v", 16, volume=True)], None, 8)] == [2] * 8
    assert [len(chunk) for chunk in chunks([work("v", 16, volume=True)], None, 1)] == [16]
    three = [work(f"v{k}", 9, volume=True) for k in range(3)]
    assert [len(chunk) for chunk in chunks(three, None, 8)] == [3] * 9
    assert [len(chunk) for chunk in chunks(three, None, 2)] == [9, 9, 5, 4]
