"""The worlds of the seam benchmark, by name.

Laws: the same for the same generator state; ids 1..count without gaps; every object is one piece (8-connected in a
plane, 26-connected in space) of at least `SMALLEST` pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.seams import worlds_plane, worlds_space
from benchmarks.seams.canvas import SMALLEST
from benchmarks.seams.cases import World, Zyx

PLANE: dict[str, Callable[[np.random.Generator, int], World]] = {
    world.__name__: world
    for world in (
        worlds_plane.sparse_cars,
        worlds_plane.car_parks,
        worlds_plane.row_houses,
        worlds_plane.buildings,
        worlds_plane.roads_rivers,
        worlds_plane.cells,
        worlds_plane.nested,
        worlds_plane.mixed,
    )
}
"""(generator, side in px) to a world of side x side px."""

SPACE: dict[str, Callable[[np.random.Generator, Zyx], World]] = {
    world.__name__: world for world in (worlds_space.vessels, worlds_space.blobs3d, worlds_space.cells3d)
}
"""(generator, shape in voxels, (z, y, x)) to a world."""

__all__ = ["PLANE", "SMALLEST", "SPACE"]
