"""Is a model's bundle what it says? Hashes of its files again, the network loaded and asked once about zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from schemas.errors import SegworkersError, SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters.base import DenseAnswer, DenseMaps, DenseProbabilities, Segmenter, WindowMasks
from segworkers.segmenters.bundle_code import FAMILY as CODE
from segworkers.segmenters.bundle_models import load_opened, plan_bundle
from segworkers.segmenters.bundle_weights import check_file, files_folder, missing_files
from segworkers.segmenters.bundles import OpenBundle, open_bundle
from segworkers.segmenters.published_models import prior_of

_CHANNELS = (1, 3, 2, 4)
"""Numbers of channels to try where the bundle does not tell; the most frequent first."""
_FAILURES = (TileError, RuntimeError, ValueError, TypeError, AssertionError)
"""What networks and their runtimes raise on a number of channels that they do not take."""


def is_here(bundle: OpenBundle) -> bool:
    """Whether every file is on this machine, in full size, the first stage's too; hashes are not looked at."""
    prior = prior_of(bundle.definition)
    return not missing_files(bundle) and (prior is None or is_here(open_bundle(prior.reference)))


def bundle_problems(bundle: OpenBundle, progress: Callable[[str], None]) -> list[str]:
    """What is wrong with a bundle whose files are here, a line each; [] where it is as it says and answers.

    Nothing is fetched, and code in a bundle is not executed.
    """
    definition = bundle.definition
    try:
        problems = _file_problems(bundle)
        return problems if problems or definition.family == CODE else _answer_problems(bundle, progress)
    except SpecError as error:
        return error.problems
    except SegworkersError as error:
        return [str(error)]


def _file_problems(bundle: OpenBundle) -> list[str]:
    problems: list[str] = []
    folder = files_folder(bundle)
    for entry in bundle.definition.weights:
        own = bundle.folder / entry.name
        try:
            check_file(own if own.is_file() else folder / entry.name, entry, bundle.place)
        except SpecError as error:
            problems += error.problems
    return problems


def _answer_problems(bundle: OpenBundle, progress: Callable[[str], None]) -> list[str]:
    progress(f"{bundle.definition.name}: asking the network about zeros")
    return zeros_problems(_load(bundle), int("prior" in bundle.definition.parameters))


def _load(bundle: OpenBundle) -> Segmenter:
    from segworkers.segmenters.torch_device import fix_threads, pick_device

    fix_threads(1)
    return load_opened(bundle, plan_bundle(bundle, {}), {}, pick_device("auto"))


def zeros_problems(model: Segmenter, extra: int = 0) -> list[str]:
    """What is wrong with a model's answer to one batch of zeros, without the model's name.

    extra: channels beside the image's. The model must answer for every number of them that the manifest tells; where it
    tells none, several are tried, and the first failure is told where the model answers for none.
    """
    manifest = model.manifest
    known = (len(manifest.bands),) if manifest.bands is not None else manifest.channels
    first: list[str] = []
    for number in known or _CHANNELS:
        failure, problems = _asked(model, number + extra)
        if not known and not failure:
            return problems
        first = first or failure or problems
    return first


def _asked(model: Segmenter, channels: int) -> tuple[list[str], list[str]]:
    """That the model failed on a batch of zeros, and what is wrong with its answer."""
    manifest = model.manifest
    count = prod(manifest.batch)
    zeros = np.zeros((count, channels, *manifest.shown), np.float32)
    try:
        answer = model.predict(zeros, np.ones((count, *manifest.shown), bool))
    except _FAILURES as error:
        return [str(error).removeprefix(f"{manifest.name}: ") or type(error).__name__], []
    return [], _problems_of(answer, manifest, count)


def _problems_of(answer: DenseAnswer | Sequence[WindowMasks], manifest: ModelManifest, count: int) -> list[str]:
    if isinstance(answer, DenseMaps | DenseProbabilities):
        values = answer.classes if isinstance(answer, DenseMaps) else answer.values
        shape, found = (count, *manifest.window), (len(values), *values.shape[-3:])
        if manifest.kind != "dense" or found != shape or not np.isfinite(values).all():
            return [f"expected finite numbers for {shape}, found {values.dtype} {values.shape}"]
    elif manifest.kind != "instance" or len(answer) != count:
        return [f"expected {manifest.kind} answers for {count} windows, found {len(answer)} masks"]
    return []
