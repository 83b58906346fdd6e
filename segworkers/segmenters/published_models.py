"""Networks of published packages, read from the packages' own files: families `deepmeta`, `lesion-unet`, `organ-unet`.

`parameters.weights` names the file; `parameters.prior` says what a model must know of a volume before it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.bundles import ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.base import Segmenter
from segworkers.segmenters.bundle_json import WITH_PRIOR
from segworkers.segmenters.bundles import open_bundle
from segworkers.segmenters.channels import taking
from segworkers.segmenters.families import weights_path
from segworkers.segmenters.options import Options
from segworkers.segmenters.two_stage import Prior

FAMILIES = WITH_PRIOR
"""Of this module. Their windows are a part of the networks."""


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest, after checking the parameters; for the driver. Raises SpecError."""
    read = Options(manifest.name, parameters, "parameters")
    read.take("weights", str, None)
    read.take("prior", lambda value: value, None)
    read.finish()
    return taking(manifest, 1)


def load_deepmeta(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> Segmenter:
    """Lungs and metastases of mice. Raises SpecError where the weights are not its own."""
    from segworkers.segmenters import torch_deepmeta

    state = torch_deepmeta.read_checkpoint(weights_path(weights, parameters))
    return torch_deepmeta.load_deepmeta(state, manifest, device)


def load_liver(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> Segmenter:
    """The liver in CT. Raises SpecError where the weights are not its own."""
    from segworkers.segmenters import keras_weights, torch_liver

    return torch_liver.load_liver(keras_weights.read_keras(weights_path(weights, parameters)), manifest, device)


def load_lesions(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> Segmenter:
    """Lesions of the liver, where that is known. Raises SpecError where the weights are not its own."""
    from segworkers.segmenters import keras_weights, torch_liver

    return torch_liver.load_lesions(keras_weights.read_keras(weights_path(weights, parameters)), manifest, device)


def prior_of(definition: ModelBundle) -> Prior | None:
    """What the model must know before it starts; the manifest of the first stage is that of its own bundle.

    None where that is nothing. Raises SpecError where the first stage is no model that may be one.
    """
    raw = definition.parameters.get("prior") if definition.family in FAMILIES else None
    if raw is None:
        return None
    first = open_bundle(str(raw["reference"])).definition
    if first.family not in FAMILIES or first.parameters.get("prior") is not None:
        raise SpecError(
            f"{definition.name}: parameters.prior.reference: expected a model of one of the families "
            f"{', '.join(FAMILIES)} that needs no other first, found {first.name}"
        )
    z, y, x = raw["margin"]
    return Prior(
        reference=first.name,
        manifest=first.manifest,
        region=raw["region"],
        opened=raw["opened"],
        margin=(z, y, x),
    )
