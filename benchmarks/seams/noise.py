"""What an imperfect model says of each window of a world: the errors that merge rules have to live with.

Every window sees the image's pixels inside it and nothing else. What it says of them depends on the seed, the window's
index and the objects' ids: not on the order in which windows are asked, nor on which other noises are switched on.
"""

# cc3d and scipy publish no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.seams.cases import Case, Detection, Mask, World, Zyx
from benchmarks.seams.draws import smooth_field, stream, uniform
from segworkers.lattice import Lattice

Ids = NDArray[np.int32]
Flags = NDArray[np.bool_]

CLOSE = 2
"""Neighbours with at most this many pixels between them, in some axis, may be glued."""

_MISS, _SHORT, _JITTER, _SHIFT, _GLUE, _SCORE, _FALL = range(7)  # streams of random numbers, one for each use


@dataclass(frozen=True, slots=True)
class Noise:
    """How a model errs; everything off by default, and anything may be combined."""

    miss: float = 0.0
    """Chance that a window does not see an object, for each window and object alone."""
    short: int = 0
    """px; masks end 0 to `short` px before a border of the window that lies inside the image, one draw a border.
    Never more than half the overlap: then no window would see the middle of the strip, and no rule could."""
    jitter: float = 0.0
    """px; each window sees the truth through a smooth random warp of its own, with this standard deviation in each
    axis and a correlation length of 20 px. Outlines of one object in two windows disagree by about as much."""
    shift: int = 0
    """px; each window sees the truth shifted by -shift..shift in each axis."""
    glue: float = 0.0
    """Chance that a window says two neighbours of one class, at most `CLOSE` px apart, as one mask; for each window
    and pair alone. Glued pairs that share an object are one mask."""
    scores: float = 0.0
    """How far scores may fall: half of it by chance for each view, half with the share of the object that the window
    does not see. 0: scores are 1 less at most 0.001, different in each view."""
    min_pixels: int = 0
    """Views of an object of which the window holds fewer pixels are missed."""
    min_share: float = 0.0
    """Views of an object of which the window holds a smaller share are missed."""
    parts: bool = False
    """Masks of several parts (8-/26-connected) are said part by part, as detections of their own."""

    def steady(self) -> Noise:
        """The same errors, window by window and object by object, with outlines where they are in truth."""
        return replace(self, short=0, jitter=0.0, shift=0)


NOISES: dict[str, Noise] = {
    "perfect": Noise(),
    "perfect_parts": Noise(parts=True),
    "miss5": Noise(miss=0.05),
    "short20": Noise(short=20),
    "jitter1": Noise(jitter=1.0),
    "jitter2": Noise(jitter=2.0),
    "shift1": Noise(shift=1),
    "glue1": Noise(glue=0.01),
    "scores": Noise(scores=0.6),
    "mixed": Noise(miss=0.05, jitter=1.5, short=20, glue=0.01, scores=0.3),
}
"""The noises that the benchmark reports."""

EVERY_NOISE = "mixed"
"""Of those above the one that combines the others."""


def say(world: World, window: Zyx, overlap: Zyx, noise: str | Noise, seed: int) -> Case:
    """What a model with this noise says of every window of the lattice.

    `noise` is a name in `NOISES`, or a noise of one's own. Detections that the noise leaves no pixel of are left out.
    """
    how = NOISES[noise] if isinstance(noise, str) else noise
    name = next((name for name, known in NOISES.items() if known == how), repr(how))
    depth, height, width = world.truth.shape
    lattice = Lattice(window, overlap, (depth, height, width))
    whole = np.bincount(world.truth.reshape(-1), minlength=world.count + 1)
    windows = {
        index: _say_window(_look(world, whole, lattice, index, seed), lattice, how)
        for index in lattice.indices((0, 0, 0), lattice.shape)
    }
    return Case(world, name, seed, window, overlap, windows)


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """What a window sees, with the objects in it numbered 1..n."""

    index: Zyx
    seed: int
    start: Zyx
    """First voxel in the image."""
    seen: Ids
    """(z, y, x) numbers, 0 = background; the part of the window that lies on the image."""
    ids: NDArray[np.int64]
    """(n + 1,) the objects' ids, ascending; this entry 0 and those of the other arrays are the background's."""
    label: NDArray[np.int64]
    """(n + 1,) class indices."""
    pixels: NDArray[np.int64]
    """(n + 1,) pixels that the window holds of each."""
    whole: NDArray[np.int64]
    """(n + 1,) pixels of each in the image."""

    def key(self, use: int) -> tuple[int, ...]:
        """What random numbers for this use depend on."""
        return (self.seed, use, *self.index)


def _look(world: World, whole: NDArray[np.int64], lattice: Lattice, index: Zyx, seed: int) -> _Sight:
    box = lattice.real_box(index)
    truth = world.truth[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))]
    pixels = np.bincount(truth.reshape(-1))
    ids = np.r_[0, np.flatnonzero(pixels[1:]) + 1]
    number = np.zeros(len(pixels), np.int32)
    number[ids] = np.arange(len(ids))
    return _Sight(index, seed, box.start, number[truth], ids, world.label[ids], pixels[ids], whole[ids])


def _say_window(sight: _Sight, lattice: Lattice, noise: Noise) -> list[Detection]:
    """What the model says, in order of the objects' ids (of the parts, where it says parts)."""
    said = np.where(_noticed(sight, noise), np.arange(len(sight.ids)), 0).astype(np.int32)[_warped(sight, noise)]
    _stop_short(said, sight, lattice, noise)
    mask_of = _glued(said, sight, noise) if noise.glue else np.arange(len(sight.ids), dtype=np.int32)
    masks = mask_of[said] if noise.glue else said
    if noise.parts:
        masks = cc3d.connected_components(masks, connectivity=26, out_dtype=np.uint32).astype(np.int32)
    source = _sources(said, masks)
    score = _scores(sight, noise, source)
    found = []
    for k, place in enumerate(ndimage.find_objects(masks), 1):
        if place is not None:
            z, y, x = (a + s.start for a, s in zip(sight.start, place, strict=True))
            mask = Mask((z, y, x), masks[place] == k)
            true = source[k]
            found.append(Detection(mask, float(score[k]), int(sight.label[true]), int(sight.ids[true])))
    return found


def _noticed(sight: _Sight, noise: Noise) -> Flags:
    """(n + 1,) whether the model notices the object at all."""
    enough = (sight.pixels >= noise.min_pixels) & (sight.pixels >= noise.min_share * sight.whole)
    return enough & (uniform(sight.key(_MISS), sight.ids) >= noise.miss)


def _warped(sight: _Sight, noise: Noise) -> Ids:
    """What the window sees, moved. Borders are continued outward: nothing comes in from outside the window."""
    seen = sight.seen
    if noise.shift:
        moves = stream(sight.key(_SHIFT)).integers(-noise.shift, noise.shift + 1, 3)
        for axis, (n, move) in enumerate(zip(seen.shape, moves, strict=True)):
            seen = np.take(seen, np.clip(np.arange(n) + move, 0, n - 1), axis)
    if noise.jitter:
        rng, flat = stream(sight.key(_JITTER)), np.zeros(seen.shape, np.int32)
        for axis, n in enumerate(seen.shape):
            place = np.arange(n, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            if n > 1:
                place = np.clip(place + noise.jitter * smooth_field(rng, seen.shape), 0, n - 1)
            flat = flat * np.int32(n) + np.rint(place).astype(np.int32)
        seen = np.take(seen, flat)
    return seen


def _stop_short(said: Ids, sight: _Sight, lattice: Lattice, noise: Noise) -> None:
    """Clear what lies near the window's borders inside the image."""
    if not noise.short:
        return
    draws = uniform(sight.key(_SHORT), np.arange(6)).reshape(3, 2)
    for axis, borders in enumerate(lattice.internal_borders(sight.index)):
        most = min(noise.short, lattice.overlap[axis] // 2)
        near, far = (int(u * (most + 1)) if inside else 0 for u, inside in zip(draws[axis], borders, strict=True))
        rows = np.moveaxis(said, axis, 0)
        rows[:near] = 0
        rows[len(rows) - far :] = 0


def _glued(said: Ids, sight: _Sight, noise: Noise) -> Ids:
    """(n + 1,) number of the mask in which each object is said: the first object's of those that are glued."""
    a, b = _neighbours(said, len(sight.ids))
    alike = sight.label[a] == sight.label[b]
    a, b = a[alike], b[alike]
    chosen = uniform(sight.key(_GLUE), sight.ids[a], sight.ids[b]) < noise.glue
    n = len(sight.ids)
    graph = coo_array((np.ones(int(chosen.sum()), np.bool_), (a[chosen], b[chosen])), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    _, first, back = np.unique(group, return_index=True, return_inverse=True)
    return first[back].astype(np.int32)


def _neighbours(said: Ids, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of numbers a < b that touch, if by a corner, or have at most `CLOSE` pixels between them in an axis."""
    codes = [np.empty(0, np.int64)]
    for way in product((0, 1), (-1, 0, 1), (-1, 0, 1)):
        if way <= (0, 0, 0):
            continue
        for far in range(1, CLOSE + 2 if way.count(0) == 2 else 2):
            steps = [far * s for s in way]
            if all(n > abs(s) for s, n in zip(steps, said.shape, strict=True)):
                p = said[tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(steps, said.shape, strict=True))]
                q = said[tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(steps, said.shape, strict=True))]
                differ = p != q
                codes.append(_pair_codes(p[differ], q[differ], count))
    code = np.unique(np.concatenate(codes))
    return code // count, code % count


def _pair_codes(p: Ids, q: Ids, count: int) -> NDArray[np.int64]:
    """Each pair once, without background, as low * count + high."""
    both = (p > 0) & (q > 0)
    p, q = p[both], q[both]
    code = np.minimum(p, q).astype(np.int64) * count + np.maximum(p, q)
    if count > 4096:
        return np.unique(code)
    met = np.zeros(count * count, np.bool_)  # sorting millions of pixels to find hundreds of pairs would take longer
    met[code] = True
    return np.flatnonzero(met)


def _sources(said: Ids, masks: Ids) -> NDArray[np.int64]:
    """(masks + 1,) number of the object with the most pixels in each mask, the lowest where two have as many."""
    source = np.zeros(int(masks.max(initial=0)) + 1, np.int64)
    if masks is said:
        return np.arange(len(source))
    width = int(said.max(initial=0)) + 1
    code, pixels = np.unique(masks[masks > 0].astype(np.int64) * width + said[masks > 0], return_counts=True)
    order = np.lexsort((-code, pixels))  # what comes last is written last, and stays
    source[code[order] // width] = code[order] % width
    return source


def _scores(sight: _Sight, noise: Noise, source: NDArray[np.int64]) -> NDArray[np.float64]:
    """(masks + 1,) scores in [0, 1]."""
    true, mask = sight.ids[source], np.arange(len(source))
    which = mask if noise.parts else np.zeros_like(mask)
    hidden = 1 - sight.pixels[source] / np.maximum(sight.whole[source], 1)
    fall = 0.5 * uniform(sight.key(_FALL), true, which) + 0.5 * hidden
    return 1 - 0.001 * uniform(sight.key(_SCORE), true, which) - 0.999 * noise.scores * fall
