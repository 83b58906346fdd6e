"""From the maps of a star-convex network to masks: candidates, suppression, each pixel to what it is deepest in.

Star-convex polygons (Schmidt et al., MICCAI 2018): every pixel says how likely it is the middle of an object and how
far the object reaches from it along rays at equal angles. The best middles are kept greedily; unlike there, masks are
not the polygons but the foreground that lies in or near them, so outlines need not be star-convex.
"""

# numba publishes no types.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from schemas.boxes import Box

Floats = NDArray[np.float32]
Crop = tuple[Box, NDArray[np.bool_]]
STEP = 2
"""Pixels between neighbouring positions of the middle and ray maps: position (i, j) is pixel (STEP · i, STEP · j)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StarSettings:
    """How maps become masks. Checks itself; raises ValueError."""

    middle: float = 0.5
    """Least probability of a middle."""
    overlap: float = 0.4
    """Share of the smaller of two polygons that both may hold; beyond it the less probable one goes."""
    foreground: float = 0.5
    """Probability from which a pixel is foreground."""
    reach: float = 1.3
    """How far beyond its polygon an object may take foreground, as a factor of the radius."""
    core: float = 0.7
    """Within this share of the radius pixels belong to the object even where they are no foreground."""
    least: int = 20
    """px: smaller masks are left out."""

    def __post_init__(self) -> None:
        shares = (self.middle, self.overlap, self.foreground)
        if not all(0 <= share <= 1 for share in shares) or not 0 <= self.core <= self.reach or self.least < 1:
            raise ValueError(
                "expected middle, overlap and foreground in 0..1, core at most reach and least at least 1, "
                f"found {self}"
            )


def decode(
    middle: Floats, rays: Floats, foreground: Floats, valid: NDArray[np.bool_], settings: StarSettings
) -> tuple[NDArray[np.float64], list[Crop]]:
    """Scores (k,) and masks of the objects in one window, the best first.

    middle: (h, w) probability that pixel (STEP · i, STEP · j) is an object's middle. rays: (n, h, w) its distances
    in px to the object's border at angles 2 π k / n from the x axis towards y. foreground: (y, x) probability of
    any object. valid: (y, x); masks keep to it. Masks share no pixel, are 4-connected, and lie inside the window.
    """
    places = candidates(middle, settings.middle)
    scores = middle[places[:, 0], places[:, 1]].astype(np.float64)
    radii = np.ascontiguousarray(rays[:, places[:, 0], places[:, 1]].T, np.float32)
    centres = places * STEP
    shape = foreground.shape
    kept = cast("NDArray[np.bool_]", suppress(centres, radii, shape[0], shape[1], settings.overlap))
    solid = foreground >= settings.foreground
    owner = cast("NDArray[np.int32]", assign(centres[kept], radii[kept], solid, valid, settings.reach, settings.core))
    return _masks(owner, scores[kept], settings.least)


def candidates(middle: Floats, least: float) -> NDArray[np.int64]:
    """(k, 2) local maxima in 3 x 3 of at least `least`, the highest first; of equals the first in raster order."""
    height, width = middle.shape
    padded = np.pad(middle, 1, constant_values=-np.inf)
    peak = middle >= least
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy or dx:
                other = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
                peak &= middle > other if (dy, dx) < (0, 0) else middle >= other
    found = np.argwhere(peak)
    order = np.argsort(-middle[found[:, 0], found[:, 1]], kind="stable")
    return found[order]


@njit(cache=True, nogil=True)
def depth(dy: float, dx: float, radii: Any) -> float:
    """Distance from the centre as a share of the polygon's radius in that direction: at most 1 inside.

    dy, dx: from the centre. radii: (n,) of the polygon's corners at angles 2 π k / n.
    """
    distance = math.sqrt(dy * dy + dx * dx)
    if distance == 0.0:
        return 0.0
    step = 2.0 * math.pi / radii.shape[0]
    turn = math.atan2(dy, dx) / step
    if turn < 0.0:
        turn += radii.shape[0]
    first = int(turn)
    rest = (turn - first) * step
    a, b = radii[first % radii.shape[0]], radii[(first + 1) % radii.shape[0]]
    # the straight edge between the two corners, in polar coordinates
    width = a * math.sin(rest) + b * math.sin(step - rest)
    if width <= 0.0:
        return math.inf
    return distance * width / (a * b * math.sin(step))


@njit(cache=True, nogil=True)
def suppress(centres: Any, radii: Any, height: int, width: int, most: float) -> Any:
    """Which polygons stay: in their order, those that overlap no one that stayed by more than `most` of the smaller.

    centres: (k, 2) y, x; radii: (k, n). Polygons count as far as they lie in a window of height x width.
    """
    count = centres.shape[0]
    owner = np.zeros((height, width), np.int32)
    areas = np.zeros(count + 1, np.int64)
    shared = np.zeros(count + 1, np.int64)
    kept = np.zeros(count, np.bool_)
    for k in range(count):
        reach = math.ceil(radii[k].max())
        cy, cx = centres[k, 0], centres[k, 1]
        top, bottom = max(cy - reach, 0), min(cy + reach + 1, height)
        left, right = max(cx - reach, 0), min(cx + reach + 1, width)
        shared[: k + 1] = 0
        area = 0
        for y in range(top, bottom):
            for x in range(left, right):
                if depth(y - cy, x - cx, radii[k]) <= 1.0:
                    area += 1
                    shared[owner[y, x]] += 1
        stays = area > 0
        for other in range(1, k + 1):
            if shared[other] > most * min(area, areas[other]):
                stays = False
        kept[k] = stays
        if not stays:
            continue
        areas[k + 1] = area
        for y in range(top, bottom):
            for x in range(left, right):
                if owner[y, x] == 0 and depth(y - cy, x - cx, radii[k]) <= 1.0:
                    owner[y, x] = k + 1
    return kept


@njit(cache=True, nogil=True)
def assign(centres: Any, radii: Any, solid: Any, valid: Any, reach: float, core: float) -> Any:
    """(y, x) number from 1 of the polygon that each pixel is deepest in, the first of equals; 0 = none.

    A pixel belongs to one within `core` of its radius, or within `reach` of it where it is `solid`; never where it is
    not `valid`.
    """
    height, width = solid.shape
    owner = np.zeros((height, width), np.int32)
    deepest = np.full((height, width), np.inf, np.float32)
    for k in range(centres.shape[0]):
        far = math.ceil(radii[k].max() * reach)
        cy, cx = centres[k, 0], centres[k, 1]
        for y in range(max(cy - far, 0), min(cy + far + 1, height)):
            for x in range(max(cx - far, 0), min(cx + far + 1, width)):
                if not valid[y, x]:
                    continue
                share = np.float32(depth(y - cy, x - cx, radii[k]))
                if share < deepest[y, x] and (share <= core or (share <= reach and solid[y, x])):
                    deepest[y, x] = share
                    owner[y, x] = k + 1
    return owner


def _masks(owner: NDArray[np.int32], scores: NDArray[np.float64], least: int) -> tuple[NDArray[np.float64], list[Crop]]:
    """Each number's largest 4-connected part, the first in raster order of equals, where it has `least` pixels."""
    kept, crops = list[float](), list[Crop]()
    for number, place in enumerate(ndimage.find_objects(owner), start=1):
        if place is None:
            continue
        parts, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(owner[place] == number))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        largest = int(np.argmax(sizes))
        if sizes[largest] < least:
            continue
        mask = parts == largest + 1
        (rows, columns) = ndimage.find_objects(mask.astype(np.uint8))[0]
        y, x = place[0].start + rows.start, place[1].start + columns.start
        shape = mask[rows, columns].shape
        crops.append((Box((0, y, x), (1, y + shape[0], x + shape[1])), mask[rows, columns][None].copy()))
        kept.append(float(scores[number - 1]))
    return np.array(kept, np.float64), crops
