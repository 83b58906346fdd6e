"""Agreement of the mask column with the figures beside it."""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from schemas.boxes import Box
from schemas.errors import SegworkersError
from schemas.masks import bbox, pixel_count
from schemas.rle import from_coco_rle

_BOX = ("z_min", "y_min", "x_min", "z_max", "y_max", "x_max")
_BATCH_ROWS = 10_000


def masks(connection: duckdb.DuckDBPyConnection, sample: int | None, problems: list[str]) -> int:
    """Each `mask_rle` decodes to `pixel_count` pixels that reach all sides of its box.

    sample: how many to decode, those of lowest instance_id; None for all. Returns how many were.
    """
    limit = "" if sample is None else f"ORDER BY instance_id LIMIT {sample}"
    columns = f"instance_id, mask_rle, pixel_count, {', '.join(_BOX)}"
    reader = connection.sql(f"SELECT {columns} FROM instances {limit}").to_arrow_reader(_BATCH_ROWS)
    checked = 0
    for batch in reader:
        checked += batch.num_rows
        problems += _batch_problems(batch)
    return checked


def _batch_problems(batch: pa.RecordBatch) -> list[str]:
    boxes = np.stack([batch.column(name).to_numpy() for name in _BOX], axis=1)
    problems: list[str] = []
    for key, code, count, corners in zip(
        batch.column("instance_id").to_pylist(),
        batch.column("mask_rle").to_pylist(),
        batch.column("pixel_count").to_pylist(),
        boxes.tolist(),
        strict=True,
    ):
        problem = mask_problem(code, count, corners)
        if problem:
            problems.append(f"instance {key}: {problem}")
    return problems


def mask_problem(code: str, count: int, corners: list[int]) -> str:
    """Why a compressed code does not fit a pixel count and a box (z0, y0, x0, z1, y1, x1); empty where it does."""
    try:
        box = Box((corners[0], corners[1], corners[2]), (corners[3], corners[4], corners[5]))
        runs = from_coco_rle(code, box)
    except (ValueError, SegworkersError) as error:
        return f"its mask cannot be decoded: {error}"
    if pixel_count(runs) != count:
        return f"its mask has {pixel_count(runs)} pixels, expected {count}"
    found = bbox(runs)
    return "" if found == box else f"its mask fills {found}, expected {box}"
