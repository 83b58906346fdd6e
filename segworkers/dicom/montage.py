"""Montages: one PNG a lesion, its slices side by side, cropped around it.

The outline runs along voxel edges; the long and the short axis are drawn in the slice in which they were measured.
Pixels are shown at their true aspect. Only crops are shown: a head's slices whole would be a face. The crop of a large
lesion may still show much of one, so montages are to be guarded as the images are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from schemas.boxes import Box
from schemas.masks import to_array
from schemas.volumes import VolumeFacts, VolumeGeometry
from segworkers.diameters import Axes, slice_axes
from segworkers.dicom.lesions import Lesion
from segworkers.slice_hulls import slice_parts
from segworkers.whole_files import appearing

ReadBox: TypeAlias = Callable[[Box], NDArray[Any]]
"""A box to its calibrated values (z, y, x)."""

Colour: TypeAlias = tuple[int, int, int]

OUTLINE: Colour = (255, 210, 0)
LONG_AXIS: Colour = (0, 220, 255)
SHORT_AXIS: Colour = (255, 90, 200)
_TEXT: Colour = (255, 255, 255)

SOFT_TISSUE_HU = (-160.0, 240.0)
LUNG_HU = (-1350.0, 150.0)
_MOSTLY_AIR_HU = -300.0
"""A crop whose median is below is shown with the lung window."""

_GAP = 2
"""Pixels between tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MontageOptions:
    """How montages look, and how many there are."""

    limit: int = 200
    """Lesions of a series that get one, the largest first."""
    tiles: int = 12
    """Slices shown of a lesion, spread evenly from its first to its last."""
    columns: int = 4
    margin_mm: float = 15.0
    """Shown around the lesion."""
    tile_px: int = 224
    """Longer side of a tile."""


@dataclass(frozen=True, slots=True)
class _View:
    """How a crop maps to a tile."""

    crop: Box
    scale: tuple[float, float]
    """Pixels of the tile for each row and column of voxels."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the tile."""
        _, rows, columns = self.crop.shape
        return max(1, round(columns * self.scale[1])), max(1, round(rows * self.scale[0]))

    def at(self, y: float, x: float) -> tuple[float, float]:
        """Where the corner of voxel (y, x) lies in the tile, as (horizontal, vertical)."""
        return (x - self.crop.start[2]) * self.scale[1], (y - self.crop.start[1]) * self.scale[0]


def write_montages(
    facts: VolumeFacts, objects: Iterable[Lesion], read: ReadBox, folder: Path, options: MontageOptions | None = None
) -> list[Path]:
    """Write `SERIES-INSTANCE.png` of the largest lesions. Raises what `read` raises."""
    options = options or MontageOptions()
    largest = sorted(objects, key=lambda lesion: (-lesion.voxel_count, lesion.instance_id))[: options.limit]
    written: list[Path] = []
    for lesion in largest:
        path = folder / f"{facts.series_id}-{lesion.instance_id}.png"
        with appearing(path) as partial:
            montage(facts, lesion, read, options).save(partial, format="PNG")
        written.append(path)
    return written


def montage(facts: VolumeFacts, lesion: Lesion, read: ReadBox, options: MontageOptions) -> Image.Image:
    """The montage of one lesion."""
    geometry = facts.geometry
    axes = slice_axes(slice_parts(lesion.runs, np.array([0, len(lesion.runs)])), geometry)
    view = _view(lesion.box, geometry, options)
    shown = slices_shown(lesion, int(axes.slice[0]), options.tiles)
    crops = [read(Box((z, *view.crop.start[1:]), (z + 1, *view.crop.stop[1:])))[0] for z in shown]
    low, high = window(np.stack(crops), facts)
    tiles = [_tile(lesion, z, crop, view, axes, geometry, (low, high)) for z, crop in zip(shown, crops, strict=True)]
    return _sheet(tiles, min(options.columns, len(tiles)))


def slices_shown(lesion: Lesion, measured: int, most: int) -> list[int]:
    """At most `most` slices of the lesion: evenly spread, and the one in which its axes were measured (-1: none)."""
    there = np.unique(lesion.runs[:, 0])
    if len(there) <= most:
        return there.tolist()
    chosen = there[np.round(np.linspace(0, len(there) - 1, most)).astype(int)]
    if measured >= 0 and measured not in chosen:
        chosen[np.argmin(np.abs(chosen - measured))] = measured
    return sorted(set(chosen.tolist()))


def window(crops: NDArray[Any], facts: VolumeFacts) -> tuple[float, float]:
    """Values shown black and white: soft tissue or lung in Hounsfield units, else the 1st and 99th percentile."""
    finite = crops[np.isfinite(crops)] if crops.dtype.kind == "f" else crops
    if not finite.size:
        return 0.0, 1.0
    if facts.modality == "CT" and facts.unit == "HU":
        return LUNG_HU if float(np.median(finite)) < _MOSTLY_AIR_HU else SOFT_TISSUE_HU
    low, high = (float(value) for value in np.percentile(finite, [1, 99]))
    return (low, high) if high > low else (low, low + 1.0)


def _view(box: Box, geometry: VolumeGeometry, options: MontageOptions) -> _View:
    spacing = geometry.pixel_spacing_mm
    margin = [round(options.margin_mm / step) for step in spacing]
    crop = box.grow((0, margin[0], margin[1])) & Box.of_shape(geometry.shape)
    assert crop is not None
    longer = max(crop.shape[1] * spacing[0], crop.shape[2] * spacing[1])
    per_mm = options.tile_px / longer
    return _View(crop, (spacing[0] * per_mm, spacing[1] * per_mm))


def _tile(
    lesion: Lesion,
    z: int,
    crop: NDArray[Any],
    view: _View,
    axes: Axes,
    geometry: VolumeGeometry,
    shown: tuple[float, float],
) -> Image.Image:
    low, high = shown
    grey = np.clip((np.nan_to_num(crop.astype(np.float32), nan=low) - low) / (high - low), 0, 1)
    tile = Image.fromarray(np.rint(grey * 255).astype(np.uint8))
    tile = tile.resize(view.size, Image.Resampling.BILINEAR).convert("RGB")
    draw = ImageDraw.Draw(tile)
    here = Box((z, *view.crop.start[1:]), (z + 1, *view.crop.stop[1:]))
    for start, stop in outline(to_array(lesion.runs, here)[0]):
        first, last = ((y + here.start[1], x + here.start[2]) for y, x in (start, stop))
        draw.line([view.at(*first), view.at(*last)], fill=OUTLINE, width=1)
    if axes.slice[0] == z:
        _draw_axis(draw, axes.long_ends[0], view, LONG_AXIS)
        _draw_axis(draw, axes.short_ends[0], view, SHORT_AXIS)
    draw.text((3, 2), f"slice {z + 1}", fill=_TEXT)
    _draw_scale(draw, tile.size, view.scale[1] / geometry.pixel_spacing_mm[1])
    return tile


def outline(mask: NDArray[np.bool_]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Lines (y, x) to (y, x) along the pixel edges of a mask (y, x), in pixel corners, joined where straight."""
    padded = np.pad(mask, 1)
    lines: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for turned in (False, True):
        edges = padded.T if turned else padded
        edges = edges[1:, 1:-1] != edges[:-1, 1:-1]
        for row in np.flatnonzero(edges.any(axis=1)).tolist():
            changes = np.flatnonzero(np.diff(np.pad(edges[row], 1).astype(np.int8))).tolist()
            for start, stop in list(pairwise(changes))[::2]:
                lines.append(((start, row), (stop, row)) if turned else ((row, start), (row, stop)))
    return lines


def _draw_axis(draw: ImageDraw.ImageDraw, ends: NDArray[np.float64], view: _View, colour: Colour) -> None:
    """A line between two voxel centres (2, 3), with a dot at either end; nothing where they are not known."""
    if np.isnan(ends).any():
        return
    points = [view.at(float(y) + 0.5, float(x) + 0.5) for _, y, x in ends]
    draw.line(points, fill=colour, width=1)
    for x, y in points:
        draw.ellipse([x - 2, y - 2, x + 2, y + 2], outline=colour)


def _draw_scale(draw: ImageDraw.ImageDraw, size: tuple[int, int], per_mm: float) -> None:
    """A bar of a round length that takes up to 40 % of the width."""
    width, height = size
    fitting = [mm for mm in (1, 2, 5, 10, 20, 50, 100, 200) if mm * per_mm <= 0.4 * width]
    if not fitting:
        return
    length = fitting[-1]
    draw.line([(4, height - 5), (4 + length * per_mm, height - 5)], fill=_TEXT, width=2)
    draw.text((4, height - 18), f"{length} mm", fill=_TEXT)


def _sheet(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        sheet.paste(tile, (column * (width + _GAP), row * (height + _GAP)))
    return sheet
