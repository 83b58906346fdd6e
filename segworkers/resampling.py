"""Pixels on another grid over the same extent, each axis by itself: coarser by means over areas, finer by linear steps.

Model pixel i of M over N native pixels covers [i·N/M, (i+1)·N/M). Measured in units of 1/M native pixels all borders
are integers, so weights are integers that depend on nothing but the pixel's absolute index, and sums run in a fixed
order: any two reads agree bit for bit where they overlap. For 8- and 16-bit pixels the sums are exact.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false
# numba's decorators are not typed.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from segworkers.readers.base import PixelBlock

SAME_RESOLUTION = 0.02
"""Relative difference of resolutions up to which an axis is left as it is."""


def model_shape(
    native_shape_yx: tuple[int, int], native_res_m_yx: tuple[float, float], model_res_m: float
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Shape (y, x) of the grid on which a pixel measures about `model_res_m`, and native pixels per model pixel (y, x).

    native_res_m_yx: metres per native pixel. The grid spans the native extent exactly, so the scale is native / model
    extent, off the wanted one by at most half a model pixel over the image. An axis within 2 % keeps its extent.
    """
    if min(*native_res_m_yx, model_res_m) <= 0:
        raise ValueError(f"resolutions must be above 0 m, got native {native_res_m_yx} and model {model_res_m}")
    y, x = (
        extent if abs(model_res_m / native - 1) <= SAME_RESOLUTION else max(1, round(extent * native / model_res_m))
        for extent, native in zip(native_shape_yx, native_res_m_yx, strict=True)
    )
    return (y, x), (native_shape_yx[0] / y, native_shape_yx[1] / x)


def volume_shape(native: Zyx, native_mm: tuple[float, float, float], model_mm: tuple[float, float, float]) -> Zyx:
    """Shape (z, y, x) of the grid on which voxels measure about `model_mm` over the native extent; may be finer.

    An axis within 2 % keeps its extent.
    """
    sides = zip(native, native_mm, model_mm, strict=True)
    return zyx(
        [n if abs(wanted / mm - 1) <= SAME_RESOLUTION else max(1, round(n * mm / wanted)) for n, mm, wanted in sides]
    )


def native_box_for(box: Box, native: Zyx, model: Zyx) -> Box:
    """The native pixels that go into the model pixels of `box`. Extents are (z, y, x)."""
    sides = [_needed(*each) for each in zip(native, model, box.start, box.stop, strict=True)]
    return Box(zyx([a for a, _ in sides]), zyx([b for _, b in sides]))


def _needed(native: int, model: int, start: int, stop: int) -> tuple[int, int]:
    """Along one axis: those covered, in part too; on a finer grid those on both sides."""
    if model <= native:
        return start * native // model, -(-stop * native // model)
    first, last = ((2 * i + 1) * native - model for i in (start, stop - 1))
    return max(first // (2 * model), 0), min(last // (2 * model) + 2, native)


def area_weights(native: int, model: int, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Native pixels under each of the model pixels start..stop along one axis, and their weights.

    Returns first (n,): the absolute index of the first native pixel, and weights (n, k): of the k native pixels from
    there on; each row has the same sum. Units: of 1 / (model / g) native pixels, g = gcd(native, model), so that rows
    sum to native / g; on a finer grid of 1 / (2 · model), k = 2, linear between the centres of native pixels and
    constant beyond the outermost ones. Trailing weights may be 0, at indices that may lie beyond the extent.
    """
    if model > native:
        place = (2 * np.arange(start, stop, dtype=np.int64) + 1) * native - model  # in units of 1 / (2 · model)
        place = np.clip(place, 0, (native - 1) * 2 * model)
        return place // (2 * model), np.stack([2 * model - place % (2 * model), place % (2 * model)], axis=1)
    divisor = int(np.gcd(native, model))
    n, m = native // divisor, model // divisor
    left = np.arange(start, stop, dtype=np.int64) * n  # in units of 1/m native pixels
    first = left // m
    count = int((-((-(left + n)) // m) - first).max())
    edges = (first[:, None] + np.arange(count + 1)) * m
    inside = np.clip(edges, left[:, None], (left + n)[:, None])
    return first, np.diff(inside, axis=1)


def reduce_block(block: PixelBlock, box: Box, native: Zyx, model: Zyx) -> PixelBlock:
    """The model pixels of `box`, from a read that covers `native_box_for(box, native, model)`.

    native, model: extents of the two grids, (z, y, x). A pixel is the mean over the valid part of what goes into it,
    and is valid where that is at least half of it; without any valid part it is 0. Integers are rounded half to even;
    the dtype stays. Raises ValueError where the read does not cover the box.
    """
    if native == model and block.box == box:
        return block
    needed = native_box_for(box, native, model)
    if needed not in block.box:
        raise ValueError(f"the model pixels {box} need the native pixels {needed}, the block has {block.box}")
    axes = [area_weights(n, m, a, b) for n, m, a, b in zip(native, model, box.start, box.stop, strict=True)]
    z0, y0, x0 = (first - origin for (first, _), origin in zip(axes, block.box.start, strict=True))
    wz, wy, wx = (weight.astype(np.float64) for _, weight in axes)
    full = float(wz[0].sum() * wy[0].sum() * wx[0].sum())
    area = np.empty(box.shape, np.float64)
    pixels = np.empty((len(block.pixels), *box.shape), block.pixels.dtype)
    _sum_area(block.valid, z0, y0, x0, wz, wy, wx, area)
    for source, target in zip(block.pixels, pixels, strict=True):
        total = np.empty(box.shape, np.float64)
        _sum_pixels(source, block.valid, z0, y0, x0, wz, wy, wx, total)
        np.divide(total, area, out=total, where=area > 0)
        target[...] = np.rint(total) if target.dtype.kind in "iu" else total
    return PixelBlock(pixels, area * 2 >= full, box)


@njit(cache=True, nogil=True)
def _sum_pixels(
    pixels: NDArray[Any],
    valid: NDArray[np.bool_],
    z0: NDArray[np.int64],
    y0: NDArray[np.int64],
    x0: NDArray[np.int64],
    wz: NDArray[np.float64],
    wy: NDArray[np.float64],
    wx: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """out[k, i, j] = sum of wz·wy·wx·pixel over valid pixels: first over z and y for a whole row, then over x."""
    row = np.empty(pixels.shape[2], np.float64)
    for k in range(out.shape[0]):
        for i in range(out.shape[1]):
            row[:] = 0.0
            for dz in range(wz.shape[1]):
                for dy in range(wy.shape[1]):
                    weight = wz[k, dz] * wy[i, dy]
                    if weight > 0.0:
                        z, y = z0[k] + dz, y0[i] + dy
                        for x in range(row.size):
                            if valid[z, y, x]:
                                row[x] += weight * pixels[z, y, x]
            _gather(row, x0, wx, out[k, i])


@njit(cache=True, nogil=True)
def _sum_area(
    valid: NDArray[np.bool_],
    z0: NDArray[np.int64],
    y0: NDArray[np.int64],
    x0: NDArray[np.int64],
    wz: NDArray[np.float64],
    wy: NDArray[np.float64],
    wx: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """out[k, i, j] = sum of wz·wy·wx over valid pixels, in the order of `_sum_pixels`."""
    row = np.empty(valid.shape[2], np.float64)
    for k in range(out.shape[0]):
        for i in range(out.shape[1]):
            row[:] = 0.0
            for dz in range(wz.shape[1]):
                for dy in range(wy.shape[1]):
                    weight = wz[k, dz] * wy[i, dy]
                    if weight > 0.0:
                        z, y = z0[k] + dz, y0[i] + dy
                        for x in range(row.size):
                            if valid[z, y, x]:
                                row[x] += weight
            _gather(row, x0, wx, out[k, i])


@njit(cache=True, nogil=True)
def _gather(row: NDArray[np.float64], x0: NDArray[np.int64], wx: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """out[j] = sum of wx[j]·row from x0[j] on."""
    for j in range(out.size):
        total = 0.0
        for dx in range(wx.shape[1]):
            if wx[j, dx] > 0.0:
                total += wx[j, dx] * row[x0[j] + dx]
        out[j] = total
