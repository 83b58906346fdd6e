"""supervision: masks are compared all with all, and those that match are suppressed or joined.

Source: `supervision.InferenceSlicer`, driven as its users drive it: a source that is read window by window, and a
callback that answers each. The source here returns where the window lies, and the callback what the case says of it.
The slicer moves its last window inward, so the source is as large as whole windows need: then the lattices are equal.
Masks are `CompactMask`s cut to the object, the slicer's smallest and fastest form; overlaps are the same to the bit as
those of dense masks, of which one copy of the image for every detection would be needed.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# The peers are not installed in the project's environment.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import supervision as sv
from numpy.typing import NDArray
from supervision.detection.compact_mask import CompactMask

from benchmarks.seams.cases import Case, Detection, Mask, Outcome
from benchmarks.seams.peers.arrays import Tiling
from benchmarks.seams.peers.meter import Meter


@dataclass(frozen=True, slots=True)
class Positions:
    """A raster, as the slicer knows them, whose first two pixels say where the window lies."""

    width: int
    height: int
    crs: None = None

    def read(self, window: tuple[tuple[int, int], tuple[int, int]]) -> NDArray[np.int32]:
        """(1, rows, columns) of zeros, but for row and column of the first pixel in the first two."""
        (top, bottom), (left, right) = window
        pixels = np.zeros((1, bottom - top, right - left), np.int32)
        pixels[0, 0, :2] = top, left
        return pixels


def merge(case: Case, kind: str, metric: str) -> Outcome:
    """The slicer's `kind` (non_max_suppression or non_max_merge) with `metric` (IOU or IOS) of masks, at 0.5."""
    tiling, meter = Tiling.of(case), Meter()
    sides = [(n - 1) * (w - o) + w for n, w, o in zip(tiling.grid, tiling.window, tiling.overlap, strict=True)]
    with meter.constructing():
        said = {start[1:]: _detections(case.windows[index], start, tiling) for index, start in case.starts()}
    with meter.merging():
        slicer = sv.InferenceSlicer(
            lambda pixels: said[int(pixels[0, 0, 0]), int(pixels[0, 1, 0])],
            slice_wh=(tiling.window[1], tiling.window[0]),
            overlap_wh=(tiling.overlap[1], tiling.overlap[0]),
            overlap_filter=kind,
            overlap_metric=metric,
            compact_masks=True,
        )
        whole = slicer(Positions(width=sides[1], height=sides[0]))
    if not len(whole):
        return meter.outcome([], [])
    tight = whole.mask.repack()
    corners = tight.bbox_xyxy[:, :2].tolist()
    masks = [Mask((0, top, left), tight.crop(i)[None]) for i, (left, top) in enumerate(corners)]
    return meter.outcome(masks, whole.class_id.tolist())


def _detections(said: Sequence[Detection], start: tuple[int, ...], tiling: Tiling) -> Any:
    """A window's detections in its own coordinates."""
    if not said:
        return sv.Detections.empty()
    corners = np.array([[d.mask.start[2] - start[2], d.mask.start[1] - start[1]] for d in said])
    sizes = np.array([[d.mask.pixels.shape[2], d.mask.pixels.shape[1]] for d in said])
    crops = [
        CompactMask.from_dense(d.mask.pixels, np.array([[0, 0, w - 1, h - 1]]), image_shape=(h, w)).with_offset(
            dx=int(x), dy=int(y), new_image_shape=tiling.window
        )
        for d, (w, h), (x, y) in zip(said, sizes.tolist(), corners.tolist(), strict=True)
    ]
    return sv.Detections(
        xyxy=np.concatenate([corners, corners + sizes - 1], axis=1).astype(np.float64),
        mask=CompactMask.merge(crops),
        confidence=np.array([d.score for d in said], np.float64),
        class_id=np.array([d.label for d in said], np.int64),
    )
