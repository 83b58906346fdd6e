"""From a model reference to a manifest on the driver, and to a loaded model in each worker."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.base import Segmenter
from segworkers.segmenters.maskrcnn_options import Version, maskrcnn_settings
from segworkers.segmenters.options import Options
from segworkers.segmenters.plugin_code import PREFIX, PluginCode, read_plugin
from segworkers.segmenters.published import ensure_weights, read_tensors, weights_path
from segworkers.segmenters.python_model import load_plugin, plugin_manifest
from segworkers.segmenters.registry import CARDS, FIRST_STAGES, card_of
from segworkers.segmenters.threshold import ThresholdSegmenter
from segworkers.segmenters.two_stage import Prior

MODELS = {
    "threshold": "pixels above a level, by default the image's Otsu level; no weights",
    "maskrcnn:FILE": "torchvision Mask R-CNN ResNet-50-FPN from a weights file (.pth, .pt, .safetensors)",
    "maskrcnn_v2:FILE": "the same, v2",
    "maskrcnn_resnet50_fpn:COCO_V1": "torchvision's own weights by name, 80 COCO classes; downloaded once",
    "maskrcnn_resnet50_fpn_v2:COCO_V1": "the same, v2",
    **{name: f"{card.summary}; downloaded once" for name, card in CARDS.items()},
    "python:FILE.py:CLASS": "your own class from one Python file",
    "python:PACKAGE.MODULE:CLASS": "your own class from an installed package",
}
"""Every form of model reference, with a line of help."""

_FILES: dict[str, Version] = {"maskrcnn": "v1", "maskrcnn_v2": "v2"}
_NAMES: dict[str, Version] = {"maskrcnn_resnet50_fpn": "v1", "maskrcnn_resnet50_fpn_v2": "v2"}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """All that a worker needs to load a model. Picklable and small: weights travel by path."""

    reference: str
    options: Mapping[str, object]
    device: str
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` is decided in the worker."""
    threads: int
    manifest: ModelManifest
    """With the digest over code, weights and options."""
    code: PluginCode | None = None
    weights: str | None = None
    """Absolute path of the weights file, which workers must see; None for weights by name."""
    weights_digest: str = ""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other files that the model depends on, and their digests: those that options or the user's class name."""
    prior: Prior | None = None
    """What must be found in a volume before this model is asked; its manifest is that of `first`."""
    first: ModelSpec | None = None
    """The model that finds it: to be loaded by itself, once for each volume."""


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
    manifest = replace(spec.manifest, digest=_digest(spec))
    return replace(spec, manifest=manifest, device=device, threads=threads)


def require_blendable(reference: str, manifest: ModelManifest) -> None:
    """Refuse to blend a model that is known to give no probabilities; for the driver, before any work starts.

    manifest: what the run uses. Raises SpecError. Whether a user's model gives them shows at its first answer.
    """
    if manifest.blend != "none" and reference == "threshold":
        raise SpecError(f"model.blend={manifest.blend}: threshold gives classes without probabilities; leave it out")


def load_model(spec: ModelSpec, manifest: ModelManifest | None = None) -> Segmenter:
    """Load the model in this process; once per worker.

    manifest: what the run uses, where that differs from what the model declares (a job may set window and overlap).
    Raises SpecError where a file is missing or another than the driver saw, or the device is not there.
    """
    used = manifest or spec.manifest
    if spec.code is not None:
        _require_same(spec.files)
        spec.code.load()
        return load_plugin(spec.code, spec.manifest, spec.options, _plugin_device(spec), used)
    if spec.reference == "threshold":
        return ThresholdSegmenter(spec.options, spec.manifest.digest)
    from segworkers.segmenters.torch_device import fix_threads, pick_device
    from segworkers.segmenters.torch_maskrcnn import load_maskrcnn
    from segworkers.segmenters.torch_weights import named_file

    fix_threads(spec.threads)
    if spec.reference in CARDS | FIRST_STAGES:
        return _load_published(spec, used, pick_device(spec.device))
    kind, _, name = spec.reference.partition(":")
    if spec.weights is None:
        version = _NAMES[kind]
        path, _ = named_file(version, name, fetch=True)
    else:
        version, path = _FILES[kind], Path(spec.weights)
        _require_same({spec.weights: spec.weights_digest})
    return load_maskrcnn(path, version, maskrcnn_settings(spec.options), used, pick_device(spec.device))


def _resolver(reference: str) -> Callable[[str, Mapping[str, object], bool], ModelSpec]:
    kind, colon, rest = reference.partition(":")
    if reference == "threshold":
        return _resolve_threshold
    if reference.startswith(PREFIX):
        return _resolve_plugin
    if reference in CARDS:
        return _resolve_published
    if colon and rest and kind in _FILES:
        return _resolve_file
    if colon and rest and kind in _NAMES:
        return _resolve_name
    forms = "\n".join(f"  {form:34} {line}" for form, line in MODELS.items())
    raise SpecError(f"model {reference!r} is not known; there are\n{forms}")


def _resolve_threshold(reference: str, options: Mapping[str, object], _fetch: bool) -> ModelSpec:
    return _spec(reference, options, ThresholdSegmenter(options).manifest)


def _resolve_plugin(reference: str, options: Mapping[str, object], _fetch: bool) -> ModelSpec:
    code = read_plugin(reference)
    options = {name: _absolute(value) for name, value in options.items()}
    manifest, declared = plugin_manifest(code, options)
    named = [value for value in options.values() if isinstance(value, str) and _is_file(value)]
    files = {path: file_digest(Path(path)) for path in sorted({*named, *declared})}
    return replace(_spec(reference, options, manifest), code=code, files=files)


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
    return replace(_spec(reference, options, manifest), weights=str(path), weights_digest=file_digest(path))


def _resolve_name(reference: str, options: Mapping[str, object], fetch: bool) -> ModelSpec:
    settings = maskrcnn_settings(options)
    kind, _, name = reference.partition(":")
    from segworkers.segmenters.maskrcnn_options import maskrcnn_manifest
    from segworkers.segmenters.torch_weights import coco_categories, kept_names, named_file

    if settings.classes is not None:
        raise SpecError(f"model.options.classes: {reference} has COCO's names; choose among them with keep")
    _, weights_hash = named_file(_NAMES[kind], name, fetch=fetch)
    manifest = maskrcnn_manifest(settings, kind, kept_names(coco_categories()[1:], settings.keep, kind))
    return replace(_spec(reference, options, manifest), weights_digest=weights_hash)


def _resolve_published(reference: str, options: Mapping[str, object], fetch: bool) -> ModelSpec:
    Options(reference, options).finish()
    card = card_of(reference)
    path = ensure_weights(card.weights, _converter(reference)) if fetch else weights_path(card.weights)
    spec = replace(_spec(reference, options, card.manifest), weights=str(path), weights_digest=card.weights.digest)
    if card.prior is None:
        return spec
    return replace(spec, prior=card.prior, first=_resolve_published(card.prior.reference, {}, fetch))


def _converter(reference: str) -> Callable[[Path], Mapping[str, NDArray[Any]]]:
    """What reads the package's own file."""
    if reference == "mr-metastases":
        from segworkers.segmenters.torch_deepmeta import read_checkpoint

        return read_checkpoint
    from segworkers.segmenters.convert_liver import read_keras

    return read_keras


def _load_published(spec: ModelSpec, manifest: ModelManifest, device: str) -> Segmenter:
    assert spec.weights is not None, "published weights have a path"
    state = read_tensors(Path(spec.weights), spec.weights_digest)
    if spec.reference == "mr-metastases":
        from segworkers.segmenters.torch_deepmeta import load_deepmeta

        return load_deepmeta(state, manifest, device)
    from segworkers.segmenters.torch_liver import load_lesions, load_liver

    return (load_liver if spec.reference == "liver" else load_lesions)(state, manifest, device)


def _spec(reference: str, options: Mapping[str, object], manifest: ModelManifest) -> ModelSpec:
    return ModelSpec(reference=reference, options=dict(options), device="cpu", threads=1, manifest=manifest)


def _digest(spec: ModelSpec) -> str:
    """Hash of what the model is: kind of model, code, weights, options. Paths do not enter, contents do."""
    options = {
        name: spec.files.get(value, value) if isinstance(value, str) else value for name, value in spec.options.items()
    }
    identity: dict[str, object] = {
        "model": spec.manifest.name if spec.code is None else [spec.code.class_name, spec.code.digest],
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


def _require_same(files: Mapping[str, str]) -> None:
    for path, digest in files.items():
        if file_digest(Path(path)) != digest:
            raise SpecError(f"{path} is not the file that the run was planned with; restore it, or start another run")


def _plugin_device(spec: ModelSpec) -> str:
    """The device to construct a user's model with; torch is imported only where there is a sign that it matters."""
    text = spec.code.source if spec.code is not None else None
    if "torch" not in sys.modules and "torch" not in (text or "") and not Path("/dev/nvidiactl").exists():
        return "cpu" if spec.device == "auto" else spec.device
    from segworkers.segmenters.torch_device import fix_threads, pick_device

    fix_threads(spec.threads)
    return pick_device(spec.device)
