"""Worlds of three dimensions: what tomography shows, with exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from benchmarks.seams.canvas import Canvas, Floats
from benchmarks.seams.cases import World, Zyx

SHAPE: Zyx = (96, 256, 256)
"""Size where none is asked for."""
VESSEL_PIECE = 40
"""Voxels of the smallest piece of a vessel that counts: two that graze each other leave crumbs."""


def vessels(rng: np.random.Generator, shape: Zyx = SHAPE) -> World:
    """Trees of branching tubes of radius 1.5 to 5 voxels that grow through the volume, of two classes.

    A tube that meets another tree is cut by it; its pieces are objects of their own.
    """
    canvas = Canvas(shape)
    for k in range(max(3, round(10 * float(np.prod(shape)) / float(np.prod(SHAPE))))):
        _tree(canvas, rng, canvas.new(k % 2))
    return canvas.finish("vessels", VESSEL_PIECE)


def blobs3d(rng: np.random.Generator, shape: Zyx = SHAPE) -> World:
    """Ellipsoids of radius 3 to 20 voxels at any angle, some touching, of two classes."""
    canvas = Canvas(shape)
    count = max(4, round(400 * float(np.prod(shape)) / float(np.prod(SHAPE))))
    top = min(20.0, min(shape) / 2)
    for base in np.sort(np.exp(rng.uniform(np.log(3), np.log(top), count)))[::-1]:
        radii = np.clip(base * rng.uniform(0.7, 1.3, 3), 3, 20)
        _ellipsoid(canvas, rng.uniform(0, 1, 3) * shape, radii, _rotation(rng), int(rng.integers(2)))
    return canvas.finish("blobs3d")


def cells3d(rng: np.random.Generator, shape: Zyx = SHAPE) -> World:
    """A tissue of cells about 22 voxels wide that leaves no background: Voronoi cells of a jittered cubic grid."""
    canvas, pitch = Canvas(shape), 22.0
    grid = np.stack(np.meshgrid(*[np.arange(-1, ceil(n / pitch) + 1) for n in shape], indexing="ij"), -1)
    seeds = (grid.reshape(-1, 3) + 0.5) * pitch + rng.normal(0, 0.18 * pitch, (grid.size // 3, 3))
    nearest, reach = np.full(shape, np.inf, np.float32), ceil(1.5 * pitch)
    for seed in seeds:
        found = _box(seed - reach, seed + reach, shape)
        if found is None:
            continue
        box, (z, y, x) = found
        dz, dy, dx = (z - seed[0]) ** 2, (y - seed[1]) ** 2, (x - seed[2]) ** 2
        distance = (dz + dy + dx).astype(np.float32)
        closer = distance < nearest[box]
        nearest[box][closer] = distance[closer]
        canvas.ids[box][closer] = canvas.new(0)
    return canvas.finish("cells3d")


def _rotation(rng: np.random.Generator) -> Floats:
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.normal(size=(3, 3)))[0]


def _ellipsoid(canvas: Canvas, centre: Floats, radii: Floats, turn: Floats, label: int) -> None:
    """Paint an ellipsoid unless more than a tenth of it is taken: then the two touch."""
    reach = np.sqrt(((turn * radii) ** 2).sum(1))
    found = _box(centre - reach, centre + reach, canvas.ids.shape)
    if found is None:
        return
    box, (z, y, x) = found
    z, y, x = z - centre[0], y - centre[1], x - centre[2]
    along = [turn[0, k] * z + turn[1, k] * y + turn[2, k] * x for k in range(3)]
    mask = (along[0] / radii[0]) ** 2 + (along[1] / radii[1]) ** 2 + (along[2] / radii[2]) ** 2 < 1
    under = canvas.ids[box]
    free = mask & (under == 0)
    if free.any() and int(free.sum()) >= 0.9 * int(mask.sum()):
        under[free] = canvas.new(label)


def _box(lo: Floats, hi: Floats, shape: Sequence[int]) -> tuple[tuple[slice, ...], list[Floats]] | None:
    """The voxels from `lo` to `hi` that lie in the volume, and their positions in each axis; None if there are none."""
    first = np.maximum(np.floor(lo).astype(int), 0)
    last = np.minimum(np.ceil(hi).astype(int) + 1, shape)
    if (first >= last).any():
        return None
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    z, y, x = (np.arange(s.start, s.stop, dtype=np.float64) for s in box)
    return box, [z[:, None, None], y[:, None], x]


def _tree(canvas: Canvas, rng: np.random.Generator, identity: int) -> None:
    """A tube from a face of the volume inward, which branches and thins."""
    shape = np.array(canvas.ids.shape, float)
    start, axis = rng.uniform(0.1, 0.9, 3) * shape, int(rng.integers(3))
    far = rng.random() < 0.5
    start[axis] = shape[axis] - 1 if far else 0
    heading = rng.normal(0, 0.4, 3)
    heading[axis] = -1 if far else 1
    growing: list[tuple[Floats, Floats, float]] = [(start, heading, rng.uniform(3.5, 5))]
    for _ in range(14):
        if not growing:
            break
        position, direction, radius = growing.pop(0)
        path = _walk(rng, position, direction, shape)
        canvas.tube(path, radius, identity)
        at = int(rng.integers(25, 60))
        while at < len(path) - 1 and radius > 1.6:
            onward = path[at + 1] - path[at] + rng.normal(0, 0.5, 3)
            growing.append((path[at], onward, max(1.5, radius * rng.uniform(0.6, 0.85))))
            at += int(rng.integers(40, 90))


def _walk(rng: np.random.Generator, position: Floats, direction: Floats, shape: Floats) -> Floats:
    """(n, 3) positions 0.8 voxels apart along a wandering way, until it leaves the volume or has gone far enough."""
    path: list[Floats] = [position]
    for turn in rng.normal(0, 0.06, (int(rng.integers(150, 700)), 3)):
        direction = direction / np.linalg.norm(direction) + turn
        position = position + 0.8 * direction / np.linalg.norm(direction)
        if (position < 0).any() or (position > shape - 1).any():
            break
        path.append(position)
    return np.stack(path)
