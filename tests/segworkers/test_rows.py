"""Rows of whole objects: filters, identity, completeness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from segworkers.objects import Objects
from segworkers.rows import Filters, rows_of
from segworkers.runs import RunTable, mask_runs
from tests.fakes import ArrayReader, TruthMasks
from tests.pipeline import plan_for

MODEL = TruthMasks((1, 32, 32), (0, 8, 8), classes=2)
PLAN = plan_for(ArrayReader(np.zeros((1, 100, 100), np.uint8)), MODEL, (1, 1, 1))


def objects(
    *boxes: tuple[int, int, int, int], label: list[int] | None = None, score: list[float] | None = None
) -> Objects:
    """Rectangles (y0, x0, y1, x1)."""
    runs: list[NDArray[np.int32]] = [
        mask_runs(np.ones((1, y1 - y0, x1 - x0), bool), (0, y0, x0)) for y0, x0, y1, x1 in boxes
    ]
    n = len(boxes)
    return Objects(
        np.array(label or [0] * n),
        np.array(score or [0.5] * n, float),
        RunTable(np.concatenate(runs), np.repeat(np.arange(n), [len(r) for r in runs])),
        np.ones(n, np.int64),
        np.full(n, np.nan),
        np.zeros(n, bool),
    )


def rows(found: Objects, *, failed: tuple[Box, ...] = (), **filters: Any) -> list[dict[str, Any]]:
    return rows_of(found, PLAN, MODEL.manifest, failed, Filters(**filters)).to_pylist()


def test_filters_act_on_whole_objects() -> None:
    found = objects((10, 10, 12, 12), (20, 20, 30, 30), (0, 40, 10, 50), score=[0.9, 0.2, 0.9])
    assert len(rows(found)) == 3
    assert [r["pixel_count"] for r in rows(found, min_pixels=5)] == [100, 100]
    assert [r["pixel_count"] for r in rows(found, max_pixels=5)] == [4]
    assert [r["y_min"] for r in rows(found, min_score=0.5)] == [10, 0]
    assert [r["y_min"] for r in rows(found, border="drop")] == [10, 20]


def test_the_unbiased_border_rule_drops_at_the_near_sides_only() -> None:
    found = objects((0, 10, 5, 20), (10, 0, 20, 5), (90, 90, 100, 100), (40, 95, 50, 100), (1, 1, 3, 3))
    assert [(r["y_min"], r["x_min"]) for r in rows(found, border="unbiased")] == [(90, 90), (40, 95), (1, 1)]
    assert [(r["y_min"], r["x_min"]) for r in rows(found, border="drop")] == [(1, 1)]
    assert len(rows(found)) == 5


def ring(y0: int, x0: int, y1: int, x1: int) -> Objects:
    """The outermost pixels of a rectangle."""
    image = np.zeros((1, 100, 100), bool)
    image[0, y0:y1, x0:x1] = True
    image[0, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = False
    runs = mask_runs(image, (0, 0, 0))
    return replace(objects((y0, x0, y1, x1)), masks=RunTable(runs, np.zeros(len(runs), np.int64)))


def test_everything_in_a_row_is_that_of_the_filled_mask() -> None:
    """Cells meet at 28, 52 and 76: the ring goes round the middle one."""
    hollow, filled = rows(ring(20, 20, 60, 60))[0], rows(ring(20, 20, 60, 60), fill_holes=True)[0]
    assert filled == rows(objects((20, 20, 60, 60)))[0]
    assert (hollow["n_parts"], filled["n_parts"]) == (8, 9)
    assert (hollow["pixel_count"], filled["pixel_count"]) == (156, 1600)
    assert hollow["instance_id"] != filled["instance_id"]
    assert hollow == rows(ring(20, 20, 60, 60), fill_holes=38 * 38 - 1)[0]
    assert filled == rows(ring(20, 20, 60, 60), fill_holes=38 * 38)[0]


def test_holes_are_filled_before_sizes_are_looked_at() -> None:
    assert len(rows(ring(20, 20, 30, 30), fill_holes=True, min_pixels=100)) == 1
    assert len(rows(ring(20, 20, 30, 30), min_pixels=100)) == 0
    assert len(rows(ring(20, 20, 30, 30), fill_holes=True, max_pixels=99)) == 0


def test_a_filled_hole_with_failed_pixels_makes_the_object_incomplete() -> None:
    failed = (Box((0, 28, 28), (1, 52, 52)),)
    assert rows(ring(20, 20, 60, 60), failed=failed)[0]["is_complete"]
    assert not rows(ring(20, 20, 60, 60), failed=failed, fill_holes=True)[0]["is_complete"]


def test_objects_without_a_score_pass_the_score_filter() -> None:
    assert len(rows(objects((1, 1, 3, 3), score=[np.nan]), min_score=0.9)) == 1


def test_identity_depends_on_source_label_and_mask_alone() -> None:
    one = rows(objects((10, 10, 12, 12), score=[0.3]))[0]["instance_id"]
    assert one == rows(objects((50, 50, 52, 52), (10, 10, 12, 12), score=[0.1, 0.9]))[1]["instance_id"]
    assert one != rows(objects((10, 10, 12, 12), label=[1]))[0]["instance_id"]
    assert one != rows(objects((10, 10, 12, 13)))[0]["instance_id"]


def test_what_touches_failed_pixels_is_incomplete_diagonals_included() -> None:
    failed = (Box((0, 40, 40), (1, 60, 60)),)
    found = objects((30, 50, 40, 52), (30, 30, 40, 40), (30, 30, 39, 40), (30, 30, 40, 39), (60, 60, 62, 62))
    assert [r["is_complete"] for r in rows(found, failed=failed)] == [False, False, True, True, False]


def test_cells_are_counted_as_parts() -> None:
    """Cells meet at 28, 52 and 76."""
    assert [r["n_parts"] for r in rows(objects((2, 2, 9, 9), (20, 20, 40, 22), (20, 20, 40, 60)))] == [1, 2, 6]
