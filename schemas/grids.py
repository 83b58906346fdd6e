"""PixelGrid: where pixels lie in the world, without the pixels.

Pixel **corner** is the integer position: pixel (row 0, column 0) covers x in 0..1 and y in 0..1. World order is (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.boxes import Zyx

Affine2D = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): world x = a·col + b·row + c, world y = d·col + e·row + f (rasterio's order)."""

Georeference = Literal["affine", "gcps", "rpcs", "none"]
"""How the file says where it lies. Only `affine` with a CRS can be measured in metres; the others stay in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelGrid:
    """Extent and georeference of one source."""

    shape: Zyx
    """Extent in pixels (z, y, x)."""
    affine: Affine2D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """Pixel corner (col, row) to world (x, y)."""
    crs_wkt: str | None = None
    """Coordinate reference system as WKT; None where the file names none."""
    georeference: Georeference = "none"

    def __post_init__(self) -> None:
        if any(extent < 1 for extent in self.shape):
            raise ValueError(f"a grid needs at least one pixel in z, y and x, got shape={self.shape}")
        a, b, _, d, e, _ = self.affine
        if a * e - b * d == 0:
            raise ValueError(f"the affine {self.affine} maps every pixel to a line: its determinant is 0")

    @property
    def is_measurable(self) -> bool:
        """Whether lengths and areas on the ground can be computed (an affine and a CRS; else they are null)."""
        return self.georeference == "affine" and self.crs_wkt is not None

    @property
    def is_north_up(self) -> bool:
        """Whether columns run east and rows run south, without rotation or shear."""
        a, b, _, d, e, _ = self.affine
        return b == 0 and d == 0 and a > 0 > e
