"""ONNX files as networks, through onnxruntime. Imports it only when a model is loaded: the extra `onnx`.

A graph of ONNX operators can compute and nothing else: onnxruntime runs foreign code only from libraries of custom
operators, of which none is registered here. Tensors outside the file (external data) may lie in files of the bundle
alone, which `parameters.data` lists.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUnknownParameterType=false
# onnx and onnxruntime are an optional extra and partly untyped.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.foreign import ForeignSegmenter, network_file, read_foreign, with_channels

_OWN = ("data",)
_EXTRA = 'pip install "segworkers[onnx]"'


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest with what the network takes, after checking the parameters; for the driver. Raises SpecError."""
    settings = read_foreign(manifest, parameters, _OWN)
    _data_files(parameters, manifest.name)
    return with_channels(manifest, settings)


def load(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> ForeignSegmenter:
    """A segmenter of the ONNX file `parameters["file"]`, by default model.onnx. Raises SpecError."""
    settings = read_foreign(manifest, parameters, _OWN)
    path = network_file(settings, weights, "model.onnx", manifest.name)
    check_external(path, _data_files(parameters, manifest.name))
    return ForeignSegmenter(OnnxNetwork(path, device), settings, manifest)


def check_external(path: Path, allowed: tuple[str, ...]) -> None:
    """Raise SpecError where tensors of an ONNX file lie outside its folder, or in files beside it not `allowed`."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise SpecError(f"{path}: reading ONNX files needs the packages onnx and onnxruntime: {_EXTRA}") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # bytes that are no protocol buffer raise what the parser likes
        raise SpecError(f"{path}: cannot be read as ONNX ({str(error)[:200]})") from error
    folder = path.parent.resolve()
    for tensor in _tensors(model):
        place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        pure = PurePosixPath(place)
        outside = not place or pure.is_absolute() or ".." in pure.parts or "\\" in place or ":" in place
        if outside or not (folder / place).resolve().is_relative_to(folder):
            raise SpecError(f"{path}: tensor {tensor.name!r} lies outside the bundle, in {place!r}; it is not loaded")
        if place not in allowed:
            raise SpecError(
                f"{path}: tensor {tensor.name!r} lies in {place!r}, which parameters.data does not list; list it there "
                "and in `weights`"
            )


class OnnxNetwork:
    """An ONNX graph in onnxruntime, on one device, with torch's number of threads."""

    def __init__(self, path: Path, device: str) -> None:
        """device: `cpu` or `cuda[:N]`. Raises SpecError where onnxruntime or the device is missing."""
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise SpecError(f"{path}: running ONNX files needs the package onnxruntime: {_EXTRA}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _threads()
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors: warnings of an optimiser say nothing that a user could act on
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=_providers(onnxruntime.get_available_providers(), device, path)
            )
        except SpecError:
            raise
        except Exception as error:  # onnxruntime's errors share no class
            raise SpecError(f"{path}: onnxruntime cannot load it ({str(error)[:300]})") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(each.name for each in inputs)
            raise SpecError(f"{path}: expected a network with one input, found {len(inputs)}: {names}")
        self._input = inputs[0].name
        self._names = [each.name for each in self._session.get_outputs()]

    def run(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """The graph's outputs by name. Raises RuntimeError where onnxruntime fails."""
        try:
            values = self._session.run(self._names, {self._input: images})
        except Exception as error:  # the same
            raise RuntimeError(str(error)) from error
        return {name: np.asarray(value) for name, value in zip(self._names, values, strict=True)}


def _providers(available: list[str], device: str, path: Path) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in available:
        index = int(device.partition(":")[2] or 0)
        # The default searches for the fastest algorithms by trying them, with another result each time.
        cuda = {"device_id": index, "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": 0}
        return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
    raise SpecError(
        f"{path}: onnxruntime cannot run on {device} here, it has {', '.join(available)}; "
        "install onnxruntime-gpu in place of onnxruntime, or set model.device=cpu"
    )


def _threads() -> int:
    """The number that the worker set for torch, which it sets before it loads a model."""
    from segworkers.segmenters.torch_device import current_threads

    return current_threads()


def _data_files(parameters: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value: Any = parameters.get("data", ())
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise SpecError(f"{where}: parameters.data: expected names of files that `weights` lists, found {value!r}")
    return tuple(value)


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor with external data in a protocol buffer, at any depth: initialisers, attributes, subgraphs."""
    if message.DESCRIPTOR.name == "TensorProto":
        if message.data_location == message.EXTERNAL or len(message.external_data):
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in value if _repeated(field) else (value,):
            if hasattr(each, "ListFields"):
                yield from _tensors(each)


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
