"""Measurements of 3-D masks in patient space: pure maths on runs and a VolumeGeometry, for a whole batch at once.

What is not known is NaN, never 0. Each function's module says how it measures: `segworkers.diameters`,
`segworkers.surfaces`; the values inside masks are measured in `segworkers.value_measures`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.masks import Runs
from schemas.volumes import Plane, VolumeGeometry
from segworkers.diameters import Axes, max_diameters_mm, slice_axes
from segworkers.slice_hulls import SliceParts, mapped, slice_parts
from segworkers.surfaces import surfaces_mm2

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class VolumeMeasurements:
    """Measurements of m masks of one volume, in the order of the batch."""

    voxel_count: _Ints
    """(m,)"""
    volume_mm3: _Floats
    """(m,) voxels times |det| of the affine, true under shear too (IBSI YEKZ). Where steps vary, each slice's area
    times half the way to either neighbour along the normal: the trapezoidal rule, across missing slices too."""
    centroid_lps_mm: _Floats
    """(m, 3) x, y, z: mean of the voxel centres; where steps vary, slices weigh as in the volume."""
    bbox: _Ints
    """(m, 6) of z0, y0, x0, z1, y1, x1, half-open."""
    axes: Axes
    """Long and short axis within one slice."""
    max_diameter_mm: _Floats
    """(m,) largest distance between two voxel centres; NaN for a mask of one voxel."""
    surface_mm2: _Floats
    """(m,) of the marching-cubes mesh."""
    plane: Plane
    """Of the slices, and so of long and short axis."""


def measure_in_patient(runs: Runs, offsets: NDArray[np.integer[Any]], geometry: VolumeGeometry) -> VolumeMeasurements:
    """Measure a batch of canonical masks: runs (n, 4) one after another, offsets (m + 1).

    Raises ValueError where a mask is empty or reaches beyond the volume.
    """
    parts = slice_parts(runs, offsets)
    boxes = _boxes(parts)
    outside = (boxes[:, :3] < 0).any(axis=1) | (boxes[:, 3:] > geometry.shape).any(axis=1)
    if outside.any():
        mask = int(np.argmax(outside))
        raise ValueError(f"mask {mask} has the box {boxes[mask].tolist()}, outside a volume of shape {geometry.shape}")
    volume, centroid = _moments(parts, geometry)
    return VolumeMeasurements(
        voxel_count=np.add.reduceat(parts.count, parts.ends[:-1]) if len(boxes) else parts.count,
        volume_mm3=volume,
        centroid_lps_mm=centroid,
        bbox=boxes,
        axes=slice_axes(parts, geometry),
        max_diameter_mm=max_diameters_mm(parts, geometry),
        surface_mm2=surfaces_mm2(runs, offsets, boxes, geometry),
        plane=geometry.plane,
    )


def _boxes(parts: SliceParts) -> _Ints:
    """(m, 6) bounding boxes; a mask's extreme voxels are vertices of its slices' hulls."""
    if len(parts.ends) == 1:
        return np.empty((0, 6), np.int64)
    first, last = parts.ends[:-1], parts.ends[1:] - 1
    heads = parts.vertex_ends[first]
    low = np.minimum.reduceat(parts.vertices, heads, axis=0)
    high = np.maximum.reduceat(parts.vertices, heads, axis=0)
    return np.column_stack([parts.z[first], low, parts.z[last] + 1, high + 1]).astype(np.int64)


def _moments(parts: SliceParts, geometry: VolumeGeometry) -> tuple[_Floats, _Floats]:
    """Volume (m,) and centroid (m, 3)."""
    if len(parts.ends) == 1:
        return np.empty(0), np.empty((0, 3))
    heads = parts.ends[:-1]
    row, column = np.array(geometry.row_step), np.array(geometry.column_step)
    if geometry.slice_origins:
        weight = geometry.thicknesses_mm()[parts.z] * float(np.linalg.norm(np.cross(row, column)))
    else:
        weight = np.ones(len(parts.z))
    mass = np.add.reduceat(weight * parts.count, heads)
    in_plane = np.add.reduceat(weight[:, None] * parts.sums, heads, axis=0) / mass[:, None]
    origins = geometry.origins()
    first = origins[parts.z[heads]]
    # Relative to the mask's own first slice: sums of large coordinates would lose digits.
    owner = np.repeat(np.arange(len(heads)), np.diff(parts.ends))
    steps = (weight * parts.count)[:, None] * (origins[parts.z] - first[owner])
    along = np.add.reduceat(steps, heads, axis=0) / mass[:, None]
    volume = mass if geometry.slice_origins else mass * geometry.voxel_volume_mm3
    return volume, first + along + mapped(in_plane, np.stack([row, column]))
