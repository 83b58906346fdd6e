"""Law 3, filters: holes, sizes, borders and the largest are those of whole objects, for all windows and work tiles.

The reference labels the whole class map with scipy, fills each component by itself with scipy, and then filters.
"""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Box, Zyx
from schemas.rle import from_coco_rle
from segworkers.objects import Objects
from segworkers.publishing import PublishedRows, PublishTask, PublishWorker
from segworkers.rows import ROW_SCHEMA, Filters, rows_of
from segworkers.runs import label_runs
from segworkers.store import LocalStore
from tests import worlds
from tests.fakes import ArrayReader, TruthClasses, TruthMasks
from tests.pipeline import plan_for, run_source
from tests.segworkers.test_holes import scipy_filled

ORDER = {4: 1, 6: 1, 18: 2, 8: 3, 26: 3}
"""Connectivity as scipy counts it; in a plane the neighbours in z do not matter."""

PLANE_DENSITIES, SPACE_DENSITIES = (0.5, 0.75, 0.9), (0.6, 0.8, 0.92)

Row = dict[str, Any]


def published(image: NDArray[Any], model: Any, group: Zyx, seed: int, filters: Filters) -> tuple[list[Row], list[Row]]:
    """The rows of `instances`, all and the largest only, from pixels on; measured in two tasks, as of large sources."""
    objects, _ = run_source(ArrayReader(image), model, group, seed)
    plan = plan_for(ArrayReader(image), model, group)
    names = ("rows/0.rows", "rows/1.rows")
    with TemporaryDirectory() as folder:
        store = LocalStore(Path(folder))
        for name, part in zip(names, np.array_split(np.arange(len(objects)), 2), strict=True):
            table = rows_of(objects.take(part), plan, model.manifest, (), filters)
            sink = io.BytesIO()
            pq.write_table(table.cast(ROW_SCHEMA), sink)
            store.create(name, sink.getvalue())
        tasks = [
            PublishTask(
                folder=f"tables/{largest}", first=0, sources=(plan.source.source_id,), files=names, largest_only=largest
            )
            for largest in (False, True)
        ]
        everything, largest = (
            _rows(Path(folder), PublishWorker(store)(task), model.manifest.classes) for task in tasks
        )
    return everything, largest


def _rows(folder: Path, made: PublishedRows, classes: tuple[str, ...]) -> list[Row]:
    """What was written, after a look at its numbers and sums."""
    rows = [row for file in made.files for row in pq.read_table(folder / file.path).to_pylist()]
    assert [row["mask_value"] for row in rows] == list(range(1, len(rows) + 1))
    totals = {
        label: (sums.objects, sums.pixels) for by_class in made.totals.values() for label, sums in by_class.items()
    }
    mine = {name: [row["pixel_count"] for row in rows if row["label"] == name] for name in classes}
    assert totals == {name: (len(pixels), sum(pixels)) for name, pixels in mine.items() if pixels}
    return rows


def mask_of(row: Row, shape: Zyx) -> NDArray[np.bool_]:
    """The row's mask as a whole image."""
    image = np.zeros(shape, bool)
    corners = [row[f"{axis}_{side}"] for side in ("min", "max") for axis in "zyx"]
    for z, x, y0, y1 in from_coco_rle(row["mask_rle"], Box(corners[:3], corners[3:])):
        image[z, y0:y1, x] = True
    assert image.sum() == row["pixel_count"]
    return image


def components(image: NDArray[Any], connectivity: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """Class and mask of every object of the whole class map."""
    structure = ndimage.generate_binary_structure(3, ORDER[connectivity])
    found: list[tuple[str, NDArray[np.bool_]]] = []
    for value in np.unique(image[image > 0]):
        labels, count = ndimage.label(image == value, structure)
        found += [(f"class_{value}", labels == k) for k in range(1, count + 1)]
    return found


def passes(mask: NDArray[np.bool_], filters: Filters) -> bool:
    """Whether size and border rule keep a mask."""
    pixels = int(mask.sum())
    axes = [axis for axis in range(3) if axis > 0 or mask.shape[0] > 1]
    near = any(mask.take(0, axis).any() for axis in axes)
    far = any(mask.take(-1, axis).any() for axis in axes)
    dropped = {"keep": False, "drop": near or far, "unbiased": near}[filters.border]
    return pixels >= filters.min_pixels and pixels <= (filters.max_pixels or pixels) and not dropped


def expected(objects: list[tuple[str, NDArray[np.bool_]]], connectivity: int, filters: Filters) -> set[Any]:
    """Class and mask of the objects that are left."""
    if filters.fill_holes is not False:
        most = None if filters.fill_holes is True else filters.fill_holes
        objects = [(label, scipy_filled(mask, connectivity, most)) for label, mask in objects]
    return {(label, mask.tobytes()) for label, mask in objects if passes(mask, filters)}


def check(image: NDArray[np.uint8], model: TruthClasses, group: Zyx, seed: int, filters: Filters) -> None:
    """What is published is what the reference says, and the largest of it where only that is wanted."""
    connectivity = model.manifest.connectivity
    rows, chosen = published(image, model, group, seed, filters)
    truth = expected(components(image, connectivity), connectivity, filters)
    assert len(rows) == len(truth)
    assert {(row["label"], mask_of(row, image.shape).tobytes()) for row in rows} == truth
    largest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["instance_id"]):
        if row["label"] not in largest or row["pixel_count"] > largest[row["label"]]["pixel_count"]:
            largest[row["label"]] = row
    assert sorted(row["instance_id"] for row in chosen) == sorted(row["instance_id"] for row in largest.values())


def textures(seed: int, shape: Zyx, density: float, coarse: bool) -> NDArray[np.uint8]:
    """A class map of two classes: salt, or worms with closed loops."""
    rng = np.random.default_rng(seed)
    noise = rng.random(shape)
    if coarse:
        noise = np.abs(ndimage.gaussian_filter(rng.standard_normal(shape), [0.7 if n > 1 else 0 for n in shape]))
    kept = noise < np.quantile(noise, density)
    classes = ndimage.zoom(rng.integers(1, 3, [-(-n // 6) for n in shape]), 6, order=0)
    return (kept * classes[tuple(slice(n) for n in shape)]).astype(np.uint8)


filters_ = st.builds(
    Filters,
    fill_holes=st.booleans() | st.integers(1, 8),
    min_pixels=st.sampled_from([1, 1, 4, 10]),
    max_pixels=st.sampled_from([None, None, 40]),
    border=st.sampled_from(["keep", "keep", "drop", "unbiased"]),
)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.just(1), st.integers(1, 40), st.integers(1, 40)),
    window=st.integers(4, 16),
    overlap=st.integers(0, 8),
    group=st.integers(1, 3),
    connectivity=st.sampled_from([4, 8]),
    density=st.sampled_from(PLANE_DENSITIES),
    coarse=st.booleans(),
    filters=filters_,
)
def test_objects_in_the_plane_are_filled_and_filtered_as_wholes(
    seed: int,
    shape: Zyx,
    window: int,
    overlap: int,
    group: int,
    connectivity: int,
    density: float,
    coarse: bool,
    filters: Filters,
) -> None:
    overlap = min(overlap, window // 2)
    model = TruthClasses((1, window, window), (0, overlap, overlap), connectivity=connectivity)
    check(textures(seed, shape, density, coarse), model, (1, group, group), seed, filters)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(2, 10), st.integers(1, 12), st.integers(1, 12)),
    window=st.integers(3, 8),
    overlap=st.integers(0, 4),
    group=st.integers(1, 3),
    connectivity=st.sampled_from([6, 18, 26]),
    density=st.sampled_from(SPACE_DENSITIES),
    coarse=st.booleans(),
    filters=filters_,
)
def test_objects_in_space_are_filled_and_filtered_as_wholes(
    seed: int,
    shape: Zyx,
    window: int,
    overlap: int,
    group: int,
    connectivity: int,
    density: float,
    coarse: bool,
    filters: Filters,
) -> None:
    overlap = min(overlap, window // 2)
    model = TruthClasses((window,) * 3, (overlap,) * 3, connectivity=connectivity)
    check(textures(seed, shape, density, coarse), model, (group,) * 3, seed, filters)


def test_the_textures_have_holes() -> None:
    """The laws above would be empty without objects that are changed by filling."""
    for shape, connectivity in (((1, 40, 40), 4), ((1, 40, 40), 8), ((10, 12, 12), 26), ((10, 12, 12), 6)):
        changed = 0
        for density, coarse in product(PLANE_DENSITIES if shape[0] == 1 else SPACE_DENSITIES, (False, True)):
            objects = components(textures(1, shape, density, coarse), connectivity)
            changed += sum(int(scipy_filled(mask, connectivity, None).sum() > mask.sum()) for _, mask in objects)
        assert changed > 0, (shape, connectivity)


@settings(max_examples=max(5, settings.default.max_examples // 6))
@given(seed=st.integers(0, 2**32 - 1), window=st.integers(32, 48), overlap=st.integers(16, 32), group=st.integers(1, 3))
def test_rings_over_many_windows_become_discs_with_both_kinds_of_model(
    seed: int, window: int, overlap: int, group: int
) -> None:
    """Rings within rings: what a ring encloses is filled, the rings inside included, which keep rows of their own."""
    truth = worlds.rings(np.random.default_rng(seed), 130)[None]
    overlap, filters = min(overlap, window // 2), Filters(fill_holes=True)
    want = sorted(scipy_filled(truth == k, 8, None).tobytes() for k in np.unique(truth[truth > 0]))
    sides = ((1, window, window), (0, overlap, overlap))
    rows, _ = published(truth, TruthMasks(*sides), (1, group, group), seed, filters)
    assert sorted(mask_of(row, truth.shape).tobytes() for row in rows) == want
    image = (truth > 0).astype(np.uint8)
    rows, _ = published(image, TruthClasses(*sides), (1, group, group), seed, filters)
    assert {("class_1", mask_of(row, truth.shape).tobytes()) for row in rows} == expected(
        components(image, 8), 8, filters
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.tuples(st.integers(10, 50), st.integers(10, 50)),
    depth=st.sampled_from([1, 12]),
)
def test_frames_side_by_side_count_every_box_once_where_the_border_rule_is_unbiased(
    seed: int, cuts: tuple[int, int], depth: int
) -> None:
    """Gundersen's counting frame: what one frame sees in its first row another sees in its last, and counts there."""
    rng = np.random.default_rng(seed)
    world = np.zeros((depth, 60, 60), np.uint16)
    for number in range(1, 60):
        z, y, x = (int(rng.integers(1, n - 1)) if n > 1 else 0 for n in world.shape)
        part = world[z : min(z + 4, max(depth - 1, 1)), y : min(y + 9, 59), x : min(x + 9, 59)]
        if not part.any():
            part[...] = number
    counts = dict.fromkeys(("keep", "drop", "unbiased"), 0)
    for place in product(_halves(5, depth), _halves(cuts[0], 60), _halves(cuts[1], 60)):
        frame = world[place]
        manifest = TruthMasks((1, 8, 8), (0, 0, 0)).manifest
        plan = plan_for(ArrayReader(frame), TruthMasks((1, 8, 8), (0, 0, 0)), (1, 1, 1))
        objects = objects_in(frame)
        for border in counts:
            counts[border] += rows_of(objects, plan, manifest, (), Filters(border=border)).num_rows
    assert counts["unbiased"] == len(np.unique(world[world > 0]))
    assert counts["drop"] <= counts["unbiased"] <= counts["keep"]


def _halves(cut: int, length: int) -> list[slice]:
    return [slice(0, cut + 1), slice(cut, length)] if length > 1 else [slice(0, length)]


def objects_in(labels: NDArray[Any]) -> Objects:
    """Every value above 0 of a label image as one object."""
    values, numbered = np.unique(np.concatenate(([0], labels.ravel())), return_inverse=True)
    n = len(values) - 1
    unknown = np.full(n, np.nan)
    masks = label_runs(numbered[1:].reshape(labels.shape), (0, 0, 0))
    return Objects(np.zeros(n, np.int64), unknown, masks, np.ones(n, np.int64), unknown, np.zeros(n, bool))
