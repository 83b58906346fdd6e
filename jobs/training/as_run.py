"""What a finished model finds as `segment` runs it: validation images through its windows, padding and merge.

Training asks a network about whole images, which is quick and says which of its states is best. A run shows windows,
mirrored where they reach past the image, and joins their answers; a model that learnt little may answer otherwise then.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from schemas.boxes import Box
from schemas.grids import PixelGrid
from schemas.masks import bbox, to_array
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.lattice import Lattice
from segworkers.merging import whole_objects
from segworkers.model_grid import ModelGrid
from segworkers.objects import Objects
from segworkers.plans import Chunk, SourcePlan
from segworkers.readers.base import PixelBlock
from segworkers.segmenters.base import Segmenter, WindowMasks
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.store import LocalStore, Store
from segworkers.tiling import TilePlan, margin_of
from segworkers.training.matching import Agreement, agreement
from segworkers.training.samples import Sample
from segworkers.worker import TileWorker


def agreements_as_run(bundle: Path, samples: Sequence[Sample], device: str, threads: int) -> Iterator[Agreement]:
    """For each sample how well the objects of the bundle in that folder fit its own. Raises SpecError as loading it."""
    _, spec = resolve_model(str(bundle), {}, device, threads)
    segmenter = load_model(spec)
    # Samples are normalised already, and hold the bands that the model sees.
    manifest = replace(spec.manifest, normalise="none", bands=None)
    for sample in samples:
        with tempfile.TemporaryDirectory(prefix="segworkers-train-") as scratch:
            yield agreement(_masks(_objects(sample, segmenter, manifest, LocalStore(Path(scratch)))), sample)


@dataclass(frozen=True, slots=True)
class _SampleReader:
    """Implements `segworkers.readers.base.Reader` for one sample."""

    sample: Sample

    def describe(self, uri: str) -> Source:
        bands, height, width = self.sample.image.shape
        grid = PixelGrid(shape=(1, height, width))
        names = tuple(f"band_{index + 1}" for index in range(bands))
        return Source(uri=uri, fingerprint="", grid=grid, dtype="float32", bands=names)

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        pixels = self.sample.image[list(bands), None][(slice(None), *box.within((0, 0, 0)))]
        return PixelBlock(pixels.copy(), np.ones(box.shape, np.bool_), box)

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        return self.read(source, Box.of_shape(source.grid.shape), bands)


def _objects(sample: Sample, segmenter: Segmenter, manifest: ModelManifest, store: Store) -> Objects:
    """What a run of one work tile finds, before any filter."""
    reader = _SampleReader(sample)
    source = reader.describe("sample:")
    lattice = Lattice(manifest.window, manifest.overlap, source.grid.shape)
    plan = SourcePlan(
        source=source,
        grid=ModelGrid(source.grid.shape, source.grid.shape),
        tiles=TilePlan(lattice, lattice.shape, manifest.batch, margin_of(manifest), manifest.context),
        bands=tuple(range(len(source.bands))),
    )
    indices = tuple(tile.index for tile in plan.tiles)
    receipts = list(TileWorker(reader, segmenter, store, manifest)(Chunk(((plan, indices),))))
    return whole_objects(store, plan, manifest, receipts)


def _masks(objects: Objects) -> WindowMasks:
    """Whole objects as one window of the image's size would say them."""
    crops = list[tuple[Box, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]]()
    masks = objects.masks.canonical()
    for begin, end in itertools.pairwise(masks.extents(len(objects)).offsets):
        runs = masks.runs[begin:end]
        box = bbox(runs)
        assert box is not None, "objects have pixels"
        crops.append((box, to_array(runs, box)))
    return WindowMasks(objects.label, np.nan_to_num(objects.score), crops)
