"""Planning: from the words of a spec to sources with lattices, work tiles and sizes. Reads headers, no pixels.

Used by `segworkers plan`, which shows it, and by a run, which does it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from jobs import bootstrap
from jobs.catalog import Skipped, describe_all, find_inputs
from jobs.config import JobSpec, expand_extent
from jobs.dicom_catalog import DicomCatalog, catalog_dicom, holds_dicom, is_dicom_input
from jobs.privacy import crosswalk_folder, passed_over, without_names, without_neighbours, without_repeats
from jobs.tiles import (
    LEAST_SLICES_BYTES,
    WORKER_BASE_BYTES,
    raster_bytes_per_pixel,
    slices_bytes,
    tile_plan,
    volume_bytes,
)
from jobs.volumes import in_space, require_modality, volume_flips, volume_grid, without_empty_cells
from schemas import discretion
from schemas.boxes import zyx
from schemas.errors import InputError, SpecError
from schemas.grids import PixelGrid
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.georeferencing import GroundFrame, ground_frame
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.orientation import NO_FLIPS
from segworkers.plans import SourcePlan
from segworkers.readers.base import Reader
from segworkers.resampling import model_shape
from segworkers.segmenters.loading import ModelSpec, require_usable, resolve_model

DOUBLES_INPUTS = "doubles_inputs"
"""Reason code of a mosaic that is left out because its files are inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSource:
    """One source as `segworkers plan` shows it."""

    uri: str
    depth: int
    height: int
    width: int
    bands: tuple[str, ...]
    dtype: str
    tiles: int
    windows: int
    read_bytes: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What a run would do."""

    sources: tuple[PlannedSource, ...]
    skipped: tuple[Skipped, ...]
    tiles: int
    windows: int
    pixels: int
    read_bytes: int
    worker_memory_bytes: int
    model: ModelManifest
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a run needs: sources ready to be worked on, but for their statistics."""

    plans: tuple[SourcePlan, ...]
    skipped: tuple[Skipped, ...]
    model: ModelSpec
    manifest: ModelManifest
    reader: Reader
    series: tuple[dict[str, Any], ...] = ()
    """Rows of the `series` table: DICOM volumes that were accepted and refused."""
    crosswalk: Crosswalk | None = None
    """Where the originals of DICOM inputs are; None where there are none."""


def plan(spec: JobSpec) -> PlanReport:
    """What a run of `spec` would do, from headers alone. Raises SpecError."""
    planned = prepare(spec)
    manifest = planned.manifest
    sources = tuple(_shown(each, manifest) for each in planned.plans)
    return PlanReport(
        sources=sources,
        skipped=planned.skipped,
        tiles=sum(source.tiles for source in sources),
        windows=sum(source.windows for source in sources),
        pixels=sum(prod(p.source.grid.shape) for p in planned.plans),
        read_bytes=sum(source.read_bytes for source in sources),
        worker_memory_bytes=WORKER_BASE_BYTES
        + max((_tile_bytes(p, planned.manifest) for p in planned.plans), default=0),
        model=manifest,
        warnings=tuple(general_warnings(planned)),
    )


def _tile_bytes(plan: SourcePlan, manifest: ModelManifest) -> int:
    """Memory that the work tiles of a source cost a worker."""
    if plan.source.volume is not None:
        return volume_bytes(plan.tiles, plan.source, plan.grid, manifest) + LEAST_SLICES_BYTES
    # A tile reads as much as the first, or the second, which has neighbours on both sides.
    second = zyx([min(1, n - 1) for n in plan.tiles.shape])
    pixels = max(plan.tiles.tile(index).read.volume for index in ((0, 0, 0), second))
    return pixels * raster_bytes_per_pixel(plan.source, plan.grid, plan.bands, manifest)


def prepare(spec: JobSpec) -> Planned:
    """Sources and model of a run. Raises SpecError where the model cannot be used at all."""
    manifest, model = resolve_model(
        spec.model.reference, spec.model.options, spec.model.device, spec.engine.threads, fetch=True
    )
    manifest = _overridden(manifest, spec)
    reader = bootstrap.reader()
    dicom = _dicom(spec)
    uris, skipped = find_inputs([each for each in spec.inputs if not is_dicom_input(each)])
    if dicom is not None:
        rasters = [uri for uri in uris if not is_dicom_input(uri)]  # manifests and patterns name files of both kinds
        uris, neighbours = without_neighbours(rasters, dicom[1].found_in, dicom[1].given)
        skipped = [*without_repeats(skipped, dicom[1].found_in), *neighbours, *passed_over(dicom[1].left_out)]
    sources, unreadable = describe_all(reader, uris)
    if dicom is not None:
        crosswalk, found = dicom
        reader = bootstrap.dicom_reader(crosswalk, reader, slices_bytes(spec.tiling.memory_bytes))
        sources += found.sources
        others = [each for each in skipped if not (each.reason == "no_match" and each.uri in found.found_in)]
        skipped, unreadable = without_names([*others, *unreadable], crosswalk), list(found.skipped)
        if any(source.volume is not None for source in found.sources):
            manifest = in_space(manifest)
    plans: list[SourcePlan] = []
    named = {source.uri for source in sources}
    for source in sorted(sources, key=lambda each: each.uri):
        try:
            _require_own_pixels(source, named)
            plans.append(_source_plan(source, manifest, spec))
        except InputError as error:
            unreadable.append(Skipped(source.uri, error.reason, error.message, error.hint))
    return Planned(
        plans=tuple(plans),
        skipped=tuple(sorted([*skipped, *unreadable], key=lambda each: (each.uri, each.reason))),
        model=model,
        manifest=manifest,
        reader=reader,
        series=() if dicom is None else dicom[1].series,
        crosswalk=None if dicom is None else dicom[0],
    )


def _dicom(spec: JobSpec) -> tuple[Crosswalk, DicomCatalog] | None:
    """The DICOM volumes and slides among the inputs, and their crosswalk, which is made; None where there are none."""
    discretion.begin()
    if not holds_dicom(spec.inputs):
        discretion.end()
        return None
    crosswalk = Crosswalk.open(crosswalk_folder(spec))
    return crosswalk, catalog_dicom(spec.inputs, crosswalk, spec.dicom.processes, spec.dicom.slide_um_per_pixel)


def _require_own_pixels(source: Source, named: set[str]) -> None:
    """Refuse a mosaic whose files are inputs too: their objects would count twice."""
    doubled = sorted(named.intersection(source.parts) - {source.uri})
    if doubled:
        raise InputError(
            DOUBLES_INPUTS,
            f"{source.uri}: a mosaic of {len(doubled)} files that are inputs themselves, such as {doubled[0]}.",
            "Left out so that nothing counts twice; give the mosaic alone to have objects joined across its files.",
        )


def _overridden(manifest: ModelManifest, spec: JobSpec) -> ModelManifest:
    """The model's manifest with what the spec says instead."""
    changes = {
        "window": expand_extent(spec.model.window, 1) if spec.model.window else manifest.window,
        "overlap": expand_extent(spec.model.overlap, 0) if spec.model.overlap is not None else manifest.overlap,
        "bands": tuple(spec.model.bands) if spec.model.bands else manifest.bands,
        "resolution": spec.model.resolution or manifest.resolution,
        "spacing": _spacing(spec) or manifest.spacing,
        "object_size": spec.model.object_size or manifest.object_size,
        "blend": spec.model.blend or manifest.blend,
    }
    try:
        changed = replace(manifest, **changes)
    except ValueError as error:
        raise SpecError(f"model: {error}") from None
    require_usable(spec.model.reference, manifest, changed)
    return changed


def _spacing(spec: JobSpec) -> tuple[float, float, float] | None:
    """What the spec says; (z, y, x)."""
    if spec.model.spacing is None:
        return None
    z, y, x = spec.model.spacing
    return z, y, x


def _source_plan(source: Source, manifest: ModelManifest, spec: JobSpec) -> SourcePlan:
    bands = _band_indices(source, manifest)
    if source.volume is None:
        grid, flips = _model_grid(source, manifest), NO_FLIPS
    else:
        grid, flips = volume_grid(source.grid.shape, source.volume, manifest), volume_flips(source.volume, manifest)
    lattice = Lattice(manifest.window, manifest.overlap, grid.shape)
    tiles = tile_plan(source, grid, lattice, bands, manifest, spec.tiling.tile, spec.tiling.memory_bytes)
    return SourcePlan(source=source, grid=grid, tiles=tiles, bands=bands, flips=flips)


def _band_indices(source: Source, manifest: ModelManifest) -> tuple[int, ...]:
    """0-based bands in the model's order. Raises InputError (`missing_band`)."""
    if manifest.bands is None:
        return tuple(i for i in range(len(source.bands)) if i != source.alpha_band)
    found: list[int] = []
    for wanted in manifest.bands:
        if isinstance(wanted, int) and 0 <= wanted < len(source.bands):
            found.append(wanted)
        elif isinstance(wanted, str) and wanted in source.bands:
            found.append(source.bands.index(wanted))
        else:
            raise InputError(
                "missing_band",
                f"The model wants band {wanted!r}; {source.uri} has {', '.join(source.bands)}.",
                "Name the bands with --set model.bands=[…], by name or 0-based index.",
            )
    return tuple(found)


def _model_grid(source: Source, manifest: ModelManifest) -> ModelGrid:
    """The grid that the model works on: reduced where it was made for coarser pixels, enlarged as far as it allows."""
    native = source.grid.shape
    require_modality(source.series, manifest)
    if manifest.resolution is None:
        return ModelGrid(native, native)
    y, x = _pixel_size(source, manifest.resolution)
    shape, _ = model_shape((native[1], native[2]), (y, x), manifest.resolution)
    most = [int(manifest.enlarge * extent) for extent in native[1:]]
    return ModelGrid(native, without_empty_cells(native, zyx([native[0], *map(min, shape, most)]), manifest))


def _pixel_size(source: Source, wanted: float) -> tuple[float, float]:
    """Metres of one pixel along (y, x). Raises InputError (`no_resolution`) where that is not known."""
    if source.pixel_um is not None:
        return source.pixel_um[0] * 1e-6, source.pixel_um[1] * 1e-6
    frame = ground_frame(source.grid)
    if not isinstance(frame, GroundFrame):
        raise InputError(
            "no_resolution",
            f"The model works at {wanted} m per pixel; {source.uri}: {frame.message}",
            "Georeference the image, or choose a model without a resolution.",
        )
    return pixel_size_m(source.grid, frame)


def pixel_size_m(grid: PixelGrid, frame: GroundFrame) -> tuple[float, float]:
    """Ground distance in metres of one pixel along (y, x), at the image's middle."""
    middle = np.array([[grid.shape[2] / 2, grid.shape[1] / 2]])
    scale = frame.local_scale(middle)[0]
    return float(np.hypot(*scale[:, 1])), float(np.hypot(*scale[:, 0]))


def _shown(plan: SourcePlan, manifest: ModelManifest) -> PlannedSource:
    source, lattice = plan.source, plan.tiles.lattice
    item = np.dtype(source.dtype).itemsize * len(plan.bands)
    return PlannedSource(
        uri=source.uri,
        depth=source.grid.shape[0],
        height=source.grid.shape[1],
        width=source.grid.shape[2],
        bands=source.bands,
        dtype=source.dtype,
        tiles=len(plan.tiles),
        windows=int(np.prod(lattice.shape)),
        read_bytes=item * _read_pixels(plan),
        warnings=(*source.warnings, *model_warnings(plan, manifest)),
    )


def _read_pixels(plan: SourcePlan) -> int:
    """Native pixels that all work tiles read, overlaps counted as often as they are read."""
    total = 1
    for axis in range(3):
        places = (zyx([i if a == axis else 0 for a in range(3)]) for i in range(plan.tiles.shape[axis]))
        boxes = (plan.tiles.tile(place).read for place in places)
        total *= sum(plan.grid.native_box(box).shape[axis] for box in boxes)
    return total


def model_warnings(plan: SourcePlan, manifest: ModelManifest) -> list[str]:
    """What is odd about this source for this model."""
    found: list[str] = []
    wide = np.dtype(plan.source.dtype).itemsize > 1 and np.dtype(plan.source.dtype).kind in "ui"
    if wide and plan.source.volume is None and manifest.normalise in ("none", "unit"):
        stretch = f"its normalise is `{manifest.normalise}`; `percentile` would stretch them"
        found.append(f"16-bit: {plan.source.dtype} pixels reach the model without a stretch ({stretch})")
    if manifest.resolution is not None and plan.grid.is_native:
        found.append(f"resolution: used as it is; the model was made for {manifest.resolution} m per pixel")
    window, shape = manifest.window, plan.grid.shape
    if shape[1] < window[1] or shape[2] < window[2]:
        found.append(f"small: the image ({shape[1]} x {shape[2]}) is smaller than the model's window; it is padded")
    return found


def general_warnings(planned: Planned) -> list[str]:
    """What is odd about the job as a whole."""
    manifest = planned.manifest
    found: list[str] = []
    if manifest.kind == "instance" and min(manifest.overlap[1:]) < 16:
        found.append(
            f"overlap of {min(manifest.overlap[1:])} pixels: below 16, views of one object have little to agree on; "
            "take at least twice the typical outline error, better the size of an object"
        )
    if manifest.object_size is not None and manifest.object_size > min(manifest.overlap[1:]):
        found.append(
            f"overlap of {min(manifest.overlap[1:])} pixels: smaller than the expected object "
            f"({manifest.object_size:g} pixels), which will have to be assembled from several windows"
        )
    if manifest.blend != "none" and not any(manifest.overlap):
        found.append("blend: the windows do not overlap, so there is nothing to blend; set model.overlap")
    if not planned.plans:
        found.append("no usable input")
    return found
