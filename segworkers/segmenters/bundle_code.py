"""Bundles of the family `python`: a class in a file of the bundle. Code of strangers: refused unless the job says so.

    "family": "python",
    "parameters": {"file": "model.py", "class": "Cells", "options": {"checkpoint": "weights.pt", "level": 0.5}}

Options that are the name of a listed file are given to the class as its path; the rest as they are. The class says in
its own attributes what the manifest says (docs/extending.md), and keeps its own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from schemas.errors import SpecError
from segworkers.segmenters.bundle_weights import weights_folder
from segworkers.segmenters.bundles import OpenBundle
from segworkers.segmenters.model_spec import ModelSpec, file_digest, plain_spec
from segworkers.segmenters.options import flag
from segworkers.segmenters.plugin_code import read_plugin
from segworkers.segmenters.python_model import plugin_manifest

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
    folder = weights_folder(bundle)
    given = dict(_own_options(bundle)) | {key: value for key, value in options.items() if key != TRUST}
    paths_of = {each: str(folder / each) for each in listed}
    given = {key: paths_of.get(value, value) if isinstance(value, str) else value for key, value in given.items()}
    code = read_plugin(f"python:{folder / file}:{name}")
    manifest, declared = plugin_manifest(code, given)
    fields = [each for each in type(manifest).__slots__ if each not in ("name", "digest")]
    other = [each for each in fields if getattr(manifest, each) != getattr(definition.manifest, each)]
    if other:
        raise SpecError(f"{bundle.place}: {name} declares another {', '.join(other)} than the bundle's manifest")
    paths = {value for value in given.values() if isinstance(value, str) and Path(value).is_file()} | set(declared)
    spec = plain_spec(reference, given, manifest)
    return replace(
        spec, code=code, files={path: file_digest(Path(path)) for path in sorted(paths)}, codes=definition.codes
    )


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
