"""Metrics from numbers: the last axis holds the fields of `segworkers.evaluation.tally`, the others what you like.

What cannot be said is NaN: precision without predictions, recall without true objects. NaN becomes null in tables.

Sources: precision, recall, F1 (van Rijsbergen 1979, Information retrieval); panoptic quality PQ = SQ x RQ (Kirillov et
al. 2019, CVPR); average precision as COCO interpolates it, at 101 recalls (Lin et al. 2014, ECCV; pycocotools).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segworkers.evaluation.outcomes import MATCHED, WRONG
from segworkers.evaluation.tally import FALSE, HITS, IOU, MISSES

_Floats = NDArray[np.float64]

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision."""


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> _Floats:
    """part / whole; NaN where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole != 0)


def precision(numbers: _Floats) -> _Floats:
    """Share of the predictions that are true objects."""
    return ratio(numbers[..., HITS], numbers[..., HITS] + numbers[..., FALSE])


def recall(numbers: _Floats) -> _Floats:
    """Share of the true objects that were found."""
    return ratio(numbers[..., HITS], numbers[..., HITS] + numbers[..., MISSES])


def f1(numbers: _Floats) -> _Floats:
    """Harmonic mean of precision and recall; also the recognition quality RQ of panoptic quality."""
    hits = numbers[..., HITS]
    return ratio(2 * hits, 2 * hits + numbers[..., FALSE] + numbers[..., MISSES])


def mean_iou(numbers: _Floats) -> _Floats:
    """Mean IoU of the matches; also the segmentation quality SQ of panoptic quality."""
    return ratio(numbers[..., IOU], numbers[..., HITS])


def panoptic_quality(numbers: _Floats) -> _Floats:
    """Sum of IoU over matches + half of the false positives + half of the misses; 0 where there is no match."""
    hits = numbers[..., HITS]
    return ratio(numbers[..., IOU], hits + (numbers[..., FALSE] + numbers[..., MISSES]) / 2)


def count_error(numbers: _Floats) -> _Floats:
    """Predictions less true objects, of those that count."""
    return numbers[..., FALSE] - numbers[..., MISSES]


def count_error_share(numbers: _Floats) -> _Floats:
    """The same, as a share of the true objects."""
    return ratio(count_error(numbers), numbers[..., HITS] + numbers[..., MISSES])


def mean_of_classes(values: _Floats, axis: int) -> _Floats:
    """Mean over the classes that have a value; NaN where none has one."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis))


def average_precision(state: NDArray[np.int8], weight: _Floats, positives: _Floats) -> _Floats:
    """(...) average precision of predictions in the order of falling scores.

    state: (n,); weight: (..., n) how often each prediction is there, 1 unless units are resampled; positives: (...)
    true objects that count. NaN where there are none. What is neither matched nor wrong has no part.
    """
    hits = np.cumsum(weight * (state == MATCHED), axis=-1)
    wrong = np.cumsum(weight * (state == WRONG), axis=-1)
    if not state.shape[-1]:
        return np.where(positives > 0, 0.0, np.nan)
    places = np.divide(hits, hits + wrong, out=np.zeros_like(hits), where=hits + wrong > 0)
    envelope = np.flip(np.maximum.accumulate(np.flip(places, -1), axis=-1), -1)
    reached = np.searchsorted(RECALLS, ratio(hits, positives[..., None]), side="right")
    read_here = np.diff(reached, axis=-1, prepend=0)
    return np.where(positives > 0, (envelope * read_here).sum(axis=-1) / len(RECALLS), np.nan)
