"""run.json: what a run folder belongs to. Created once, before any work; a second job on the same folder is refused."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from jobs.catalog import RUN_FILE, an_image_in
from jobs.config import JobSpec, determining, is_local
from schemas.errors import SpecError, StoreError
from schemas.models import ModelManifest
from segworkers.readers.locations import redact
from segworkers.store import Store

NAME = RUN_FILE

_MOST_KEYS = 5
"""Differing keys that are named."""
_MOST_CHARACTERS = 60
_UNSET = object()
"""Stands for a key that is not there; null is a value."""

_PACKAGES = ("segworkers", "ray", "torch", "torchvision", "rasterio", "numpy", "pyarrow", "connected-components-3d")


def claim(store: Store, spec: JobSpec, manifest: ModelManifest, *, resume: bool) -> None:
    """Make the folder this job's, or find that it is already. Raises SpecError where it may not be used."""
    _require_no_images(store)
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
        keys = _differences(theirs.get("spec"), spec)
        raise SpecError(
            f"{store.url} holds a run with another {what}{f' ({keys})' if keys else ''}; resume with the same inputs, "
            "model and filters, or choose another folder"
        )


def _require_no_images(store: Store) -> None:
    """Refuse a folder of images for a new run: they would never be found again. Of folders on this machine only."""
    if store.exists(NAME) or not is_local(store.url) or not os.path.isdir(store.url):
        return
    image = an_image_in(store.url)
    if image is not None:
        raise SpecError(
            f"output.path: {store.url} holds images, such as {image}; run folders are not searched for inputs, so "
            "they would not be found there again: choose another folder"
        )


def _differences(theirs: object, spec: JobSpec) -> str:
    """The keys that determine the tables and are not the same, such as `output.border: drop there, keep here`."""
    here = _leaves(determining(spec.model_dump(mode="json")))
    try:
        there = _leaves(determining(cast("dict[str, Any]", theirs)))
    except (AttributeError, KeyError, TypeError):  # of a version that wrote other keys
        return ""
    keys = [key for key in here | there if _text(here.get(key, _UNSET)) != _text(there.get(key, _UNSET))]
    told = [_difference(key, there.get(key, _UNSET), here.get(key, _UNSET)) for key in keys[:_MOST_KEYS]]
    return "; ".join(told + ([f"and {len(keys) - _MOST_KEYS} more keys"] if len(keys) > _MOST_KEYS else []))


def _text(value: Any) -> str:
    """What two equal values share; unlike in Python, 1 and true differ, as they do in a spec's digest."""
    return json.dumps(value, sort_keys=True, default=str)


def _leaves(body: Mapping[str, Any]) -> dict[str, Any]:
    """`inputs`, `output.border`, `model.options.value` and so on, with their values."""
    flat: dict[str, Any] = {"inputs": body["inputs"]}
    for section in ("model", "output"):
        flat |= {f"{section}.{key}": value for key, value in body[section].items() if key != "options"}
    return flat | {f"model.options.{key}": value for key, value in body["model"]["options"].items()}


def _difference(key: str, there: Any, here: Any) -> str:
    if key == "inputs":
        return f"inputs: {_inputs(there, here)}"
    return f"{key}: {_shown(key, there)} there, {_shown(key, here)} here"


def _inputs(there: Sequence[str], here: Sequence[str]) -> str:
    """How the inputs differ, of each side the first; without what URLs keep secret."""
    sides = [
        (name, [each for each in mine if each not in others])
        for name, mine, others in (("there", there, here), ("here", here, there))
    ]
    if all(only for _, only in sides) and len({redact(only[0]) for _, only in sides}) == 1:
        return f"{redact(sides[0][1][0])} with another query or password"
    told = [
        f"{redact(only[0])}{f' and {len(only) - 1} more' if len(only) > 1 else ''} only {name}"
        for name, only in sides
        if only
    ]
    return ", ".join(told) or "another order or number of the same ones"


def _shown(key: str, value: Any) -> str:
    """A plain value in few characters. A text that a user's model was given may be a secret: it is not shown."""
    if value is _UNSET:
        return "not set"
    if key.startswith("model.options.") and not isinstance(value, (bool, int, float, type(None))):
        return "another value"
    text = redact(value if isinstance(value, str) else json.dumps(value))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


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
