"""Mistakes as pictures: the image around them, predictions and true objects as outlines of two colours."""

# scipy is partly untyped.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from jobs.evaluation.examples import Example
from jobs.evaluation.predictions import Predictions
from jobs.overlay import stretch
from jobs.truth.base import Target, Truth
from schemas.boxes import Box
from schemas.errors import SegworkersError
from segworkers.runs import RunTable

PREDICTED, TRUE = (255, 120, 0), (0, 220, 255)
"""Colours of outlines; they differ also for those who do not tell red from green."""

SIDE = 192
"""Pixels of a picture along its longer side at most, before it is enlarged."""
_LEAST = 48
"""Pixels of the image that a picture shows along a side at least."""
_SHOWN = 320
"""Pixels that small pictures are enlarged to, by whole factors."""
_LINE = 2
"""Pixels of the picture that an outline is wide."""

ImageOf = Callable[[Target, Box], tuple[NDArray[Any], NDArray[np.bool_]]]
"""Bands (1 or 3, y, x) and validity (y, x) of one plane of a source. Raises SegworkersError where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One mistake as a PNG."""

    example: Example
    png: bytes
    note: str
    """Why there is no image behind the outlines; empty where there is."""

    @property
    def data_uri(self) -> str:
        """For a page that needs no other file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def draw(
    examples: Sequence[Example], truth_of: Callable[[Target], Truth | None], connection: Any, image_of: ImageOf
) -> list[Picture]:
    """One picture for each example, in their order. connection: of `jobs.results.Results.connect`."""
    found: dict[str, tuple[Predictions, Truth | None]] = {}
    order = sorted(range(len(examples)), key=lambda k: examples[k].target.source_id)
    made: dict[int, Picture] = {}
    for k in order:
        target = examples[k].target
        if target.source_id not in found:
            found = {target.source_id: (Predictions.of(connection, target.source_id), truth_of(target))}
        made[k] = _picture(examples[k], *found[target.source_id], image_of)
    return [made[k] for k in range(len(examples))]


def _picture(example: Example, predictions: Predictions, truth: Truth | None, image_of: ImageOf) -> Picture:
    box = around(example)
    note = ""
    try:
        image = stretch(*image_of(example.target, box))
    except SegworkersError as error:
        image, note = np.full((*box.shape[1:], 3), 90, np.uint8), str(error)
    step = -(-max(box.shape) // SIDE)
    reduced = image[::step, ::step]
    factor = max(1, _SHOWN // max(reduced.shape[:2]))
    image = _enlarged(reduced, factor)
    # Boxes of the truth alone have no mask to be drawn: the example's own box is.
    layers: list[tuple[RunTable, tuple[int, int, int]]] = [(predictions.block(box), PREDICTED)]
    if truth is not None:
        layers.insert(0, (truth.block(box).masks, TRUE))
    for masks, colour in layers:
        _outline(image, masks, box, (step, factor), colour)
    if not example.is_prediction and truth is not None and not len(truth.block(box).masks):
        _frame(image, example, box, (step, factor))
    return Picture(example, _png(image), note)


def around(example: Example) -> Box:
    """The plane through the middle of an object, with some of its surroundings, inside the source."""
    z0, y0, x0, z1, y1, x1 = example.box
    _, height, width = example.target.shape
    z = min(max(int((z0 + z1) / 2), 0), example.target.shape[0] - 1)
    margin = max((max(y1 - y0, x1 - x0)) / 2, 8)
    spans: list[tuple[int, int]] = []
    for low, high, extent in ((y0, y1, height), (x0, x1, width)):
        half = max((high - low) / 2 + margin, _LEAST / 2)
        start = int(np.clip(round((low + high) / 2 - half), 0, max(extent - 1, 0)))
        spans.append((start, int(np.clip(round((low + high) / 2 + half), start + 1, extent))))
    return Box((z, spans[0][0], spans[1][0]), (z + 1, spans[0][1], spans[1][1]))


def _enlarged(image: NDArray[Any], factor: int) -> NDArray[Any]:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _outline(
    image: NDArray[np.uint8], masks: RunTable, box: Box, scale: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    """Draw the inner border of each mask; masks that lie over others have theirs drawn too."""
    _, y0, x0 = box.start
    for owner in np.unique(masks.owner):
        mask = np.zeros(box.shape[1:], np.bool_)
        for _, x, start, stop in masks.runs[masks.owner == owner]:
            mask[start - y0 : stop - y0, x - x0] = True
        shown = _enlarged(mask[:: scale[0], :: scale[0]], scale[1])
        inner: Any = binary_erosion(shown, iterations=_LINE, border_value=1)
        image[shown & ~inner] = colour


def _frame(image: NDArray[np.uint8], example: Example, box: Box, scale: tuple[int, int]) -> None:
    _, y0, x0, _, y1, x1 = example.box
    zoom = scale[1] / scale[0]
    top, left = (max(int((value - start) * zoom), 0) for value, start in ((y0, box.start[1]), (x0, box.start[2])))
    bottom, right = (int((value - start) * zoom) for value, start in ((y1, box.start[1]), (x1, box.start[2])))
    bottom, right = min(bottom, image.shape[0] - 1), min(right, image.shape[1] - 1)
    image[[top, bottom], left : right + 1] = TRUE
    image[top : bottom + 1, [left, right]] = TRUE


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
