"""What every model's raw answer must pass before the pipeline believes it.

Answers come from code we do not control. They become port types here, or a TileError (`bad_prediction`) that names the
model, the window and what was expected and found. Arrays may be anything NumPy understands, tensors included; they
are copied, so that a model may reuse its buffers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseAnswer, DenseMaps, DenseProbabilities, WindowMasks

PROBABILITY_SLACK = 1e-3
"""How far outside 0..1 a probability may lie before it is taken for something else: half precision rounds."""


def check_answer(answer: object, manifest: ModelManifest, windows: int) -> DenseAnswer | tuple[WindowMasks, ...]:
    """The answer for a batch of `windows` windows as the port's type for the manifest's kind."""
    if manifest.kind == "dense":
        return check_dense(answer, manifest, windows)
    return check_instances(answer, manifest, windows)


def check_dense(answer: object, manifest: ModelManifest, windows: int) -> DenseAnswer:
    """A dense answer as class maps, with the winner's probability where probabilities were given.

    answer: unsigned integers (n, z, y, x), 0 = background and k = classes[k - 1]; or floating-point probabilities
    (n, classes + 1, z, y, x), channel 0 = background, of which the largest wins and ties go to the lowest class.
    Class maps come back in the smallest unsigned type that holds the classes. Where the manifest blends windows,
    probabilities are required and come back as such, float32, clipped to 0..1.
    """
    if isinstance(answer, DenseMaps):
        answer = answer.classes
    elif isinstance(answer, DenseProbabilities):
        answer = answer.values
    values = as_array(answer, manifest, "prediction")
    maps = (windows, *manifest.window)
    if values.dtype.kind == "f":
        return _from_probabilities(values, manifest, (windows, len(manifest.classes) + 1, *manifest.window))
    if manifest.blend != "none":
        _refuse(
            manifest,
            "prediction",
            f"floating-point probabilities (n, classes + 1, z, y, x), because blend is {manifest.blend}",
            f"dtype {values.dtype}",
            "Return probabilities, or set model.blend=none.",
        )
    if values.dtype.kind != "u":
        _refuse(
            manifest,
            "prediction",
            "an unsigned integer class map or floating-point probabilities",
            f"dtype {values.dtype}",
            "Convert with .astype(np.uint8), or return probabilities.",
        )
    if values.shape != maps:
        _refuse(manifest, "prediction", f"class maps (n, z, y, x) of shape {maps}", f"shape {values.shape}")
    bad = _first_window(values > len(manifest.classes))
    if bad is not None:
        _refuse(
            manifest,
            f"window {bad} of the batch",
            f"classes 0 (background) to {len(manifest.classes)}",
            f"class {int(values[bad].max())}",
        )
    return DenseMaps(values.astype(_class_dtype(manifest)), None)


def _from_probabilities(values: NDArray[Any], manifest: ModelManifest, shape: tuple[int, ...]) -> DenseAnswer:
    if values.shape != shape:
        _refuse(
            manifest,
            "prediction",
            f"probabilities (n, classes + 1, z, y, x) of shape {shape}, background first",
            f"shape {values.shape}",
        )
    # A comparison with NaN is false, so this finds NaN too.
    bad = _first_window(~((values >= -PROBABILITY_SLACK) & (values <= 1 + PROBABILITY_SLACK)))
    if bad is not None:
        found = "NaN" if np.isnan(values[bad]).any() else f"{values[bad].min():.4g} to {values[bad].max():.4g}"
        _refuse(
            manifest,
            f"window {bad} of the batch",
            "probabilities from 0 to 1",
            found,
            "Apply softmax (or sigmoid) to logits; look for divisions by zero where there is NaN.",
        )
    if manifest.blend == "none":
        return DenseProbabilities(values).winners()
    copy = values.astype(np.float32)
    return DenseProbabilities(np.clip(copy, 0.0, 1.0, out=copy))


def check_instances(answer: object, manifest: ModelManifest, windows: int) -> tuple[WindowMasks, ...]:
    """An instance answer as one WindowMasks for each window, in the model's order.

    answer: a sequence with one entry for each window: WindowMasks, a mapping with `labels`, `scores` and `masks`, an
    object with these attributes, or the three in a tuple. labels: (k,) whole numbers that index `classes`. scores:
    (k,) finite. masks: bool (k, z, y, x), or (k, y, x) where the window's z is 1; or k pairs (box, crop) with a box of
    six whole numbers z0, y0, x0, z1, y1, x1 (half-open, window coordinates), two triples or a Box. An optional
    `capped` says that the model's own limit was reached. Crops come back cut to the mask's bounding box.
    """
    if not isinstance(answer, Sequence) or isinstance(answer, (str, bytes)):
        _refuse(manifest, "prediction", f"a list of {windows} answers, one for each window", type(answer).__name__)
    answers = cast(Sequence[object], answer)
    if len(answers) != windows:
        _refuse(manifest, "prediction", f"{windows} answers, one for each window", f"{len(answers)}")
    return tuple(_window_masks(one, manifest, f"window {index} of the batch") for index, one in enumerate(answers))


def _window_masks(answer: object, manifest: ModelManifest, where: str) -> WindowMasks:
    raw_labels, raw_scores, masks, capped = _parts(answer, manifest, where)
    labels = as_array(raw_labels, manifest, f"{where}, labels")
    scores = as_array(raw_scores, manifest, f"{where}, scores")
    if labels.ndim != 1 or scores.shape != labels.shape:
        _refuse(manifest, where, "labels (k,) and scores (k,)", f"shapes {labels.shape} and {scores.shape}")
    if labels.size and labels.dtype.kind not in "iu":
        _refuse(manifest, f"{where}, labels", "whole numbers", f"dtype {labels.dtype}")
    if scores.size and scores.dtype.kind not in "fiu":
        _refuse(manifest, f"{where}, scores", "numbers", f"dtype {scores.dtype}")
    if labels.size and not (labels.min() >= 0 and labels.max() < len(manifest.classes)):
        expected = f"0 to {len(manifest.classes) - 1}, indices of classes without background"
        _refuse(manifest, f"{where}, labels", expected, f"{labels.min()} to {labels.max()}")
    if not np.isfinite(scores.astype(np.float64)).all():
        bad = int(np.flatnonzero(~np.isfinite(scores))[0])
        _refuse(manifest, f"{where}, detection {bad}", "a finite score", f"{scores[bad]}")
    crops = _crops(masks, int(labels.size), manifest, where)
    return WindowMasks(labels.astype(np.int64), scores.astype(np.float64), crops, capped)


def _parts(answer: object, manifest: ModelManifest, where: str) -> tuple[object, object, object, bool]:
    """labels, scores, masks and `capped` of one window's answer, whatever form it has."""
    if isinstance(answer, WindowMasks):
        return answer.labels, answer.scores, answer.crops, answer.capped
    if isinstance(answer, Mapping):
        values = cast(Mapping[str, object], answer)
        missing = [name for name in ("labels", "scores", "masks") if name not in values]
        if missing:
            _refuse(manifest, where, "labels, scores and masks", f"no {' and no '.join(missing)}")
        return values["labels"], values["scores"], values["masks"], bool(values.get("capped", False))
    if isinstance(answer, (tuple, list)) and len(cast(Sequence[object], answer)) == 3:
        labels, scores, masks = cast(Sequence[object], answer)
        return labels, scores, masks, False
    source = cast(Any, answer)
    if all(hasattr(source, name) for name in ("labels", "scores", "masks")):
        return source.labels, source.scores, source.masks, bool(getattr(source, "capped", False))
    expected = "labels, scores and masks (a mapping, a tuple or an object)"
    return _refuse(manifest, where, expected, type(source).__name__)


def _crops(masks: object, count: int, manifest: ModelManifest, where: str) -> list[tuple[Box, NDArray[np.bool_]]]:
    """The masks of one window as pairs of tight box and crop."""
    if isinstance(masks, Sequence) and not isinstance(masks, (str, bytes)):
        entries = list(cast(Sequence[object], masks))
    else:
        array = as_array(masks, manifest, f"{where}, masks")
        entries = list(array) if array.ndim else []
    if len(entries) != count:
        _refuse(manifest, f"{where}, masks", f"{count}, one for each label", f"{len(entries)}")
    crops: list[tuple[Box, NDArray[np.bool_]]] = []
    for index, entry in enumerate(entries):
        place = f"{where}, detection {index}"
        box, crop = _box_and_crop(entry, manifest, place)
        tight = tight_crop(box, crop)
        if tight is None:
            _refuse(manifest, place, "a mask with at least one pixel", "an empty mask", "Leave such detections out.")
        crops.append(tight)
    return crops


def _box_and_crop(entry: object, manifest: ModelManifest, where: str) -> tuple[Box, NDArray[np.bool_]]:
    window = Box.of_shape(manifest.window)
    box = window
    if isinstance(entry, (tuple, list)):
        pair = cast(Sequence[object], entry)
        if len(pair) != 2:
            _refuse(manifest, where, "a pair (box, crop)", f"{len(pair)} values")
        box, entry = _box(pair[0], manifest, where), pair[1]
        if box not in window:
            _refuse(manifest, where, f"a box inside the window {manifest.window}", f"{box.start} to {box.stop}")
    crop = as_array(entry, manifest, where)
    if crop.dtype != np.bool_:
        _refuse(manifest, where, "a mask of dtype bool", f"dtype {crop.dtype}", "Compare with the threshold: m > 0.5.")
    if crop.ndim == 2 and manifest.window[0] == 1:
        crop = crop[None]
    if crop.shape != box.shape:
        _refuse(manifest, where, f"a mask of shape {box.shape} (z, y, x)", f"shape {crop.shape}")
    return box, crop


def _box(value: object, manifest: ModelManifest, where: str) -> Box:
    if isinstance(value, Box):
        return value
    numbers = as_array(value, manifest, f"{where}, box")
    if numbers.dtype.kind not in "iu" or numbers.shape not in ((6,), (2, 3)):
        _refuse(
            manifest,
            f"{where}, box",
            "six whole numbers z0, y0, x0, z1, y1, x1 (half-open)",
            f"shape {numbers.shape}, dtype {numbers.dtype}",
        )
    z0, y0, x0, z1, y1, x1 = (int(number) for number in numbers.ravel())
    try:
        return Box((z0, y0, x0), (z1, y1, x1))
    except ValueError as error:
        raise TileError("bad_prediction", f"{manifest.name}: {where}: {error}.") from error


def tight_crop(box: Box, mask: NDArray[np.bool_]) -> tuple[Box, NDArray[np.bool_]] | None:
    """The smallest box around the mask's pixels and a copy of the mask there; None where the mask is empty.

    mask: (z, y, x) of the box's shape.
    """
    start: list[int] = []
    stop: list[int] = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask.any(axis=others))
        if used.size == 0:
            return None
        start.append(int(used[0]))
        stop.append(int(used[-1]) + 1)
    inner = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return inner.shift(box.start), mask[inner.within((0, 0, 0))].copy()


def as_array(value: object, manifest: ModelManifest, where: str) -> NDArray[Any]:
    """Anything array-like as a NumPy array; tensors are brought to the host, bfloat16 widened to float32."""
    source = cast(Any, value)
    try:
        if hasattr(source, "detach") and hasattr(source, "cpu"):
            source = source.detach().cpu()
            source = source.float() if "bfloat16" in str(source.dtype) else source
            return np.asarray(source.numpy())
        return np.asarray(source)
    except (TypeError, ValueError) as error:
        raise TileError("bad_prediction", f"{manifest.name}: {where}: expected an array, found {error}.") from error


def _class_dtype(manifest: ModelManifest) -> np.dtype[np.unsignedinteger[Any]]:
    return np.min_scalar_type(len(manifest.classes))


def _first_window(bad: NDArray[np.bool_]) -> int | None:
    """Index along the first axis of the first window that has a bad value."""
    hits = np.flatnonzero(bad.any(axis=tuple(range(1, bad.ndim))))
    return int(hits[0]) if hits.size else None


def _refuse(manifest: ModelManifest, where: str, expected: str, found: str, hint: str = "") -> NoReturn:
    raise TileError("bad_prediction", f"{manifest.name}: {where}: expected {expected}, found {found}.", hint)
