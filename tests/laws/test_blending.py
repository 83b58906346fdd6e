"""Blended maps are those of the whole image, summed window by window in lattice order, whatever tiles and batches."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from schemas.models import ModelManifest
from segworkers.blending import Blender, importance_map
from segworkers.lattice import Lattice
from segworkers.segmenters.base import DenseMaps, DenseProbabilities
from segworkers.tiling import TilePlan, margin_of
from segworkers.windows import Batch, batches, cut_windows
from tests import runs
from tests.fakes import ArrayReader
from tests.pipeline import plan_for, run_source, same_partition

POISON = 255


class Disagreeing:
    """Probabilities that depend on the pixel, on its place in the window and on the window's other pixels.

    Raises where a window shows POISON. `coarse` rounds to quarters, so that classes tie.
    """

    def __init__(
        self, window: Zyx, overlap: Zyx, *, batch: Zyx = (1, 1, 1), coarse: bool = False, blend: Any = "gaussian"
    ) -> None:
        self.coarse = coarse
        self.shown: list[bytes] = []
        self.manifest = ModelManifest(
            name="disagreeing",
            kind="dense",
            window=window,
            overlap=overlap,
            classes=("one", "two"),
            batch=batch,
            blend=blend,
            connectivity=8 if window[0] == 1 else 26,
        )

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseProbabilities:
        if (windows == POISON).any():
            raise RuntimeError("poison")
        self.shown += [window.tobytes() for window, real in zip(windows, valid, strict=True) if real.any()]
        return DenseProbabilities(np.stack([self.one(window[0].astype(np.float64)) for window in windows]))

    def one(self, window: NDArray[np.float64]) -> NDArray[np.float32]:
        z, y, x = np.indices(window.shape)
        waves = [np.sin(window * (k + 1) + 0.7 * k * y + 0.3 * x + 0.5 * z + window.sum()) for k in range(3)]
        raised = np.stack(waves) + 1.0 + np.array([0.6, 0, 0])[:, None, None, None]
        shares = raised / raised.sum(axis=0)
        return (np.round(shares * 4) / 4 if self.coarse else shares).astype(np.float32)


def expected(reader: ArrayReader, model: Disagreeing) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Class map and probabilities of the whole image: a plain loop over all windows in lattice order."""
    shape = zyx(reader.valid.shape)
    lattice = Lattice(model.manifest.window, model.manifest.overlap, shape)
    sums, total = np.zeros((3, *shape), np.float32), np.zeros(shape, np.float32)
    failed = np.zeros(shape, bool)
    weights = importance_map(lattice.window)
    for index in np.ndindex(*lattice.shape):
        box = lattice.real_box(index)
        place, inside = box.within((0, 0, 0)), box.within(box.start)
        if any(box & broken for broken in reader.broken):
            failed[lattice.cell_box(index).within((0, 0, 0))] = True
            continue
        windows, valid = cut_windows(reader.pixels, reader.valid, (0, 0, 0), lattice, Batch((index,), (0,), 1))
        if (windows == POISON).any():
            failed[lattice.cell_box(index).within((0, 0, 0))] = True
            continue
        if not valid.any():
            continue
        probabilities = model.one(windows[0, 0].astype(np.float64))
        for k in range(3):
            sums[k][place] += weights[inside] * probabilities[k][inside]
        total[place] += weights[inside]
    classes = sums.argmax(axis=0)
    classes[~reader.valid | failed] = 0
    with np.errstate(invalid="ignore"):
        return classes, np.minimum(sums.max(axis=0) / total, 1)


def check(reader: ArrayReader, model: Disagreeing, groups: list[Zyx], seed: int) -> None:
    """For every tile size: classes, objects, scores and counts as the whole image has them."""
    classes, probability = expected(reader, model)
    shape = zyx(classes.shape)
    truth = cc3d.connected_components(
        classes.astype(np.uint32)[0] if shape[0] == 1 else classes.astype(np.uint32),
        connectivity=8 if shape[0] == 1 else 26,
    ).reshape(shape)
    units = np.rint(probability.astype(np.float64) * 2**20)
    outcomes: list[object] = []
    for group in groups:
        objects, receipts = run_source(reader, model, group, seed)
        found, labels = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for (z, x, y0, y1), owner in zip(objects.masks.runs, objects.masks.owner, strict=True):
            found[z, y0:y1, x] = owner + 1
            labels[z, y0:y1, x] = objects.label[owner] + 1
        assert np.array_equal(labels, classes)
        assert same_partition(found, truth.astype(np.int64))
        for number, score in enumerate(objects.score, start=1):
            mask = found == number
            assert score == int(units[mask].sum()) / 2**20 / mask.sum()
        counts = [receipt.counts for receipt in receipts]
        outcomes.append([sum(getattr(c, kind) for c in counts) for kind in ("done", "empty", "nodata", "failed")])
        failed = sorted((box for receipt in receipts for box in receipt.failed_cells), key=lambda box: box.start)
        outcomes[-1] = (outcomes[-1], failed)
    assert all(outcome == outcomes[0] for outcome in outcomes)


def _groups(draw: st.DrawFn, batch: Zyx, most: int) -> list[Zyx]:
    factors = draw(st.lists(st.tuples(*[st.integers(1, most)] * 3), min_size=1, max_size=2))
    return [zyx([b * f for b, f in zip(batch, factor, strict=True)]) for factor in [*factors, (99, 99, 99)]]


@st.composite
def cases(draw: st.DrawFn, solid: bool) -> tuple[ArrayReader, Disagreeing, list[Zyx]]:
    if solid:
        shape = draw(st.tuples(st.integers(2, 12), st.integers(1, 16), st.integers(1, 16)))
        window = draw(st.tuples(st.integers(2, 6), st.integers(2, 7), st.integers(2, 7)))
        batch = draw(st.sampled_from([(1, 1, 1), (2, 1, 2), (1, 2, 2)]))
    else:
        shape = draw(st.tuples(st.just(1), st.integers(1, 40), st.integers(1, 40)))
        window = draw(st.tuples(st.just(1), st.integers(2, 12), st.integers(2, 12)))
        batch = draw(st.sampled_from([(1, 1, 1), (1, 2, 2), (1, 3, 2)]))
    overlap = zyx([draw(st.integers(0, side // 2)) for side in window])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = rng.integers(0, 200, shape).astype(np.uint8)
    pixels[rng.random(shape) < draw(st.sampled_from([0, 0.002, 0.01]))] = POISON
    valid = rng.random(shape) > draw(st.sampled_from([0, 0.1]))
    if draw(st.booleans()):
        valid[:, : shape[1] // 2, : shape[2] // 2] = False
    broken: list[Box] = []
    if draw(st.booleans()):
        corner = zyx([int(rng.integers(0, n)) for n in shape])
        broken.append(Box(corner, zyx([c + 1 for c in corner])))
    model = Disagreeing(window, overlap, batch=batch, coarse=draw(st.booleans()))
    return ArrayReader(pixels, valid, broken), model, _groups(draw, batch, 3)


@given(case=cases(solid=False), seed=st.integers(0, 1000))
def test_blended_planes_are_those_of_the_whole_image(case: Any, seed: int) -> None:
    check(*case, seed)


@given(case=cases(solid=True), seed=st.integers(0, 1000))
def test_blended_volumes_are_those_of_the_whole_image(case: Any, seed: int) -> None:
    check(*case, seed)


def test_a_window_that_fails_costs_its_own_cell_and_no_more_for_every_tile() -> None:
    pixels = np.random.default_rng(3).integers(0, 200, (1, 40, 40)).astype(np.uint8)
    pixels[0, 13, 13] = POISON  # in window (1, 1) only: 10 to 22
    reader, model = ArrayReader(pixels), Disagreeing((1, 12, 12), (0, 2, 2))
    check(reader, model, [(1, 1, 1), (1, 2, 2), (1, 9, 9)], 0)
    _, receipts = run_source(reader, model, (1, 1, 1))
    (bad,) = [receipt for receipt in receipts if receipt.reason is not None]
    assert bad.tile == (0, 1, 1) and bad.status == "failed" and bad.counts.failed == 100
    assert "(1 windows" not in (bad.message or "") and "window 0-1-1" in (bad.message or "")


def test_windows_agree_less_at_their_borders_so_blending_changes_the_map() -> None:
    """The tests above could not fail otherwise."""
    reader = ArrayReader(np.random.default_rng(5).integers(0, 200, (1, 60, 60)).astype(np.uint8))
    maps = []
    for blend in ("none", "gaussian"):
        objects, _ = run_source(reader, Disagreeing((1, 16, 16), (0, 8, 8), blend=blend), (1, 2, 2))
        image = np.zeros((60, 60), int)
        for (_, x, y0, y1), owner in zip(objects.masks.runs, objects.masks.owner, strict=True):
            image[y0:y1, x] = objects.label[owner] + 1
        maps.append(image)
    assert 0.02 < (maps[0] != maps[1]).mean() < 0.95


def test_blending_is_part_of_a_shards_name() -> None:
    reader = ArrayReader(np.zeros((1, 8, 8), np.uint8))
    names = set[str]()
    for blend in ("none", "gaussian"):
        model = Disagreeing((1, 8, 8), (0, 2, 2), blend=blend)
        names.add(plan_for(reader, model, (1, 1, 1)).shard_name((0, 0, 0), model.manifest))
    assert len(names) == 2


def test_a_model_without_probabilities_fails_every_window_with_what_to_do() -> None:
    class Classes(Disagreeing):
        def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> Any:
            return DenseMaps(np.zeros(windows[:, 0].shape, np.uint8), None)

    _, receipts = run_source(ArrayReader(np.zeros((1, 8, 8), np.uint8)), Classes((1, 8, 8), (0, 2, 2)), (1, 1, 1))
    assert [receipt.reason for receipt in receipts] == ["bad_prediction"]
    assert "expected class probabilities, because blend is gaussian" in (receipts[0].message or "")


SOFT = """
import numpy as np
class Soft:
    kind, window, overlap, classes, batch = "dense", (1, 32, 32), (0, 12, 12), ("dark", "bright"), (1, 2, 1)
    def __init__(self, device): ...
    def predict(self, windows):
        values = windows[:, 0] / 255 + np.linspace(0, 0.3, 32, dtype=np.float32)
        likeness = np.exp(-5 * np.abs(values[:, None] - np.array([0.5, 0, 1])[None, :, None, None, None]))
        return likeness / likeness.sum(axis=1, keepdims=True)
"""


def test_published_tables_are_byte_identical_for_all_tile_sizes(tmp_path: Path) -> None:
    (tmp_path / "soft.py").write_text(SOFT)
    image = np.random.default_rng(7).integers(0, 255, (12, 15), np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=120, width=150, count=1, dtype="uint8") as file:
        file.write(image, 1)
    published, tiles = list[object](), list[int]()
    for number, tile in enumerate((32, 64, 4096)):
        out = tmp_path / str(number)
        sets = {"tiling__tile": tile, "model__blend": "gaussian"}
        runs.run([tmp_path / "a.tif"], out, f"python:{tmp_path}/soft.py:Soft", **sets)
        tiles.append(len(runs.rows(out, "tiles")))
        published.append(runs.files(out))
        assert len(runs.rows(out, "instances")) > 20
    assert published[0] == published[1] == published[2]
    assert tiles[0] == 21 > tiles[1] > tiles[2] == 1


# Which windows a tile shows --------------------------------------------------------------------------------------


@st.composite
def margins(draw: st.DrawFn) -> tuple[Lattice, Zyx, TilePlan, TilePlan]:
    """A lattice, a batch, the plan of a blended run and one with a single tile."""
    window = draw(st.tuples(st.integers(2, 4), st.integers(3, 9), st.integers(3, 9)))
    overlap = zyx([draw(st.integers(0, side // 2)) for side in window])
    lattice = Lattice(window, overlap, draw(st.tuples(st.integers(1, 6), st.integers(1, 24), st.integers(1, 24))))
    batch = draw(st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)))
    manifest = Disagreeing(window, overlap, batch=batch).manifest
    group = zyx([b * draw(st.integers(1, 3)) for b in batch])
    everything = zyx([b * 99 for b in batch])
    plans = [TilePlan(lattice, each, (1, 1, 1), margin_of(manifest)) for each in (group, everything)]
    return lattice, batch, plans[0], plans[1]


@given(margins())
def test_a_tile_shows_and_reads_every_window_that_meets_its_core_in_the_same_batches(case: Any) -> None:
    lattice, batch, plan, whole = case
    boxes = {window: lattice.real_box(window) for window in lattice.indices((0, 0, 0), lattice.shape)}
    of_whole = {b.indices: b.slots for b in batches(whole.tile((0, 0, 0)), lattice, batch)}
    for tile in plan:
        shown = set[Zyx]()
        for each in batches(tile, lattice, batch):
            assert of_whole[each.indices] == each.slots
            shown |= set(each.indices)
        assert all(boxes[index] in tile.read for index in shown)
        meeting = {window for window, box in boxes.items() if box & tile.core}
        assert meeting <= shown
        blender = Blender(lattice, tile.start, tile.stop, 2)
        for index in meeting:
            blender.add(index, None)
        assert blender.complete
        assert {index for index in shown if tile.owns(index)} == set(lattice.indices(tile.start, tile.stop))


# The sums --------------------------------------------------------------------------------------------------------


def _answers(lattice: Lattice, seed: int) -> dict[Zyx, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    windows = lattice.indices((0, 0, 0), lattice.shape)
    return {index: rng.random((3, *lattice.window)).astype(np.float32) for index in windows}


@given(seed=st.integers(0, 10_000), overlap=st.integers(0, 3), depth=st.integers(1, 6))
def test_maps_do_not_depend_on_the_order_in_which_windows_arrive(seed: int, overlap: int, depth: int) -> None:
    lattice = Lattice((2, 6, 6), (min(overlap, 1), overlap, overlap), (depth, 15, 17))
    answers = _answers(lattice, seed)
    outcomes: list[dict[Zyx, Any]] = []
    for order in (list(answers), random.Random(seed).sample(list(answers), len(answers))):
        blender = Blender(lattice, (0, 0, 0), lattice.shape, 3)
        made: dict[Zyx, Any] = {}
        for index in order:
            cells = blender.add(index, answers[index])
            assert not made.keys() & cells.keys() and not blender.add(index, None)
            made |= cells
        assert blender.complete
        outcomes.append(made)
    assert outcomes[0].keys() == outcomes[1].keys() == answers.keys()
    for index, (classes, probability) in outcomes[0].items():
        assert classes.tobytes() == outcomes[1][index][0].tobytes()
        assert probability.tobytes() == outcomes[1][index][1].tobytes()


def test_a_cell_is_given_as_soon_as_the_last_window_that_meets_it_is_in() -> None:
    """So no more than two rows of cells are summed up at a time."""
    lattice = Lattice((1, 8, 8), (0, 2, 2), (1, 38, 38))
    blender = Blender(lattice, (0, 0, 0), lattice.shape, 3)
    answers = _answers(lattice, 0)
    last = {
        cell: max(window for window in answers if lattice.window_box(window) & lattice.cell_box(cell))
        for cell in answers
    }
    for index, values in answers.items():
        assert blender.add(index, values).keys() == {cell for cell in last if last[cell] == index}


def test_held_answers_survive_a_model_that_reuses_its_buffer() -> None:
    lattice = Lattice((1, 4, 4), (0, 2, 2), (1, 4, 6))
    answers = _answers(lattice, 1)
    first, second = answers
    fresh, reused = (Blender(lattice, (0, 0, 0), lattice.shape, 3) for _ in range(2))
    wanted = fresh.add(first, answers[first]) | fresh.add(second, answers[second])
    buffer = answers[second].copy()
    assert not reused.add(second, buffer)
    buffer[:] = 9
    got = reused.add(first, answers[first])
    assert all(np.array_equal(got[cell][1], wanted[cell][1]) for cell in wanted)


def test_ties_go_to_the_lowest_class_and_certainty_stays_one() -> None:
    lattice = Lattice((1, 4, 4), (0, 2, 2), (1, 4, 6))
    blender = Blender(lattice, (0, 0, 0), lattice.shape, 3)
    tied = np.full((3, 1, 4, 4), 0.25, np.float32)
    tied[1:, :, :2] = 1.0
    made = blender.add((0, 0, 0), tied) | blender.add((0, 0, 1), tied)
    for classes, probability in made.values():
        assert (classes[:, :2] == 1).all() and (classes[:, 2:] == 0).all() and classes.dtype == np.uint8
        assert np.allclose(probability[:, :2], 1, atol=1e-6) and probability.max() <= 1


# The weights -----------------------------------------------------------------------------------------------------


def _monai(window: Zyx) -> Iterator[tuple[Zyx, float]]:
    """MONAI's compute_importance_map(mode="gaussian", sigma_scale=0.125), before its floor, voxel by voxel."""
    for place in np.ndindex(*window):
        value = 1.0
        for p, size in zip(place, window, strict=True):
            x, sigma = p - (size - 1) / 2.0, 0.125 * size
            value *= math.exp(x**2 / (-2 * sigma**2))
        yield place, value


@pytest.mark.parametrize("window", [(1, 1, 1), (1, 8, 12), (1, 9, 16), (4, 7, 5), (1, 64, 32)])
def test_weights_are_monais_scaled_to_a_peak_of_one(window: Zyx) -> None:
    weights = importance_map(window)
    by_hand = dict(_monai(window))
    peak = max(by_hand.values())
    assert weights.shape == window and weights.dtype == np.float32 and weights.max() == 1 and weights.min() > 0
    assert all(weights[place] == pytest.approx(value / peak, rel=1e-6) for place, value in by_hand.items())
    assert np.array_equal(weights, weights[::-1, ::-1, ::-1])


def test_weights_cannot_be_written_to_because_all_tiles_share_them() -> None:
    with pytest.raises(ValueError, match="read-only"):
        importance_map((1, 4, 4))[0, 0, 0] = 0
