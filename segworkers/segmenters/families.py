"""Families: what kinds of networks a bundle may hold, and what loads them. The place where a new kind is added.

A family is a module of this package with a function

    def load(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> Segmenter

- `manifest`: how the job uses the model: the bundle's, with what the job sets instead (window, overlap, blend, …);
- `parameters`: the bundle's, with the options of the job over them. Raises SpecError, saying which is wrong;
- `weights`: a folder that holds every file that the bundle's `weights` lists, under its name, checked by hash. No other
  file in it may be read; `Family.files` says which parameters name them. Tensors come out of
  `segworkers.segmenters.torch_state.read_state`, which executes nothing;
- `device`: `cpu`, `cuda`, `cuda:N` or `mps`, known to be there. torch's threads are already set.

and, optionally, one that checks parameters on the driver before any work starts. It must not import torch:

    def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest

It may return another manifest: fewer classes, another window. Modules are imported when a bundle needs them.

Bundles of code (`segworkers.segmenters.bundle_code`) are of no family here: what they are is said by their class.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

from schemas.bundles import ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.base import Segmenter

_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of network."""

    summary: str
    load: str
    """`module:function` of what loads it, see above."""
    plan: str | None = None
    """`module:function` of what checks parameters, see above."""
    options: tuple[str, ...] = ()
    """Parameters that a job may set: `--set model.options.NAME=…`."""
    files: Mapping[str, str | None] = field(default_factory=lambda: {"weights": _WEIGHTS})
    """Parameters that name files which it reads, or lists of them, and what each is where a bundle does not say."""
    stages: tuple[str, ...] = ()
    """Parameters that hold models of other families, whose files lie in folders."""
    extra: str | None = None
    """What must be installed: `pip install "segworkers[EXTRA]"`."""
    revision: int = 1
    """Part of the digest of every model of the family: to be raised when the code's answers change."""


HEAD_OPTIONS = (
    *("threshold", "score_threshold", "mask_threshold", "nms"),
    *("middle", "overlap", "foreground", "reach", "core", "least"),
)
"""Parameters of heads (`segworkers.segmenters.head_reading`) that a job may set; they replace the bundle's."""

FAMILIES: dict[str, Family] = {
    "deepmeta": Family(
        summary="U-Net 3+ of napari-deepmeta: lungs and metastases of mice, slice by slice",
        load="segworkers.segmenters.published_models:load_deepmeta",
        plan="segworkers.segmenters.published_models:plan",
    ),
    "lesion-unet": Family(
        summary="second network of pyliverlesionseg: lesions in volumes whose liver is known",
        load="segworkers.segmenters.published_models:load_lesions",
        plan="segworkers.segmenters.published_models:plan",
    ),
    "maskrcnn": Family(
        summary="torchvision's Mask R-CNN ResNet-50-FPN, v1 and v2: masks of objects",
        load="segworkers.segmenters.torch_maskrcnn:load_bundle",
        plan="segworkers.segmenters.maskrcnn_options:plan",
        options=(
            *("keep", "score_threshold", "mask_threshold", "box_nms"),
            *("detections_per_image", "proposals_per_image", "resize"),
        ),
    ),
    "maskrcnn-compact": Family(
        summary="Mask R-CNN with a small backbone, as `segworkers train` makes it: masks of objects",
        load="segworkers.segmenters.torch_compact:load",
        plan="segworkers.segmenters.compact_options:plan",
        options=("score_threshold", "mask_threshold", "box_nms", "detections_per_image", "proposals_per_image"),
    ),
    "monai": Family(
        summary="a network of MONAI with its weights; imported from a MONAI bundle",
        load="segworkers.segmenters.torch_monai:load",
        plan="segworkers.segmenters.monai_options:plan",
        options=("threshold",),
        files={"file": "model.pt"},
        extra="monai",
    ),
    "onnx": Family(
        summary="any network as an ONNX file, with a declared head",
        load="segworkers.segmenters.onnx_network:load",
        plan="segworkers.segmenters.onnx_network:plan",
        options=HEAD_OPTIONS,
        files={"file": "model.onnx", "data": None},
        extra="onnx",
    ),
    "organ-unet": Family(
        summary="first network of pyliverlesionseg: an organ that one window shows whole",
        load="segworkers.segmenters.published_models:load_liver",
        plan="segworkers.segmenters.published_models:plan",
    ),
    "star-unet": Family(
        summary="star-convex U-Net: many small objects of one class in a plane",
        load="segworkers.segmenters.torch_star_unet:load",
        plan="segworkers.segmenters.star_options:plan",
        options=("middle", "overlap", "foreground", "reach", "core", "least"),
    ),
    "torch-export": Family(
        summary="any network as a file of torch.export, with a declared head",
        load="segworkers.segmenters.torch_exported:load_exported",
        plan="segworkers.segmenters.foreign:plan",
        options=HEAD_OPTIONS,
        files={"file": "model.pt2"},
    ),
    "torchscript": Family(
        summary="any network as a TorchScript file, with a declared head",
        load="segworkers.segmenters.torch_exported:load_torchscript",
        plan="segworkers.segmenters.foreign:plan",
        options=HEAD_OPTIONS,
        files={"file": "model.pt"},
    ),
    "unet": Family(
        summary="U-Net in planes or volumes: a class for each pixel",
        load="segworkers.segmenters.torch_unet:load",
        plan="segworkers.segmenters.unet_options:plan",
    ),
    "two-stage": Family(
        summary="a detector's boxes, then a dense model inside each: masks of objects",
        load="segworkers.segmenters.boxes_then_masks:load",
        plan="segworkers.segmenters.stages:plan",
        options=("margin", "part", "batch"),
        files={},
        stages=("detector", "segmenter"),
    ),
}
"""By the name that `model.json` gives."""


def family_of(name: str, where: str) -> Family:
    """The family called `name`. Raises SpecError, which begins with `where`, with the names there are."""
    family = FAMILIES.get(name)
    if family is None:
        near = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise SpecError(f"{where}: family: expected one of {', '.join(sorted(FAMILIES))}, found {name!r}{hint}")
    return family


def plan_family(name: str, manifest: ModelManifest, parameters: Mapping[str, Any], where: str) -> ModelManifest:
    """The manifest after the family has checked the parameters; on the driver, without torch. Raises SpecError."""
    family = family_of(name, where)
    if family.plan is None:
        return manifest
    return _function(family, family.plan, name)(manifest, parameters)


def load_family(
    name: str, manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str
) -> Segmenter:
    """The loaded model; also for families that are made of other families' models. Raises SpecError."""
    family = family_of(name, manifest.name)
    return _function(family, family.load, name)(manifest, parameters, weights, device)


def require_listed(definition: ModelBundle, where: str) -> None:
    """Raise SpecError where the family would read a file that the bundle's `weights` does not list.

    Such a file has no hash: it could be any, and the model's identity would not show it.
    """
    listed = {each.name for each in definition.weights}
    problems = [
        f"{where}: parameters.{parameter}: expected the name of a file that `weights` lists, found {name!r}"
        for parameter, name in _files_of(definition.family, definition.parameters)
        if name not in listed
    ]
    if problems:
        raise SpecError(problems)


def _files_of(
    family: str, parameters: Mapping[str, Any], role: str = "", folder: str = ""
) -> Iterator[tuple[str, str]]:
    """Parameters that name files, and the names, in the folder of the bundle's weights."""
    entry = FAMILIES.get(family)
    if entry is None:
        return
    for parameter, usual in entry.files.items():
        given: Any = parameters.get(parameter) or usual
        for name in cast("list[Any]", given) if isinstance(given, list) else (given,):
            if name is not None:
                yield role + parameter, str(PurePosixPath(folder, str(name)))
    for stage in entry.stages:
        inner = parameters.get(stage)
        if isinstance(inner, Mapping):
            held = cast("Mapping[str, Any]", inner)
            place = str(held.get("folder", stage))
            yield from _files_of(str(held.get("family")), held.get("parameters") or {}, f"{stage}.parameters.", place)


def weights_path(weights: Path, parameters: Mapping[str, Any]) -> Path:
    """The file called `parameters["weights"]`, by default `weights.safetensors`, of a folder as `load` is given.

    Raises SpecError where there is none. That `weights` lists it is checked before (`require_listed`).
    """
    name = parameters.get("weights", _WEIGHTS)
    inside = isinstance(name, str) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
    if not inside or not (weights / name).is_file():
        raise SpecError(f"parameters.weights: expected the name of a file that `weights` lists, found {name!r}")
    return weights / name


def _function(family: Family, reference: str, name: str) -> Any:
    module, _, function = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        need = f'pip install "segworkers[{family.extra}]"' if family.extra else f"install {error.name}"
        raise SpecError(f"models of the family {name!r} need the package {error.name}: {need}") from error
