"""Measurements of masks: counting, and what the counts mean on the ground.

Everything comes from runs, for a whole batch at once: integer sums first, then one division or one map. The polygon of
a mask is a view of it and is not needed here; its area equals `pixel_count`.

Pixel coordinates are those of pixel corners: the middle of the first pixel is 0.5. A length is that of the minimum-area
rectangle around the mask's pixel edges; in metres, of the edges laid onto the plane that touches the Earth at the
object, so pixels that are degrees, rotated or not square come out right.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# numba is untyped.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.boxes import Zyx
from schemas.masks import Runs
from segworkers.ground_areas import GroundAreas
from segworkers.rectangles import hulls, rectangles

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GroundMeasurements:
    """Measurements in metres of m masks. NaN is unknown (the CRS cannot place the mask); write it as null."""

    centroid_lon: _Floats
    """(m,) of the pixel centroid, degrees, CRS84."""
    centroid_lat: _Floats
    area_m2: _Floats
    """(m,) on the WGS 84 ellipsoid."""
    length_m: _Floats
    """(m,) long side of the minimum-area rectangle on the ground."""
    width_m: _Floats
    angle_deg: _Floats
    """(m,) long side, clockwise from true north, 0 <= angle < 180."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MicrometreMeasurements:
    """Measurements in micrometres of m masks on a plane whose pixels have a size and no place on Earth."""

    area_um2: _Floats
    """(m,) pixels times the area of one; NaN for a mask over several slices, as are lengths."""
    length_um: _Floats
    """(m,) long side of the minimum-area rectangle around the pixels as they measure, square or not."""
    width_um: _Floats
    centroid_x_um: _Floats
    """(m,) of the pixel centroid, from the outer corner of the first pixel; x along rows."""
    centroid_y_um: _Floats


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Measurements:
    """Measurements of m masks, in the order of the batch."""

    pixel_count: _Ints
    bbox: _Ints
    """(m, 6) of z0, y0, x0, z1, y1, x1, half-open."""
    centroid_px: _Floats
    """(m, 3) of z, y, x: mean of the pixels' middles."""
    touches_border: NDArray[np.bool_]
    """(m,) whether a pixel lies in the source's first or last row or column (or slice, if it has several)."""
    length_px: _Floats
    """(m,) long side of the minimum-area rectangle; NaN for a mask over several slices."""
    width_px: _Floats
    ground: GroundMeasurements | None
    """None where the source cannot be measured in metres."""
    micrometres: MicrometreMeasurements | None
    """None where the size of a pixel in micrometres is not known."""


def measure(
    runs: Runs,
    offsets: NDArray[np.integer[Any]],
    shape: Zyx,
    ground: GroundAreas | None = None,
    pixel_um: tuple[float, float] | None = None,
) -> Measurements:
    """Measure a batch of canonical masks: runs one after another, offsets (m + 1).

    shape: extent (z, y, x) of the source. ground: None where the source has no ground frame. pixel_um: micrometres
    between rows and between columns, None where they are not known.
    Raises ValueError where a mask is empty: an object has at least one pixel.
    """
    offsets = offsets.astype(np.int64)
    if (np.diff(offsets) <= 0).any():
        raise ValueError(f"mask {int(np.argmin(np.diff(offsets)))} of the batch is empty: there is nothing to measure")
    bounds = _bounds(runs, offsets)
    count, doubled = _sums(runs, offsets, bounds)
    centroid = bounds[:, :3] + doubled / (2 * count[:, None])
    vertices, ends = hulls(runs, offsets)
    length, width, _ = rectangles(vertices, ends)
    axes = slice(0 if shape[0] > 1 else 1, 3)
    touches = (bounds[:, :3] == 0)[:, axes] | (bounds[:, 3:] == np.array(shape))[:, axes]
    return Measurements(
        pixel_count=count,
        bbox=bounds,
        centroid_px=centroid,
        touches_border=touches.any(axis=1),
        length_px=length,
        width_px=width,
        ground=None if ground is None else _on_ground(runs, offsets, centroid, vertices, ends, ground),
        micrometres=None if pixel_um is None else _in_micrometres(count, centroid, vertices, ends, pixel_um),
    )


def _in_micrometres(
    count: _Ints, centroid: _Floats, vertices: NDArray[np.int32], ends: _Ints, pixel_um: tuple[float, float]
) -> MicrometreMeasurements:
    """`vertices` are the masks' convex hulls with offsets `ends`."""
    um_y, um_x = pixel_um
    length, width, _ = rectangles(vertices * np.array([um_x, um_y]), ends)
    return MicrometreMeasurements(
        area_um2=np.where(np.isnan(length), np.nan, count * (um_y * um_x)),
        length_um=length,
        width_um=width,
        centroid_x_um=centroid[:, 2] * um_x,
        centroid_y_um=centroid[:, 1] * um_y,
    )


def _on_ground(
    runs: Runs,
    offsets: _Ints,
    centroid: _Floats,
    vertices: NDArray[np.int32],
    ends: _Ints,
    ground: GroundAreas,
) -> GroundMeasurements:
    """Measurements in metres; `vertices` are the masks' convex hulls with offsets `ends`."""
    origins = centroid[:, [2, 1]]
    lonlat = ground.frame.to_lonlat(origins)
    owner = np.repeat(np.arange(len(origins)), np.diff(ends))
    length, width, angle = rectangles(ground.frame.to_tangent_plane(vertices, origins, owner), ends)
    area = ground.mask_areas(runs, offsets)
    area[np.isnan(length)] = np.nan  # a mask over several slices has a volume, not an area
    return GroundMeasurements(
        centroid_lon=lonlat[:, 0],
        centroid_lat=lonlat[:, 1],
        area_m2=area,
        length_m=length,
        width_m=width,
        angle_deg=angle,
    )


@njit(nogil=True, cache=True)
def _bounds(runs: Runs, offsets: _Ints) -> _Ints:
    """Bounding boxes (m, 6) of z0, y0, x0, z1, y1, x1."""
    bounds = np.empty((len(offsets) - 1, 6), np.int64)
    for mask in range(len(bounds)):
        first, last = offsets[mask], offsets[mask + 1] - 1
        x0 = y0 = np.int64(np.iinfo(np.int64).max)
        x1 = y1 = np.int64(np.iinfo(np.int64).min)
        for run in range(first, last + 1):
            x0, x1 = min(x0, runs[run, 1]), max(x1, runs[run, 1] + 1)
            y0, y1 = min(y0, runs[run, 2]), max(y1, runs[run, 3])
        bounds[mask, 0], bounds[mask, 3] = runs[first, 0], runs[last, 0] + 1
        bounds[mask, 1], bounds[mask, 2], bounds[mask, 4], bounds[mask, 5] = y0, x0, y1, x1
    return bounds


@njit(nogil=True, cache=True)
def _sums(runs: Runs, offsets: _Ints, bounds: _Ints) -> tuple[_Ints, _Ints]:
    """Pixel counts (m,), and twice the sums (m, 3) of the pixels' middles (z, y, x) counted from the box's corner."""
    count = np.zeros(len(bounds), np.int64)
    doubled = np.zeros((len(bounds), 3), np.int64)
    for mask in range(len(bounds)):
        for run in range(offsets[mask], offsets[mask + 1]):
            start, stop = runs[run, 2] - bounds[mask, 1], runs[run, 3] - bounds[mask, 1]
            count[mask] += stop - start
            doubled[mask, 0] += (2 * (runs[run, 0] - bounds[mask, 0]) + 1) * (stop - start)
            doubled[mask, 1] += stop * stop - start * start
            doubled[mask, 2] += (2 * (runs[run, 1] - bounds[mask, 2]) + 1) * (stop - start)
    return count, doubled
