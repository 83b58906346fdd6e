"""Foreign networks behind the Segmenter port: windows as the network wants them, its outputs through a declared head.

The `parameters` of a bundle of such a family:

    "file":    the network's file, one of the bundle's `weights`; by default model.pt, model.pt2 or model.onnx
    "head":    what its outputs mean (`segworkers.segmenters.head_reading`)
    "outputs": role of the head to name or position of an output; default: in the head's order
    "input":   how windows are shown: InputSettings
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx
from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters import options as parse
from segworkers.segmenters.base import DenseAnswer, DenseMaps, DenseProbabilities, WindowMasks
from segworkers.segmenters.channels import taking
from segworkers.segmenters.families import HEAD_OPTIONS
from segworkers.segmenters.head_reading import read_head, read_outputs
from segworkers.segmenters.heads import Form, Head, Outputs
from segworkers.segmenters.options import Options

_DTYPES = ("float32", "float16", "uint8", "uint16", "int16")


class Network(Protocol):
    """A network in its runtime, on its device."""

    def run(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Its outputs by name, in its order, on the host. images: as InputSettings says."""
        ...


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
        """What is for more than one channel, by name, and for how many: as many in all, as `read_foreign` checks."""
        given = {"mean": self.mean, "std": self.std, "fill": self.fill}
        counts = {name: len(numbers) for name, numbers in given.items() if numbers is not None}
        return {name: count for name, count in {"repeat": self.repeat, **counts}.items() if count > 1}

    @property
    def _changes(self) -> bool:
        return self.range is not None or self.mean is not None or self.std is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSettings:
    """Everything that a foreign network's parameters say."""

    file: str | None
    head: Head
    outputs: Mapping[str, str | int]
    input: InputSettings


def read_foreign(
    manifest: ModelManifest, parameters: Mapping[str, Any], extra: tuple[str, ...] = ()
) -> ForeignSettings:
    """The settings. extra: names of parameters that the family itself reads. Raises SpecError with all problems."""
    problems: list[str] = []
    head: Head | None = None
    outputs: Mapping[str, str | int] = {}
    shown: InputSettings | None = None
    known = ("file", "head", "outputs", "input", *HEAD_OPTIONS, *extra)
    problems += [
        f"parameters.{name}: unknown; there are {', '.join(known)}" for name in parameters if name not in known
    ]
    file = parameters.get("file")
    if file is not None and not isinstance(file, str):
        problems.append(f"parameters.file: expected the name of one of the bundle's weights, found {file!r}")
    try:
        head = read_head(parameters.get("head"), manifest, {name: parameters.get(name) for name in HEAD_OPTIONS})
        outputs = read_outputs(parameters.get("outputs"), head)
    except SpecError as error:
        problems += error.problems
    try:
        shown = _read_input(parameters.get("input"), manifest)
    except SpecError as error:
        problems += error.problems
    if head is None or shown is None or problems:
        raise SpecError([f"{manifest.name}: {problem}" for problem in problems])
    return ForeignSettings(file=file, head=head, outputs=outputs, input=shown)


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest with what the network takes, after checking the parameters; for the driver. Raises SpecError."""
    return with_channels(manifest, read_foreign(manifest, parameters))


def with_channels(manifest: ModelManifest, settings: ForeignSettings, network: int | None = None) -> ModelManifest:
    """The manifest with the numbers of bands that can be shown to the network, where they are known.

    network: channels that it takes, where its file or definition says so; else what is done for each channel tells.
    Raises SpecError where the manifest declares others, or what is done for each channel is for others.
    """
    shown = settings.input.shown_as
    if network and shown not in (1, network):
        told = ", ".join(settings.input.said)
        raise SpecError(
            f"{manifest.name}: parameters.input: for {shown} channels; the network takes {network}: correct {told}"
        )
    wanted = network or (shown if shown > 1 else None)
    if wanted is None:
        return manifest
    return taking(manifest, wanted, *((1,) if shown == wanted else ()))


def network_file(settings: ForeignSettings, weights: Path, default: str, where: str) -> Path:
    """The network's file in the folder of weights. Raises SpecError where it is not there, or not inside."""
    name = settings.file or default
    path = weights / name
    if ".." in Path(name).parts or Path(name).is_absolute() or not path.is_file():
        raise SpecError(f"{where}: parameters.file: expected the name of a file that `weights` lists, found {name!r}")
    return path


class ForeignSegmenter:
    """A network in whatever runtime, shown windows and understood through its head."""

    def __init__(self, network: Network, settings: ForeignSettings, manifest: ModelManifest) -> None:
        """network: ready, on its device."""
        self._network = network
        self._settings = settings
        self._manifest = manifest

    @property
    def manifest(self) -> ModelManifest:
        """The declared properties."""
        return self._manifest

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseAnswer | list[WindowMasks]:
        """The answer for windows (n, channels, z, y, x), valid (n, z, y, x), context included.

        Raises TileError: `bad_prediction` where the network's output is not what its head is for, `model_failed` where
        the runtime cannot run it on such windows.
        """
        shown, head = self._settings.input, self._settings.head
        images = shown.prepared(windows, valid)
        size = 1 if head.single or shown.as_list else shown.batch or len(images)
        inner = tuple(slice(c, c + w) for c, w in zip(self._manifest.context, self._manifest.window, strict=True))
        real = valid[(slice(None), *inner)]
        parts: list[DenseAnswer | list[WindowMasks]] = []
        for first in range(0, len(images), size):
            group = images[first : first + size]
            # A network with a fixed batch must have it full; what it says of the filling is dropped.
            full = np.concatenate((group, np.zeros((size - len(group), *group.shape[1:]), group.dtype)))
            outputs = self._outputs(full, len(group))
            parts.append(head.decode(outputs, real[first : first + size], self._manifest))
        return joined(parts)

    def _outputs(self, images: NDArray[Any], count: int) -> Outputs:
        try:
            given = self._network.run(images)
        except (RuntimeError, ValueError, TypeError) as error:
            text = str(error).strip().partition("\n")[0][:300]
            raise TileError(
                "model_failed", f"{self._manifest.name}: the network failed on shape {images.shape}: {text}"
            ) from error
        head = self._settings.head
        forms: Mapping[str, Form] = {**head.roles, **head.optional_roles}
        return {role: self._output(given, key, forms[role], count) for role, key in self._settings.outputs.items()}

    def _output(self, given: Mapping[str, NDArray[Any]], key: str | int, form: Form, count: int) -> NDArray[Any]:
        values = list(given.values())[key] if isinstance(key, int) and key < len(given) else given.get(str(key))
        if values is None:
            expected = f"output {key!r}" if isinstance(key, str) else f"at least {key + 1} outputs"
            raise TileError(
                "bad_prediction", f"{self._manifest.name}: expected {expected}, found {', '.join(given) or 'none'}."
            )
        if form == "table":
            return values if self._settings.head.single else values[:count]
        return restored(values, self._settings.input.axes, self._manifest.name)[:count]


def joined(parts: list[DenseAnswer | list[WindowMasks]]) -> DenseAnswer | list[WindowMasks]:
    """Answers for parts of a batch as one for all of it."""
    first = parts[0]
    if isinstance(first, DenseProbabilities):
        return DenseProbabilities(np.concatenate([cast(DenseProbabilities, part).values for part in parts]))
    if isinstance(first, DenseMaps):
        return DenseMaps(np.concatenate([cast(DenseMaps, part).classes for part in parts]), None)
    return [window for part in cast("list[list[WindowMasks]]", parts) for window in part]


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


def _read_input(declared: object, manifest: ModelManifest) -> InputSettings:
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
