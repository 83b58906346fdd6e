"""What a run would do: sizes, work and warnings, as `segworkers plan` shows them. Reads headers, no pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import numpy as np

from jobs.catalog import Skipped
from jobs.config import JobSpec
from jobs.planning import Planned, prepare
from jobs.source_plans import around, pixel_size
from jobs.tiles import LEAST_SLICES_BYTES, WORKER_BASE_BYTES, raster_bytes_per_pixel, volume_bytes
from schemas.boxes import Box, zyx
from schemas.models import ModelManifest
from segworkers.plans import SourcePlan
from segworkers.window_rows import most_windows

WORTH_A_WARNING = 1.1
"""Pixels that are larger than those a model was made for by more than this factor are told."""


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
    """Of models that look for an organ first those of an organ that fills the volume; others give some more or less."""
    windows: int
    """Of models that look for an organ first the most that can meet it, wherever it lies."""
    read_bytes: int
    """Of models that look for an organ first with what the first stage reads, and at most."""
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
    around_organ: str | None
    """The model that finds the organ around which windows are laid: sizes are upper bounds; None for other models."""
    warnings: tuple[str, ...]


def plan(spec: JobSpec) -> PlanReport:
    """What a run of `spec` would do, from headers alone. Raises SpecError."""
    planned = prepare(spec)
    manifest = planned.manifest
    organ = _finds_organ(planned)
    plans = planned.plans
    if organ is not None:
        plans = tuple(around(each, Box.of_shape(each.grid.shape), manifest, spec) for each in plans)
    sources = tuple(_shown(each, manifest, around_organ=organ is not None) for each in plans)
    return PlanReport(
        sources=sources,
        skipped=planned.skipped,
        tiles=sum(source.tiles for source in sources),
        windows=sum(source.windows for source in sources),
        pixels=sum(prod(each.source.grid.shape) for each in plans),
        read_bytes=sum(source.read_bytes for source in sources),
        worker_memory_bytes=WORKER_BASE_BYTES + max((_tile_bytes(each, manifest) for each in plans), default=0),
        model=manifest,
        around_organ=organ,
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


def _finds_organ(planned: Planned) -> str | None:
    """The first stage of a model whose windows are laid around what that finds; None for other models."""
    prior = planned.model.prior
    return None if prior is None or planned.manifest.kind != "dense" else prior.reference


def _shown(plan: SourcePlan, manifest: ModelManifest, *, around_organ: bool) -> PlannedSource:
    source, lattice = plan.source, plan.tiles.lattice
    windows = lattice.shape
    if around_organ:
        windows = [most_windows(*each) for each in zip(lattice.window, lattice.overlap, lattice.extent, strict=True)]
    item = np.dtype(source.dtype).itemsize * len(plan.bands)
    return PlannedSource(
        uri=source.uri,
        depth=source.grid.shape[0],
        height=source.grid.shape[1],
        width=source.grid.shape[2],
        bands=source.bands,
        dtype=source.dtype,
        tiles=len(plan.tiles),
        windows=prod(windows),
        read_bytes=item * (_read_pixels(plan) + (prod(source.grid.shape) if around_organ else 0)),
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
    if manifest.resolution is not None and plan.source.volume is None:
        found += _too_coarse(plan, manifest.resolution)
    window, shape = manifest.window, plan.grid.shape
    if shape[1] < window[1] or shape[2] < window[2]:
        found.append(f"small: the image ({shape[1]} x {shape[2]}) is smaller than the model's window; it is padded")
    return found


def _too_coarse(plan: SourcePlan, wanted: float) -> list[str]:
    """At most one: that the model sees coarser pixels than it was made for."""
    pixel = pixel_size(plan.source, wanted)
    seen = [size * n / m for size, n, m in zip(pixel, plan.grid.native[1:], plan.grid.shape[1:], strict=True)]
    if max(seen) <= wanted * WORTH_A_WARNING:
        return []
    how = "as it is" if plan.grid.is_native else f"at {max(seen):.3g} m, enlarged as far as it allows"
    return [
        f"resolution: the image has pixels of {max(pixel):.3g} m; the model was made for {wanted:g} m and sees it {how}"
    ]


def general_warnings(planned: Planned) -> list[str]:
    """What is odd about the job as a whole."""
    manifest = planned.manifest
    found: list[str] = []
    if manifest.kind == "instance" and not min(manifest.overlap[1:]):
        found.append(
            "no overlap: an object that a window's border cuts comes out as one object for each window, since no place "
            "was seen by two windows to tell which pieces belong together; set model.overlap to the size of an object"
        )
    elif manifest.kind == "instance" and min(manifest.overlap[1:]) < 16:
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
    found += _modality_warnings(planned)
    if not planned.plans:
        found.append("no usable input")
    return found


def _modality_warnings(planned: Planned) -> list[str]:
    """At most one: that a model which says nothing of volumes is shown some. `threshold` is for any values."""
    manifest = planned.manifest
    for_volumes = manifest.modalities or manifest.spacing or manifest.orientation or manifest.shown[0] > 1
    counts = Counter(each.source.volume.modality for each in planned.plans if each.source.volume is not None)
    if not counts or for_volumes or planned.model.source is None:
        return []
    told = ", ".join(f"{count} {modality}" for modality, count in sorted(counts.items()))
    return [
        f"modality: {counts.total()} of {len(planned.plans)} inputs are volumes ({told}); {manifest.name} sees one "
        "slice at a time and names no modality, like models made for images, not volumes. Unless it was trained on "
        "such slices, what it finds there means nothing: take a model made for them, or declare `modalities` in it"
    ]
