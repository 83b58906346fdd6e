"""The first stage of a model of two stages: the organ of each volume, found once and kept in the run store.

    series, reduced to the first model's grid ── segworkers.segmenters.two_stage.find_organ ──▶ priors/SOURCE.KEY.npz

Whole volumes fit into memory on the first model's coarse grid; they are read in slabs.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx, zyx
from schemas.errors import InputError
from schemas.sources import Source
from segworkers.model_grid import ModelGrid
from segworkers.model_pixels import read_on_model_grid
from segworkers.orientation import Flips, flipped
from segworkers.readers.base import Reader
from segworkers.segmenters.base import Segmenter
from segworkers.segmenters.two_stage import OrganMap, Prior, find_organ
from segworkers.store import Store

PRIOR_VERSION = 1
"""Raised whenever the same voxels and the same first model would give another organ."""

SLAB_VOXELS = 64_000_000
"""Native voxels that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorTask:
    """Find the organ of one volume."""

    source: Source
    grid: ModelGrid
    """The first model's."""
    flips: Flips
    """Axes to be flipped for the first model."""
    name: str
    """Where the organ is kept: a name made of all that it depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorFailure:
    """Why a volume has no prior."""

    reason: str
    message: str
    hint: str


def prior_name(source: Source, grid: ModelGrid, flips: Flips, prior: Prior) -> str:
    """Where the organ of a volume is kept."""
    identity = {
        "version": PRIOR_VERSION,
        "fingerprint": source.fingerprint,
        "grid": [grid.native, grid.shape],
        "flips": flips,
        "model": prior.manifest.digest,
        "prior": [prior.region, prior.opened, prior.margin],
    }
    key = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=10).hexdigest()
    return f"priors/{source.source_id}.{key}.npz"


class PriorWorker:
    """Finds organs with a first model, which it has loaded."""

    def __init__(self, reader: Reader, first: Segmenter, prior: Prior, store: Store) -> None:
        self._reader = reader
        self._first = first
        self._prior = prior
        self._store = store

    def __call__(self, task: PriorTask) -> PriorFailure | None:
        """Find and keep the organ, unless it is there; a volume that cannot be read or does not fit is told."""
        if self._store.exists(task.name):
            return None
        try:
            values, valid = self._volume(task)
            assert task.source.volume is not None, "only volumes have priors"
            extents = zip(task.source.volume.geometry.spacing_mm, task.grid.native, task.grid.shape, strict=True)
            z_mm, y_mm, x_mm = (mm * n / m for mm, n, m in extents)
            found = find_organ(
                self._prior,
                self._first,
                flipped(values, task.flips),
                flipped(valid, task.flips),
                (z_mm, y_mm, x_mm),
            )
        except InputError as error:
            return PriorFailure(reason=error.reason, message=error.message, hint=error.hint)
        self._store.create(task.name, to_bytes(OrganMap(flipped(found.organ, task.flips), found.margin)))
        return None

    def _volume(self, task: PriorTask) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(z, y, x) values and validity on the first model's grid."""
        values = np.empty(task.grid.shape, np.dtype(task.source.dtype))
        valid = np.empty(task.grid.shape, bool)
        for slab in slabs(task.grid):
            block = read_on_model_grid(self._reader, task.source, task.grid, slab, (0,))
            place = slab.within((0, 0, 0))
            values[place], valid[place] = block.pixels[0], block.valid
        return values, valid


def slabs(grid: ModelGrid) -> Iterator[Box]:
    """The model's grid in slabs of slices, as thick as memory allows."""
    depth, height, width = grid.shape
    thickness = max(1, int(SLAB_VOXELS * depth / np.prod(grid.native)))
    for start in range(0, depth, thickness):
        yield Box((start, 0, 0), zyx([min(start + thickness, depth), height, width]))


def to_bytes(organ: OrganMap) -> bytes:
    """The same organ gives the same bytes, for `from_bytes`."""
    sink = io.BytesIO()
    np.savez_compressed(
        sink,
        organ=np.packbits(organ.organ),
        shape=np.array(organ.organ.shape, np.int64),
        margin=np.array(organ.margin, np.int64),
    )
    return sink.getvalue()


def from_bytes(data: bytes) -> OrganMap:
    """The inverse of `to_bytes`."""
    with np.load(io.BytesIO(data)) as arrays:
        shape = zyx(arrays["shape"].tolist())
        bits = np.unpackbits(arrays["organ"], count=int(np.prod(shape)))
        return OrganMap(bits.reshape(shape).astype(bool), zyx(arrays["margin"].tolist()))


def with_codes(pixels: NDArray[Any], organ: OrganMap, box: Box, extent: Zyx) -> NDArray[Any]:
    """The pixels (channels, z, y, x) of `box` with one channel more: the organ's codes, in the pixels' dtype."""
    return np.concatenate([pixels, organ.codes(box, extent).astype(pixels.dtype)[None]])
