"""From a bundle to a ModelSpec on the driver, and to a loaded model in each worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from schemas.bundles import ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters import bundle_code
from segworkers.segmenters.base import Segmenter
from segworkers.segmenters.bundle_weights import weights_folder
from segworkers.segmenters.bundles import OpenBundle, open_bundle
from segworkers.segmenters.families import Family, family_of, load_family, plan_family, require_listed
from segworkers.segmenters.model_spec import BundlePlace, ModelSpec, plain_spec
from segworkers.segmenters.options import Options
from segworkers.segmenters.published_models import prior_of


def resolve_bundle(reference: str, options: Mapping[str, object], fetch: bool) -> ModelSpec:
    """The spec of a bundle, without digest and device.

    fetch: fetch and check its files. Raises SpecError with every problem of the bundle or the options.
    """
    bundle = open_bundle(reference)
    definition = bundle.definition
    if definition.family == bundle_code.FAMILY:
        return bundle_code.resolve_code(bundle, reference, options)
    manifest = plan_bundle(bundle, options)
    if fetch:
        weights_folder(bundle)
    spec = replace(
        plain_spec(reference, options, manifest),
        source=BundlePlace(definition=definition, place=bundle.place),
        weights_digest=_identity(bundle, options, manifest),
        codes=definition.codes,
    )
    prior = prior_of(definition)
    return spec if prior is None else replace(spec, prior=prior, first=resolve_bundle(prior.reference, {}, fetch))


def plan_bundle(bundle: OpenBundle, options: Mapping[str, object]) -> ModelManifest:
    """What the bundle's model declares under these options. Raises SpecError where they or its parameters are wrong."""
    definition = bundle.definition
    family = family_of(definition.family, bundle.place)
    check_options(definition, family, options)
    parameters = parameters_of(definition, family, options)
    manifest = plan_family(definition.family, definition.manifest, parameters, bundle.place)
    require_listed(definition, bundle.place)
    return manifest


def channels_of(definition: ModelBundle) -> tuple[int, ...]:
    """Numbers of bands that a bundle's network takes; () where it does not say, or its parameters are wrong."""
    if definition.family == bundle_code.FAMILY:
        return definition.manifest.channels
    try:
        family = family_of(definition.family, definition.name)
        parameters = parameters_of(definition, family, {})
        return plan_family(definition.family, definition.manifest, parameters, definition.name).channels
    except SpecError:
        return definition.manifest.channels


def load_bundle(place: BundlePlace, spec: ModelSpec, manifest: ModelManifest) -> Segmenter:
    """Load a bundle's model in this process; files with an address are fetched where this machine has none.

    manifest: what the run uses. Raises SpecError where the bundle is not the one that the driver saw, or is damaged.
    """
    bundle = open_bundle(place.place)
    if bundle.definition != place.definition:
        raise SpecError(
            f"{bundle.place} is not the bundle that the run was planned with; restore it, or start another run"
        )
    if bundle.definition.family == bundle_code.FAMILY:
        return bundle_code.load_trusted(bundle, spec, manifest)
    from segworkers.segmenters.torch_device import fix_threads, pick_device

    fix_threads(spec.threads)
    return load_opened(bundle, manifest, spec.options, pick_device(spec.device))


def load_opened(bundle: OpenBundle, manifest: ModelManifest, options: Mapping[str, object], device: str) -> Segmenter:
    """The loaded model of an opened bundle, every file checked first. Raises SpecError."""
    family = family_of(bundle.definition.family, bundle.place)
    parameters = parameters_of(bundle.definition, family, options)
    return load_family(bundle.definition.family, manifest, parameters, weights_folder(bundle), device)


def parameters_of(definition: ModelBundle, family: Family, options: Mapping[str, object]) -> dict[str, Any]:
    """The bundle's parameters with the job's options over them.

    Families that let a job choose among classes (`keep`) are also told `classes`: all names that the bundle declares.
    """
    parameters = dict(definition.parameters) | {name: value for name, value in options.items() if value is not None}
    if "keep" in family.options:
        parameters.setdefault("classes", list(definition.manifest.classes))
    return parameters


def check_options(definition: ModelBundle, family: Family, options: Mapping[str, object]) -> None:
    """Raise SpecError for options that the family does not let a job set."""
    read = Options(definition.name, options)
    for name in family.options:
        read.take(name, lambda value: value, None)
    read.finish()


def _identity(bundle: OpenBundle, options: Mapping[str, object], manifest: ModelManifest) -> str:
    """Hash of code, weights and parameters; where the files lie and what the card says do not enter."""
    definition = bundle.definition
    family = family_of(definition.family, bundle.place)
    parts = {
        "family": [definition.family, family.revision],
        "weights": {each.name: each.sha256 or each.uri for each in definition.weights},
        "parameters": parameters_of(definition, family, options),
        # What is refused before any work changes no answer.
        "manifest": {name: value for name, value in asdict(manifest).items() if name != "channels"},
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
