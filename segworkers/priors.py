"""The first stage of a model of two stages: the organ of each volume, found once and kept in the run store.

    series, reduced to the first model's grid ── segworkers.segmenters.two_stage.find_organ ──▶ priors/SOURCE.KEY.npz

Whole volumes fit into memory on the first model's coarse grid; they are read some planes at a
time.
"""

from __future__ import annotations

import hashlib
import io
import json
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
from segworkers.readers.base import PixelBlock, Reader
from segworkers.segmenters.base import Segmenter
from segworkers.segmenters.two_stage import OrganMap, Prior, find_organ
from segworkers.store import Store

PRIOR_VERSION = 2
"""Raised whenever the same voxels and the same first model would give another organ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorTask:
    """Find the organ of one volume."""

    source: Source
    grid: ModelGrid
    """The first model's."""
    flips: Flips
    """Axes to be flipped for the first model."""
    extent: Zyx
    """Of the second model's grid."""
    name: str
    """Where the organ is kept: a name made of all that it depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorFailure:
    """Why a volume has no prior."""

    reason: str
    message: str
    hint: str


def prior_name(source: Source, grid: ModelGrid, flips: Flips, extent: Zyx, prior: Prior) -> str:
    """Where the organ of a volume is kept; `extent`: of the second model's grid, on which it has a box."""
    identity = {
        "version": PRIOR_VERSION,
        "fingerprint": source.fingerprint,
        "grid": [grid.native, grid.shape],
        "flips": flips,
        "extent": extent,
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
            block = read_on_model_grid(self._reader, task.source, task.grid, Box.of_shape(task.grid.shape), (0,))
            assert task.source.volume is not None, "only volumes have priors"
            extents = zip(task.source.volume.geometry.spacing_mm, task.grid.native, task.grid.shape, strict=True)
            z_mm, y_mm, x_mm = (mm * n / m for mm, n, m in extents)
            found = find_organ(
                self._prior,
                self._first,
                flipped(block.pixels[0], task.flips),
                flipped(block.valid, task.flips),
                (z_mm, y_mm, x_mm),
            )
        except InputError as error:
            return PriorFailure(reason=error.reason, message=error.message, hint=error.hint)
        organ = OrganMap(flipped(found.organ, task.flips), found.margin)
        self._store.create(task.name, to_bytes(organ, organ.box(task.extent)))
        return None


def to_bytes(organ: OrganMap, around: Box | None) -> bytes:
    """The same organ gives the same bytes, for `from_bytes`; around: its box on the second model's grid."""
    sink = io.BytesIO()
    np.savez_compressed(
        sink,
        organ=np.packbits(organ.organ),
        shape=np.array(organ.organ.shape, np.int64),
        margin=np.array(organ.margin, np.int64),
        around=np.array([*around.start, *around.stop] if around else [], np.int64),
    )
    return sink.getvalue()


def from_bytes(data: bytes) -> OrganMap:
    """The organ that `to_bytes` was given."""
    with np.load(io.BytesIO(data)) as arrays:
        shape = zyx(arrays["shape"].tolist())
        bits = np.unpackbits(arrays["organ"], count=int(np.prod(shape)))
        return OrganMap(bits.reshape(shape).astype(bool), zyx(arrays["margin"].tolist()))


def box_in(data: bytes) -> Box | None:
    """The organ's box on the second model's grid, as `to_bytes` was given it; the mask is not unpacked."""
    with np.load(io.BytesIO(data)) as arrays:
        around = arrays["around"].tolist()
    return Box(zyx(around[:3]), zyx(around[3:])) if around else None


def with_codes(block: PixelBlock, organ: OrganMap, extent: Zyx, around: Box | None) -> NDArray[Any]:
    """The block's pixels (channels, z, y, x) with one channel more: the organ's codes, in the pixels' dtype.

    extent: of the second model's grid; around: the organ's box on it, where that is known.
    """
    return np.concatenate([block.pixels, organ.codes(block.box, extent, around).astype(block.pixels.dtype)[None]])
