"""GroundFrame: where pixel positions lie on the Earth, and how large a pixel is there.

1. A position (x, y) in pixel corners goes through the grid's affine and one fixed PROJ operation to WGS 84 longitude
   and latitude. The operation is chosen once, at the source's middle: PROJ would choose anew for each point, and two
   neighbouring pixels could then lie metres apart.
2. Sizes are taken from positions on the ellipsoid in space (Earth-centred, metres), by central differences. Unlike
   longitude and latitude these are smooth everywhere, at the poles and across the antimeridian too, and unlike the
   source's own CRS they do not distort: UTM, Web Mercator and degrees all come out right.

Ground means the WGS 84 ellipsoid at height 0. Positions that the CRS cannot place (off the Earth's disk, beyond a pole)
are NaN.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyproj is only partly typed.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from schemas.grids import PixelGrid

_Floats = NDArray[np.float64]

WGS84_SEMI_MAJOR_M = 6_378_137.0
WGS84_ECCENTRICITY_SQUARED = 0.0066943799901413165

_STEP_M = 250.0
"""Half width of a central difference: short against the Earth (error 1e-9), long against the 0.1 µm to which PROJ
inverts some projections (error 1e-9)."""

_POLE_SLACK_DEG = 1e-6
"""Latitudes up to this far beyond a pole count as the pole: global grids often end there only nearly."""


@dataclass(frozen=True, slots=True)
class Unmeasurable:
    """Why a source has no ground frame: its measurements in metres are null, never zero."""

    reason: str
    """Stable code: no_georeference, crs_unreadable, crs_not_horizontal, crs_not_transformable, outside_crs."""
    message: str
    """One sentence for people."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundFrame:
    """The Earth under one source; made by `ground_frame`. Safe to share between threads."""

    grid: PixelGrid
    to_wgs84: Transformer
    """World x, y to longitude, latitude."""
    degrees_per_unit: float | None
    """Longitude per world x where the CRS is geographic, so that turns are not lost; else None."""
    equal_area: Transformer
    """Longitude, latitude to metres in the Lambert azimuthal equal-area projection about the source's middle."""

    def to_lonlat(self, xy: ArrayLike) -> _Floats:
        """Longitude and latitude (n, 2), CRS84, of pixel positions (n, 2) of (x, y); -180 <= longitude <= 180."""
        lonlat = self.to_lonlat_unwrapped(xy)
        lon = lonlat[:, 0]
        turned = np.abs(lon) > 180
        lon[turned] = (lon[turned] + 180) % 360 - 180
        return lonlat

    def to_lonlat_unwrapped(self, xy: ArrayLike) -> _Floats:
        """As `to_lonlat`, but a geographic grid keeps counting beyond 180, so that neighbours stay neighbours."""
        lonlat = self._lonlat(np.asarray(xy, np.float64))
        lat = lonlat[:, 1]
        lonlat[np.abs(lat) > 90 + _POLE_SLACK_DEG] = np.nan
        np.clip(lat, -90, 90, out=lat)
        return lonlat

    def to_equal_area(self, xy: ArrayLike) -> _Floats:
        """Metres (n, 2), east and north of the source's middle, of pixel positions (n, 2).

        Areas are exact at any distance; shapes only near the middle.
        """
        lonlat = self.to_lonlat(xy)
        return _finite(np.stack(self.equal_area.transform(lonlat[:, 0], lonlat[:, 1], errcheck=False), axis=1))

    def to_tangent_plane(self, xy: ArrayLike, origins: ArrayLike, owner: NDArray[np.intp]) -> _Floats:
        """Metres (n, 2), east and north, of pixel positions (n, 2) on planes that touch the Earth at origins (m, 2).

        owner: (n,) index of each position's origin, itself a pixel position. A distance of d km from the origin comes
        out short by a share of (d / 15,600)².
        """
        lonlat = self.to_lonlat(origins)
        offset = _in_space(self.to_lonlat(xy)) - _in_space(lonlat)[owner]
        return np.einsum("nij,nj->ni", _east_north(lonlat)[owner], offset)

    def local_scale(self, points: ArrayLike) -> NDArray[np.float64]:
        """Jacobians (m, 2, 2) at pixel positions (m, 2): (dx, dy) in pixels to (east, north) in metres."""
        xy = np.asarray(points, np.float64)
        return np.einsum("nij,njk->nik", _east_north(self.to_lonlat(xy)), self._tangents(xy))

    def pixel_area_m2(self, points: ArrayLike) -> _Floats:
        """Ground area (m,) of one pixel at pixel positions (m, 2): a smooth density, exact at each point."""
        tangents = self._tangents(np.asarray(points, np.float64))
        return np.linalg.norm(np.cross(tangents[:, :, 0], tangents[:, :, 1]), axis=1)

    def cell_areas_m2(self, y_edges: ArrayLike, x_edges: ArrayLike) -> NDArray[np.float64]:
        """Ground areas (len(y_edges) - 1, len(x_edges) - 1) of the pixel rectangles between rising edges.

        Integrates the density at 3 x 3 Gauss points, right to 1e-9 for cells up to 100 km. Costs 36 projections a cell.
        """
        y, dy = _gauss_points(np.asarray(y_edges, np.float64))
        x, dx = _gauss_points(np.asarray(x_edges, np.float64))
        points = np.stack(np.broadcast_arrays(x[None, None], y[:, :, None, None]), axis=-1)
        density = self.pixel_area_m2(points.reshape(-1, 2)).reshape(points.shape[:-1])
        return np.einsum("yaxb,a,b->yx", density, _GAUSS_WEIGHTS, _GAUSS_WEIGHTS) * dy[:, None] * dx / 4

    def _lonlat(self, xy: _Floats) -> _Floats:
        """Longitude and latitude (n, 2) as PROJ gives them, turns kept; a geographic grid continues over the poles."""
        a, b, c, d, e, f = self.grid.affine
        x, y = xy[:, 0], xy[:, 1]
        world_x, world_y = a * x + b * y + c, d * x + e * y + f
        lonlat = _finite(np.stack(self.to_wgs84.transform(world_x, world_y, errcheck=False), axis=1))
        if self.degrees_per_unit is not None:
            lonlat[:, 0] += 360 * np.round((world_x * self.degrees_per_unit - lonlat[:, 0]) / 360)
        return lonlat

    def _tangents(self, xy: _Floats) -> NDArray[np.float64]:
        """Derivatives (m, 3, 2) of the position in space by pixel x and y, in metres."""
        a, b, _, d, e, _ = self.grid.affine
        metres_per_unit = self.degrees_per_unit * 111_195.0 if self.degrees_per_unit is not None else 1.0
        steps = _STEP_M / (metres_per_unit * np.array([np.hypot(a, d), np.hypot(b, e)]))
        tangents = np.full((len(xy), 3, 2), np.nan)
        # Near the edge of what the CRS can place, a long step leaves it: a short one is less precise but lands.
        for shorter in (1.0, 1e-3):
            missing = ~np.isfinite(tangents).all(axis=(1, 2))
            if not missing.any():
                break
            for axis in range(2):
                step = np.zeros(2)
                step[axis] = steps[axis] * shorter
                ahead, behind = (_in_space(self._lonlat(xy[missing] + sign * step)) for sign in (1, -1))
                tangents[missing, :, axis] = (ahead - behind) / (2 * step[axis])
        return tangents


def ground_frame(grid: PixelGrid) -> GroundFrame | Unmeasurable:
    """The frame of a grid, or why there is none; never raises on what a file may say."""
    if not grid.is_measurable or grid.crs_wkt is None:
        found = "no CRS" if grid.crs_wkt is None else f"a georeference by {grid.georeference}"
        return Unmeasurable("no_georeference", f"Metres need an affine transform and a CRS; the file has {found}.")
    try:
        crs = CRS.from_wkt(grid.crs_wkt).to_2d()
    except CRSError as error:
        return Unmeasurable("crs_unreadable", f"The CRS is not valid WKT: {_first_line(error)}")
    horizontal = _horizontal(crs)
    if horizontal is None:
        return Unmeasurable("crs_not_horizontal", f"The CRS is neither geographic nor projected but: {crs.type_name}.")
    degrees = None
    if horizontal.is_geographic and not horizontal.is_derived:
        degrees = float(np.degrees(horizontal.axis_info[0].unit_conversion_factor))
    try:
        frame = GroundFrame(grid, _to_wgs84(crs, (0.0, 0.0)), degrees, _equal_area((0.0, 0.0)))
        middle = _middle(frame)
        if middle is None:
            return Unmeasurable("outside_crs", "No part of the image lies where its CRS is defined.")
        a, b, c, d, e, f = grid.affine
        world = (a * middle[0] + b * middle[1] + c, d * middle[0] + e * middle[1] + f)
        lon, lat = frame.to_lonlat([middle])[0]
        return GroundFrame(grid, _to_wgs84(crs, world), degrees, _equal_area((float(lon), float(lat))))
    except ProjError as error:
        return Unmeasurable("crs_not_transformable", f"No way from the CRS to WGS 84: {_first_line(error)}")


def _horizontal(crs: CRS) -> CRS | None:
    """The geographic or projected part that positions refer to; None where there is none."""
    while crs.is_bound or crs.is_compound:
        inner = crs.source_crs if crs.is_bound else crs.sub_crs_list[0]
        if inner is None:
            return None
        crs = inner
    return crs if crs.is_geographic or crs.is_projected else None


def _to_wgs84(crs: CRS, world: tuple[float, float]) -> Transformer:
    """The operation that PROJ chooses at a world position, for use everywhere. Raises ProjError."""
    general = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    general.transform(*world, errcheck=False)
    try:
        # By its definition, because the object that PROJ hands back must not be shared between threads.
        return Transformer.from_pipeline(general.get_last_used_operation().definition)
    except ProjError:  # there is only one operation, or it does nothing
        return general


def _equal_area(centre: tuple[float, float]) -> Transformer:
    """Longitude, latitude to Lambert azimuthal equal-area metres about a centre of (longitude, latitude)."""
    lon, lat = centre
    return Transformer.from_pipeline(
        "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad "
        f"+step +proj=laea +lon_0={lon!r} +lat_0={lat!r} +ellps=WGS84"
    )


def _middle(frame: GroundFrame) -> tuple[float, float] | None:
    """The placeable pixel position nearest to the source's middle, of a 9 x 9 lattice; None where there is none."""
    _, height, width = frame.grid.shape
    y, x = np.meshgrid(np.linspace(0, height, 9), np.linspace(0, width, 9), indexing="ij")
    xy = np.stack([x.ravel(), y.ravel()], axis=1)
    placed = xy[np.isfinite(frame.to_lonlat(xy)).all(axis=1)]
    if not len(placed):
        return None
    x_middle, y_middle = placed[np.argmin(np.linalg.norm(placed / (width, height) - 0.5, axis=1))]
    return float(x_middle), float(y_middle)


def _in_space(lonlat: _Floats) -> _Floats:
    """Earth-centred position (n, 3) in metres of points (n, 2) on the WGS 84 ellipsoid."""
    lon, lat = np.radians(lonlat).T
    normal = WGS84_SEMI_MAJOR_M / np.sqrt(1 - WGS84_ECCENTRICITY_SQUARED * np.sin(lat) ** 2)
    around = normal * np.cos(lat)
    up = normal * (1 - WGS84_ECCENTRICITY_SQUARED) * np.sin(lat)
    return np.stack([around * np.cos(lon), around * np.sin(lon), up], axis=1)


def _east_north(lonlat: _Floats) -> NDArray[np.float64]:
    """Unit vectors (n, 2, 3) to the east and north; at a pole, those of the longitude given there."""
    lon, lat = np.radians(lonlat).T
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=1)
    return np.stack([east, north], axis=1)


_GAUSS_PLACES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(3)


def _gauss_points(edges: _Floats) -> tuple[_Floats, _Floats]:
    """Gauss points (n, 3) between n + 1 edges, and the widths (n,)."""
    widths = np.diff(edges)
    return (edges[:-1] + widths / 2)[:, None] + widths[:, None] / 2 * _GAUSS_PLACES, widths


def _finite(values: _Floats) -> _Floats:
    """The same (n, 2) with NaN in whole rows for whatever is not finite."""
    values = np.asarray(values, np.float64)
    values[~(np.isfinite(values[:, 0]) & np.isfinite(values[:, 1]))] = np.nan
    return values


def _first_line(error: Exception) -> str:
    """The message without PROJ's listings."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
