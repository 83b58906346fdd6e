"""Law 5: what the tables say of an object and of an image is what counting on the whole truth gives."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segworkers.lattice import Lattice
from tests import runs, worlds
from tests.archives import HOLE
from tests.segworkers.readers.rasters import write_raster

CLASSES = 3


def counted(mask: NDArray[np.bool_], lattice: Lattice) -> dict[str, Any]:
    """Columns that follow from the mask alone."""
    y, x = np.nonzero(mask)
    height, width = mask.shape
    edges = [lattice.cell_edges(axis) for axis in (1, 2)]
    rows, columns = (np.searchsorted(edge, at, "right") for edge, at in zip(edges, (y, x), strict=True))
    cells = set(zip(rows.tolist(), columns.tolist(), strict=True))
    return {
        "pixel_count": len(y),
        "z_min": 0, "y_min": y.min(), "x_min": x.min(), "z_max": 1, "y_max": y.max() + 1, "x_max": x.max() + 1,
        "centroid_z_px": 0.5,
        "centroid_y_px": pytest.approx(y.mean() + 0.5, rel=1e-12),
        "centroid_x_px": pytest.approx(x.mean() + 0.5, rel=1e-12),
        "touches_border": bool(y.min() == 0 or x.min() == 0 or y.max() == height - 1 or x.max() == width - 1),
        "n_parts": len(cells),
        "is_complete": True,
    }  # fmt: skip


def busy(truth: NDArray[Any], lattice: Lattice) -> NDArray[np.bool_]:
    """(y, x) pixels in cells that hold a pixel of an object."""
    found = np.zeros(truth.shape, bool)
    for y0, y1 in pairwise(lattice.cell_edges(1)):
        for x0, x1 in pairwise(lattice.cell_edges(2)):
            found[y0:y1, x0:x1] = truth[y0:y1, x0:x1].any()
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    world=st.sampled_from(worlds.ALL),
    side=st.integers(24, 80),
    overlap=st.integers(16, 40),
    tile=st.sampled_from([1, 100, 500]),
    holes=st.booleans(),
)
@example(seed=1, world=worlds.rivers, side=32, overlap=16, tile=1, holes=True)
def test_tables_say_what_counting_on_the_whole_truth_gives(
    seed: int, world: worlds.World, side: int, overlap: int, tile: int, holes: bool
) -> None:
    rng = np.random.default_rng(seed)
    truth = world(rng, 150)[: rng.integers(1, 150), : rng.integers(1, 150)]
    valid = np.ones(truth.shape, bool)
    if holes:
        valid[rng.random(truth.shape) < 0.01] = False
        valid[20:50, 30:90] = False
    # A hole or the image's edge may part an object for good: its pieces are objects then.
    truth = worlds.connected(truth * valid)
    options = {"side": side, "overlap": min(overlap, side // 2), "classes": CLASSES}
    with TemporaryDirectory() as folder:
        path, out = Path(folder) / "a.tif", Path(folder) / "out"
        write_raster(path, np.where(valid, truth, HOLE).astype(np.uint16)[None], nodata=HOLE)
        runs.run([path], out, runs.user_model("Oracle"), options, tiling__tile=tile)
        rows, (image,) = runs.rows(out, "instances"), runs.rows(out, "images")
    lattice = Lattice((1, side, side), (0, options["overlap"], options["overlap"]), (1, *truth.shape))
    compare_rows(rows, truth, lattice)
    compare_image(image, rows, truth, valid, lattice)


def compare_rows(rows: list[dict[str, Any]], truth: NDArray[Any], lattice: Lattice) -> None:
    numbers = {int(number) for number in np.unique(truth[truth > 0])}
    assert len(rows) == len(numbers)
    for row in rows:
        mask = runs.mask_of(row, truth.shape)
        (number,) = {int(value) for value in np.unique(truth[mask])}
        numbers.remove(number)
        assert (mask == (truth == number)).all()
        expected = counted(mask, lattice)
        assert {name: row[name] for name in expected} == expected
        assert row["label"] == f"class_{number % CLASSES}"
        assert row["score"] == 0.5 + (number % 50) / 100
    assert not numbers
    assert sorted(row["mask_value"] for row in rows) == list(range(1, len(rows) + 1))
    assert len({row["instance_id"] for row in rows}) == len(rows)


def compare_image(
    image: dict[str, Any], rows: list[dict[str, Any]], truth: NDArray[Any], valid: NDArray[np.bool_], lattice: Lattice
) -> None:
    done = busy(truth, lattice) & valid
    assert image["object_count"] == len(rows)
    assert image["pixels_done"] == done.sum()
    assert image["pixels_empty"] == (valid & ~done).sum()
    assert image["pixels_nodata"] == (~valid).sum()
    assert image["pixels_failed"] == 0
    assert (image["status"], image["is_lower_bound"], image["reason"]) == ("done", False, None)
    # UTM near its central meridian: a pixel of 0.25 m² is 0.25 m² / 0.9996² on the ground.
    assert image["valid_area_m2"] == pytest.approx(valid.sum() * 0.25 / 0.9996**2, rel=1e-4)
    if valid.any():
        assert image["objects_per_km2"] == pytest.approx(len(rows) / image["valid_area_m2"] * 1e6)
    for number, told in enumerate(image["classes"]):
        members = np.unique(truth[(truth > 0) & (truth % CLASSES == number)])
        assert told["label"] == f"class_{number}"
        assert told["object_count"] == len(members)
        assert told["pixel_count"] == np.isin(truth, members).sum()
        assert told["area_m2"] == pytest.approx(told["pixel_count"] * 0.25 / 0.9996**2, rel=1e-4)
        scores = 0.5 + (members % 50) / 100
        assert told["mean_score"] == (pytest.approx(scores.mean(), abs=1e-8) if len(members) else None)
