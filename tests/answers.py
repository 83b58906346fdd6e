"""Random cases for the merge: what windows may say at worst, and what a perfect model says.

Everything follows from the generator, and each window's answer is drawn once, before anything is split into tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Box, Zyx, zyx
from segworkers.lattice import Lattice
from segworkers.slivers import near_by
from tests.merges import CLASSES, Bits, Case, Mask, seen_in, windows_of

SCORES = (0.25, 0.5, 0.5, 0.75)
"""Few, so that ties are common."""


def lattice_in_plane(rng: np.random.Generator, most: int = 5) -> Lattice:
    """Windows of 8 to 40 px, overlaps from none to half of that, up to `most` windows in an axis, often just one."""
    window = [1, *(int(w) for w in rng.integers(8, 41, 2))]
    overlap = [0, *(_overlap(rng, w) for w in window[1:])]
    return _lattice(rng, window, overlap, most)


def lattice_in_space(rng: np.random.Generator, most: int = 3) -> Lattice:
    """The same in space, with windows of 2 to 6 planes."""
    window = [int(rng.integers(2, 7)), *(int(w) for w in rng.integers(6, 20, 2))]
    overlap = [0 if rng.random() < 0.3 else int(rng.integers(0, window[0] // 2 + 1))]
    return _lattice(rng, window, overlap + [_overlap(rng, w) for w in window[1:]], most)


def _overlap(rng: np.random.Generator, window: int) -> int:
    """Half a window, or nearly; less than 8; or anything between."""
    half = window // 2
    choice = rng.integers(0, 3)
    return [half - int(rng.integers(0, 2)), int(rng.integers(0, min(8, half + 1))), int(rng.integers(0, half + 1))][
        choice
    ]


def _lattice(rng: np.random.Generator, window: list[int], overlap: list[int], most: int) -> Lattice:
    counts = np.where(rng.random(3) < 0.2, 1, rng.integers(2, most + 1, 3))
    stride = [w - o for w, o in zip(window, overlap, strict=True)]
    extent = [
        s * int(n - 1) + int(rng.integers(1, w + 1)) if w > 1 else 1
        for s, w, n in zip(stride, window, counts, strict=True)
    ]
    return Lattice(zyx(window), zyx(overlap), zyx(extent))


def soup(rng: np.random.Generator, lattice: Lattice, batch: Zyx = (1, 1, 1)) -> Case:
    """Windows that hardly agree: boxes whose sides lie where the rules change, and what objects leave of themselves.

    Masks of a window overlap, have parts and holes, repeat each other; windows see common objects moved, cut, fused or
    not at all, and besides them things of their own.
    """
    common = [_shape(rng, Box.of_shape(lattice.extent), _lines(lattice)) for _ in range(int(rng.integers(2, 16)))]
    busy = float(rng.uniform(0.5, 4))
    said = {index: _window_of_soup(rng, lattice, index, common, busy) for index in windows_of(lattice)}
    return Case(lattice, said, _valid(rng, lattice.extent), _broken(rng, lattice), batch)


def _lines(lattice: Lattice) -> list[NDArray[np.int64]]:
    """For each axis, where windows and cells begin and end, and a reach or a pixel to either side."""
    lines: list[NDArray[np.int64]] = []
    for axis, reach in enumerate(near_by(lattice)):
        start = np.arange(lattice.shape[axis]) * lattice.stride[axis]
        edges = np.concatenate((start, start + lattice.window[axis], lattice.cell_edges(axis)))
        near = np.unique(np.add.outer(edges, [-reach - 1, -reach, -1, 0, 0, 0, 1, reach, reach + 1]))
        lines.append(near[(near >= 0) & (near <= lattice.extent[axis])])
    return lines


def _shape(rng: np.random.Generator, box: Box, lines: list[NDArray[np.int64]]) -> Mask:
    """One to three boxes, some with a hole, inside `box`."""
    bits = np.zeros(box.shape, bool)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        place: list[slice] = []
        for axis in range(3):
            low, high = box.start[axis], box.stop[axis]
            ends = [_end(rng, low, high, lines[axis]) for _ in range(2)]
            first, last = min(ends), max(ends)
            if first == last:
                first, last = max(low, first - 1), min(high, last + 1)
            place.append(slice(first - low, last - low))
        part = bits[tuple(place)]
        part[...] = True
        if rng.random() < 0.2:
            part[:, 1:-1, 1:-1] = False
    return _tight(Mask(box.start, bits, int(rng.integers(0, CLASSES)), float(rng.choice(SCORES)))) or Mask(
        box.start, np.ones((1, 1, 1), bool)
    )


def _end(rng: np.random.Generator, low: int, high: int, lines: NDArray[np.int64]) -> int:
    near = lines[(lines >= low) & (lines <= high)]
    if len(near) and rng.random() < 0.7:
        return int(rng.choice(near))
    return int(rng.integers(low, high + 1))


def _tight(found: Mask) -> Mask | None:
    """The mask without empty margins; None where it is empty."""
    where = np.nonzero(found.bits)
    if not len(where[0]):
        return None
    start, stop = [int(w.min()) for w in where], [int(w.max()) + 1 for w in where]
    bits = found.bits[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    return replace(found, start=zyx([a + s for a, s in zip(found.start, start, strict=True)]), bits=bits)


def _window_of_soup(
    rng: np.random.Generator, lattice: Lattice, index: Zyx, common: list[Mask], busy: float
) -> list[Mask]:
    box = lattice.real_box(index)
    found: list[Mask] = []
    for thing in common:
        shift = [int(m) if n > 1 else 0 for m, n in zip(rng.integers(-2, 3, 3), lattice.extent, strict=True)]
        moved = thing if rng.random() < 0.5 else replace(thing, start=zyx(np.add(thing.start, shift).tolist()))
        seen = seen_in(moved, box)
        if seen is not None and rng.random() > 0.15:
            found.append(replace(seen, score=float(rng.choice(SCORES))))
    found += [_shape(rng, box, _lines(lattice)) for _ in range(int(rng.poisson(busy)))]
    if len(found) > 1 and rng.random() < 0.3:
        a, b = rng.choice(len(found), 2, replace=False)
        found[a] = _union(found[a], found[b])
    if found and rng.random() < 0.2:
        found.append(replace(found[int(rng.integers(len(found)))], score=float(rng.choice(SCORES))))
    return [found[k] for k in rng.permutation(len(found))]


def _union(a: Mask, b: Mask) -> Mask:
    start = np.minimum(a.start, b.start)
    stop = np.maximum(np.add(a.start, a.bits.shape), np.add(b.start, b.bits.shape))
    bits = np.zeros(stop - start, bool)
    for each in (a, b):
        z, y, x = (slice(p, p + n) for p, n in zip(np.subtract(each.start, start), each.bits.shape, strict=True))
        bits[z, y, x] |= each.bits
    return replace(a, start=zyx(start.tolist()), bits=bits)


def _valid(rng: np.random.Generator, extent: Zyx) -> Bits | None:
    """Mostly all; sometimes with pixels and a region missing."""
    if rng.random() < 0.6:
        return None
    valid = rng.random(extent) > 0.02
    ends = [sorted(rng.integers(0, n + 1, 2).tolist()) for n in extent]
    valid[tuple(slice(a, b) for a, b in ends)] = False
    return valid


def _broken(rng: np.random.Generator, lattice: Lattice) -> tuple[Box, ...]:
    """Mostly nothing; sometimes a voxel or two that cannot be read."""
    if rng.random() < 0.7:
        return ()
    places = [zyx([int(rng.integers(0, n)) for n in lattice.extent]) for _ in range(int(rng.integers(1, 3)))]
    return tuple(Box(place, zyx([p + 1 for p in place])) for place in places)


@dataclass(frozen=True, slots=True)
class Noise:
    """How a noisy model errs."""

    jitter: int = 0
    """px by which a window sees an object moved, and by which its outline swells or shrinks, at most."""
    miss: float = 0.0
    glue: float = 0.0
    """Chance of two neighbours of one class that touch."""
    short: int = 0
    """px along internal borders where a window sees nothing, at most."""


def noisy(
    rng: np.random.Generator, lattice: Lattice, truth: NDArray[np.int64], noise: Noise, batch: Zyx = (1, 1, 1)
) -> Case:
    """What a noisy model says of a label image (z, y, x); the class is the object's number modulo the classes."""
    said = {index: _noisy_window(rng, lattice, index, truth, noise) for index in windows_of(lattice)}
    return Case(lattice, said, _valid(rng, lattice.extent), _broken(rng, lattice), batch)


def perfect(lattice: Lattice, layers: list[NDArray[np.int64]]) -> Case:
    """What a perfect model says of label images (z, y, x), one for each class; objects of two classes may overlap."""
    said: dict[Zyx, list[Mask]] = {}
    for index in windows_of(lattice):
        box = lattice.real_box(index)
        seen = [layer[box.within((0, 0, 0))] for layer in layers]
        said[index] = [
            Mask(zyx([a + s.start for a, s in zip(box.start, place, strict=True)]), ids[place] == number, label)
            for label, ids in enumerate(seen)
            for number, place in enumerate(ndimage.find_objects(ids), start=1)
            if place is not None
        ]
    return Case(lattice, said)


def tessellation(rng: np.random.Generator, extent: Zyx, density: float) -> NDArray[np.int64]:
    """Cells that fill the image and touch each other, with a share of their pixels left out at random."""
    marks = np.zeros(extent, np.int64)
    for number in range(1, int(rng.integers(3, 30))):
        marks[tuple(int(rng.integers(0, n)) for n in extent)] = number
    _, nearest = ndimage.distance_transform_edt(marks == 0, return_indices=True)
    return np.where(rng.random(extent) < density, marks[tuple(nearest)], 0)


def _noisy_window(
    rng: np.random.Generator, lattice: Lattice, index: Zyx, truth: NDArray[np.int64], noise: Noise
) -> list[Mask]:
    box = lattice.real_box(index)
    ids = truth[box.within((0, 0, 0))]
    inside = np.ones(ids.shape, bool)
    for axis, borders in enumerate(lattice.internal_borders(index)):
        rows = np.moveaxis(inside, axis, 0)
        near, far = (int(rng.integers(0, noise.short + 1)) if border else 0 for border in borders)
        rows[:near] = False
        rows[len(rows) - far :] = False
    numbers = [int(number) for number in np.unique(ids[ids > 0]) if rng.random() >= noise.miss]
    first = {number: number for number in numbers}
    for a, b in _touching(ids):
        if a in first and b in first and a % CLASSES == b % CLASSES and rng.random() < noise.glue:
            first = {number: first[b] if other == first[a] else other for number, other in first.items()}
    sets = [np.isin(ids, [number for number in numbers if first[number] == each]) for each in numbers]
    found: list[Mask] = []
    for number, bits in zip(numbers, sets, strict=True):
        said = _tight(
            Mask(box.start, _jittered(rng, bits, noise) & inside, number % CLASSES, float(rng.choice(SCORES)))
        )
        if said is not None:
            found.append(said)
    return found


def _touching(ids: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of numbers in pixels next to each other, not by corners; the lower one comes first."""
    found = set[tuple[int, int]]()
    for axis in range(3):
        rows = np.moveaxis(ids, axis, 0)
        both = np.sort(np.stack((rows[:-1].ravel(), rows[1:].ravel())), axis=0)
        found |= set(map(tuple, both[:, (both[0] > 0) & (both[0] < both[1])].T.tolist()))
    return sorted(found)


def _jittered(rng: np.random.Generator, bits: Bits, noise: Noise) -> Bits:
    if not noise.jitter:
        return bits
    reach = [0 if n == 1 else noise.jitter for n in bits.shape]
    moved = ndimage.shift(bits, [int(rng.integers(-r, r + 1)) for r in reach], order=0, mode="nearest")
    swell = int(rng.integers(-1, 2))
    if swell:
        change = ndimage.binary_dilation if swell > 0 else ndimage.binary_erosion
        moved = change(moved, np.ones([1 if n == 1 else 3 for n in bits.shape], bool))
    return np.asarray(moved, bool)
