"""From a model reference to a manifest on the driver, and to a loaded model in each worker."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.base import Segmenter
from segworkers.segmenters.bundle_models import load_bundle, resolve_bundle
from segworkers.segmenters.bundles import is_bundle, open_bundle
from segworkers.segmenters.channels import bands_text
from segworkers.segmenters.maskrcnn_options import Version, maskrcnn_settings
from segworkers.segmenters.model_spec import (
    BundlePlace,
    ModelSpec,
    WeightsPlace,
    file_digest,
    plain_spec,
    require_same,
    spec_digest,
)
from segworkers.segmenters.options import Asked, Option
from segworkers.segmenters.plugin_code import PREFIX, PluginCode, read_plugin
from segworkers.segmenters.published_models import FAMILIES as PUBLISHED
from segworkers.segmenters.python_model import load_code, plugin_manifest
from segworkers.segmenters.registry import FIRST_STAGES, bundle_here, model_names
from segworkers.segmenters.threshold import ThresholdSegmenter

MODELS = {
    "threshold": "pixels above a level, by default the image's Otsu level; no weights",
    "maskrcnn:FILE": "torchvision Mask R-CNN ResNet-50-FPN from a weights file (.pth, .pt, .safetensors)",
    "maskrcnn_v2:FILE": "the same, v2",
    "maskrcnn_resnet50_fpn:COCO_V1": "torchvision's own weights by name, 80 COCO classes; downloaded once",
    "maskrcnn_resnet50_fpn_v2:COCO_V1": "the same, v2",
    "FOLDER or FILE.zip": "a model bundle: model.json and weights; a path with a / or .zip",
    "python:FILE.py:CLASS": "your own class from one Python file",
    "python:PACKAGE.MODULE:CLASS": "your own class from an installed package",
}
"""Every form of model reference but the names of the models that come along (`registry.model_names`), with help."""

_FILES: dict[str, Version] = {"maskrcnn": "v1", "maskrcnn_v2": "v2"}
_NAMES: dict[str, Version] = {"maskrcnn_resnet50_fpn": "v1", "maskrcnn_resnet50_fpn_v2": "v2"}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def resolve_model(
    reference: str, options: Mapping[str, object], device: str = "auto", threads: int = 1, *, fetch: bool = True
) -> tuple[ModelManifest, ModelSpec]:
    """Check a model and find out what it declares; for the driver, before any work starts.

    fetch: download weights that are given by name and not there yet.
    Raises SpecError with all problems. torch is imported only for Mask R-CNN.
    """
    problems: list[str] = []
    if not _DEVICE.fullmatch(device):
        problems.append(f"model.device: expected auto, cpu, cuda, cuda:N or mps, found {device!r}")
    if threads < 1:
        problems.append(f"model.threads: expected at least 1, found {threads}")
    resolved: ModelSpec | None = None
    try:
        resolved = _resolver(reference)(reference, options, fetch)
    except SpecError as error:
        problems += error.problems
    if resolved is None or problems:
        raise SpecError(problems)
    done = _identified(resolved, device, threads)
    return done.manifest, done


def _identified(spec: ModelSpec, device: str, threads: int) -> ModelSpec:
    """The spec with its digest, and with its first stage's where it has one."""
    if spec.first is not None and spec.prior is not None:
        first = _identified(spec.first, device, threads)
        spec = replace(spec, first=first, prior=replace(spec.prior, manifest=first.manifest))
    manifest = replace(spec.manifest, digest=spec_digest(spec))
    return replace(spec, manifest=manifest, device=device, threads=threads)


def asked_options(kind: str) -> list[Option]:
    """The options of `threshold` or of a Mask R-CNN (what stands before the colon), as their readers ask for them."""
    asked = Asked()
    if kind == "threshold":
        ThresholdSegmenter(asked)
        return asked.options
    maskrcnn_settings(asked)
    # Weights that are known by name come with the names of their classes.
    return [each for each in asked.options if each.name != "classes" or kind in _FILES]


def require_usable(reference: str, declared: ModelManifest, manifest: ModelManifest) -> None:
    """Refuse what a model is known not to do; for the driver, before any work starts.

    declared: what the model says of itself; manifest: what the run uses. Raises SpecError: for blending a model that
    gives no probabilities, for more or fewer bands than a network takes, and for another window where it is a part of a
    network. What a user's model does not say shows at its first answer.
    """
    if manifest.blend != "none" and reference == "threshold":
        raise SpecError(f"model.blend={manifest.blend}: threshold gives classes without probabilities; leave it out")
    if manifest.bands is not None and manifest.channels and len(manifest.bands) not in manifest.channels:
        raise SpecError(
            f"model.bands={list(manifest.bands)}: {manifest.name} takes {bands_text(manifest.channels)}, "
            f"found {len(manifest.bands)}; name as many as it takes"
        )
    if any(declared.context) and manifest.window != declared.window and _has_one_window(reference):
        raise SpecError(
            f"model.window={list(manifest.window)}: {reference} answers for windows of {list(declared.window)} voxels "
            "(z, y, x) only, which are a part of its network; leave it out"
        )


def _has_one_window(reference: str) -> bool:
    """Whether a model with a context answers for its own window only: those that come along, and copies of them."""
    if reference in model_names():
        return True
    return is_bundle(reference) and open_bundle(reference).definition.family in PUBLISHED


def load_model(spec: ModelSpec, manifest: ModelManifest | None = None) -> Segmenter:
    """Load the model in this process; once per worker.

    manifest: what the run uses, where that differs from what the model declares (a job may set window and overlap).
    Raises SpecError where a file is missing or another than the driver saw, or the device is not there.
    """
    used = manifest or spec.manifest
    require_same(spec.files)
    match spec.source:
        case None:
            return ThresholdSegmenter(spec.options, spec.manifest.digest)
        case PluginCode() as code:
            return load_code(code, spec, spec.options, used)
        case BundlePlace() as place:
            return load_bundle(place, spec, used)
        case WeightsPlace() as weights:
            return _load_weights(weights, spec, used)


def _load_weights(weights: WeightsPlace, spec: ModelSpec, manifest: ModelManifest) -> Segmenter:
    from segworkers.segmenters.torch_device import fix_threads, pick_device
    from segworkers.segmenters.torch_maskrcnn import load_maskrcnn
    from segworkers.segmenters.torch_weights import named_file

    fix_threads(spec.threads)
    if weights.path is None:
        path, _ = named_file(weights.version, weights.name, fetch=True)
    else:
        path = Path(weights.path)
        require_same({weights.path: spec.weights_digest})
    return load_maskrcnn(path, weights.version, maskrcnn_settings(spec.options), manifest, pick_device(spec.device))


def _resolver(reference: str) -> Callable[[str, Mapping[str, object], bool], ModelSpec]:
    kind, colon, rest = reference.partition(":")
    if reference == "threshold":
        return _resolve_threshold
    if reference.startswith(PREFIX):
        return _resolve_plugin
    if reference not in FIRST_STAGES and is_bundle(reference):
        return resolve_bundle
    if colon and rest and kind in _FILES:
        return _resolve_file
    if colon and rest and kind in _NAMES:
        return _resolve_name
    if here := bundle_here(reference):
        raise SpecError(f"no built-in model {reference!r}; for the bundle of that name here give its path: {here}")
    forms = "\n".join(f"  {form:34} {line}" for form, line in MODELS.items())
    names = f"  {', '.join(model_names())}"
    raise SpecError(f"model {reference!r} is not known; there are\n{names}\n{forms}")


def _resolve_threshold(reference: str, options: Mapping[str, object], _fetch: bool) -> ModelSpec:
    return plain_spec(reference, options, ThresholdSegmenter(options).manifest)


def _resolve_plugin(reference: str, options: Mapping[str, object], _fetch: bool) -> ModelSpec:
    code = read_plugin(reference)
    options = {name: _absolute(value) for name, value in options.items()}
    manifest, declared = plugin_manifest(code, options)
    named = [value for value in options.values() if isinstance(value, str) and _is_file(value)]
    files = {path: file_digest(Path(path)) for path in sorted({*named, *declared})}
    return replace(plain_spec(reference, options, manifest), source=code, files=files)


def _is_file(value: str) -> bool:
    """Whether an option is the path of a file: a plain word that happens to be a file's name is not."""
    path = Path(value)
    return bool(path.suffix or len(path.parts) > 1) and path.is_file()


def _absolute(value: object) -> object:
    """Paths of files as absolute ones, because workers run in other folders."""
    return str(Path(value).absolute()) if isinstance(value, str) and _is_file(value) else value


def _resolve_file(reference: str, options: Mapping[str, object], _fetch: bool) -> ModelSpec:
    settings = maskrcnn_settings(options)
    kind, _, place = reference.partition(":")
    path = Path(place).expanduser().absolute()
    if not path.is_file():
        raise SpecError(f"model {reference!r}: no weights file {path}; it must be a local or mounted path")
    from segworkers.segmenters.torch_maskrcnn import plan_maskrcnn

    manifest = plan_maskrcnn(path, _FILES[kind], settings, kind)
    weights = WeightsPlace(version=_FILES[kind], path=str(path))
    return replace(plain_spec(reference, options, manifest), source=weights, weights_digest=file_digest(path))


def _resolve_name(reference: str, options: Mapping[str, object], fetch: bool) -> ModelSpec:
    settings = maskrcnn_settings(options)
    kind, _, name = reference.partition(":")
    from segworkers.segmenters.maskrcnn_options import maskrcnn_manifest
    from segworkers.segmenters.torch_weights import coco_categories, kept_names, named_file

    if settings.classes is not None:
        raise SpecError(f"model.options.classes: {reference} has COCO's names; choose among them with keep")
    _, weights_hash = named_file(_NAMES[kind], name, fetch=fetch)
    manifest = maskrcnn_manifest(settings, kind, kept_names(coco_categories()[1:], settings.keep, kind))
    weights = WeightsPlace(version=_NAMES[kind], name=name)
    return replace(plain_spec(reference, options, manifest), source=weights, weights_digest=weights_hash)
