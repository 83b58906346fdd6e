"""Is a model's bundle what it says? Hashes of its files again, the network loaded and asked once about zeros."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from schemas.errors import SegworkersError, SpecError, TileError
from segworkers.segmenters.base import DenseMaps, DenseProbabilities, Segmenter
from segworkers.segmenters.bundle_code import FAMILY as CODE
from segworkers.segmenters.bundle_models import load_opened, plan_bundle
from segworkers.segmenters.bundle_weights import check_file, files_folder, missing_files
from segworkers.segmenters.bundles import OpenBundle, open_bundle
from segworkers.segmenters.published_models import prior_of

_CHANNELS = (1, 3, 2, 4)
"""Numbers of channels to try where the manifest names no bands; the most frequent first."""


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
    return zeros_problems(_load(bundle), extra=int("prior" in bundle.definition.parameters))


def _load(bundle: OpenBundle) -> Segmenter:
    from segworkers.segmenters.torch_device import fix_threads, pick_device

    fix_threads(1)
    return load_opened(bundle, plan_bundle(bundle, {}), {}, pick_device("auto"))


def zeros_problems(model: Segmenter, extra: int = 0) -> list[str]:
    """What is wrong with a model's answer to one batch of zeros. extra: channels beside the image's."""
    manifest = model.manifest
    count = prod(manifest.batch)
    known = _CHANNELS if manifest.bands is None else (len(manifest.bands),)
    valid = np.ones((count, *manifest.shown), bool)
    for channels in known:
        windows = np.zeros((count, channels + extra, *manifest.shown), np.float32)
        try:
            answer = model.predict(windows, valid)
        except TileError as error:
            if error.reason != "wrong_bands" or channels == known[-1]:
                return [f"{manifest.name}: {error}"]
            continue
        if isinstance(answer, DenseMaps | DenseProbabilities):
            values = answer.classes if isinstance(answer, DenseMaps) else answer.values
            shape, found = (count, *manifest.window), (len(values), *values.shape[-3:])
            if manifest.kind != "dense" or found != shape or not np.isfinite(values).all():
                return [f"{manifest.name}: expected finite numbers for {shape}, found {values.dtype} {values.shape}"]
        elif manifest.kind != "instance" or len(answer) != count:
            return [f"{manifest.name}: expected {manifest.kind} answers for {count} windows, found {len(answer)} masks"]
        return []
    raise AssertionError("unreachable: the last try returns")
