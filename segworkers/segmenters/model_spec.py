"""ModelSpec: a resolved model, on its way from the driver to the workers; and what identifies it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.bundles import ClassCodes, ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.maskrcnn_options import Version
from segworkers.segmenters.plugin_code import PluginCode
from segworkers.segmenters.two_stage import Prior


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlace:
    """A bundle that each worker opens again; files that are not in it come into that machine's own cache."""

    definition: ModelBundle
    """What it said on the driver."""
    place: str
    """Absolute path of the folder or zip; for a bundle of this package its name, because packages lie anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsPlace:
    """Weights of torchvision's Mask R-CNN that are no bundle's."""

    version: Version
    path: str | None = None
    """Absolute path of the file, which workers must see."""
    name: str = ""
    """Without a path: torchvision's name; each machine downloads the file into its own cache."""


Source = PluginCode | BundlePlace | WeightsPlace
"""What a worker makes a model of. Nothing in it is a path of the driver's caches: workers may have others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """All that a worker needs to load a model. Picklable and small: weights travel by path, name or address."""

    reference: str
    options: Mapping[str, object]
    device: str
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` is decided in the worker."""
    threads: int
    manifest: ModelManifest
    """With the digest over code, weights and options."""
    source: Source | None = None
    """None: `threshold`, which is made of its options alone."""
    weights_digest: str = ""
    """Hash of what a bundle is, or of the weights."""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other files that the model depends on, and their digests: those that options or the user's class name. Workers
    must see them."""
    prior: Prior | None = None
    """What must be found in a volume before this model is asked; its manifest is that of `first`."""
    first: ModelSpec | None = None
    """The model that finds it: to be loaded by itself, once for each volume."""
    codes: Mapping[str, ClassCodes] = field(default_factory=dict[str, ClassCodes])
    """Coded terms of the classes, where the model brings them."""


def plain_spec(reference: str, options: Mapping[str, object], manifest: ModelManifest) -> ModelSpec:
    """A spec that is not identified yet and does not know its device."""
    return ModelSpec(reference=reference, options=dict(options), device="cpu", threads=1, manifest=manifest)


def spec_digest(spec: ModelSpec) -> str:
    """Hash of what the model is: kind of model, code, weights, options. Paths do not enter, contents do."""
    options = {
        name: spec.files.get(value, value) if isinstance(value, str) else value for name, value in spec.options.items()
    }
    code = spec.source if isinstance(spec.source, PluginCode) else None
    identity: dict[str, object] = {
        "model": spec.manifest.name if code is None else [code.class_name, code.digest],
        "weights": spec.weights_digest,
        "files": sorted(spec.files.values()),
        "options": options,
    }
    if spec.first is not None:
        identity["first"] = spec.first.manifest.digest
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """Hash of a file's bytes. Raises SpecError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise SpecError(
            f"cannot read {path}: {error.strerror}; workers must see the same path as the driver"
        ) from error


def require_same(files: Mapping[str, str]) -> None:
    """Raise SpecError where a file is not the one that the run was planned with. files: path to digest."""
    for path, digest in files.items():
        if file_digest(Path(path)) != digest:
            raise SpecError(f"{path} is not the file that the run was planned with; restore it, or start another run")
