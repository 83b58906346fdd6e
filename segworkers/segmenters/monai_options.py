"""Parameters of the family `monai`: a class of networks by name, and its arguments. Imports neither MONAI nor torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.foreign import ForeignSettings, read_foreign

_TARGET = re.compile(r"(monai\.networks\.nets\.([a-z0-9_]+\.)?)?(?P<name>[A-Z]\w*)")


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
    return settings, NetworkDefinition(network_name(network["target"]), cast("Mapping[str, Any]", arguments))


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest, after checking the parameters; for the driver. Raises SpecError."""
    read_monai_parameters(manifest, parameters)
    return manifest
