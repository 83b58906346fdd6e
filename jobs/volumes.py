"""Planning for volumes: the grid that a model works on, the way it looks at the patient, and whether it is for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx, zyx
from schemas.errors import InputError
from schemas.models import ModelManifest
from schemas.volumes import SeriesFacts, VolumeFacts
from segworkers.lattice import Lattice
from segworkers.model_grid import ModelGrid
from segworkers.orientation import MOST_OBLIQUE_DEG, NO_FLIPS, Flips, flips_for
from segworkers.resampling import volume_shape

UNEVEN = 1.5
"""How much longer than most a step between slices may be for a model with a spacing, which takes them for equal."""

_IN_SPACE = {4: 6, 8: 26}
"""The same neighbours in space: those that share a face, and all."""


def in_space(manifest: ModelManifest) -> ModelManifest:
    """The manifest for a run with volumes: pixels that are neighbours in the plane are so across slices too."""
    connectivity = _IN_SPACE.get(manifest.connectivity, manifest.connectivity)
    return replace(manifest, connectivity=connectivity)  # pyright: ignore[reportArgumentType]  # values of _IN_SPACE


def volume_grid(native: Zyx, facts: VolumeFacts, manifest: ModelManifest) -> ModelGrid:
    """The grid that the model works on, over slices, rows and columns as stored.

    Raises InputError: `wrong_modality`, `irregular_for_model`, `no_resolution`, `too_thick_for_model`.
    """
    require_modality(facts, manifest)
    series = f"series {facts.series_id}"
    if manifest.resolution is not None:
        raise InputError(
            "no_resolution",
            f"{manifest.name} works at {manifest.resolution} m per pixel of an image; {series} is a volume.",
            "Use a model with a spacing in millimetres, or without a resolution.",
        )
    if manifest.spacing is None:
        return ModelGrid(native, native)
    steps = np.abs(np.diff(facts.geometry.origins() @ facts.geometry.normal))
    usual, longest = (float(np.median(steps)), float(steps.max())) if len(steps) else (0.0, 0.0)
    if longest > UNEVEN * usual:
        raise InputError(
            "irregular_for_model",
            f"{manifest.name} wants slices {manifest.spacing[0]} mm apart; {series} has some {longest:.2f} mm apart, "
            f"most {usual:.2f} mm.",
            "Use a model without a spacing: it takes slices as they are, and measurements know their places.",
        )
    wanted = volume_shape(native, facts.geometry.spacing_mm, manifest.spacing)
    grid = ModelGrid(native, without_empty_cells(native, wanted, manifest))
    if any(_has_empty_cells(grid, manifest, axis) for axis in range(3)):
        raise InputError(
            "too_thick_for_model",
            f"{manifest.name} wants voxels of {manifest.spacing} mm in windows of {manifest.window} (z, y, x); those "
            f"of {series} are so large that some windows would have none to answer for.",
            "Use a model with larger windows or spacing.",
        )
    return grid


def require_modality(facts: SeriesFacts | None, manifest: ModelManifest) -> None:
    """Refuse series that the model is not for; None is a raster, which has no modality.

    Raises InputError (`wrong_modality`).
    """
    if facts is not None and manifest.modalities and facts.modality not in manifest.modalities:
        raise InputError(
            "wrong_modality",
            f"{manifest.name} is made for {' and '.join(manifest.modalities)}; series {facts.series_id} is "
            f"{facts.modality}.",
            "Choose another model, or leave such series out.",
        )


def volume_flips(facts: VolumeFacts, manifest: ModelManifest) -> Flips:
    """Axes to flip so that the model sees the patient as it was trained. Raises InputError (`wrong_orientation`)."""
    if manifest.orientation is None:
        return NO_FLIPS
    flips = flips_for(manifest.orientation, facts.geometry)
    if flips is None:
        raise InputError(
            "wrong_orientation",
            f"{manifest.name} wants axial slices ({manifest.orientation}), at most {MOST_OBLIQUE_DEG:g}° oblique; "
            f"series {facts.series_id} is {facts.geometry.plane}.",
            "Reformat the series to axial slices, or choose another model.",
        )
    return flips


def without_empty_cells(native: Zyx, wanted: Zyx, manifest: ModelManifest) -> Zyx:
    """The model's shape, a few pixels less than wanted where the last cell would else hold no native one's centre."""
    shape = list(wanted)
    for axis in range(3):
        while shape[axis] > 1:
            edges = _cell_edges(ModelGrid(native, zyx(shape)), manifest, axis)
            if edges[-2] < edges[-1]:
                break
            shape[axis] -= 1
    return zyx(shape)


def _has_empty_cells(grid: ModelGrid, manifest: ModelManifest, axis: int) -> bool:
    return not bool(np.all(np.diff(_cell_edges(grid, manifest, axis)) > 0))


def _cell_edges(grid: ModelGrid, manifest: ModelManifest, axis: int) -> NDArray[np.int64]:
    """Borders of the cells along an axis as native voxel borders."""
    return grid.native_edges(axis, Lattice(manifest.window, manifest.overlap, grid.shape).cell_edges(axis))
