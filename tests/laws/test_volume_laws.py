"""Law 3 in space: a model whose answer depends on all that it is shown gives the untiled answer, whatever the tiles."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segworkers.orientation import Flips
from segworkers.segmenters.declaration import read_manifest
from segworkers.segmenters.python_model import PythonSegmenter
from tests import runs
from tests.dicom_files import Layout
from tests.fakes import ArrayReader
from tests.pipeline import paint, run_source, same_partition
from tests.volume_truth import NODATA, World, class_map, components

_FILE = runs.ROOT / "tests" / "user_models" / "volumes.py"


def contrast(**options: Any) -> Any:
    """The model of that name in tests/user_models/volumes.py."""
    spec = importlib.util.spec_from_file_location("volumes_of_laws", _FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Contrast("cpu", **options)


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Of `Contrast`: windows from flat to deep, with and without overlap, context and blending, in batches."""
    window = tuple(draw(st.integers(low, 9)) for low in (1, 3, 3))
    return {
        "window": window,
        "overlap": tuple(draw(st.integers(0, side // 2)) for side in window),
        "context": tuple(draw(st.integers(0, 3)) for _ in window),
        "blend": draw(st.sampled_from(["none", "gaussian"])),
        "batch": tuple(draw(st.integers(1, 2)) for _ in window),
        "connectivity": draw(st.sampled_from([6, 18, 26])),
    }


@given(
    options=options(),
    shape=st.tuples(st.integers(2, 12), st.integers(2, 16), st.integers(2, 16)),
    groups=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    share=st.sampled_from([0.0, 0.1, 0.9]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_tiled_model_in_space_gives_the_components_of_its_windows_assembled_at_once(
    options: dict[str, Any],
    shape: tuple[int, int, int],
    groups: tuple[int, int, int],
    share: float,
    flips: Flips,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-300, 300, shape)
    values[rng.random(shape) < share] = NODATA
    world = World(values=values, layout=Layout(shape=shape), padding=True)
    model = contrast(**options)
    segmenter = PythonSegmenter(model, read_manifest(model, "contrast", "0"), str(_FILE))
    reader = ArrayReader(values.astype(np.int16), world.valid)
    group = tuple(g * b for g, b in zip(groups, options["batch"], strict=True))
    objects, receipts = run_source(reader, segmenter, group, seed % 100, flips)
    turned = [axis for axis, flip in enumerate(flips) if flip]
    expected = components(class_map(model, world, flips=turned), options["connectivity"])
    assert same_partition(paint(objects, shape), expected)
    assert sum(receipt.counts.total for receipt in receipts) == values.size
    assert sum(receipt.counts.nodata for receipt in receipts) == (~world.valid).sum()
