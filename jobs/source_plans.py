"""One source and one model: which bands, on which grid, in which windows and work tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jobs.config import JobSpec
from jobs.tiles import tile_plan
from jobs.volumes import require_modality, volume_flips, volume_grid, without_empty_cells
from schemas.boxes import Box, zyx
from schemas.errors import InputError
from schemas.grids import PixelGrid
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.georeferencing import GroundFrame, ground_frame
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.orientation import NO_FLIPS
from segworkers.plans import SourcePlan
from segworkers.resampling import model_shape
from segworkers.segmenters.channels import bands_text

DOUBLES_INPUTS = "doubles_inputs"
"""Reason code of a mosaic that is left out because its files are inputs."""
WRONG_BANDS = "wrong_bands"
"""Reason code of an image with more or fewer bands than the network takes."""
_MOST_BANDS = 8
"""Bands that a message names."""


def require_own_pixels(source: Source, named: set[str]) -> None:
    """Refuse a mosaic whose files are inputs too: their objects would count twice."""
    doubled = sorted(named.intersection(source.parts) - {source.uri})
    if doubled:
        raise InputError(
            DOUBLES_INPUTS,
            f"{source.uri}: a mosaic of {len(doubled)} files that are inputs themselves, such as {doubled[0]}.",
            "Left out so that nothing counts twice; give the mosaic alone to have objects joined across its files.",
        )


def source_plan(source: Source, manifest: ModelManifest, spec: JobSpec) -> SourcePlan:
    """Windows from the first pixel on, and work tiles. Raises InputError where the model cannot be used on it."""
    bands = _band_indices(source, manifest)
    _require_channels(source, bands, manifest)
    if source.volume is None:
        grid, flips = _model_grid(source, manifest), NO_FLIPS
    else:
        grid, flips = volume_grid(source.grid.shape, source.volume, manifest), volume_flips(source.volume, manifest)
    lattice = Lattice(manifest.window, manifest.overlap, grid.shape)
    tiles = tile_plan(source, grid, lattice, bands, manifest, spec.tiling.tile, spec.tiling.memory_bytes)
    return SourcePlan(source=source, grid=grid, tiles=tiles, bands=bands, flips=flips)


def around(plan: SourcePlan, region: Box, manifest: ModelManifest, spec: JobSpec) -> SourcePlan:
    """The plan with windows around a region, from its first voxel as the model sees it."""
    lattice = Lattice(manifest.window, manifest.overlap, plan.grid.shape, region, plan.flips)
    sizes = spec.tiling.tile, spec.tiling.memory_bytes
    return replace(plan, tiles=tile_plan(plan.source, plan.grid, lattice, plan.bands, manifest, *sizes))


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
            which = f"the band at index {wanted} (0-based)" if isinstance(wanted, int) else f"the band {wanted!r}"
            raise InputError(
                "missing_band",
                f"{manifest.name} takes {which}; {source.uri} has {_listed(source.bands)}.",
                "Name the bands with --set model.bands=[…], by name or 0-based index.",
            )
    return tuple(found)


def _require_channels(source: Source, bands: tuple[int, ...], manifest: ModelManifest) -> None:
    """Refuse an image with more or fewer bands than the network takes. Raises InputError (`wrong_bands`)."""
    if not manifest.channels or len(bands) in manifest.channels:
        return
    names = [source.bands[index] for index in bands]
    found = _listed(names, " beside alpha" if source.alpha_band is not None else "")
    fewer = [number for number in manifest.channels if number < len(bands)]
    chosen = bands[: max(fewer)] if fewer else bands * min(manifest.channels) if len(bands) == 1 else ()
    example = f", such as {list(chosen)}" if chosen else ""
    raise InputError(
        WRONG_BANDS,
        f"{manifest.name} takes {bands_text(manifest.channels)}; {source.uri} has {found}.",
        f"Choose with --set model.bands=[…], by name or 0-based index{example}; or leave such images out.",
    )


def _listed(bands: Sequence[str], beside: str = "") -> str:
    """How many bands there are, and which."""
    shown = ", ".join(bands[:_MOST_BANDS]) + (", …" if len(bands) > _MOST_BANDS else "")
    return f"{len(bands)}{beside}: {shown}" if bands else f"0{beside}"


def _model_grid(source: Source, manifest: ModelManifest) -> ModelGrid:
    """The grid that the model works on: reduced where it was made for coarser pixels, enlarged as far as it allows."""
    native = source.grid.shape
    require_modality(source.series, manifest)
    if manifest.resolution is None:
        return ModelGrid(native, native)
    y, x = pixel_size(source, manifest.resolution)
    shape, _ = model_shape((native[1], native[2]), (y, x), manifest.resolution)
    most = [int(manifest.enlarge * extent) for extent in native[1:]]
    return ModelGrid(native, without_empty_cells(native, zyx([native[0], *map(min, shape, most)]), manifest))


def pixel_size(source: Source, wanted: float) -> tuple[float, float]:
    """Metres of one pixel along (y, x); wanted: what the model works at, for the message.

    Raises InputError (`no_resolution`) where that is not known.
    """
    if source.pixel_um is not None:
        return source.pixel_um[0] * 1e-6, source.pixel_um[1] * 1e-6
    frame = ground_frame(source.grid)
    if not isinstance(frame, GroundFrame):
        raise InputError(
            "no_resolution",
            f"The model works at {wanted} m per pixel; {source.uri}: {frame.message}",
            "Tell the size of its pixels with --set raster.pixel_size=METRES, georeference it, or choose a model "
            "without a resolution.",
        )
    return pixel_size_m(source.grid, frame)


def pixel_size_m(grid: PixelGrid, frame: GroundFrame) -> tuple[float, float]:
    """Ground distance in metres of one pixel along (y, x), at the image's middle."""
    middle = np.array([[grid.shape[2] / 2, grid.shape[1] / 2]])
    scale = frame.local_scale(middle)[0]
    return float(np.hypot(*scale[:, 1])), float(np.hypot(*scale[:, 0]))
