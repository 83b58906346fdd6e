"""What became of every pixel: each cell of a work tile is counted as done, empty, nodata or failed, natively.

Cells, not work tiles, are what is counted, so that the sums do not depend on how windows were grouped into tiles.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from schemas.grids import PixelGrid
from segworkers.georeferencing import GroundFrame, ground_frame
from segworkers.ground_areas import GroundAreas
from segworkers.plans import SourcePlan
from segworkers.receipts import AREA_UNIT, CellCounts
from segworkers.runs import RunTable, box_runs, mask_runs
from segworkers.tiling import WorkTile


@lru_cache(32)
def ground_areas(grid: PixelGrid) -> GroundAreas | None:
    """What a pixel measures on the ground, None where that cannot be known; kept, because making it costs time."""
    frame = ground_frame(grid)
    return GroundAreas.of(frame) if isinstance(frame, GroundFrame) else None


def count_cells(
    plan: SourcePlan, tile: WorkTile, valid: NDArray[np.bool_], busy: frozenset[Zyx], failed: frozenset[Zyx]
) -> tuple[CellCounts, tuple[Box, ...]]:
    """Counts over the tile's cells, and the native boxes of the failed ones.

    valid: (z, y, x) of the tile's core on the model's grid; busy: cells in which the model saw an object. A cell that
    holds the centre of no native voxel counts for nothing.
    """
    total = CellCounts()
    failed_boxes: list[Box] = []
    lattice = plan.tiles.lattice
    for index in lattice.indices(tile.start, tile.stop):
        cell = lattice.cell_box(index)
        if not plan.grid.has_native(cell):
            continue
        native = plan.grid.native_box(cell)
        if index in failed:
            failed_boxes.append(native)
            total += CellCounts(failed=native.volume)
            continue
        seen = valid[cell.within(tile.core.start)]
        known, area = _valid(plan, cell, seen)
        distances = plan.seams.count_pixels(cell, seen)
        counts = {"done" if index in busy else "empty": known}
        total += CellCounts(**counts, nodata=native.volume - known, valid_area=area, by_distance=distances)
    return total, tuple(failed_boxes)


def _valid(plan: SourcePlan, cell: Box, valid: NDArray[np.bool_]) -> tuple[int, int | None]:
    """Native pixels that are valid, and their ground area in units of 1/1,000,000 m²."""
    runs = box_runs(cell) if valid.all() else mask_runs(valid, cell.start)
    native = plan.grid.to_native(RunTable(runs, np.zeros(len(runs), np.int64)))
    count = int(native.lengths.sum())
    ground = ground_areas(plan.source.grid)
    if ground is None:
        return count, None
    area = float(ground.mask_areas(native.runs, np.array([0, len(native)]))[0])
    return count, None if np.isnan(area) else round(area * AREA_UNIT)
