"""Parameters of the family `monai`: a class of networks by name, and its arguments. Imports neither MONAI nor torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.foreign import ForeignSettings, read_foreign, with_channels

_TARGET = re.compile(r"(monai\.networks\.nets\.([a-z0-9_]+\.)?)?(?P<name>[A-Z]\w*)")
NETWORKS = (
    *("AHNet", "AHnet", "Ahnet", "AttentionUnet", "BasicUNet", "BasicUnet", "Basicunet", "BasicUNetPlusPlus"),
    *("BasicUnetPlusPlus", "BasicunetPlusPlus", "DAF3D", "DynUNet", "DynUnet", "Dynunet", "FlexUNet", "FlexibleUNet"),
    *("HighResNet", "HoVerNet", "HoVernet", "HoverNet", "Hovernet", "HyenaNDUNETR", "MedNeXt", "MedNext", "Quicknat"),
    *("RegUNet", "SegResNet", "SegResNetDS", "SegResNetDS2", "SegResNetVAE", "SwinUNETR", "UNETR", "UNet", "Unet"),
    *("VNet", "VoxelMorphUNet"),
)
"""Classes of `monai.networks.nets`, under all their names, that give a map for an image and read nothing when made.

Others of that package fetch weights by default, or are no networks for images.
"""

_OTHER_WEIGHTS = re.compile(r"pretrained\w*|\w*url\w*|\w*path(_or_repo_id)?|\w*(file|file_?name|dir)|weights|cache\w*")
"""Arguments by which networks fetch or read weights of their own."""


@dataclass(frozen=True, slots=True)
class NetworkDefinition:
    """A class of `monai.networks.nets` and what it is called with."""

    target: str
    arguments: Mapping[str, Any]


def network_name(target: object) -> str:
    """The class's name of a `_target_`. Raises SpecError where it is not one of MONAI's networks."""
    match = _TARGET.fullmatch(target) if isinstance(target, str) else None
    if match is None:
        raise SpecError(
            f"network_def: expected a class of monai.networks.nets, found {target!r}; other code is not executed: "
            "export the network to models/model.ts"
        )
    if match["name"] not in NETWORKS:
        raise SpecError(
            f"network_def: {match['name']} is none of the networks that are made here ({', '.join(NETWORKS)}); export "
            "the network to models/model.ts"
        )
    return match["name"]


def read_monai_parameters(
    manifest: ModelManifest, parameters: Mapping[str, Any]
) -> tuple[ForeignSettings, NetworkDefinition]:
    """Head, input and network. Raises SpecError."""
    settings = read_foreign(manifest, parameters, ("network",))
    given = parameters.get("network")
    network: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
    if set(network) != {"target", "arguments"}:
        raise SpecError(f"{manifest.name}: parameters.network: expected target and arguments, found {given!r}")
    arguments = network["arguments"]
    if not isinstance(arguments, Mapping):
        raise SpecError(f"{manifest.name}: parameters.network.arguments: expected an object, found {arguments!r}")
    definition = NetworkDefinition(network_name(network["target"]), cast("Mapping[str, Any]", arguments))
    if other := [each for each, value in definition.arguments.items() if _OTHER_WEIGHTS.fullmatch(each) and value]:
        raise SpecError(
            f"{manifest.name}: parameters.network.arguments: {', '.join(other)}: expected nothing, because the network "
            "would fetch or read other weights than the bundle lists; leave it out"
        )
    return settings, definition


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest with what the network takes, after checking the parameters; for the driver. Raises SpecError."""
    settings, network = read_monai_parameters(manifest, parameters)
    channels = network.arguments.get("in_channels")
    if not isinstance(channels, int):
        return with_channels(manifest, settings)
    if channels < 1:
        raise SpecError(
            f"{manifest.name}: parameters.network.arguments.in_channels: expected at least 1, found {channels}"
        )
    return with_channels(manifest, settings, channels)
