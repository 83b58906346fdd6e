"""Agreement of the mask column with the figures beside it."""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import SegworkersError
from schemas.masks import bbox, pixel_count
from schemas.rle import from_coco_rle, from_coco_rles

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
        if batch.num_rows:
            checked += batch.num_rows
            problems += _batch_problems(batch)
    return checked


def _batch_problems(batch: pa.RecordBatch) -> list[str]:
    """Decode a batch at once; only what does not fit is decoded again by itself, to say why."""
    boxes = np.stack([batch.column(name).to_numpy() for name in _BOX], axis=1)
    keys, codes, counts = (batch.column(name).to_pylist() for name in ("instance_id", "mask_rle", "pixel_count"))
    problems = ((row, mask_problem(codes[row], counts[row], boxes[row].tolist())) for row in _suspects(batch, boxes))
    return [f"instance {keys[row]}: {problem}" for row, problem in problems if problem]


def _suspects(batch: pa.RecordBatch, boxes: NDArray[np.int64]) -> list[int]:
    """Rows whose mask has other pixels or another box than stated; all rows where one of them cannot be decoded."""
    codes = [code.encode() for code in batch.column("mask_rle").to_pylist()]
    offsets = np.concatenate([[0], np.cumsum([len(code) for code in codes])]).astype(np.int64)
    try:
        runs, starts = from_coco_rles(np.frombuffer(b"".join(codes), np.uint8), offsets, boxes)
    except (ValueError, IndexError):
        return list(range(batch.num_rows))
    if (np.diff(starts) == 0).any():
        return list(range(batch.num_rows))
    first = starts[:-1]
    z, x, y_start, y_stop = runs.astype(np.int64).T
    found = [np.minimum.reduceat(axis, first) for axis in (z, y_start, x)]
    found += [np.maximum.reduceat(axis, first) for axis in (z + 1, y_stop, x + 1)]
    pixels = np.add.reduceat(y_stop - y_start, first)
    fits = (np.stack(found, axis=1) == boxes).all(axis=1) & (pixels == batch.column("pixel_count").to_numpy())
    return np.flatnonzero(~fits).tolist()


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
