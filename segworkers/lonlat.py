"""Polygons on the map: pixel-edge polygons in longitude and latitude as GeoParquet and RFC 7946 want them.

1. Edges longer than 32 pixels get vertices in between: a straight line in the source's CRS is a curve in degrees.
2. Nearly all polygons then are one vectorised transform of their vertices.
3. A polygon whose vertices lie on both sides of the antimeridian, or around a pole, is taken apart: each ring becomes a
   region on the unrolled map, is cut at every odd multiple of 180 and folded back; shells less holes are the result.

Shells run counterclockwise. A polygon of which the CRS cannot place some vertex becomes None.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# shapely is untyped, and the same functions serve one geometry (`Any` below) and arrays of them.

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from segworkers.georeferencing import GroundFrame

_Floats = NDArray[np.float64]

MAX_EDGE_PX = 32.0
"""Longest edge without a vertex in between. At 10 m a pixel and 60° N the curve is then within 0.001 pixel."""

_SNAP_DEG = 1e-9
"""Cut vertices this close to the antimeridian (0.1 mm) are put exactly on it."""


def lonlat_polygons(frame: GroundFrame, polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """CRS84 geometries (m,) of pixel-corner polygons (m,); None stays None, and unplaceable ones become None.

    Those that cross the antimeridian come back as MultiPolygons split at 180 degrees.
    """
    made = np.empty(len(polygons), object)
    present = np.flatnonzero(~shapely.is_missing(polygons))
    if not len(present):
        return made
    shapes = _with_short_edges(polygons[present])
    xy, owner = shapely.get_coordinates(shapes, return_index=True)
    lonlat = frame.to_lonlat_unwrapped(xy)
    first = np.searchsorted(owner, np.arange(len(shapes)))
    west = np.minimum.reduceat(lonlat[:, 0], first)  # NaN wherever a vertex is
    east = np.maximum.reduceat(lonlat[:, 0], first)
    placed = np.isfinite(west)
    apart = placed & ((west < -180) | (east > 180) | (east - west > 180))
    plain = placed & ~apart
    straight = shapely.set_coordinates(shapes[plain], lonlat[plain[owner]])
    made[present[plain]] = shapely.orient_polygons(straight)
    for index in np.flatnonzero(apart):
        made[present[index]] = _taken_apart(frame, shapes[index])
    return made


def lonlat_bounds(geometries: NDArray[np.object_]) -> _Floats:
    """(m, 4) of xmin, ymin, xmax, ymax as GeoParquet 1.1's `bbox` wants it; NaN for None.

    xmin > xmax where the geometry crosses the antimeridian.
    """
    bounds = shapely.bounds(geometries)
    for index in np.flatnonzero((bounds[:, 0] == -180) & (bounds[:, 2] == 180)):
        parts = shapely.bounds(shapely.get_parts(geometries[index]))
        parts = parts[np.argsort(parts[:, 0])]
        reach = np.maximum.accumulate(parts[:, 2])[:-1]
        gaps = parts[1:, 0] - reach
        if len(gaps) and gaps.max() > 0:
            widest = int(np.argmax(gaps))
            bounds[index, [0, 2]] = parts[widest + 1, 0], reach[widest]
    return bounds


def _with_short_edges(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """The same polygons (m,), with vertices added to those that have an edge longer than MAX_EDGE_PX."""
    xy, owner = shapely.get_coordinates(polygons, return_index=True)
    step = np.abs(np.diff(xy, axis=0)).max(axis=1)
    long = np.unique(owner[1:][(step > MAX_EDGE_PX) & (owner[1:] == owner[:-1])])
    polygons = polygons.copy()
    polygons[long] = shapely.segmentize(polygons[long], MAX_EDGE_PX)
    return polygons


def _taken_apart(frame: GroundFrame, geometry: Any) -> Any:
    """The region of one polygon that does not lie in one piece between -180 and 180; None where nothing is left."""
    regions: list[Any] = []
    for part in shapely.get_parts(geometry):
        rings = shapely.get_rings(part)
        shell, *holes = (_folded(_unrolled(frame, shapely.get_coordinates(ring))) for ring in rings)
        regions.append(shapely.difference(shell, shapely.union_all(holes)) if holes else shell)
    pieces = shapely.get_parts(shapely.make_valid(shapely.union_all(regions)))
    pieces = pieces[shapely.get_dimensions(pieces) == 2]
    if not len(pieces):
        return None
    pieces = shapely.get_parts(shapely.orient_polygons(pieces))
    return shapely.multipolygons(pieces) if len(pieces) > 1 else pieces[0]


def _unrolled(frame: GroundFrame, ring: _Floats) -> _Floats:
    """Vertices (n, 2) in degrees of a closed pixel ring, without jumps of longitude, closed over a pole if needed."""
    lonlat = frame.to_lonlat_unwrapped(ring)
    if frame.degrees_per_unit is not None:
        return lonlat
    lon, lat = lonlat.T
    turn = (np.diff(lon) + 180) % 360 - 180
    lon = lon[0] + np.concatenate([[0], np.cumsum(turn)])
    if abs(lon[-1] - lon[0]) > 180:  # once around a pole: down to it at the end, along it, and back up
        pole = np.copysign(90.0, lat.mean())
        lon, lat = np.append(lon, [lon[-1], lon[0], lon[0]]), np.append(lat, [pole, pole, lat[0]])
    return np.stack([lon, lat], axis=1)


def _folded(ring: _Floats) -> Any:
    """The region inside an unrolled ring, brought back between -180 and 180."""
    region = shapely.make_valid(shapely.polygons(ring))
    turns = range(int(np.floor((ring[:, 0].min() + 180) / 360)), int(np.floor((ring[:, 0].max() + 180) / 360)) + 1)
    return shapely.union_all([_window(region, 360.0 * turn) for turn in turns])


def _window(region: Any, middle: float) -> Any:
    """What lies within 180 degrees of a longitude, counted from it."""
    cut = shapely.intersection(region, shapely.box(middle - 180, -90, middle + 180, 90))

    def shift(lonlat: _Floats) -> _Floats:
        lon = lonlat[:, 0] - middle
        lon = np.where(np.abs(np.abs(lon) - 180) < _SNAP_DEG, np.copysign(180.0, lon), lon)
        return np.stack([lon, lonlat[:, 1]], axis=1)

    return shapely.transform(cut, shift)
