"""The objects that a run found in one source: facts of all, masks of those in a box."""
# pyarrow and duckdb are partly untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.results import select
from schemas.boxes import Box
from schemas.rle import from_coco_rles
from segworkers.runs import RunTable, concatenate

_SIDES = ("z_min", "y_min", "x_min", "z_max", "y_max", "x_max")
_BATCH = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Objects of one source, in the order of their `mask_value`."""

    connection: Any
    """A DuckDB connection of `jobs.results.Results.connect`; its owner closes it."""
    source_id: str
    mask_value: NDArray[np.int64]
    names: NDArray[np.bytes_]
    """(n,) instance_id."""
    labels: tuple[str, ...]
    score: NDArray[np.float64]
    """(n,) NaN where the model gave none."""
    pixels: NDArray[np.int64]
    boxes: NDArray[np.int64]
    """(n, 6) half-open z0, y0, x0, z1, y1, x1."""

    def __len__(self) -> int:
        return len(self.mask_value)

    @classmethod
    def of(cls, connection: Any, source_id: str) -> Predictions:
        """Read the facts."""
        columns = f"instance_id, label, score, pixel_count, mask_value, {', '.join(_SIDES)}"
        query = f"SELECT {columns} FROM instances WHERE source_id = ? ORDER BY mask_value"
        table = select(connection, query, [source_id]).to_arrow_table()
        score = [np.nan if value is None else value for value in table.column("score").to_pylist()]
        return cls(
            connection=connection,
            source_id=source_id,
            mask_value=table.column("mask_value").to_numpy().astype(np.int64),
            names=np.array(table.column("instance_id").to_pylist(), "S32"),
            labels=tuple(table.column("label").to_pylist()),
            score=np.array(score, np.float64),
            pixels=table.column("pixel_count").to_numpy().astype(np.int64),
            boxes=np.stack([table.column(name).to_numpy() for name in _SIDES], axis=1).astype(np.int64).reshape(-1, 6),
        )

    def block(self, box: Box) -> RunTable:
        """Masks inside `box`; owners are places in the order of the facts."""
        query = f"""SELECT mask_value, mask_rle, {", ".join(_SIDES)} FROM instances WHERE source_id = ?
            AND z_min < ? AND y_min < ? AND x_min < ? AND z_max > ? AND y_max > ? AND x_max > ? ORDER BY mask_value"""
        found = select(self.connection, query, [self.source_id, *box.stop, *box.start])
        parts: list[RunTable] = []
        for batch in found.to_arrow_reader(_BATCH):
            if not batch.num_rows:
                continue
            codes = [code.encode() for code in batch.column("mask_rle").to_pylist()]
            offsets = np.concatenate([[0], np.cumsum([len(code) for code in codes])]).astype(np.int64)
            boxes = np.stack([batch.column(name).to_numpy() for name in _SIDES], axis=1)
            runs, ends = from_coco_rles(np.frombuffer(b"".join(codes), np.uint8), offsets, boxes)
            place = np.searchsorted(self.mask_value, batch.column("mask_value").to_numpy())
            parts.append(RunTable(runs, np.repeat(place, np.diff(ends)).astype(np.int64)).clip(box))
        return concatenate(parts)
