"""Networks of MONAI with a state dict: the family `monai`. MONAI, an optional extra, is imported when one is loaded."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false
# MONAI is an optional extra.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.foreign import ForeignSegmenter, network_file
from segworkers.segmenters.monai_options import NetworkDefinition, read_monai_parameters
from segworkers.segmenters.torch_exported import TorchNetwork
from segworkers.segmenters.torch_state import read_state


def load(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> ForeignSegmenter:
    """A segmenter of the state dict `parameters["file"]`, by default model.pt. Raises SpecError."""
    settings, definition = read_monai_parameters(manifest, parameters)
    path = network_file(settings, weights, "model.pt", manifest.name)
    network = _build(definition, manifest.name)
    try:
        network.load_state_dict(read_state(path))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise SpecError(f"{manifest.name}: {path} does not fit {definition.target}: {' '.join(lines)[:500]}") from error
    return ForeignSegmenter(TorchNetwork(network.eval().to(device), device), settings, manifest)


def _build(definition: NetworkDefinition, where: str) -> nn.Module:
    try:
        from monai.networks import nets
    except ModuleNotFoundError as error:
        raise SpecError(f'{where}: needs the package {error.name}: pip install "segworkers[monai]"') from error
    kind = getattr(nets, definition.target, None)
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise SpecError(f"{where}: the installed MONAI has no network {definition.target}")
    try:
        return kind(**definition.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError(f"{where}: {definition.target} cannot be made of its arguments ({str(error)[:300]})") from error
