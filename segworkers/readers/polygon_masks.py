"""Polygons to masks: the pixels whose centres lie inside, by GDAL's polygon filling.

Pixels are judged one by one, so the parts of a polygon in neighbouring boxes fit together.
"""
# rasterio and shapely are not typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from rasterio.features import rasterize
from rasterio.transform import Affine

from schemas.boxes import Box
from schemas.masks import NO_RUNS, Runs
from segworkers.runs import mask_runs


def polygon_runs(geometries: Sequence[Any], box: Box) -> Runs:
    """Runs of the union of polygons inside `box`, at z = 0.

    geometries: shapely polygons or multipolygons in pixel corners (x, y); holes are left out. Memory is that of the
    part of the box that they reach.
    """
    if not geometries:
        return NO_RUNS
    x0, y0, x1, y1 = shapely.total_bounds(np.array(geometries, object))
    if not np.isfinite([x0, y0, x1, y1]).all():
        return NO_RUNS
    (_, top, left), (_, bottom, right) = box.start, box.stop
    top, left = max(top, int(np.floor(y0))), max(left, int(np.floor(x0)))
    bottom, right = min(bottom, int(np.ceil(y1))), min(right, int(np.ceil(x1)))
    if top >= bottom or left >= right:
        return NO_RUNS
    image: Any = rasterize(
        [(geometry, 1) for geometry in geometries],
        out_shape=(bottom - top, right - left),
        transform=Affine.translation(left, top),
        dtype="uint8",
    )
    return mask_runs(image[None].astype(np.bool_), (0, top, left))
