"""Volumes in patients: geometries of any orientation, spacing and shear, and brute force that measures masks there."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.boxes import Zyx
from schemas.volumes import VolumeGeometry

Floats = NDArray[np.float64]


def geometry(
    shape: Zyx = (20, 24, 28),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    *,
    tilt_deg: float = 0.0,
    places: tuple[float, ...] = (),
    gaps: tuple[int, ...] = (),
) -> VolumeGeometry:
    """An axial stack; spacing (z, y, x), z along the slices' step. tilt: of that step from the normal, towards +y.

    places: of the slices along the normal, where they are not at equal steps.
    """
    tilt = np.radians(tilt_deg)
    step = (0.0, spacing[0] * float(np.sin(tilt)), spacing[0] * float(np.cos(tilt)))
    origin = (-120.0, -80.0, 40.0)
    mean = (places[-1] - places[0]) / max(len(places) - 1, 1) if places else 0
    return VolumeGeometry(
        shape=shape,
        origin=origin,
        slice_step=(0.0, 0.0, mean or 1.0) if places else step,
        row_step=(0.0, spacing[1], 0.0),
        column_step=(spacing[2], 0.0, 0.0),
        slice_origins=tuple((origin[0], origin[1], origin[2] + place) for place in places),
        gaps=gaps,
    )


def turned(volume: VolumeGeometry, rotation: Floats, shift: Floats | None = None) -> VolumeGeometry:
    """The same volume in a patient who lies otherwise: every position p becomes rotation @ p + shift."""
    move = np.zeros(3) if shift is None else shift

    def step(vector: tuple[float, float, float], by: Floats) -> tuple[float, float, float]:
        x, y, z = (rotation @ np.array(vector) + by).tolist()
        return x, y, z

    still = np.zeros(3)
    return replace(
        volume,
        origin=step(volume.origin, move),
        slice_step=step(volume.slice_step, still),
        row_step=step(volume.row_step, still),
        column_step=step(volume.column_step, still),
        slice_origins=tuple(step(each, move) for each in volume.slice_origins),
    )


def rotations() -> st.SearchStrategy[Floats]:
    """Rotations and reflections of space."""

    def build(seed: int) -> Floats:
        return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]

    return st.integers(0, 2**32 - 1).map(build)


@st.composite
def geometries(draw: st.DrawFn, shape: Zyx = (9, 10, 11)) -> VolumeGeometry:
    """Regular, sheared and variable stacks, with or without missing slices, in any orientation."""
    sizes = st.floats(0.3, 5.0)
    spacing = draw(st.tuples(sizes, sizes, sizes))
    kind = draw(st.sampled_from(["regular", "sheared", "variable"]))
    if kind == "variable":
        ways = draw(st.lists(sizes, min_size=shape[0] - 1, max_size=shape[0] - 1))
        places = tuple(np.cumsum([0.0, *ways]).tolist())
        gaps = draw(st.sets(st.integers(0, shape[0] - 2), max_size=2))
        upright = geometry(shape, spacing, places=places, gaps=tuple(sorted(gaps)))
    else:
        upright = geometry(shape, spacing, tilt_deg=draw(st.floats(2, 30)) if kind == "sheared" else 0.0)
    return turned(upright, draw(rotations()))


def ellipsoid(volume: VolumeGeometry, middle: Floats, radii: Floats) -> NDArray[np.bool_]:
    """Voxels (z, y, x) whose centre lies in an ellipsoid along the patient's axes; middle and radii in LPS mm."""
    at = volume.positions(np.argwhere(np.ones(volume.shape, bool)))
    return (np.sum(((at - middle) / radii) ** 2, axis=1) <= 1).reshape(volume.shape)


def brute_max_diameter(mask: NDArray[np.bool_], volume: VolumeGeometry) -> float:
    """Largest distance between any two voxel centres; 0 for one voxel."""
    at = volume.positions(np.argwhere(mask))
    return float(np.sqrt(np.sum((at[:, None] - at[None]) ** 2, axis=2)).max())


def brute_axes(mask: NDArray[np.bool_], volume: VolumeGeometry) -> tuple[float, float, set[int]]:
    """Long axis, short axis (0 for a line), and the slices that may hold them; (0, 0, {}) without two in a slice."""
    pairs: list[tuple[float, float, int]] = []
    for z in range(len(mask)):
        at = volume.positions(np.argwhere(mask & (np.arange(len(mask)) == z)[:, None, None]))
        for a, b in combinations(range(len(at)), 2):
            along = at[b] - at[a]
            length = float(np.linalg.norm(along))
            across = at @ np.cross(volume.normal, along / length)
            pairs.append((length, float(np.ptp(across)), z))
    if not pairs:
        return 0.0, 0.0, set()
    longest = max(length for length, _, _ in pairs)
    widest = max(width for length, width, _ in pairs if length > longest * (1 - 1e-9))
    return longest, widest, {z for length, width, z in pairs if length > longest - 1e-8 and width > widest - 1e-8}
