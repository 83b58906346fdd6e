"""The part of a body CT that holds the abdomen: from the hip to above the dome of the liver, without table and arms.

The steps are those of `crop_ct_image` in pyliverlesionseg (KU Leuven, Apache-2.0), which counts voxels of the native
grid; here they run on a coarse grid and lengths are millimetres, at 3 mm to a slice. Where the package fails (no lungs
or no bone in view), the limits of the scan take their place. Arrays are (z, y, x) in HU with z to the head.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from segworkers.segmenters.morphology import CUBE, FACES, bounds_of, dilated, eroded, largest_part, parts_of

_TISSUE_HU, _LUNG_HU, _BONE_HU, _AIR_HU = -150, -600, 500, -1000
_DOME_MARGIN_MM, _HIP_MARGIN_MM, _LIVER_HEIGHT_MM = 70.0, 20.0, 400.0
_SMOOTH_MM, _FAR_MM, _NEAR_MM = 21.0, 45.0, 15.0
_HIP_RATIO = 0.7
_SECOND_LUNG = 0.1
"""Least volume of a second lung, as a part of the first one's: less is gas in the gut or the gullet."""

Profile = NDArray[np.float64]


def abdomen_box(
    values: NDArray[Any], valid: NDArray[np.bool_], spacing_mm: tuple[float, float, float], largest: Zyx
) -> Box:
    """The abdomen's box, at most `largest` voxels (z, y, x); the upper end is kept where it is too high.

    values: (z, y, x) HU at about 3 mm, z to the head; valid: same shape. The whole scan, cut to size, where no body is
    found in it.
    """
    hu = np.where(valid, values, _AIR_HU)
    body = _body(hu > _TISSUE_HU)
    if body is None:
        return _limited(Box.of_shape(hu.shape), zyx([side // 2 for side in hu.shape]), largest)
    air = _inner_air(hu, body)
    dome = _dome(air, spacing_mm[0])
    dome_at = hu.shape[0] if dome is None else dome
    start = 0 if dome is None else _hip(hu > _BONE_HU, dome_at, spacing_mm[0])
    bottom = max(0, start - int(_HIP_MARGIN_MM / spacing_mm[0]))
    top = min(hu.shape[0], dome_at + int(_DOME_MARGIN_MM / spacing_mm[0]))
    part = Box((bottom, *body.start[1:]), (top, *body.stop[1:]))
    trunk = _body(hu[part.within((0, 0, 0))] > _TISSUE_HU)
    if trunk is not None:
        inside = trunk.shift(part.start)
        part = Box((bottom, *inside.start[1:]), (top, *inside.stop[1:]))
    return _limited(part, _middle(air, part), largest)


def _body(tissue: NDArray[np.bool_]) -> Box | None:
    """The box of the largest part of the eroded tissue: without table, blankets and arms that lie apart."""
    return bounds_of(largest_part(eroded(tissue, FACES)))


def _inner_air(hu: NDArray[Any], body: Box) -> NDArray[np.int32]:
    """Labels of the air in the body, 0 elsewhere; 1 is the largest part, 2 the next.

    Opened, so that it is not joined to the air around; the top slice closes lungs that the scan cuts.
    """
    inside = np.zeros(hu.shape, bool)
    inside[body.within((0, 0, 0))] = True
    air = ((hu < _LUNG_HU) | ~inside)[:-1]
    air = dilated(eroded(air, CUBE), CUBE)
    # a frame of air in the plane: the background is one part
    labels, sizes = parts_of(np.pad(air, ((0, 0), (2, 2), (2, 2)), constant_values=True))
    if labels.size:
        sizes[labels[0, 0, 0]] = 0
    order = np.argsort(-sizes, kind="stable")
    rank = np.zeros(len(sizes), np.int32)
    rank[order] = np.where(sizes[order] > 0, np.arange(1, len(sizes) + 1), 0)
    ranks = np.zeros(hu.shape, np.int32)
    ranks[:-1] = rank[labels][:, 2:-2, 2:-2]
    return ranks


def _dome(air: NDArray[np.int32], step_mm: float) -> int | None:
    """The slice of the liver's dome: where the lungs begin, by the profile of air and by the higher of two lungs."""
    if not air.any():
        return None
    profile = _smooth((air > 0).sum((1, 2)), step_mm)
    low, high = profile.min(), profile.max()
    full = np.flatnonzero(profile > low + 0.5 * (high - low))
    begins = full[np.r_[True, np.diff(full) != 1]]
    ends = full[np.r_[np.diff(full) != 1, True]]
    first = int(begins[0])
    # gas in the gut below the lungs makes a first run of its own, with hardly any air between
    if len(begins) > 1 and (profile[ends[0] : begins[1]] < low + 0.2 * (high - low)).any():
        first = int(begins[1])
    sizes = np.bincount(air.ravel(), minlength=3)
    lungs = [1, 2] if sizes[2] >= _SECOND_LUNG * sizes[1] else [1]
    return max(first, *(int(np.flatnonzero((air == lung).any((1, 2)))[0]) for lung in lungs))


def _hip(bone: NDArray[np.bool_], dome: int, step_mm: float) -> int:
    """The slice of the hip: much bone, next below the slice with the least bone under the dome; 0 where it is not seen.

    Never lower than the tallest liver reaches.
    """
    highest = max(0, dome - int(_LIVER_HEIGHT_MM / step_mm))
    profile = _smooth(bone.sum((1, 2)), step_mm)[:dome]
    far, near = (max(1, round(mm / step_mm)) for mm in (_FAR_MM, _NEAR_MM))
    waists, hips = _extrema(-profile, far), _extrema(profile, far)
    if not len(waists) or not len(hips):
        return highest
    waist = int(waists[np.argmin(profile[waists])])
    most = int(np.argmax(profile))
    second = int(hips[np.argsort(profile[hips])][-2:][0])
    if waist < min(most, second):
        waist = second + int(np.argmin(profile[second:]))
    least = profile[waist]
    peaks = _extrema(profile, near)
    for ratio in (_HIP_RATIO, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05):
        high = peaks[profile[peaks] > ratio * (profile[most] - least) + least]
        if len(high):
            below = high[high < waist]
            # a single one may be the lowest ribs or the edge of the scan
            return max(highest, int(below[-1]) if len(below) > 1 else 0)
    return highest


def _extrema(profile: Profile, order: int) -> NDArray[np.int64]:
    """Places higher than all others within `order` slices, within fewer where there is none; not the ends.

    Equal neighbours are one place, their middle.
    """
    starts = np.flatnonzero(np.r_[True, np.diff(profile) != 0])
    runs = list(zip(starts, np.r_[starts[1:], len(profile)], strict=True))[1:-1]
    for way in (*range(order, 1, -3), 1):
        found = [
            (start + stop - 1) // 2
            for start, stop in runs
            if profile[start] > max(profile[max(start - way, 0) : start].max(), profile[stop : stop + way].max())
        ]
        if found:
            return np.array(found, np.int64)
    return np.zeros(0, np.int64)


def _smooth(profile: NDArray[Any], step_mm: float) -> Profile:
    """Moving sum, as wide as the package's seven slices."""
    width = max(1, round(_SMOOTH_MM / step_mm))
    padded = np.pad(profile.astype(np.float64), (width // 2, (width - 1) // 2))
    return np.convolve(padded, np.ones(width), "valid")


def _middle(air: NDArray[np.int32], part: Box) -> Zyx:
    """The middle of the air in the body, of the part itself where there is none."""
    around = bounds_of(air > 0) or part
    return zyx([(a + b) // 2 for a, b in zip(around.start, around.stop, strict=True)])


def _limited(part: Box, middle: Zyx, largest: Zyx) -> Box:
    """Cut to size: in the plane on both sides of the middle, in the part's proportions, in z from below."""
    start, stop = list(part.start), list(part.stop)
    for axis, (room, centre) in enumerate(zip(largest, middle, strict=True)):
        over = stop[axis] - start[axis] - room
        if over > 0:
            share = 1.0 if axis == 0 else min(max((centre - start[axis]) / (stop[axis] - start[axis]), 0.0), 1.0)
            first = round(share * over)
            start[axis] += first
            stop[axis] -= over - first
    return Box(zyx(start), zyx(stop))
