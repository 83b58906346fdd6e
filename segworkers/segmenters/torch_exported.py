"""TorchScript and torch.export files as networks. What they may hold is checked first (`program_checks`)."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.jit and torch.export are partly untyped.

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torchvision  # registers its operators, which files may call  # noqa: F401  # pyright: ignore[reportUnusedImport]
from numpy.typing import NDArray
from torch import Tensor

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.foreign import ForeignSegmenter, network_file, read_foreign
from segworkers.segmenters.program_checks import check_exported, check_torchscript, plain_copy, refuse
from segworkers.segmenters.program_text import problem_of_operator


def load_torchscript(
    manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str
) -> ForeignSegmenter:
    """A segmenter of the TorchScript file `parameters["file"]`, by default model.pt. Raises SpecError."""
    settings = read_foreign(manifest, parameters)
    path = network_file(settings, weights, "model.pt", manifest.name)
    network = TorchNetwork(read_torchscript(path, device), device, as_list=settings.input.as_list)
    return ForeignSegmenter(network, settings, manifest)


def load_exported(
    manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str
) -> ForeignSegmenter:
    """A segmenter of the torch.export file `parameters["file"]`, by default model.pt2. Raises SpecError."""
    settings = read_foreign(manifest, parameters)
    path = network_file(settings, weights, "model.pt2", manifest.name)
    network = TorchNetwork(read_exported(path, device), device, as_list=settings.input.as_list)
    return ForeignSegmenter(network, settings, manifest)


def read_torchscript(path: Path, device: str) -> Callable[[Any], Any]:
    """The file's network on `device`, for inference. Raises SpecError where it is refused or cannot be read."""
    script = script_of(path, device)
    script.eval()

    def run(images: Any) -> Any:
        # Optimised code is made after a few calls and rounds otherwise: the first windows must not differ.
        with torch.jit.optimized_execution(False):  # pyright: ignore[reportPrivateImportUsage]
            return script(images)

    return run


def script_of(path: Path, device: str) -> Any:
    """The checked file's module on `device`. Raises SpecError where it is refused or cannot be read."""
    try:
        with plain_copy(path, "TorchScript") as copy, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that TorchScript is no longer developed
            check_torchscript(copy, path)
            script = torch.jit.load(str(copy), map_location=device)
    except SpecError:
        raise
    except Exception as error:  # a torn file makes the reader raise nearly anything
        raise SpecError(f"{path}: cannot be read as TorchScript ({_first_line(error)})") from error
    _check_graphs(script, path)
    return script


def read_exported(path: Path, device: str) -> Callable[[Any], Any]:
    """The file's network on `device`. Raises SpecError where it is refused or cannot be read."""
    try:
        with plain_copy(path, "torch.export") as copy:
            check_exported(copy, path)
            _check_samples(copy, path)
            program = torch.export.load(str(copy))
        if device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        # Guards are code as text, which would be executed.
        return cast("Callable[[Any], Any]", program.module(check_guards=False))
    except SpecError:
        raise
    except Exception as error:  # the same
        raise SpecError(f"{path}: cannot be read as a torch.export file ({_first_line(error)})") from error


def _check_graphs(script: Any, path: Path) -> None:
    """Raise SpecError where a graph calls an operator that does more than compute, before anything is called.

    What the text did not show, such as a name in another form, shows here: operators are resolved.
    """
    nodes = list(_nodes(script.inlined_graph))
    if any(node.kind() == "prim::CallMethod" for node in nodes):  # through an interface: of whichever module
        called = (module for module in script.modules() if hasattr(module, "forward"))
        nodes += [node for module in called for node in _nodes(module.inlined_graph)]
    for node in nodes:
        if problem := problem_of_operator(node.kind(), node.schema()):
            refuse(path, f"{problem} in its graph")


def _nodes(block: Any) -> Iterator[Any]:
    """Every node of a graph or a block, at any depth."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _nodes(node.g(name))


def _check_samples(path: Path, shown: Path) -> None:
    """Read the sample inputs as tensors only: the loader would unpickle them in full where that fails."""
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if name.endswith("/data/sample_inputs/model.pt")]
        for name in names:
            content = file.read(name)
            if content:
                try:
                    torch.load(io.BytesIO(content), weights_only=True)
                except Exception as error:
                    raise SpecError(
                        f"{shown}: its sample inputs are more than tensors, and reading them could execute code; "
                        "export the network again with plain tensors as sample inputs"
                    ) from error


class TorchNetwork:
    """A callable of torch as the Network port."""

    def __init__(self, network: Callable[[Any], Any], device: str, *, as_list: bool = False) -> None:
        """network: on its device. as_list: whether it takes a list of images."""
        self._network = network
        self._device = device
        self._as_list = as_list

    def run(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Outputs under their own names where the network gives a mapping, else under "0", "1", and so on."""
        batch = torch.from_numpy(images).to(self._device)
        with torch.inference_mode():
            answer = self._network(list(batch) if self._as_list else batch)
        return {name: _array(value) for name, value in _named(answer).items()}


def _named(answer: Any) -> dict[str, Any]:
    """What a network returned, flat: a tensor, a mapping, or a sequence of them."""
    if isinstance(answer, Mapping):
        return {str(name): value for name, value in answer.items()}
    if isinstance(answer, (tuple, list)):
        parts = list(answer)
        # Scripted detectors of torchvision give (losses, detections), others a list with one mapping.
        if parts and isinstance(parts[-1], list) and parts[-1] and isinstance(parts[-1][0], Mapping):
            parts = parts[-1]
        if len(parts) == 1 and isinstance(parts[0], Mapping):
            return _named(parts[0])
        return {str(index): value for index, value in enumerate(parts)}
    return {"0": answer}


def _array(value: Any) -> NDArray[Any]:
    if not isinstance(value, Tensor):
        raise TypeError(f"expected tensors as outputs, found {type(value).__name__}")
    value = value.detach().cpu()
    return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
