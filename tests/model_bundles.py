"""Tiny model bundles: a dense network of two numbers, as a family of the tests, and what tests do to bundles."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from schemas.bundles import Card, ClassCodes, Code, ModelBundle
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseProbabilities
from segworkers.segmenters.bundles import weights_file, write_bundle
from segworkers.segmenters.families import Family, weights_path
from segworkers.segmenters.torch_state import read_state

MANIFEST = ModelManifest(
    name="bright",
    kind="dense",
    window=(1, 32, 32),
    overlap=(0, 8, 8),
    classes=("bright",),
    normalise="unit",
)
CARD = Card(
    summary="what is bright",
    licence="CC0-1.0",
    attribution="the tests",
    training_data="none",
    accuracy="Not measured.",
    use="Tests.",
    limits="Everything else.",
)
CODES = {"bright": ClassCodes(type=Code(value="52988006", scheme="SCT", meaning="Lesion"))}
FAMILY = Family(summary="a logistic curve", load="tests.model_bundles:load", options=("bias",))
"""To be put into FAMILIES as `logistic`."""


class Logistic:
    """Probability of a pixel: a logistic curve of its value."""

    def __init__(self, manifest: ModelManifest, slope: float, bias: float) -> None:
        self.manifest, self.slope, self.bias = manifest, slope, bias

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> DenseProbabilities:
        likely = 1 / (1 + np.exp(-(self.slope * windows[:, 0] + self.bias)))
        return DenseProbabilities(np.stack([1 - likely, likely], 1).astype(np.float32))


def load(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> Logistic:
    """The family's loader."""
    state = read_state(weights_path(weights, parameters))
    return Logistic(manifest, float(state["slope"]), float(parameters.get("bias", -5.0)))


def logistic(folder: Path, slope: float = 10.0, **changes: Any) -> ModelBundle:
    """A bundle of the family `logistic` in `folder`."""
    folder.mkdir(parents=True)
    save_file({"slope": torch.tensor(slope)}, folder / "weights.safetensors")
    own = ModelBundle(
        name="bright",
        family="logistic",
        manifest=MANIFEST,
        card=CARD,
        weights=(weights_file(folder, "weights.safetensors"),),
        parameters={"bias": -5.0},
        codes=CODES,
    )
    bundle = replace(own, **changes)
    write_bundle(bundle, folder)
    return bundle


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    """The folder's files as a zip, under `prefix`."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                opened.write(path, prefix + path.relative_to(folder).as_posix())
    return target


def rewritten(folder: Path, **changes: Any) -> None:
    """Change top-level keys of `model.json`, or nested ones by `a__b`; None takes a key away."""
    path = folder / "model.json"
    document = json.loads(path.read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        node = document
        for parent in parents:
            node = node[parent]
        node.pop(last) if value is None else node.update({last: value})
    path.write_text(json.dumps(document))
