"""How windows are shown to a foreign network: the steps between our arrays and its own, and their axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx
from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters import options as parse
from segworkers.segmenters.options import Options

_DTYPES = ("float32", "float16", "uint8", "uint16", "int16")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSettings:
    """How windows are shown to a network. Steps in this order: range, mean and std, repeat, fill, dtype, axes."""

    axes: str
    """Order of the batch's axes: b, c, y, x, and z where windows have depth. `bcyx` for planes, else `bczyx`."""
    range: tuple[float, float, float, float] | None
    """Values from, to, become from, to."""
    clip: bool
    """Whether what lies outside `range` is clipped to it."""
    mean: tuple[float, ...] | None
    """Subtracted; one number, or one for each channel."""
    std: tuple[float, ...] | None
    """Divided by, after that."""
    repeat: int
    """How often a single channel is shown."""
    fill: tuple[float, ...] | None
    """Value where a pixel is not real, one or one for each channel; None: as it comes, by reflection or 0."""
    dtype: str
    batch: int | None
    """Windows that the network takes at once, where that is fixed; fewer are filled up with zeros."""
    sides: Zyx | None
    """Sides z, y, x of what the network takes, context included, where they are fixed."""
    as_list: bool
    """Whether the network takes a list of images without the batch's axis, as torchvision's detectors do."""

    def prepared(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
        """What the network is given for windows (n, channels, z, y, x); valid: (n, z, y, x)."""
        values = windows.astype(np.float32) if self._changes else windows
        if self.range is not None:
            low, high, first, last = self.range
            values = (values - low) / (high - low) * (last - first) + first
            values = np.clip(values, min(first, last), max(first, last)) if self.clip else values
        values = values - _per_channel(self.mean) if self.mean is not None else values
        values = values / _per_channel(self.std) if self.std is not None else values
        if self.repeat > 1 and values.shape[1] == 1:
            values = np.repeat(values, self.repeat, axis=1)
        if self.fill is not None:
            values = np.where(valid[:, None], values, _per_channel(self.fill))
        return arranged(values.astype(self.dtype, copy=False), self.axes)

    @property
    def shown_as(self) -> int:
        """Channels that a single band becomes."""
        return max(self.said.values(), default=1)

    @property
    def said(self) -> Mapping[str, int]:
        """What is for more than one channel, by name, and for how many: as many in all, as `read_input` checks."""
        given = {"mean": self.mean, "std": self.std, "fill": self.fill}
        counts = {name: len(numbers) for name, numbers in given.items() if numbers is not None}
        return {name: count for name, count in {"repeat": self.repeat, **counts}.items() if count > 1}

    @property
    def _changes(self) -> bool:
        return self.range is not None or self.mean is not None or self.std is not None


def read_input(declared: object, manifest: ModelManifest) -> InputSettings:
    """The settings under `parameters.input`. Raises SpecError with all problems, without the model's name."""
    if declared is not None and not isinstance(declared, Mapping):
        raise SpecError(f"parameters.input: expected an object, found {declared!r}")
    read = Options("the input", cast("Mapping[str, object]", declared or {}), "parameters.input")
    fallback = "bcyx" if manifest.shown[0] == 1 else "bczyx"
    mean, std = read.take("mean", _numbers, None), read.take("std", _numbers, None)
    if std is not None and not all(number > 0 for number in std):
        read.problems.append(f"parameters.input.std: expected numbers above 0, found {std}")
    limits = read.take("range", _range, None)
    settings = InputSettings(
        axes=read.take("axes", _axes(manifest), fallback),
        range=limits,
        clip=read.take("clip", parse.flag, True),
        mean=mean,
        std=std,
        fill=read.take("fill", _numbers, None),
        repeat=read.take("repeat", parse.count, 1),
        dtype=read.take("dtype", parse.choice(*_DTYPES), "float32"),
        batch=read.take("batch", parse.count, None),
        sides=read.take("sides", parse.triple(1, 1), None),
        as_list=read.take("as_list", parse.flag, False),
    )
    if len(set(settings.said.values())) > 1:
        told = ", ".join(f"{name} says {count}" for name, count in settings.said.items())
        read.problems.append(f"parameters.input: expected one number of channels, found others: {told}")
    if settings.sides is not None and settings.sides != manifest.shown:
        read.problems.append(
            f"parameters.input.sides: the network takes windows of {settings.sides} (z, y, x) only, found "
            f"{manifest.shown}; leave window as it is, or export the network again"
        )
    read.finish()
    return settings


def _numbers(value: object) -> tuple[float, ...]:
    numbers = tuple(parse.number(item) for item in parse.items(value))
    if not numbers:
        raise ValueError(f"expected a number, or one for each channel, found {value!r}")
    return numbers


def _range(value: object) -> tuple[float, float, float, float]:
    numbers = _numbers(value)
    if len(numbers) != 4 or numbers[0] == numbers[1]:
        raise ValueError(f"expected from, to, becomes from, becomes to, found {value!r}")
    return (numbers[0], numbers[1], numbers[2], numbers[3])


def _axes(manifest: ModelManifest) -> Any:
    def read(value: object) -> str:
        allowed = ("bczyx",) if manifest.shown[0] > 1 else ("bcyx", "bczyx")
        if not isinstance(value, str) or not any(sorted(value) == sorted(each) for each in allowed):
            raise ValueError(f"expected an order of the axes {' or '.join(allowed)}, found {value!r}")
        return value

    return read


def arranged(values: NDArray[Any], axes: str) -> NDArray[Any]:
    """(n, c, z, y, x) with its axes in the order of `axes`; without z where it does not name it."""
    planes = values if "z" in axes else values[:, :, 0]
    ours = "bczyx" if "z" in axes else "bcyx"
    return np.ascontiguousarray(planes.transpose([ours.index(axis) for axis in axes]))


def restored(values: NDArray[Any], axes: str, name: str) -> NDArray[Any]:
    """A network's map as (n, c, z, y, x). It may lack the axis of channels, then c = 1."""
    order = axes if values.ndim == len(axes) else axes.replace("c", "")
    if values.ndim != len(order):
        raise TileError("bad_prediction", f"{name}: expected a map with the axes {axes}, found shape {values.shape}.")
    result = values.transpose([order.index(axis) for axis in "bczyx" if axis in order])
    result = result if "c" in order else result[:, None]
    return result if "z" in order else result[:, :, None]


def _per_channel(numbers: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(numbers, np.float32).reshape(1, -1, 1, 1, 1)
