"""A MONAI bundle's pre- and post-processing as a manifest and a head. What has no counterpart is refused by name.

MONAI's arrays are (channels, x, y, z), sizes and spacings in this order; here they are turned to z, y, x. Three things
stay different: volumes are resampled by means of areas where the model's grid is coarser, windows of `constant` mode
are not averaged but cut to cells, and windows that reach past the image are mirrored instead of filled with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from schemas.boxes import Zyx, zyx
from schemas.errors import SpecError
from schemas.models import Normalisation
from segworkers.segmenters.monai_config import Component, MonaiConfig

Activation = Literal["softmax", "sigmoid", "none"]

_NOTHING_TO_DO = frozenset(
    (
        *("LoadImage", "EnsureChannelFirst", "AddChannel", "AsChannelFirst", "EnsureType", "ToTensor", "CastToType"),
        *("Identity", "Invert", "SaveImage", "DeleteItems", "SelectItems", "ToDevice"),
    )
)
"""Transforms that the pipeline does itself: reading, axes, types, mapping back, writing."""

_ADVICE = {
    "CropForeground": "the pipeline shows all of the image; ignore it if the model may see background",
    "ScaleIntensity": "the range of a whole image is not known before it is read; ignore it, and choose normalise",
    "Resize": "the pipeline never changes an image's proportions; give spacing or resolution instead, and ignore it",
    "KeepLargestConnectedComponent": "ignore it, and choose the largest object of each image from the tables",
    "FillHoles": "ignore it, and set objects.fill_holes",
    "RemoveSmallObjects": "ignore it, and set objects.min_area",
    "Lambda": "it is code; ignore it if the classes are right without it",
}


@dataclass(slots=True)
class Mapped:
    """What was understood so far."""

    planes: bool
    orientation: str | None = None
    spacing: tuple[float, float, float] | None = None
    normalise: Normalisation = "none"
    input: dict[str, Any] = field(default_factory=dict[str, Any])
    window: Zyx | None = None
    overlap: Zyx | None = None
    gaussian: bool = False
    activation: Activation | None = None
    threshold: float | None = None
    argmax: bool = False
    problems: list[str] = field(default_factory=list[str])


def map_configuration(config: MonaiConfig, planes: bool, ignore: Collection[str]) -> Mapped:
    """Everything that the inference configuration says of windows.

    planes: whether the network is two-dimensional. ignore: names of transforms that the user wants left out.
    Problems are collected in the result.
    """
    mapped = Mapped(planes)
    stages: tuple[tuple[str, Mapping[str, Callable[[Mapped, Mapping[str, Any]], None]]], ...] = (
        ("preprocessing", _BEFORE),
        ("postprocessing", _AFTER),
    )
    for name, known in stages:
        for component in _listed(config, name, mapped):
            if component.name in ignore or component.base in ignore or component.base in _NOTHING_TO_DO:
                continue
            reader = known.get(component.base)
            if reader is None:
                advice = _ADVICE.get(component.base, "ignore it only if you know that the model does without it")
                mapped.problems.append(f"{name}: {component.name} has no counterpart here: {advice}")
                continue
            _tried(mapped, component, reader)
    _map_inferer(config, mapped)
    return mapped


def _listed(config: MonaiConfig, name: str, mapped: Mapped) -> list[Component]:
    try:
        return config.components(name)
    except SpecError as error:
        mapped.problems += error.problems
        return []


def _tried(mapped: Mapped, component: Component, reader: Callable[[Mapped, Mapping[str, Any]], None]) -> None:
    try:
        reader(mapped, component.arguments)
    except SpecError as error:
        mapped.problems += error.problems
    except (KeyError, TypeError, ValueError) as error:
        mapped.problems.append(f"{component.name}: {error}")


def _orientation(mapped: Mapped, given: Mapping[str, Any]) -> None:
    axcodes = given.get("axcodes")
    if mapped.planes or not isinstance(axcodes, str):
        raise ValueError(f"expected axcodes such as 'RAS' for a volume, found {axcodes!r}")
    mapped.orientation = axcodes


def _spacing(mapped: Mapped, given: Mapping[str, Any]) -> None:
    pixdim = given["pixdim"]
    sides = [float(side) for side in (pixdim if isinstance(pixdim, list) else [pixdim] * 3)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if mapped.planes or len(sides) != 3 or min(sides) <= 0:
        raise ValueError(f"expected pixdim with three lengths above 0 for a volume, found {pixdim!r}")
    mapped.spacing = (sides[2], sides[1], sides[0])


def _scale_range(mapped: Mapped, given: Mapping[str, Any]) -> None:
    ends = [given.get(name) for name in ("a_min", "a_max", "b_min", "b_max")]
    if None in ends:
        raise ValueError("expected a_min, a_max, b_min and b_max, found one missing; values would have no fixed range")
    _require_first(mapped, "range", "mean", "std")
    mapped.input |= {"range": [float(cast(float, end)) for end in ends], "clip": bool(given.get("clip", False))}


def _normalise(mapped: Mapped, given: Mapping[str, Any]) -> None:
    if given.get("nonzero"):
        raise ValueError(
            "nonzero statistics leave out voxels that are 0, which the pipeline's do not; ignore it and set normalise "
            "to zscore if the image has no such background"
        )
    subtrahend, divisor = given.get("subtrahend"), given.get("divisor")
    _require_first(mapped, "mean", "std")
    if subtrahend is None and divisor is None:
        if mapped.input:
            raise ValueError("statistics after another change of the values have no counterpart here")
        if not given.get("channel_wise"):
            mapped.input["one channel only"] = "NormalizeIntensity without channel_wise"
        mapped.normalise = "zscore"
        return
    mapped.input |= {"mean": _numbers(subtrahend, 0.0), "std": _numbers(divisor, 1.0)}


def _percentiles(mapped: Mapped, given: Mapping[str, Any]) -> None:
    ends = (float(given["lower"]), float(given["upper"]))
    if ends != (1.0, 99.0) or not given.get("clip") or given.get("relative"):
        raise ValueError(
            f"expected percentiles 1 and 99, clipped, as the pipeline's are, found {ends}, clip={given.get('clip')}, "
            f"relative={given.get('relative', False)}; ignore it and set normalise to percentile if that will do"
        )
    if mapped.input or mapped.normalise != "none":
        raise ValueError("percentiles after another change of the values have no counterpart here")
    mapped.normalise = "percentile"
    target = [
        0.0 if given["b_min"] is None else float(given["b_min"]),
        1.0 if given["b_max"] is None else float(given["b_max"]),
    ]
    if target != [0.0, 1.0]:
        mapped.input |= {"range": [0.0, 1.0, *target], "clip": False}


def _activations(mapped: Mapped, given: Mapping[str, Any]) -> None:
    if given.get("other") is not None:
        raise ValueError("other: a function of its own cannot be followed here")
    if given.get("softmax"):
        mapped.activation = "softmax"
    elif given.get("sigmoid"):
        mapped.activation = "sigmoid"


def _discrete(mapped: Mapped, given: Mapping[str, Any]) -> None:
    mapped.argmax = mapped.argmax or bool(given.get("argmax"))
    threshold = given.get("threshold")
    if threshold is not None and not mapped.argmax:
        mapped.threshold = float(threshold)


def _map_inferer(config: MonaiConfig, mapped: Mapped) -> None:
    try:
        inferer = config.component("inferer")
    except SpecError as error:
        mapped.problems += error.problems
        return
    if inferer is None or inferer.base == "SimpleInferer":
        return
    if inferer.base not in ("SlidingWindowInferer", "SlidingWindowInfererAdapt"):
        mapped.problems.append(
            f"inferer: {inferer.name} has no counterpart here; give window and overlap, and ignore it"
        )
        return
    _tried(mapped, inferer, _sliding)


def _sliding(mapped: Mapped, given: Mapping[str, Any]) -> None:
    axes = 2 if mapped.planes else 3
    sides = _per_axis(given["roi_size"], axes)
    if min(sides) < 1:
        raise ValueError(
            f"roi_size: expected pixels of at least 1 for {axes} axes, found {given['roi_size']!r}; give window"
        )
    shares = _per_axis(given.get("overlap", 0.25), axes)
    # As MONAI computes the distance of windows, in whole pixels; here they share at most half a window.
    shared = [int(side) - max(int(side * (1 - share)), 1) for side, share in zip(sides, shares, strict=True)]
    mapped.window = zyx([1] * (3 - axes) + [int(side) for side in sides][::-1])
    mapped.overlap = zyx([min(o, w // 2) for o, w in zip([0] * (3 - axes) + shared[::-1], mapped.window, strict=True)])
    mapped.gaussian = str(given.get("mode", "constant")).lower().endswith("gaussian")
    if mapped.gaussian and given.get("sigma_scale", 0.125) != 0.125:
        raise ValueError(
            f"sigma_scale: the pipeline's weights have an eighth of the window, found {given['sigma_scale']}"
        )


def _require_first(mapped: Mapped, *names: str) -> None:
    if any(name in mapped.input for name in names):
        raise ValueError("changes the values after another transform did, which has no counterpart here")


def _per_axis(value: Any, axes: int) -> list[float]:
    numbers = [float(each) for each in (value if isinstance(value, list) else [value] * axes)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if len(numbers) != axes:
        raise ValueError(f"expected {axes} numbers, found {value!r}")
    return numbers


def _numbers(value: Any, missing: float) -> list[float]:
    given = missing if value is None else value
    return [float(each) for each in (given if isinstance(given, list) else [given])]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


_BEFORE: Mapping[str, Callable[[Mapped, Mapping[str, Any]], None]] = {
    "Orientation": _orientation,
    "Spacing": _spacing,
    "ScaleIntensityRange": _scale_range,
    "NormalizeIntensity": _normalise,
    "ScaleIntensityRangePercentiles": _percentiles,
}
_AFTER: Mapping[str, Callable[[Mapped, Mapping[str, Any]], None]] = {
    "Activations": _activations,
    "AsDiscrete": _discrete,
}
