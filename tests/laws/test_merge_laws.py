"""Laws 3 and 4: whatever the windows and work tiles, the objects are those of the whole image."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import worlds
from tests.fakes import ArrayReader, TruthClasses, TruthMasks
from tests.pipeline import paint, run_source, same_partition


def _dense(image: NDArray[np.uint8], model: TruthClasses, group: tuple[int, int, int], seed: int) -> None:
    objects, receipts = run_source(ArrayReader(image), model, group, seed)
    connectivity = model.manifest.connectivity
    if image.shape[0] == 1:
        truth = cc3d.connected_components(image[0], connectivity=connectivity)[None]
    else:
        truth = cc3d.connected_components(image, connectivity=connectivity)
    assert same_partition(paint(objects, image.shape), truth.astype(np.int64))
    assert sum(receipt.counts.total for receipt in receipts) == image.size


@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    window=st.integers(4, 24),
    overlap=st.integers(0, 8),
    group=st.integers(1, 4),
    connectivity=st.sampled_from([4, 8]),
    density=st.sampled_from([0.2, 0.45, 0.6]),
)
def test_tiled_dense_objects_in_the_plane_are_the_components_of_the_whole_class_map(
    seed: int, height: int, width: int, window: int, overlap: int, group: int, connectivity: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.random((1, height, width)) < density) * rng.integers(1, 3, (1, height, width))
    model = TruthClasses(
        (1, window, window),
        (
            0,
            min(overlap, window // 2),
        )
        * 1
        + (min(overlap, window // 2),),
        connectivity=connectivity,
    )
    _dense(image.astype(np.uint8), model, (1, group, group), seed)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 16), st.integers(1, 20), st.integers(1, 20)),
    window=st.integers(3, 8),
    overlap=st.integers(0, 4),
    group=st.integers(1, 3),
    connectivity=st.sampled_from([6, 18, 26]),
)
def test_tiled_dense_objects_in_space_are_the_components_of_the_whole_class_map(
    seed: int, shape: tuple[int, int, int], window: int, overlap: int, group: int, connectivity: int
) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.random(shape) < 0.3) * rng.integers(1, 3, shape)
    overlap = min(overlap, window // 2)
    model = TruthClasses((window,) * 3, (overlap,) * 3, connectivity=connectivity)
    solid = np.concatenate([image, image]) if shape[0] == 1 else image
    _dense(solid.astype(np.uint8), model, (group,) * 3, seed)


few = settings(max_examples=max(5, settings.default.max_examples // 4))
"""For cases of half a second: 6 in a quick run, 75 in the nightly one, for each world."""


@few
@pytest.mark.parametrize("world", worlds.ALL, ids=lambda world: world.__name__)
@given(
    seed=st.integers(0, 2**32 - 1),
    window=st.integers(32, 96),
    overlap=st.integers(16, 40),
    group=st.integers(1, 4),
)
def test_a_perfect_instance_model_gives_every_object_exactly_once_and_whole(
    world: worlds.World, seed: int, window: int, overlap: int, group: int
) -> None:
    truth = world(np.random.default_rng(seed), 200)
    overlap = min(overlap, window // 2)
    model = TruthMasks((1, window, window), (0, overlap, overlap))
    objects, receipts = run_source(ArrayReader(truth[None]), model, (1, group, group), seed)
    assert len(objects) == len(np.unique(truth[truth > 0]))
    assert same_partition(paint(objects, (1, *truth.shape)), truth[None])
    assert sum(receipt.counts.total for receipt in receipts) == truth.size


@few
@given(seed=st.integers(0, 2**32 - 1), groups=st.lists(st.integers(1, 6), min_size=2, max_size=3, unique=True))
def test_objects_do_not_depend_on_the_work_tile(seed: int, groups: list[int]) -> None:
    """Also where windows disagree: outlines move and objects go missing, differently in every window."""
    truth = worlds.touching_cells(np.random.default_rng(seed), 200)
    outcomes = []
    for group in groups:
        model = worlds.Jittered((1, 48, 48), (0, 16, 16))
        objects, _ = run_source(ArrayReader(truth[None]), model, (1, group, group), seed + group)
        masks = objects.masks
        offsets = masks.offsets(len(objects))
        rows = [
            (masks.runs[a:b].tobytes(), float(s), int(v), bool(w), repr(float(o)))
            for a, b, s, v, w, o in zip(
                offsets[:-1],
                offsets[1:],
                objects.score,
                objects.n_views,
                objects.assembled,
                objects.min_overlap,
                strict=True,
            )
        ]
        outcomes.append(sorted(rows, key=repr))
    assert all(outcome == outcomes[0] for outcome in outcomes)
