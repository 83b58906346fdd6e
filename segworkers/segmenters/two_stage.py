"""Two-stage models: a first model finds an organ once per series, a second one looks inside it.

    series on the first model's grid ── region, one window ──▶ probabilities ──▶ organ   (find_organ, once per series)
    organ on the second model's grid ── codes ──▶ one more channel of the second model's windows

Both grids span the same extent, axes alike. What the second model is shown depends on the organ's box (`OrganMap.box`),
whose surroundings it must not see; that is what the codes are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from schemas.errors import TileError
from schemas.models import ModelManifest
from segworkers.readers.base import PixelBlock
from segworkers.segmenters.base import DenseMaps, DenseProbabilities, Segmenter

NO_ORGAN = "no_organ"
"""Reason for which the count of a volume is not known: the first model found no organ, the second was shown nothing."""

OUTSIDE, AROUND, ORGAN = 0, 1, 2
"""Codes of the second model's extra channel: outside the organ's box, in the box, in the organ."""

Region = Literal["whole", "abdomen"]
"""The part of the series on which the first model's window is centred; `abdomen` needs CT in HU with z to the head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What a second model needs to know before it starts: an organ, found by a first model."""

    reference: str
    """Name of the first model, as the registry knows it."""
    manifest: ModelManifest
    """The first model's: dense, class 1 is the organ; one window of it shows the whole region."""
    region: Region
    opened: bool = False
    """Whether the organ is eroded before its largest part is taken, and dilated after it (18 neighbours)."""
    margin: Zyx = (0, 0, 0)
    """Voxels (z, y, x) of the second model's grid that the organ's box reaches beyond the organ."""


@dataclass(frozen=True, slots=True, eq=False)
class OrganMap:
    """Where the organ lies in one series."""

    organ: NDArray[np.bool_]
    """(z, y, x) over the whole series on the first model's grid; all False where no organ was found."""
    margin: Zyx

    def box(self, extent: Zyx) -> Box | None:
        """The organ's box with its margin on the second model's grid of `extent` voxels; None without an organ."""
        from segworkers.segmenters.morphology import bounds_of

        coarse = bounds_of(self.organ)
        if coarse is None:
            return None
        near = _scaled(coarse.grow((1, 1, 1)), self.organ.shape, extent)
        fine = bounds_of(self._organ_at(near, extent))
        if fine is None:
            return None
        return fine.shift(near.start).grow(self.margin) & Box.of_shape(extent)

    def codes(self, box: Box, extent: Zyx, around: Box | None = None) -> NDArray[np.uint8]:
        """OUTSIDE, AROUND and ORGAN for the voxels of `box` on the second model's grid of `extent` voxels.

        around: what `self.box(extent)` gives, where that is known already.
        """
        values = np.full(box.shape, OUTSIDE, np.uint8)
        whole = around or self.box(extent)
        near = None if whole is None else whole & box
        if near is not None:
            organ = self._organ_at(near, extent)
            values[near.within(box.start)] = np.where(organ, ORGAN, AROUND)
        return values

    def _organ_at(self, box: Box, extent: Zyx) -> NDArray[np.bool_]:
        """Half of the resampled mask and more: means over areas where the grid is coarser, linear where it is finer."""
        from segworkers.resampling import native_box_for, reduce_block

        shape = zyx(self.organ.shape)
        needed = native_box_for(box, shape, extent)
        part = self.organ[needed.within((0, 0, 0))].astype(np.float32)[None]
        block = PixelBlock(part, np.ones(needed.shape, bool), needed)
        return reduce_block(block, box, shape, extent).pixels[0] > 0.5


def find_organ(
    prior: Prior,
    first: Segmenter,
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> OrganMap:
    """Run the first model on a whole series.

    values, valid: (z, y, x) on the first model's grid and in its orientation, calibrated; spacing_mm: of that grid.
    The region is centred in one window of the model, what lies outside the region is shown as invalid. Raises TileError
    (`region_too_large`) where the region does not fit into the window.
    """
    from segworkers.segmenters.abdomen import abdomen_box
    from segworkers.segmenters.morphology import EDGES, dilated, eroded, largest_part

    box = Box.of_shape(zyx(values.shape))
    if prior.region == "abdomen":
        box = abdomen_box(values, valid, spacing_mm, prior.manifest.window)
    organ = np.zeros(values.shape, bool)
    mask = _answer(prior, first, values, valid, box)
    part = largest_part(eroded(mask, EDGES) if prior.opened else mask)
    organ[box.within((0, 0, 0))] = dilated(part, EDGES) if prior.opened else part
    return OrganMap(organ, prior.margin)


def _answer(
    prior: Prior, first: Segmenter, values: NDArray[Any], valid: NDArray[np.bool_], box: Box
) -> NDArray[np.bool_]:
    """The organ within `box`, which one window shows whole."""
    window, context, shown = prior.manifest.window, prior.manifest.context, prior.manifest.shown
    if any(side > room for side, room in zip(box.shape, window, strict=True)):
        raise TileError(
            "region_too_large",
            f"{prior.manifest.name}: one window shows {window} voxels (z, y, x), the region has {box.shape}.",
        )
    # An even window's middle lies after its centre, an odd region's too: n // 2 puts them onto each other.
    inner = zyx([room // 2 - side // 2 for room, side in zip(window, box.shape, strict=True)])
    place = tuple(slice(i + c, i + c + n) for i, c, n in zip(inner, context, box.shape, strict=True))
    windows = np.zeros((1, 1, *shown), np.float32)
    real = np.zeros((1, *shown), bool)
    inside = box.within((0, 0, 0))
    windows[0, 0][place], real[0][place] = values[inside], valid[inside]
    answer = first.predict(windows, real)
    if isinstance(answer, DenseProbabilities):
        answer = answer.winners()
    assert isinstance(answer, DenseMaps), "a first model is dense"
    return answer.classes[0][Box.of_shape(box.shape).shift(inner).within((0, 0, 0))] == 1


def _scaled(box: Box, shape: tuple[int, ...], extent: Zyx) -> Box:
    """The box that covers `box` of a grid of `shape` voxels on a grid of `extent` voxels, within it."""
    start = [max(a, 0) * n // m for a, m, n in zip(box.start, shape, extent, strict=True)]
    stop = [-(-min(b, m) * n // m) for b, m, n in zip(box.stop, shape, extent, strict=True)]
    return Box(zyx(start), zyx(stop))
