"""The Truth port: the true objects of one source, asked for box by box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box, Zyx
from schemas.masks import Runs
from schemas.sources import DICOM_SCHEME
from segworkers.runs import RunTable, empty_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A source of the run that truth may be about."""

    source_id: str
    uri: str
    shape: Zyx
    series_id: str | None = None
    """Pseudonym of the DICOM volume; None for rasters."""
    affine: tuple[float, ...] = ()
    """16 numbers, voxel (x, y, z, 1) to LPS millimetres, of a volume with equal steps; () where there is none."""

    @property
    def is_raster(self) -> bool:
        """Whether it is a file, not a DICOM series."""
        return not self.uri.startswith(DICOM_SCHEME)

    @property
    def name(self) -> str:
        """File name, or the whole of a DICOM URI."""
        return self.uri.rsplit("/", 1)[-1] if self.is_raster else self.uri

    @property
    def stem(self) -> str:
        """File name without its suffix."""
        return PurePosixPath(self.name).stem if self.is_raster else self.uri


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthItem:
    """What is known of one true object beside its mask."""

    name: str
    """How its file calls it: an id or a value."""
    label: str | None = None
    """Class; None where the file names none."""
    told: str | None = None
    """What messages call the class where its name may name a patient; None: by its name."""
    crowd: bool = False
    """A region with objects that nobody told apart (COCO's `iscrowd`)."""
    box: tuple[float, float, float, float, float, float] | None = None
    """z0, y0, x0, z1, y1, x1 in pixels, where the file says it; None: that of the mask."""


@dataclass(frozen=True, slots=True, eq=False)
class TruthBlock:
    """Masks within one box."""

    keys: NDArray[np.int64]
    """(m,) what each object is called, the same in every block of its source."""
    masks: RunTable
    """Owners are places in `keys`; objects may overlap."""

    @classmethod
    def of(cls, parts: Sequence[tuple[int, Runs]]) -> TruthBlock:
        """Of (key, runs) of objects; those without pixels are left out."""
        there = [(key, runs) for key, runs in parts if len(runs)]
        if not there:
            return cls(np.empty(0, np.int64), empty_runs())
        owner = np.repeat(np.arange(len(there)), [len(runs) for _, runs in there])
        masks = RunTable(np.concatenate([runs for _, runs in there]), owner.astype(np.int64))
        return cls(np.array([key for key, _ in there], np.int64), masks)


class Truth(Protocol):
    """True objects of one source."""

    @property
    def known(self) -> Sequence[int]:
        """Keys that are known before any block is read; all there are, or none. Some may have no pixel at all."""
        ...

    def item(self, key: int) -> TruthItem:
        """What is known of an object."""
        ...

    def block(self, box: Box) -> TruthBlock:
        """The masks inside `box`, a box of the source. Raises InputError or SpecError where they cannot be read."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ShapeTruth:
    """Truth that is held as polygons and runs: of COCO and of vector files."""

    items: tuple[TruthItem, ...]
    shapes: tuple[tuple[Any, ...] | Runs, ...]
    """Of each item: shapely polygons in pixel corners (x, y), whose union it is, or runs."""
    bounds: NDArray[np.float64]
    """(n, 4) x0, y0, x1, y1 in pixels."""

    @classmethod
    def nothing(cls) -> ShapeTruth:
        """No objects."""
        return cls((), (), np.empty((0, 4)))

    @classmethod
    def together(cls, parts: Sequence[tuple[str, ShapeTruth]]) -> ShapeTruth:
        """The objects of several files, which are told apart by the first part of their names."""
        return cls(
            tuple(replace(item, name=f"{name}/{item.name}") for name, each in parts for item in each.items),
            tuple(shape for _, each in parts for shape in each.shapes),
            np.concatenate([each.bounds for _, each in parts]),
        )

    @property
    def known(self) -> Sequence[int]:
        """All of them."""
        return range(len(self.items))

    def item(self, key: int) -> TruthItem:
        """See `Truth`."""
        return self.items[key]

    def block(self, box: Box) -> TruthBlock:
        """See `Truth`."""
        (_, y0, x0), (_, y1, x1) = box.start, box.stop
        if not len(self.items) or box.start[0] > 0:
            return TruthBlock.of([])
        left, top, right, bottom = self.bounds.T
        near = np.flatnonzero((left < x1) & (right > x0) & (top < y1) & (bottom > y0))
        return TruthBlock.of([(int(key), self._runs(int(key), box)) for key in near])

    def _runs(self, key: int, box: Box) -> Runs:
        from schemas.masks import clip
        from segworkers.readers.polygon_masks import polygon_runs

        shape = self.shapes[key]
        return clip(shape, box) if isinstance(shape, np.ndarray) else polygon_runs(shape, box)
