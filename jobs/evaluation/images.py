"""The pixels of a run's sources, for pictures: of rasters by their URI, of volumes through the crosswalk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jobs import bootstrap
from jobs.truth.base import Target
from schemas.boxes import Box
from schemas.errors import InputError
from schemas.grids import PixelGrid
from schemas.sources import Source
from segworkers.readers.base import Reader

if TYPE_CHECKING:
    from segworkers.dicom.stack import Stack


@dataclass(slots=True)
class Images:
    """Reads planes. Callable as `jobs.evaluation.pictures.ImageOf`."""

    rasters: Reader
    crosswalk: Path | None
    """Folder of the run's crosswalk; None where there is none, then volumes have no pictures."""
    _sources: dict[str, tuple[Reader, Source]] = field(default_factory=dict[str, tuple[Reader, Source]])

    def __call__(self, target: Target, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (1 or 3, y, x) and validity (y, x). Raises InputError where the source can no longer be read."""
        if target.source_id not in self._sources:
            self._sources[target.source_id] = self._open(target)
        reader, source = self._sources[target.source_id]
        colour = [index for index in range(len(source.bands)) if index != source.alpha_band][:3]
        block = reader.read(source, box, tuple(colour if len(colour) == 3 else colour[:1]))
        return block.pixels[:, 0], block.valid[0]

    def _open(self, target: Target) -> tuple[Reader, Source]:
        if target.is_raster:
            return self.rasters, self.rasters.describe(target.uri)
        from segworkers.dicom.crosswalk import Crosswalk
        from segworkers.dicom.seg_reading import NewestStacks, stacks_of

        known = stacks_of(Crosswalk(str(self.crosswalk.absolute())), target.series_id or "") if self.crosswalk else []
        fitting = [each for each in known if (len(each.slices), each.rows, each.columns) == target.shape]
        if not fitting or self.crosswalk is None:
            raise InputError(
                "not_in_catalog", f"{target.uri}: its slices are not in the crosswalk.", "Add --crosswalk."
            )
        reader = bootstrap.dicom_reader(NewestStacks(str(self.crosswalk.absolute())), self.rasters, _SLICES_BYTES)
        return reader, _source_of(target, fitting[0])


_SLICES_BYTES = 64 << 20
"""Decoded slices that are kept while blocks of one volume are looked at."""


def _source_of(target: Target, stack: Stack) -> Source:
    return Source(
        uri=target.uri, fingerprint="", grid=PixelGrid(shape=target.shape), dtype=stack.dtype, bands=("value",)
    )
