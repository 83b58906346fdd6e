"""SAHI: boxes of detections are compared, and masks of those that match are suppressed or joined as polygons.

Source: `sahi.predict.get_sliced_prediction`, from `ObjectPrediction.get_shifted_object_prediction` on to the
`GreedyNMMPostprocess`, `NMMPostprocess` or `NMSPostprocess` of `sahi.postprocess.combine`. SAHI keeps masks as polygons
through the centres of border pixels; `sahi.utils.cv` has both conversions, which are exact for masks that nothing was
joined to. Like its model adapters, this one drops masks that give no polygon (a single row or column of pixels).
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# The peers are not installed in the project's environment.

from __future__ import annotations

from typing import Any

import numpy as np
from sahi.postprocess.backends import resolve_backend
from sahi.postprocess.combine import GreedyNMMPostprocess, NMMPostprocess, NMSPostprocess
from sahi.prediction import ObjectPrediction
from sahi.utils.cv import get_bool_mask_from_coco_segmentation, get_coco_segmentation_from_bool_mask

from benchmarks.seams.cases import Case, Detection, Mask, Outcome
from benchmarks.seams.peers.meter import Meter

_KINDS = {"GREEDYNMM": GreedyNMMPostprocess, "NMM": NMMPostprocess, "NMS": NMSPostprocess}
_THRESHOLD = 0.5
"""SAHI's default for every rule."""


def merge(case: Case, kind: str, metric: str) -> Outcome:
    """SAHI's `kind` (GREEDYNMM, NMM or NMS) with `metric` (IOS or IOU) of boxes, each class alone."""
    meter, dropped = Meter(), 0
    with meter.constructing():
        said = list[Any]()
        for index, start in case.starts():
            predictions = [_prediction(d, start, case.world.truth.shape) for d in case.windows[index]]
            said += [p.get_shifted_object_prediction() for p in predictions if p is not None]
            dropped += predictions.count(None)
    with meter.merging():
        post = _KINDS[kind](match_threshold=_THRESHOLD, match_metric=metric, class_agnostic=False)
        whole = post(said) if len(said) > 1 else said
    masks = [_mask(p.mask.segmentation) for p in whole]
    label = [p.category.id for p, mask in zip(whole, masks, strict=True) if mask is not None]
    kept = [mask for mask in masks if mask is not None]
    notes = {"dropped": dropped, "empty": len(masks) - len(kept), "backend": resolve_backend()}
    return meter.outcome(kept, label, **notes)


def _prediction(detection: Detection, start: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """What SAHI's adapters make of a model's mask: polygons in window coordinates; None where there is none."""
    # A border, because SAHI squeezes masks of one row or column, and models never give such.
    polygons = get_coco_segmentation_from_bool_mask(np.pad(detection.mask.pixels[0], 1))
    if not polygons:
        return None
    left, top = detection.mask.start[2] - start[2] - 1, detection.mask.start[1] - start[1] - 1
    return ObjectPrediction(
        segmentation=[np.add(np.reshape(p, (-1, 2)), (left, top)).ravel().tolist() for p in polygons],
        category_id=detection.label,
        score=detection.score,
        shift_amount=[start[2], start[1]],
        full_shape=list(shape[1:]),
    )


def _mask(polygons: list[list[float]]) -> Mask | None:
    """Pixels of polygons as `sahi.annotation.Mask.bool_mask` has them, in their own box only."""
    corners = [np.array(p).reshape(-1, 2).round().astype(int) for p in polygons if p]
    if not corners:
        return None
    left, top = np.min([c.min(axis=0) for c in corners], axis=0).tolist()
    right, bottom = np.max([c.max(axis=0) for c in corners], axis=0).tolist()
    shifted = [(c - (left, top)).ravel().tolist() for c in corners]
    pixels = get_bool_mask_from_coco_segmentation(shifted, width=right - left + 1, height=bottom - top + 1)
    return Mask((0, top, left), pixels[None])
