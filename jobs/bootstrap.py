"""Composition root: the only module that names concrete readers and engines.

The factories here are what travels to worker processes: small, picklable, and built into workers there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.catalog import Skipped
from schemas.errors import InputError
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.statistics import Statistics

if TYPE_CHECKING:
    from jobs.config import EngineSpec
    from jobs.engines.base import Engine
    from segworkers.dicom.crosswalk import Crosswalk
    from segworkers.dicom.outputs import OutputWorker
    from segworkers.merging import MergeWorker
    from segworkers.priors import PriorWorker
    from segworkers.publishing import PublishWorker
    from segworkers.readers.base import Reader
    from segworkers.rows import RowsWorker
    from segworkers.segmenters.loading import ModelSpec
    from segworkers.segmenters.two_stage import Prior
    from segworkers.stitched import MaskWorker
    from segworkers.worker import TileWorker

CACHE_MB = 128
"""GDAL's block cache in each process; work tiles read every block once, so it only has to hold a row of blocks."""


def reader() -> Reader:
    """A reader for every raster format."""
    from segworkers.readers.geotiff import RasterReader

    return RasterReader(cache_mb=CACHE_MB)


def dicom_reader(crosswalk: Crosswalk, rasters: Reader, slices_bytes: int) -> Reader:
    """A reader for the volumes and slides of a crosswalk, and for rasters; slices_bytes: of decoded slices it keeps."""
    from segworkers.dicom.reader import DicomReader
    from segworkers.readers.routed import RoutedReader

    return RoutedReader(rasters, DicomReader(crosswalk, cache_mb=slices_bytes >> 20))


def engine(spec: EngineSpec, model: ModelSpec) -> Engine:
    """The engine that a spec asks for. Raises EngineError where it cannot be had."""
    if spec.kind == "inline":
        return inline_engine()
    from jobs.engines.cluster import RayEngine

    address = spec.address or os.environ.get("RAY_ADDRESS")
    return RayEngine(address, runtime_env=shipped_code(model) if _must_ship(address) else None)


def _must_ship(address: str | None) -> bool:
    """Whether workers may be machines without this code: a cluster that did not get it with a submitted job."""
    return bool(address) and address != "local" and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ


def shipped_code(model: ModelSpec) -> dict[str, list[str]]:
    """Ray runtime environment with this project's packages, and the user's where the model is an importable one.

    A model given as a file needs nothing here: its source text travels with its spec.
    """
    import importlib.util

    names = ["jobs", "segworkers", "schemas"]
    module = re.fullmatch(r"python:([\w.]+):\w+", model.reference)
    if module is not None and not module[1].endswith(".py"):
        names.append(module[1].partition(".")[0])
    specs = [importlib.util.find_spec(name) for name in names]
    folders = [place for spec in specs if spec for place in (spec.submodule_search_locations or [])]
    files = [spec.origin for spec in specs if spec and spec.origin and not spec.submodule_search_locations]
    return {"py_modules": [*folders, *files], "excludes": ["**/__pycache__"]}


def inline_engine() -> Engine:
    """This process, for stages too small to send anywhere."""
    from jobs.engines.inline import InlineEngine

    return InlineEngine()


def ray_engine(address: str | None = None) -> Engine:
    """A connection to a running Ray cluster, or a private instance. Raises EngineError where it cannot be had."""
    from jobs.engines.cluster import RayEngine

    return RayEngine(address or os.environ.get("RAY_ADDRESS"))


@dataclass(frozen=True, slots=True)
class TileWorkers:
    """Builds what segments: loads the model once."""

    store_url: str
    reader: Reader
    model: ModelSpec
    manifest: ModelManifest
    threads: int

    def __call__(self) -> TileWorker:
        """The worker of one process."""
        from segworkers.segmenters.loading import load_model
        from segworkers.store import open_store
        from segworkers.worker import TileWorker

        limit_threads(self.threads)
        return TileWorker(self.reader, load_model(self.model, self.manifest), open_store(self.store_url), self.manifest)


@dataclass(frozen=True, slots=True)
class StatisticsWorkers:
    """Builds what takes an image's statistics."""

    reader: Reader
    max_side: int = 2048
    """Longest side of the reduced image that statistics are taken from."""

    def __call__(self) -> StatisticsWorker:
        """The worker of one process."""
        return StatisticsWorker(self.reader, self.max_side)


@dataclass(frozen=True, slots=True)
class StatisticsWorker:
    """Statistics of one image's bands."""

    reader: Reader
    max_side: int

    def __call__(self, item: tuple[Source, tuple[int, ...]]) -> Statistics | Skipped:
        """Taken once per image, from its reduced form; an image that cannot be read is skipped."""
        from segworkers.statistics import image_statistics

        source, bands = item
        try:
            return image_statistics(self.reader.thumbnail(source, bands, self.max_side))
        except InputError as error:
            return Skipped(source.uri, error.reason, error.message, error.hint)


@dataclass(frozen=True, slots=True)
class MergeWorkers:
    """Builds what links and groups."""

    store_url: str

    def __call__(self) -> MergeWorker:
        """The worker of one process."""
        from segworkers.merging import MergeWorker
        from segworkers.store import open_store

        return MergeWorker(open_store(self.store_url))


@dataclass(frozen=True, slots=True)
class RowsWorkers:
    """Builds what measures."""

    store_url: str
    reader: Reader

    def __call__(self) -> RowsWorker:
        """The worker of one process."""
        from segworkers.rows import RowsWorker
        from segworkers.store import open_store

        return RowsWorker(open_store(self.store_url), self.reader)


@dataclass(frozen=True, slots=True)
class PublishWorkers:
    """Builds what sorts and writes the table of instances."""

    store_url: str

    def __call__(self) -> PublishWorker:
        """The worker of one process."""
        from segworkers.publishing import PublishWorker
        from segworkers.store import open_store

        return PublishWorker(open_store(self.store_url))


@dataclass(frozen=True, slots=True)
class PriorWorkers:
    """Builds what finds organs for models of two stages: loads the first model once."""

    store_url: str
    reader: Reader
    model: ModelSpec
    prior: Prior
    threads: int

    def __call__(self) -> PriorWorker:
        """The worker of one process."""
        from segworkers.priors import PriorWorker
        from segworkers.segmenters.loading import load_model
        from segworkers.store import open_store

        limit_threads(self.threads)
        return PriorWorker(self.reader, load_model(self.model), self.prior, open_store(self.store_url))


@dataclass(frozen=True, slots=True)
class OutputWorkers:
    """Builds what writes SEG, SR, NIfTI and pictures of volumes."""

    store_url: str
    reader: Reader
    crosswalk: Crosswalk

    def __call__(self) -> OutputWorker:
        """The worker of one process."""
        from segworkers.dicom.outputs import OutputWorker
        from segworkers.store import open_store

        return OutputWorker(open_store(self.store_url), self.reader, self.crosswalk)


@dataclass(frozen=True, slots=True)
class MaskWorkers:
    """Builds what paints stitched masks."""

    store_url: str

    def __call__(self) -> MaskWorker:
        """The worker of one process."""
        from segworkers.stitched import MaskWorker
        from segworkers.store import open_store

        return MaskWorker(open_store(self.store_url))


def limit_threads(threads: int) -> None:
    """Make numeric libraries of this process use `threads` threads, on every engine, so that results agree."""
    environment: Mapping[str, str] = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(environment)
