"""The seam benchmark on real pixels: real nuclei, and what a real model says of each window of a real image.

    perfect     nuclei outlined by hand, and truth ∩ window: real shapes and neighbours, a model without error
    perturbed   the same nuclei as the model sees them: those that it finds, glued where it glues, with its outlines as
                far as they lie within `REACH` px of the true ones. Where it splits a nucleus, only the largest piece
                counts as having found it
    model       the model's masks as they are. Truth is what it says of the whole image at once, which is what a merge
                has to rebuild: beside nuclei outlined by hand, errors of model and merge could not be told apart

Truth holds the objects that at least one window's model says: those that no window sees would be missed under every
rule, and would hide as many doubled ones in the count. So `World.count` differs between noises and lattices. Masks that
lie mostly on background, as no object of the truth, are left out. What one window says of one object in two pieces
(in `model` about 1 object in 100) the oracle linker joins, and no rule that goes by masks can: so part of the excess
over the oracle is the model's.
"""

# scipy publishes no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.seams.cases import Case, Detection, Mask, World, Zyx
from benchmarks.seams.microscopy import Answers, Mosaic, ask_all, lay_out, load
from benchmarks.seams.noise import say
from jobs.demo_mosaic import NucleiImage
from segworkers.lattice import Lattice

Ids = NDArray[np.int32]
Ints = NDArray[np.int64]
Place = tuple[slice, ...]
Hear = Callable[[Ids, Place], Ids]
"""Turns a window's masks into others with the same numbers; the place is the window's (y, x) in the image."""

NAME = "nuclei"
"""The world's name."""
NOISES = ("perfect", "perturbed", "model")
LATTICES: tuple[tuple[Zyx, Zyx], ...] = (((1, 256, 256), (0, 64, 64)), ((1, 512, 512), (0, 96, 96)))
"""Windows and overlaps that the benchmark reports."""
SIDE = 4096
"""px of the mosaics: about half of the images, other ones for each seed."""
REACH = 4
"""px on either side of true outlines within which outlines are the model's."""
LEAST = 0.1
"""IoU of a nucleus and a mask, both as far as the window shows them, from which the model has found the nucleus."""


def cases(folder: Path | None, window: Zyx, overlap: Zyx, seeds: Iterable[int]) -> Iterator[Case]:
    """Every noise for every seed. folder: the demo's cache, see `microscopy.load`."""
    for seed in seeds:
        for noise in NOISES:
            yield _case(folder, noise, seed, window, overlap)


def case(world: str, noise: str, seed: int, window: Zyx, overlap: Zyx) -> Case:
    """One case, with the images of the demo's own cache.

    Raises ValueError for a world other than `NAME` and a noise that is not in `NOISES`.
    """
    if world != NAME or noise not in NOISES:
        raise ValueError(f"expected world {NAME!r} and a noise of {', '.join(NOISES)}, found {world!r} and {noise!r}")
    return _case(None, noise, seed, window, overlap)


def perturbed(mosaic: Mosaic, answers: Answers, seed: int, window: Zyx, overlap: Zyx) -> Case:
    """True nuclei as a model sees them, of which `answers` are. window, overlap: of its lattice."""
    return _heard(mosaic.truth, answers, "perturbed", seed, (window, overlap), _redrawn(mosaic.truth))


def as_said(answers: Answers, seed: int, window: Zyx, overlap: Zyx) -> Case:
    """A model's masks as they are, beside those of the whole image. window, overlap: of its lattice."""
    return _heard(answers.whole.painted(), answers, "model", seed, (window, overlap), lambda masks, _: masks)


def _case(folder: Path | None, noise: str, seed: int, window: Zyx, overlap: Zyx) -> Case:
    mosaic = _mosaic(folder, seed)
    if noise == "perfect":
        return say(_world(mosaic.truth), window, overlap, noise, seed)
    answers = _answers(folder, seed, window, overlap)
    if noise == "perturbed":
        return perturbed(mosaic, answers, seed, window, overlap)
    return as_said(answers, seed, window, overlap)


@lru_cache(maxsize=1)
def _images(folder: Path | None) -> Sequence[NucleiImage]:
    return load(folder)


@lru_cache(maxsize=2)
def _mosaic(folder: Path | None, seed: int) -> Mosaic:
    return lay_out(_images(folder), seed, SIDE)


@lru_cache(maxsize=16)
def _answers(folder: Path | None, seed: int, window: Zyx, overlap: Zyx) -> Answers:
    """Kept, since noises share them and the model takes nearly all of the time: a few MB each."""
    pixels = _mosaic(folder, seed).pixels
    return ask_all(pixels, Lattice(window, overlap, (1, *pixels.shape)))


def _heard(truth: Ids, answers: Answers, noise: str, seed: int, grid: tuple[Zyx, Zyx], hear: Hear) -> Case:
    """The case of what `hear` makes of each window's masks, with the objects of `truth` that come up in it."""
    lattice = Lattice(*grid, (1, *truth.shape))
    windows = dict[Zyx, Sequence[Detection]]()
    for index, answer in answers.windows.items():
        start, place = lattice.real_box(index).start, lattice.real_box(index).within((0, 0, 0))[1:]
        windows[index] = _detections(hear(answer.painted(), place), answer.scores, truth[place], start)
    return _known(Case(_world(truth), noise, seed, *grid, windows))


def _world(truth: Ids) -> World:
    return World(NAME, truth[None], np.zeros(int(truth.max(initial=0)) + 1, np.int64))


def _redrawn(truth: Ids) -> Hear:
    """A function of a window's masks and its place (y, x): the true nuclei as the masks have them, numbered as they."""
    outside = truth == 0
    away, nearest = cast("Any", ndimage.distance_transform_edt(outside, return_indices=True))
    near = np.where(away <= REACH, truth[tuple(nearest)], 0)
    inner = np.asarray(ndimage.distance_transform_edt(~outside)) > REACH
    count = int(truth.max(initial=0))

    def hear(masks: Ids, place: Place) -> Ids:
        mask = _matches(truth[place], masks, count)[near[place]]
        return np.where(inner[place] | (masks == mask), mask, 0)

    return hear


def _matches(seen: Ids, masks: Ids, count: int) -> Ids:
    """(count + 1,) number of the mask that shares most pixels with each nucleus, if its IoU is `LEAST`; else 0."""
    nucleus, mask, shared = _pairs(seen, masks)
    iou = shared / (np.bincount(seen.ravel())[nucleus] + np.bincount(masks.ravel())[mask] - shared)
    order = np.lexsort((-mask, shared))  # what comes last is written last, and stays
    order = order[iou[order] >= LEAST]
    best = np.zeros(count + 1, np.int32)
    best[nucleus[order]] = mask[order]
    return best


def _detections(masks: Ids, scores: Sequence[float], truth: Ids, start: Zyx) -> list[Detection]:
    """Masks (y, x) of a window that starts there, less those of which half or more is background."""
    number, mask, shared = _pairs(truth, masks)
    size = len(scores) + 1
    kept = 2 * np.bincount(mask, shared, minlength=size) > np.bincount(masks.ravel(), minlength=size)
    source = np.zeros(size, np.int64)
    order = np.lexsort((-number, shared))
    source[mask[order]] = number[order]
    found = list[Detection]()
    for k, place in enumerate(ndimage.find_objects(masks), start=1):
        if place is not None and kept[k]:
            y, x = (a + s.start for a, s in zip(start[1:], place, strict=True))
            found.append(Detection(Mask((0, y, x), (masks[place] == k)[None]), scores[k - 1], 0, int(source[k])))
    return found


def _pairs(truth: Ids, masks: Ids) -> tuple[Ints, Ints, Ints]:
    """Objects and masks that share pixels, and how many; ascending."""
    both = (truth > 0) & (masks > 0)
    width = int(masks.max(initial=0)) + 1
    code, shared = np.unique(truth[both].astype(np.int64) * width + masks[both], return_counts=True)
    return code // width, code % width, shared


def _known(case: Case) -> Case:
    """The case with the objects of which some window says something, numbered anew."""
    ids = np.unique([d.truth for said in case.windows.values() for d in said]).astype(np.int64)
    number = np.zeros(case.world.count + 1, np.int32)
    number[ids] = np.arange(1, len(ids) + 1)
    windows = {index: [replace(d, truth=int(number[d.truth])) for d in said] for index, said in case.windows.items()}
    return replace(case, world=_world(number[case.world.truth[0]]), windows=windows)
