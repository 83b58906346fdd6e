"""How pyliverlesionseg tiles an image for its networks, restated from its source (KU Leuven, Apache-2.0).

`DeepVoxNet.predict` in general.py and `ExtractSegment3D2` in sampling/samplecreator.py, for a network with one output
of the input's resolution, whose input and output sizes are both even or both odd along an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Network = Callable[[NDArray[np.float32]], NDArray[Any]]
"""An input of the network's input size to an output of its output size."""


def predict(
    image: NDArray[Any], network: Network, input_size: Sequence[int], output_size: Sequence[int]
) -> NDArray[np.float64]:
    """The network's answer for a whole image, as `DeepVoxNet.predict` (center_sampling=False) puts it together."""
    answer = np.full(image.shape, np.nan)
    steps = [min(size, side) for size, side in zip(output_size, image.shape, strict=True)]
    for starts in product(*(starts_of(side, step) for side, step in zip(image.shape, steps, strict=True))):
        centres = [math.ceil(start + (step - 1) / 2) for start, step in zip(starts, steps, strict=True)]
        result = network(segment(image, input_size, centres))
        there, inside = list[slice](), list[slice]()
        for centre, width, size, side in zip(centres, input_size, output_size, image.shape, strict=True):
            middle = centre if width % 2 else centre - 0.5
            first, last = middle - (size - 1) / 2, middle + (size - 1) / 2
            under, over = max(0, -first), max(0, last - (side - 1))
            there.append(slice(round(first + math.ceil(under) - 1e-7), round(last - math.ceil(over) + 1 - 1e-7)))
            inside.append(slice(math.ceil(under), -math.ceil(over) or None))
        answer[tuple(there)] = result[tuple(inside)]
    assert not np.isnan(answer).any(), "the package fills gaps from the nearest answer; there must be none"
    return answer


def starts_of(side: int, step: int) -> list[int]:
    """Where segments start along an axis, in the order in which they are asked."""
    starts = list(range(0, side, step))
    return starts if not side % step else [*starts, side - step]


def segment(image: NDArray[Any], size: Sequence[int], centres: Sequence[int]) -> NDArray[np.float32]:
    """The part of the image around a voxel, zeros where there is none."""
    values = np.zeros(tuple(size), np.float32)
    here, there = list[slice](), list[slice]()
    for side, width, centre in zip(image.shape, size, centres, strict=True):
        left, right = width // 2, width // 2 - (width % 2 == 0)
        before, after = min(left, centre), min(right, side - centre - 1)
        here.append(slice(centre - before, centre + after + 1))
        there.append(slice(width // 2 - before, width // 2 + after + 1))
    values[tuple(there)] = image[tuple(here)]
    return values


def owners(side: int, size: int) -> NDArray[np.int64]:
    """(side,) start of the segment whose answer each pixel along an axis has in the end; `size` and input even."""
    step = min(size, side)
    found = np.zeros(side, np.int64)
    for start in starts_of(side, step):
        first = start if side > size else side // 2 - size // 2
        found[max(first, 0) : first + size] = first
    return found
