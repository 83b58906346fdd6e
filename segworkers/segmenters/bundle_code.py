"""Bundles of the family `python`: a class in a file of the bundle. Code of strangers: refused unless the job says so.

    "family": "python",
    "parameters": {"file": "model.py", "class": "Cells", "options": {"checkpoint": "weights.pt", "level": 0.5}}

Options that are the name of a listed file are given to the class as its path; the rest as they are. The class says in
its own attributes what the manifest says (docs/extending.md), and keeps its own name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from schemas.bundles import ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.base import Segmenter
from segworkers.segmenters.bundle_weights import weights_folder
from segworkers.segmenters.bundles import OpenBundle
from segworkers.segmenters.model_spec import BundlePlace, ModelSpec, file_digest, plain_spec
from segworkers.segmenters.options import flag
from segworkers.segmenters.plugin_code import PluginCode, read_plugin
from segworkers.segmenters.python_model import load_code, plugin_manifest

FAMILY = "python"
TRUST = "trust_code"
"""The option by which a job says that the bundle's code may run."""


def resolve_code(bundle: OpenBundle, reference: str, options: Mapping[str, object]) -> ModelSpec:
    """The spec of the class in the bundle. Raises SpecError where it is not trusted, or is not what the bundle says."""
    definition = bundle.definition
    file, name = definition.parameters.get("file"), definition.parameters.get("class")
    listed = {each.name for each in definition.weights}
    if not isinstance(file, str) or file not in listed or not file.endswith(".py") or not isinstance(name, str):
        raise SpecError(
            f"{bundle.place}: parameters: expected `file`, a .py file that `weights` lists, and `class`, "
            f"found {file!r} and {name!r}"
        )
    if not _is_trusted(options):
        raise SpecError(
            f"{bundle.place}: holds code, {file}, which would run here and on all workers with your rights; read it, "
            f"and if you trust it add --set model.options.{TRUST}=true"
        )
    given = dict(_own_options(bundle)) | {key: value for key, value in options.items() if key != TRUST}
    files = _files(bundle)
    code, known = _code_and_options(bundle, files, given)
    manifest, declared = plugin_manifest(code, known)
    fields = [each for each in type(manifest).__slots__ if each not in ("name", "digest")]
    other = [each for each in fields if getattr(manifest, each) != getattr(definition.manifest, each)]
    if other:
        raise SpecError(f"{bundle.place}: {name} declares another {', '.join(other)} than the bundle's manifest")
    own = {each.resolve() for each in files.values()}
    named = {value for value in known.values() if isinstance(value, str) and Path(value).is_file()} | set(declared)
    outside = sorted(path for path in named if Path(path).resolve() not in own)
    return replace(
        plain_spec(reference, given, manifest),
        source=BundlePlace(definition=definition, place=bundle.place),
        weights_digest=_identity(definition),
        files={path: file_digest(Path(path)) for path in outside},
        codes=definition.codes,
    )


def load_trusted(bundle: OpenBundle, spec: ModelSpec, manifest: ModelManifest) -> Segmenter:
    """The loaded model of a bundle whose code the driver was told to trust, with this machine's paths of its files.

    manifest: what the run uses. Raises SpecError where a file is not the bundle's, or the class fails.
    """
    code, options = _code_and_options(bundle, _files(bundle), spec.options)
    return load_code(code, spec, options, manifest)


def _code_and_options(
    bundle: OpenBundle, files: Mapping[str, Path], given: Mapping[str, object]
) -> tuple[PluginCode, dict[str, object]]:
    """The class, and its options with this machine's paths instead of the names of listed files."""
    options = {key: str(files.get(value, value)) if isinstance(value, str) else value for key, value in given.items()}
    parameters = bundle.definition.parameters
    return read_plugin(f"python:{files[parameters['file']]}:{parameters['class']}"), options


def _files(bundle: OpenBundle) -> dict[str, Path]:
    """Where the listed files are on this machine, by name; fetched where they must be, and checked."""
    folder = weights_folder(bundle)
    return {each.name: folder / each.name for each in bundle.definition.weights}


def _identity(definition: ModelBundle) -> str:
    """Hash of the class's name and of all files, the code among them; options are the spec's."""
    parts = {
        "class": definition.parameters["class"],
        "file": definition.parameters["file"],
        "weights": {each.name: each.sha256 or each.uri for each in definition.weights},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _is_trusted(options: Mapping[str, object]) -> bool:
    try:
        return flag(options.get(TRUST, False))
    except ValueError as error:
        raise SpecError(f"model.options.{TRUST}: {error}") from None


def _own_options(bundle: OpenBundle) -> Mapping[str, Any]:
    options = bundle.definition.parameters.get("options", {})
    if not isinstance(options, Mapping):
        raise SpecError(f"{bundle.place}: parameters.options: expected names and values, found {options!r}")
    return cast("Mapping[str, Any]", options)
