"""run.json: what a run folder belongs to. Created once, before any work; a second job on the same folder is refused."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jobs.catalog import RUN_FILE
from jobs.config import JobSpec
from schemas.errors import SpecError, StoreError
from schemas.models import ModelManifest
from segworkers.store import Store

NAME = RUN_FILE

_PACKAGES = ("segworkers", "ray", "torch", "torchvision", "rasterio", "numpy", "pyarrow", "connected-components-3d")


def claim(store: Store, spec: JobSpec, manifest: ModelManifest, *, resume: bool) -> None:
    """Make the folder this job's, or find that it is already. Raises SpecError where it may not be used."""
    described = json.dumps(_describe(spec, manifest), indent=2, sort_keys=True).encode()
    try:
        if store.create(NAME, described):
            return
    except OSError as error:
        raise SpecError(
            f"output.path: expected a folder that can be made, found {store.url} ({error.strerror}); choose another"
        ) from error
    if not resume:
        raise SpecError(
            f"{store.url} holds a run already; add --resume to finish or repeat it, or choose another folder"
        )
    try:
        theirs = dict(json.loads(store.read(NAME)))
    except ValueError as error:
        raise StoreError(
            f"{store.url}/{NAME} is damaged ({error}); restore it, or start again in another folder"
        ) from error
    differing = [
        name
        for name, mine in (("spec_digest", spec.digest()), ("model_digest", manifest.digest))
        if theirs.get(name) != mine
    ]
    if differing:
        what = " and ".join(name.removesuffix("_digest") for name in differing)
        raise SpecError(
            f"{store.url} holds a run with another {what}; resume with the same inputs, model and filters, "
            "or choose another folder"
        )


def _describe(spec: JobSpec, manifest: ModelManifest) -> dict[str, Any]:
    return {
        "spec": spec.model_dump(mode="json"),
        "spec_digest": spec.digest(),
        "model": manifest.name,
        "model_digest": manifest.digest,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
