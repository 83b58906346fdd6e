"""Grids of every kind that a raster may have, named by what is special about them."""

from __future__ import annotations

from pyproj import CRS

from schemas.grids import Affine2D, PixelGrid

SIDE = 400
"""Height and width of every grid here."""


def grid_of(crs: str, affine: Affine2D, side: int = SIDE) -> PixelGrid:
    """A square grid in a CRS that PROJ knows by name."""
    return PixelGrid(shape=(1, side, side), affine=affine, crs_wkt=CRS(crs).to_wkt(), georeference="affine")


GRIDS: dict[str, PixelGrid] = {
    "utm": grid_of("EPSG:32633", (0.5, 0, 400_000, 0, -0.5, 5_800_000)),
    "utm zone edge": grid_of("EPSG:32633", (10, 0, 160_000, 0, -10, 300_000)),
    "web mercator at 60 north": grid_of("EPSG:3857", (0.6, 0, 1_100_000, 0, -0.6, 8_399_738)),
    "web mercator at the equator": grid_of("EPSG:3857", (100, 0, -20_000, 0, -100, 20_000)),
    "degrees at 60 north": grid_of("EPSG:4326", (1e-5, 0, 10, 0, -1e-5, 60)),
    "coarse degrees": grid_of("EPSG:4326", (0.01, 0, 10, 0, -0.01, 70)),
    "rotated": grid_of("EPSG:32633", (0.4, 0.3, 400_000, 0.3, -0.4, 5_800_000)),
    "sheared and south-up": grid_of("EPSG:32633", (1, 0.5, 400_000, 0.1, 2, 5_800_000)),
    "south-up": grid_of("EPSG:32733", (2, 0, 500_000, 0, 2, 8_000_000)),
    "utm 60 across the antimeridian": grid_of("EPSG:32660", (30, 0, 822_000, 0, -30, 1_206_000)),
    "degrees across the antimeridian": grid_of("EPSG:4326", (1e-4, 0, 179.98, 0, -1e-4, -17)),
    "polar stereographic at the pole": grid_of("EPSG:3413", (50, 0, -10_000, 0, -50, 10_000)),
    "another datum": grid_of("EPSG:28992", (0.25, 0, 120_000, 0, -0.25, 480_000)),
    "feet": grid_of("EPSG:2263", (1, 0, 980_000, 0, -1, 200_000)),
    "with heights": grid_of("EPSG:25832+7837", (1, 0, 500_000, 0, -1, 5_500_000)),
}
