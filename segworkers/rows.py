"""Rows of the `instances` table: whole objects, measured on the source's own grid and filtered.

Rows carry one column more than the table, `order`, their position along a Hilbert curve over the source; `mask_value`
is numbered when all rows of a source are sorted.
"""
# pyarrow and shapely are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.models import ModelManifest
from schemas.tables import INSTANCES
from segworkers.cells import ground_areas
from segworkers.finishing import RowsPart, gather
from segworkers.holes import fill_holes
from segworkers.measures import Measurements, measure
from segworkers.objects import Objects, join_objects
from segworkers.plans import SourcePlan
from segworkers.polygons import polygons
from segworkers.readers.base import Reader
from segworkers.row_columns import SHAPE_COLUMNS, object_columns, shape_columns, slide_columns, unmeasured_columns
from segworkers.runs import RunTable
from segworkers.splitting import cells_touched
from segworkers.store import Store
from segworkers.volume_rows import measure_volume

ROW_SCHEMA = pa.schema(
    [field_ for field_ in INSTANCES if field_.name != "mask_value"] + [pa.field("order", pa.int64(), nullable=False)]
)
"""The columns of a rows file."""

ROWS_VERSION = 4
"""Raised whenever the same objects would give other rows."""

BorderRule = Literal["keep", "drop", "unbiased"]
"""Of objects at the edge of the source `drop` drops all, `unbiased` those in the first row, column or plane."""

MAX_BATCH = 20_000
"""Objects that are measured at once."""

MAX_VOLUME_BATCH = 50_000
"""Objects of a volume that are measured at once: each slice that holds some is decoded for all of them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What becomes of whole objects, after the merge, in this order; `jobs.config.OutputSpec` says what each means."""

    fill_holes: bool | int = False
    min_pixels: int = 1
    max_pixels: int | None = None
    min_score: float | None = None
    border: BorderRule = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsTask:
    """Objects of some tiles of some sources, to be measured and kept as one rows file."""

    parts: tuple[RowsPart, ...]
    model: ModelManifest
    filters: Filters
    name: str
    """Where the rows are kept: a name made of everything that they depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsReceipt:
    """What is known of a rows file without reading it."""

    name: str
    rows: dict[str, int] = field(default_factory=dict[str, int])
    """Rows of each source."""


class RowsWorker:
    """Measures objects and commits rows files."""

    def __init__(self, store: Store, reader: Reader) -> None:
        """reader: for the values inside objects of volumes, which are read slice by slice."""
        self._store = store
        self._reader = reader

    def __call__(self, task: RowsTask) -> RowsReceipt:
        """Write the task's rows file and its count, unless they are there."""
        note = f"{task.name}.json"
        if self._store.exists(note):
            return RowsReceipt(name=task.name, rows=json.loads(self._store.read(note)))
        receipt = RowsReceipt(name=task.name)
        with self._store.scratch() as scratch:
            path = scratch / "rows"
            with pq.ParquetWriter(path, ROW_SCHEMA, compression="zstd", compression_level=1) as writer:
                for part in task.parts:
                    source = part.plan.source.source_id
                    receipt.rows.setdefault(source, 0)
                    most = MAX_BATCH if part.plan.source.volume is None else MAX_VOLUME_BATCH
                    for objects in _batches(gather(self._store, part, task.model), most):
                        table = rows_of(objects, part.plan, task.model, part.failed, task.filters, self._reader)
                        writer.write_table(table)
                        receipt.rows[source] += table.num_rows
            self._store.put_file(task.name, path)
        self._store.create(note, json.dumps(receipt.rows).encode())
        return receipt


def rows_of(
    objects: Objects,
    plan: SourcePlan,
    model: ModelManifest,
    failed: Sequence[Box],
    filters: Filters,
    reader: Reader | None = None,
) -> pa.Table:
    """The rows of some objects of one source; see `schemas.tables.INSTANCES` for the columns.

    reader: needed for volumes, whose values are measured.
    """
    objects = _filled(objects, plan, model, filters)
    native = plan.grid.to_native(objects.masks)
    keep = _kept(objects, native.pixel_counts(len(objects)), filters)
    name = np.full(len(objects), -1, np.int64)
    name[keep] = np.arange(len(keep))
    masks = native.renumber(name).canonical()
    objects = objects.take(keep)
    # Cells are the model grid's; everything else is measured natively.
    n_parts = cells_touched(objects.masks, len(objects), plan.tiles.lattice)
    offsets = masks.offsets(len(objects))
    ground = ground_areas(plan.source.grid)
    measured = measure(masks.runs, offsets, plan.source.grid.shape, ground, plan.source.pixel_um)
    columns = object_columns(objects, masks, offsets, measured, plan, model)
    columns |= {"n_parts": n_parts, "is_complete": ~_touching(masks, len(objects), failed)}
    if plan.source.volume is None:
        shapes = polygons(masks.runs, offsets)
        columns |= shape_columns(shapes, ground.frame if ground else None, measured.ground, len(objects))
        columns |= slide_columns(measured, plan.source)
    else:
        assert reader is not None, "volumes are read where they are measured"
        columns |= dict.fromkeys(SHAPE_COLUMNS, [None] * len(objects)) | unmeasured_columns(len(objects))
        columns |= measure_volume(masks.runs, offsets, plan.source, reader)
        gaps = plan.source.volume.geometry.gaps
        columns["is_complete"] &= ~(measured.touches_border | _beside_gaps(measured.bbox, gaps))
    table = pa.table({field_.name: _as_array(columns[field_.name], field_) for field_ in ROW_SCHEMA}, schema=ROW_SCHEMA)
    return table.filter(pa.array(_inside(measured, plan, filters.border)))


def _beside_gaps(bbox: NDArray[np.int64], gaps: Sequence[int]) -> NDArray[np.bool_]:
    """(n,) whether slices are missing within the object or right beside it: how it goes on there is not known."""
    before = np.asarray(gaps, np.int64)
    return np.any((bbox[:, :1] <= before + 1) & (bbox[:, 3:4] > before), axis=1)


def _filled(objects: Objects, plan: SourcePlan, model: ModelManifest, filters: Filters) -> Objects:
    if filters.fill_holes is False:
        return objects
    most = None if filters.fill_holes is True else filters.fill_holes
    return replace(objects, masks=fill_holes(objects.masks, plan.grid, model.connectivity, most))


def _kept(objects: Objects, pixels: NDArray[np.int64], filters: Filters) -> NDArray[np.int64]:
    keep = pixels >= max(1, filters.min_pixels)
    if filters.max_pixels is not None:
        keep &= pixels <= filters.max_pixels
    if filters.min_score is not None:
        keep &= ~(objects.score < filters.min_score)
    return np.flatnonzero(keep)


def _inside(measured: Measurements, plan: SourcePlan, border: BorderRule) -> NDArray[np.bool_]:
    """(n,) whether the rule keeps an object."""
    if border == "keep":
        return np.ones(len(measured.bbox), bool)
    if border == "drop":
        return ~measured.touches_border
    first_axis = 0 if plan.source.grid.shape[0] > 1 else 1
    touches_near_side: NDArray[np.bool_] = (measured.bbox[:, first_axis:3] == 0).any(axis=1)
    return ~touches_near_side


def _as_array(values: Any, kind: pa.Field) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.array(values, kind.type, from_pandas=kind.nullable and pa.types.is_floating(kind.type))


def _touching(masks: RunTable, count: int, failed: Sequence[Box]) -> NDArray[np.bool_]:
    """(count,) whether a mask touches a failed box, diagonals included."""
    touching = np.zeros(count, bool)
    runs = masks.runs
    for box in failed:
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        near = (runs[:, 0] >= z0 - 1) & (runs[:, 0] <= z1) & (runs[:, 1] >= x0 - 1) & (runs[:, 1] <= x1)
        near &= (runs[:, 2] <= y1) & (runs[:, 3] >= y0)
        touching[masks.owner[near]] = True
    return touching


def _batches(found: Iterator[Objects], most: int) -> Iterator[Objects]:
    """The same objects in batches of at most `most`, not many of them small: measuring has a price per batch."""
    held: list[Objects] = []
    for objects in found:
        for start in range(0, len(objects), most):
            some = objects.slice(start, start + most)
            if sum(map(len, held)) + len(some) > most:
                yield join_objects(held)
                held = []
            held.append(some)
    if held:
        yield join_objects(held)
