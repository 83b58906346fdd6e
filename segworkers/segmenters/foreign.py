"""Foreign networks behind the Segmenter port: windows as the network wants them, its outputs through a declared head.

The `parameters` of a bundle of such a family:

    "file":    the network's file, one of the bundle's `weights`; by default model.pt, model.pt2 or model.onnx
    "head":    what its outputs mean (`segworkers.segmenters.head_reading`)
    "outputs": role of the head to name or position of an output; default: in the head's order
    "input":   how windows are shown (`segworkers.segmenters.foreign_input`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseAnswer, DenseMaps, DenseProbabilities, WindowMasks
from segworkers.segmenters.channels import taking
from segworkers.segmenters.families import HEAD_OPTIONS
from segworkers.segmenters.foreign_input import InputSettings, read_input, restored
from segworkers.segmenters.head_reading import read_head, read_outputs
from segworkers.segmenters.heads import Form, Head, Outputs


class Network(Protocol):
    """A network in its runtime, on its device."""

    def run(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Its outputs by name, in its order, on the host. images: as InputSettings says."""
        ...


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
        shown = read_input(parameters.get("input"), manifest)
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
