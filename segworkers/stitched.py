"""Stitched masks: the objects of one source as a raster whose values lead back to the table's rows.

The raster is painted strip by strip from the published rows, so memory does not grow with the image. Where masks
overlap the higher score is on top, then the smaller object, then the smaller `mask_value`; both bands of a panoptic
raster agree on who that is.
"""
# pyarrow, numba and duckdb are partly untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import numba
import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.rle import from_coco_rles
from schemas.sources import Source
from segworkers.publishing import Published, put_local
from segworkers.rasters import write_cloud_optimised, write_tiled_geotiff
from segworkers.store import Store

STRIP_PIXELS = 32_000_000
"""Pixels that are painted at once."""


_BANDS = {"labels": ("instance",), "classes": ("class",), "panoptic": ("class", "instance")}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskTask:
    """Paint one source."""

    source: Source
    files: tuple[str, ...]
    """Published files that hold the source's rows, among others."""
    values: Literal["labels", "classes", "panoptic"]
    """`labels`: the row's `mask_value` (uint32); `classes`: 1 + position in `classes` (uint16); `panoptic`: both, the
    class in band 1 and the instance in band 2 (uint32), 0 where the class is one of `stuff`."""
    classes: tuple[str, ...]
    stuff: tuple[str, ...]
    name: str


class MaskWorker:
    """Paints and commits stitched masks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, task: MaskTask) -> Published:
        """Write the task's raster, unless it is there."""
        note = f"publish/{task.name}.json"
        if self._store.exists(note):
            return Published(**json.loads(self._store.read(note)))
        with self._store.scratch() as scratch:
            tiled, finished = scratch / "tiled.tif", scratch / "cog.tif"
            _, height, width = task.source.grid.shape
            grid = task.source.grid
            write_tiled_geotiff(
                tiled,
                self._strips(task, scratch),
                shape=(len(_BANDS[task.values]), height, width),
                dtype=_dtype(task).name,
                affine=grid.affine if grid.georeference == "affine" else None,
                crs_wkt=grid.crs_wkt,
                nodata=0,
                band_names=_BANDS[task.values],
                tags={"CLASSES": json.dumps({k + 1: name for k, name in enumerate(task.classes)})},
            )
            write_cloud_optimised(tiled, finished)
            made = put_local(self._store, task.name, finished, 0)
        self._store.create(note, json.dumps(asdict(made)).encode())
        return made

    def _strips(self, task: MaskTask, scratch: Path) -> Iterator[tuple[Box, NDArray[Any]]]:
        _, height, width = task.source.grid.shape
        rows = max(512, STRIP_PIXELS // width // 512 * 512)
        files = [str(self._store.local_copy(name, scratch)) for name in task.files]
        with duckdb.connect() as connection:
            connection.execute("SET threads = 1")
            for start in range(0, height, rows):
                stop = min(start + rows, height)
                image = np.zeros((len(_BANDS[task.values]), stop - start, width), _dtype(task))
                if files:
                    _paint_rows(connection, task, files, start, image)
                yield Box((0, start, 0), (1, stop, width)), image


def _dtype(task: MaskTask) -> np.dtype[Any]:
    return np.dtype(np.uint16 if task.values == "classes" else np.uint32)


def _paint_rows(connection: Any, task: MaskTask, files: list[str], start: int, image: NDArray[Any]) -> None:
    """Paint all objects that reach into the strip of rows that begins at `start`; image: (bands, y, x)."""
    found = connection.sql(
        "SELECT mask_value, label, mask_rle, z_min, y_min, x_min, z_max, y_max, x_max FROM read_parquet(?) "
        "WHERE source_id = ? AND y_max > ? AND y_min < ? ORDER BY score NULLS FIRST, pixel_count DESC, mask_value DESC",
        params=[files, task.source.source_id, start, start + image.shape[1]],
    )
    number = {name: k + 1 for k, name in enumerate(task.classes)}
    for batch in found.to_arrow_reader(20_000):
        if not batch.num_rows:
            continue
        text = [value.encode() for value in batch["mask_rle"].to_pylist()]
        offsets = np.cumsum([0, *map(len, text)])
        sides = ("z_min", "y_min", "x_min", "z_max", "y_max", "x_max")
        boxes = np.stack([batch[side].to_numpy() for side in sides], axis=1)
        runs, ends = from_coco_rles(np.frombuffer(b"".join(text), np.uint8), offsets, boxes)
        label = batch["label"].to_pylist()
        value = {
            "class": np.array([number[name] for name in label]),
            "instance": batch["mask_value"].to_numpy(),
        }
        if task.values == "panoptic":
            value["instance"] = np.where(np.isin(label, task.stuff), 0, value["instance"])
        for band, name in zip(image, _BANDS[task.values], strict=True):
            _paint(band, runs, np.repeat(value[name], np.diff(ends)).astype(band.dtype), start)


@numba.njit(cache=True, nogil=True)
def _paint(image: Any, runs: Any, value: Any, top: int) -> None:  # pragma: no cover - compiled
    for k in range(len(runs)):
        x = runs[k, 1]
        for y in range(max(runs[k, 2] - top, 0), min(runs[k, 3] - top, image.shape[0])):
            image[y, x] = value[k]
