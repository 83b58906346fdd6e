"""Threshold: the dense model without weights. A baseline for bright or dark objects, and the oracle of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import floor, isnan
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from schemas.models import ModelManifest, Normalisation
from segworkers.segmenters import options as parse
from segworkers.segmenters.base import DenseMaps
from segworkers.segmenters.options import Options
from segworkers.statistics import OTSU_VALUE

Connectivity = Literal[4, 8, 6, 18, 26]
_DEFAULT_CONNECTIVITY: Connectivity = 8

_ABOUT = {
    "value": "Levels, one class each; by default, and with otsu, the image's Otsu level.",
    "above": "Whether levels are passed by values above them; false, for dark objects: by values at or below.",
    "band": "One band: its name or 0-based index.",
    "classes": "A name for each level; where there are several by default level_1, level_2 and so on.",
    "normalise": "In which values the levels are given; by default the image's own. With otsu leave it out.",
    "connectivity": "Neighbours of a pixel that are of one object with it.",
    "resolution": "Metres per pixel; by default the image's own.",
    "window": "Pixels that it sees at once.",
    "overlap": "Pixels that neighbouring windows share; it needs none.",
    "batch": "Windows that form one batch.",
}


class ThresholdSegmenter:
    """Class of a pixel = how many levels its value passes; options as in `_ABOUT`."""

    def __init__(self, options: Mapping[str, object], digest: str = "") -> None:
        """Raises SpecError with every problem of the options."""
        read = Options("threshold", options, about=_ABOUT)
        levels = read.take("value", _levels, None)
        self._above = read.take("above", parse.flag, True)
        fallback = ("object",) if levels is None or len(levels) == 1 else _numbered(len(levels))
        classes = read.take("classes", parse.names, fallback)
        normalise = read.take("normalise", parse.choice("none", "unit", "percentile", "zscore", "otsu"), "")
        band = read.take("band", parse.bands, (0,))
        self._levels = (OTSU_VALUE,) if levels is None else levels
        if levels is None and normalise not in ("", "otsu"):
            read.problems.append(f"model.options.normalise: value=otsu brings its own, leave out {normalise!r}")
        if len(classes) != len(self._levels):
            read.problems.append(f"model.options.classes: {len(classes)} names for {len(self._levels)} levels")
        if len(band) != 1:
            read.problems.append(f"model.options.band: expected one band, found {len(band)}")
        connectivity: Connectivity = read.take("connectivity", _connectivity, _DEFAULT_CONNECTIVITY)
        resolution = read.take("resolution", parse.positive, None)
        try:
            self._manifest = ModelManifest(
                name="threshold",
                kind="dense",
                classes=classes,
                bands=band,
                channels=(1,),
                normalise=cast(Normalisation, "otsu" if levels is None else normalise or "none"),
                connectivity=connectivity,
                resolution=resolution,
                digest=digest,
                window=read.take("window", parse.triple(1, 1), (1, 512, 512)),
                overlap=read.take("overlap", parse.triple(0, 0), (0, 0, 0)),
                batch=read.take("batch", parse.triple(1, 1), (1, 1, 1)),
            )
        except ValueError as error:
            read.problems.append(f"model.options: {error}")
        read.finish()

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseMaps:
        """Class maps of windows (n, 1, z, y, x); pixels that are not valid, and NaN, are background."""
        values = windows[:, 0]
        classes = np.zeros(values.shape, np.min_scalar_type(len(self._levels)))
        for level in self._levels:
            # For whole numbers v: v > level exactly where v > floor(level), and integers compare without a cast.
            bound = floor(level) if values.dtype.kind in "iu" else level
            classes += values > bound if self._above else values <= bound
        classes *= valid
        return DenseMaps(classes, None)


def _levels(value: object) -> tuple[float, ...] | None:
    """Ascending numbers; None for the image's Otsu level."""
    if value == "otsu":
        return None
    levels = tuple(parse.finite(item) for item in parse.items(value))
    if not levels or any(isnan(level) for level in levels) or any(a >= b for a, b in pairwise(levels)):
        raise ValueError(f"expected 'otsu', a number or ascending numbers, found {value!r}")
    return levels


def _connectivity(value: object) -> Connectivity:
    number = parse.finite(value)
    if number not in (4, 8, 6, 18, 26):
        raise ValueError(f"expected 4 or 8 (in the plane), 6, 18 or 26 (in space), found {value!r}")
    return cast(Connectivity, int(number))


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"level_{index + 1}" for index in range(count))
