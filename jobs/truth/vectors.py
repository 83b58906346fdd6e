"""Polygons of GeoJSON, GeoPackage and what else GDAL reads as vectors, put on the pixels of a source.

Coordinates are in the file's CRS (GeoJSON: CRS84 unless it names another) where the source has a georeference, and are
transformed into that of the source. A source without one takes them for pixel corners (x, y), y downward, and refuses
those that can be none: shapes that are all smaller than a pixel are in degrees.
"""
# pyogrio, pyproj and shapely are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from jobs.truth.base import ShapeTruth, TruthItem
from jobs.truth.files import TruthFile
from schemas.discretion import one_line
from schemas.errors import SpecError
from schemas.grids import PixelGrid

CLASS_FIELDS = ("label", "class", "category")
"""Fields that classes are looked for in, the first that there is."""

_POLYGONS = {shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON}
_EDGES = 32
"""An outline gets vertices at least this many times along its longer side before it is bent into another CRS."""

_ToPixels = Any
"""(n, 2) coordinates of the file to pixel corners (x, y)."""


class VectorFile:
    """One file with one layer of polygons."""

    def __init__(self, file: TruthFile, class_field: str | None, *, boxes_only: bool = False) -> None:
        """class_field: None takes the first of `CLASS_FIELDS`, or none. boxes_only: objects are the bounds of polygons.

        Raises SpecError where it cannot be read.
        """
        self._path, self._name, self._boxes_only = file.path, file.name, boxes_only
        self.reached: set[int] = set()
        """Ids of the polygons that some source was found to meet."""
        try:
            described = pyogrio.read_info(self._path, force_feature_count=True)
        except Exception as error:
            raise SpecError(f"{file.name}: expected polygons in a format that GDAL knows: {one_line(error)}") from error
        fields = [str(name) for name in described["fields"]]
        if class_field is not None and class_field not in fields:
            raise SpecError(f"{file.name}: has no field {class_field!r}; its fields are {', '.join(fields) or 'none'}")
        self._field = class_field or next((name for name in CLASS_FIELDS if name in fields), None)
        self._crs = described["crs"]
        self.count = int(described["features"])
        """Polygons in the file, with those that are empty."""

    def truth(self, grid: PixelGrid, image: str) -> ShapeTruth:
        """The polygons that reach into the source; image: its name, for messages.

        Raises SpecError where they cannot be placed, or are no polygons.
        """
        to_pixels, reach = self._placed(grid)
        columns = [self._field] if self._field else []
        _, fids, wkb, values = pyogrio.raw.read(self._path, columns=columns, bbox=reach, return_fids=True)
        made = shapely.from_wkb(wkb)
        there = ~(shapely.is_missing(made) | shapely.is_empty(made))
        if not set(np.unique(shapely.get_type_id(made[there]))) <= {int(each) for each in _POLYGONS}:
            raise SpecError(f"{self._name}: expected polygons only; points and lines cannot be compared with masks")
        shapes = shapely.make_valid(shapely.transform(self._with_vertices(made), to_pixels))
        bounds = shapely.bounds(shapes)
        self.reached.update(fids[there & _near(bounds, grid)].tolist())
        kept = np.flatnonzero(there & _inside(shapes, bounds, grid))
        if not grid.is_measurable and len(kept) and np.all(shapely.area(shapes[kept]) < 1):
            raise SpecError(
                f"{self._name}: all of its polygons on {image} are smaller than a pixel, as longitudes and latitudes "
                f"are: {image} has no georeference, so it takes them in pixels; georeference it, or leave the file out"
            )
        labels = values[0] if self._field else np.full(len(made), None, object)
        boxes = [(0.0, y0, x0, 1.0, y1, x1) if self._boxes_only else None for x0, y0, x1, y1 in bounds[kept].tolist()]
        items = tuple(
            TruthItem(name=str(fids[k]), label=_text(labels[k]), box=box) for k, box in zip(kept, boxes, strict=True)
        )
        return ShapeTruth(items, tuple((shapes[k],) for k in kept), bounds[kept].reshape(-1, 4))

    def off(self) -> int:
        """How many polygons lie on none of the sources that `truth` was asked for."""
        if len(self.reached) == self.count:
            return 0
        fids, bounds = pyogrio.read_bounds(self._path)
        there = np.isfinite(bounds).all(axis=0)
        return len(set(fids[there].tolist()) - self.reached)

    def missed(self, grid: PixelGrid, image: str) -> SpecError:
        """What is wrong where no polygon lies on a source, with the extents of both in the file's coordinates."""
        _, (x0, y0, x1, y1) = self._placed(grid)
        left, bottom, right, top = pyogrio.read_info(self._path, force_total_bounds=True)["total_bounds"]
        how = "pixels" if not grid.is_measurable else _crs_name(self._crs)
        return SpecError(
            f"{self._name}: none of its {self.count:,} polygons lies on {image}: read as {how} they span x {left:g} to "
            f"{right:g} and y {bottom:g} to {top:g}, and the image x {x0:g} to {x1:g} and y {y0:g} to {y1:g}; say "
            "which coordinate reference system they are in, or leave the file out"
        )

    def _placed(self, grid: PixelGrid) -> tuple[_ToPixels, tuple[float, float, float, float]]:
        """The way from the file's coordinates to pixels, and the part of the file that may reach into the grid."""
        _, height, width = grid.shape
        if not grid.is_measurable:
            return _as_they_are, (0.0, 0.0, float(width), float(height))
        if self._crs is None:
            raise SpecError(f"{self._name}: names no coordinate reference system, and the image has one; write it in")
        forward = Transformer.from_crs(CRS.from_user_input(self._crs), CRS.from_wkt(grid.crs_wkt or ""), always_xy=True)
        a, b, c, d, e, f = grid.affine
        inverse = np.linalg.inv(np.array([[a, b, c], [d, e, f], [0, 0, 1]]))

        def to_pixels(xy: NDArray[np.float64]) -> NDArray[np.float64]:
            x, y = forward.transform(xy[:, 0], xy[:, 1])
            return np.stack([x, y, np.ones(len(xy))], axis=1) @ inverse.T[:, :2]

        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
        world = corners @ np.array([[a, d], [b, e]]) + (c, f)
        low, high = world.min(axis=0), world.max(axis=0)
        x0, y0, x1, y1 = forward.transform_bounds(*low, *high, direction="INVERSE", densify_pts=41)
        if x0 > x1:  # across the antimeridian
            x0, x1 = -180.0, 180.0
        return to_pixels, (x0, y0, x1, y1)

    def _with_vertices(self, shapes: NDArray[Any]) -> NDArray[Any]:
        bounds = shapely.bounds(shapes)
        longer = np.fmax(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
        return shapely.segmentize(shapes, np.where(longer > 0, longer, 1.0) / _EDGES)


def _as_they_are(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return xy


def _crs_name(crs: str) -> str:
    # GeoJSON that names none is in CRS84, which GDAL calls EPSG:4326 with longitude first.
    return "OGC:CRS84" if crs == "EPSG:4326" else crs


def _near(bounds: NDArray[Any], grid: PixelGrid) -> NDArray[np.bool_]:
    """(n,) whether the box of each touches the image, its edge included."""
    _, height, width = grid.shape
    x0, y0, x1, y1 = bounds.T
    return (x0 <= width) & (y0 <= height) & (x1 >= 0) & (y1 >= 0)


def _inside(shapes: NDArray[Any], bounds: NDArray[np.float64], grid: PixelGrid) -> NDArray[np.bool_]:
    """(n,) whether each reaches into the image; what lies on its edge counts where its centroid is."""
    _, height, width = grid.shape
    x0, y0, x1, y1 = bounds.T
    image = shapely.box(0, 0, width, height)
    meets = (x0 < width) & (y0 < height) & (x1 > 0) & (y1 > 0)
    meets[meets] &= shapely.intersects(shapes[meets], image)
    across = meets & ((x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height))
    # Slivers of the neighbouring image's objects hold no pixel centre.
    share = shapely.area(shapely.intersection(shapes[across], image))
    meets[across] &= (share >= 1) | shapely.intersects(shapely.centroid(shapes[across]), image)
    return meets


def _text(value: Any) -> str | None:
    if value is None or value != value:  # noqa: PLR0124 - NaN stands for null in number fields
        return None
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)
