"""GroundAreas: square metres of masks, added up pixel by pixel without projecting pixels.

1. The ground area of a pixel varies smoothly over a source. It is tabulated once: the source is divided into blocks of
   at most 500 km, and in each block a polynomial of degree 4 in x and y goes through 5 x 5 exact values.
2. A run's area is the integral of its block's polynomial over the run's rectangle, in closed form; a mask's is the sum.

So areas add up (a mask's area is the sum of its parts'), never depend on the other masks of a batch, and are right to
1e-9 in every CRS and at any size of object. Blocks that reach beyond what the CRS can place (a weather satellite's view
of the Earth's limb) have no polynomial: masks there are integrated with exact values along each run.
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

from schemas.masks import Runs
from segworkers.georeferencing import GroundFrame

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

_BLOCK_M = 500e3
"""Longest side of a block: the polynomial is then within 1e-9 of the density."""

_NODES = 5


@dataclass(frozen=True, slots=True, eq=False)
class GroundAreas:
    """The table of one source; made by `GroundAreas.of`."""

    frame: GroundFrame
    y_edges: _Ints
    """Block borders along y, rows of pixels (blocks + 1)."""
    x_edges: _Ints
    """Block borders along x, columns of pixels (blocks + 1)."""
    coefficients: _Floats
    """(y blocks, x blocks, 5, 5): square metres per pixel = sum of c[j, i] v^j u^i, with u and v from -1 to 1 across
    the block; NaN where the CRS cannot place the whole block."""

    @classmethod
    def of(cls, frame: GroundFrame) -> GroundAreas:
        """Tabulate a source: 100 projections a block, and most sources are one block."""
        _, height, width = frame.grid.shape
        y, x = np.meshgrid(np.linspace(0, height, 5), np.linspace(0, width, 5), indexing="ij")
        scale = frame.local_scale(np.stack([x.ravel(), y.ravel()], axis=1))
        metres = np.nanmax(np.linalg.norm(scale, axis=1), axis=0)  # of a pixel along x and y, where they are largest
        x_edges, y_edges = _block_edges(width, float(metres[0])), _block_edges(height, float(metres[1]))
        places = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
        x_nodes, y_nodes = _nodes(x_edges, places), _nodes(y_edges, places)
        points = np.stack(np.broadcast_arrays(x_nodes[None, :, None], y_nodes[:, None, :, None]), axis=-1)
        density = frame.pixel_area_m2(points.reshape(-1, 2)).reshape(points.shape[:-1])
        inverse = np.linalg.inv(np.vander(places, increasing=True))
        return cls(frame, y_edges, x_edges, np.ascontiguousarray(inverse @ density @ inverse.T))

    def mask_areas(self, runs: Runs, offsets: NDArray[np.integer[Any]]) -> _Floats:
        """Ground areas (m,) in square metres of flat masks; NaN where the CRS cannot place a part of the mask."""
        areas = _integrate(runs, offsets.astype(np.int64), self.y_edges, self.x_edges, self.coefficients)
        for mask in np.flatnonzero(np.isnan(areas)):
            areas[mask] = self._exact_area(runs[offsets[mask] : offsets[mask + 1]])
        return areas

    def _exact_area(self, runs: Runs) -> float:
        """Area of one mask from exact densities at three Gauss points of each run."""
        places, weights = np.polynomial.legendre.leggauss(3)
        half = (runs[:, 3] - runs[:, 2])[:, None] / 2
        y = runs[:, 2, None] + half * (1 + places)
        x = np.broadcast_to(runs[:, 1, None] + 0.5, y.shape)
        density = self.frame.pixel_area_m2(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(y.shape)
        return float(np.sum(density * weights * half))


def _block_edges(extent: int, metres: float) -> _Ints:
    """Borders of equal blocks of whole pixels."""
    blocks = min(extent, max(1, int(np.ceil(extent * metres / _BLOCK_M))))
    return np.round(np.linspace(0, extent, blocks + 1)).astype(np.int64)


def _nodes(edges: _Ints, places: _Floats) -> _Floats:
    """Positions (blocks, nodes) of -1..1 places within each block."""
    return (edges[:-1, None] + edges[1:, None] + np.diff(edges)[:, None] * places) / 2


@njit(nogil=True, cache=True)
def _integrate(runs: Runs, offsets: _Ints, y_edges: _Ints, x_edges: _Ints, coefficients: _Floats) -> _Floats:
    """Area (m,) of each mask, summed run by run in order."""
    areas = np.zeros(len(offsets) - 1)
    powers = np.empty(_NODES)
    for mask in range(len(areas)):
        block_x = 0
        for run in range(offsets[mask], offsets[mask + 1]):
            x, y, stop = runs[run, 1], runs[run, 2], runs[run, 3]
            while x >= x_edges[block_x + 1]:
                block_x += 1
            while x < x_edges[block_x]:
                block_x -= 1
            _power_integrals(x, x + 1, x_edges[block_x], x_edges[block_x + 1], powers)
            block_y = np.searchsorted(y_edges, y, side="right") - 1
            while y < stop:
                piece = min(stop, y_edges[block_y + 1])
                areas[mask] += _cell(coefficients[block_y, block_x], powers, y, piece, y_edges, block_y)
                y = piece
                block_y += 1
    return areas


@njit(nogil=True, cache=True)
def _cell(coefficients: _Floats, powers: _Floats, y: int, stop: int, y_edges: _Ints, block: int) -> float:
    """Integral of a block's polynomial over one pixel column from y to stop."""
    y_powers = np.empty(_NODES)
    _power_integrals(y, stop, y_edges[block], y_edges[block + 1], y_powers)
    total = 0.0
    for j in range(_NODES):
        for i in range(_NODES):
            total += coefficients[j, i] * y_powers[j] * powers[i]
    return total


@njit(nogil=True, cache=True)
def _power_integrals(start: int, stop: int, low: int, high: int, out: _Floats) -> None:
    """Integrals of 1, u, u² … over pixels start..stop, where u goes from -1 at low to 1 at high."""
    half = (high - low) / 2.0
    a, b = (start - low) / half - 1.0, (stop - low) / half - 1.0
    a_power, b_power = a, b
    for i in range(len(out)):
        out[i] = half * (b_power - a_power) / (i + 1)
        a_power *= a
        b_power *= b
