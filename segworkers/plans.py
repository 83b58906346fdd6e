"""What a worker needs to know about one source, and the chunks of work that are sent to it: small, without pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.boxes import Zyx
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.orientation import NO_FLIPS, Flips
from segworkers.seams import SeamFrame
from segworkers.statistics import Statistics
from segworkers.tiling import TilePlan

SHARD_VERSION = 8
"""Raised whenever the same pixels and the same model would give another shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """One source, ready to be worked on."""

    source: Source
    grid: ModelGrid
    tiles: TilePlan
    bands: tuple[int, ...]
    """0-based bands in the order the model wants them."""
    statistics: Statistics | None = None
    """Per-image statistics for the model's normalisation; None where it needs none."""
    flips: Flips = NO_FLIPS
    """Axes that are flipped on the way to the model, so that it sees the patient the way it was trained."""
    prior: str | None = None
    """Where the first stage's mask of this volume is kept, for a model of two stages; made of all it depends on."""
    lacks_organ: bool = False
    """Whether the first stage found no organ, so that the second is shown nothing; follows from what is kept at
    `prior`."""
    attempt: int = 0
    """How often tiles of this plan failed before: a tile that is tried again gets a shard of its own."""

    @property
    def seams(self) -> SeamFrame:
        """Where its windows end inside the image."""
        return SeamFrame(self.grid, self.tiles.lattice)

    def shard_name(self, index: Zyx, model: ModelManifest) -> str:
        """Where the tile's result is kept: a name made of everything that the result depends on."""
        identity = {
            "version": SHARD_VERSION,
            "source": self.source.source_id,
            "fingerprint": self.source.fingerprint,
            "grid": [self.grid.native, self.grid.shape],
            "lattice": _lattice_identity(self.tiles.lattice),
            "group": self.tiles.group,
            "tile": index,
            "bands": self.bands,
            "normalise": model.normalise,
            "statistics": None if self.statistics is None else self.statistics.to_json(),
            "model": model.digest,
            "batch": model.batch,
            "connectivity": model.connectivity,
            "blend": model.blend,
            "context": model.context,
            "flips": self.flips,
            "prior": self.prior,
            "attempt": self.attempt,
        }
        key = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=10).hexdigest()
        return f"shards/{self.source.source_id}/{'-'.join(map(str, index))}.{key}.zip"


def _lattice_identity(lattice: Lattice) -> list[object]:
    """What says where windows lie, beside the grid: plain ones are known by their sizes."""
    sizes: list[object] = [lattice.window, lattice.overlap]
    if lattice.region is None:
        return sizes
    return [*sizes, lattice.region.start, lattice.region.stop, lattice.mirrored]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring work tiles of one source, or many small sources; one call of a worker."""

    parts: tuple[tuple[SourcePlan, tuple[Zyx, ...]], ...]
    """Sources with the indices of their tiles."""

    def __len__(self) -> int:
        return sum(len(indices) for _, indices in self.parts)

    def __str__(self) -> str:
        plan, indices = self.parts[0]
        more = f" and {len(self) - 1} more" if len(self) > 1 else ""
        return f"tile {'-'.join(map(str, indices[0]))} of {plan.source.uri}{more}"

    def split(self) -> Sequence[Chunk]:
        """Two halves, or nothing where it is a single tile already."""
        flat = [(plan, index) for plan, indices in self.parts for index in indices]
        if len(flat) < 2:
            return ()
        middle = len(flat) // 2
        return [Chunk(tuple((plan, (index,)) for plan, index in half)) for half in (flat[:middle], flat[middle:])]


def blocks(weights: Sequence[int], most: int, weight: int) -> Iterator[slice]:
    """Consecutive positions in blocks of at most `most`; a block ends where its weights have reached `weight`."""
    start, held = 0, 0
    for position, own in enumerate(weights):
        held += own
        if held >= weight or position + 1 - start >= most:
            yield slice(start, position + 1)
            start, held = position + 1, 0
    if start < len(weights):
        yield slice(start, len(weights))
