"""Columns of `instances` that only objects of a volume have: where they lie in the patient, their sizes and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import InputError
from schemas.masks import Runs
from schemas.sources import Source
from schemas.volumes import VolumeFacts
from segworkers.readers.base import Reader
from segworkers.value_measures import STATISTICS, ValueAccumulator, ValueMeasurements
from segworkers.volume_measures import VolumeMeasurements, measure_in_patient

NO_IN_PLANE_EXTENT = "no_in_plane_extent"
"""Reason: no slice holds two voxels of the object, so it has no long and no short axis."""

ONE_VOXEL_WIDE = "one_voxel_wide"
"""Reason: in the slice of the long axis all voxels lie on one line, so there is no short axis."""

SINGLE_VOXEL = "single_voxel"
"""Reason: the object is one voxel, so there is no diameter."""

INSTANCES_UNKNOWN = "instances_unknown"
"""Reason: the reader does not say which SOP instances the slices are."""

UNIT_UNKNOWN = "unit_unknown"
"""Reason: the header does not say in which unit the calibrated values are."""

SUV_UNKNOWN = "suv_unknown"
"""Reason: a PET series lacks an attribute that SUV needs; which one, the series' notes say."""


PASSING = ("unreachable", "access_denied")
"""Reason codes of reads that may succeed when they are tried again."""


@runtime_checkable
class NamesInstances(Protocol):
    """A reader that knows which SOP instance each slice is."""

    def instance_ids(self, source: Source) -> Sequence[str]:
        """Pseudonyms of the SOP instances, one for each slice z. Raises InputError where they cannot be known."""
        ...


def measure_volume(runs: Runs, offsets: NDArray[np.integer[Any]], source: Source, reader: Reader) -> dict[str, Any]:
    """Columns by name for a batch of m canonical masks of one volume: runs one after another, offsets (m + 1).

    Reads the slices that hold voxels of a mask, one at a time. What is damaged or gone is null, with the reason in
    `unknown_reason`; what may pass (`PASSING`) raises, so that a fault of the storage never becomes a null for good.
    Float columns are NaN where unknown, all others None.
    Raises ValueError where the source is no volume.
    """
    facts = source.volume
    if facts is None:
        raise ValueError(f"source {source.source_id} is no volume: it has no place in a patient")
    measured = measure_in_patient(runs, offsets, facts.geometry)
    values = _read_values(runs, offsets, source, reader)
    names = _instance_ids(source, reader)
    m = len(measured.voxel_count)
    suv = np.nan if facts.suv_factor is None else facts.suv_factor
    return (
        _patient_columns(measured)
        | {"series_id": [facts.series_id] * m, "study_id": [facts.study_id] * m, "value_unit": [facts.unit] * m}
        | {f"value_{name}": getattr(values, name) for name in STATISTICS}
        | {"suv_mean": values.mean * suv, "suv_max": values.max * suv}
        | {
            "first_sop_id": _names_at(names, measured.bbox[:, 0]),
            "last_sop_id": _names_at(names, measured.bbox[:, 3] - 1),
        }
        | {"unknown_reason": _reasons(measured, values, facts, names is None)}
    )


def _patient_columns(measured: VolumeMeasurements) -> dict[str, Any]:
    axes = measured.axes
    return {
        "voxel_count": measured.voxel_count,
        "volume_mm3": measured.volume_mm3,
        "long_axis_mm": axes.long_mm,
        "short_axis_mm": axes.short_mm,
        "max_diameter_mm": measured.max_diameter_mm,
        "surface_mm2": measured.surface_mm2,
        "long_axis_slice": [z if z >= 0 else None for z in axes.slice.tolist()],
        "plane": [measured.plane] * len(measured.voxel_count),
    } | {f"centroid_{axis}_mm": measured.centroid_lps_mm[:, k] for k, axis in enumerate("xyz")}


def _read_values(runs: Runs, offsets: NDArray[np.integer[Any]], source: Source, reader: Reader) -> ValueMeasurements:
    """Values from the reader, slice by slice; a slice that will never be readable is left out."""
    collected = ValueAccumulator(runs, offsets, source.dtype)
    for z in collected.slices:
        y0, x0, y1, x1 = collected.extent(z)
        try:
            block = reader.read(source, Box((z, y0, x0), (z + 1, y1, x1)), (0,))
        except InputError as error:
            if error.reason in PASSING:
                raise
            continue
        collected.add(z, block.pixels[0, 0], block.valid[0], (y0, x0))
    return collected.finish()


def _instance_ids(source: Source, reader: Reader) -> Sequence[str] | None:
    if not isinstance(reader, NamesInstances):
        return None
    try:
        names = reader.instance_ids(source)
    except InputError as error:
        if error.reason in PASSING:
            raise
        return None
    return names if len(names) == source.grid.shape[0] else None


def _names_at(names: Sequence[str] | None, z: NDArray[np.int64]) -> list[str | None]:
    return [None] * len(z) if names is None else [names[int(each)] for each in z]


def _reasons(
    measured: VolumeMeasurements, values: ValueMeasurements, facts: VolumeFacts, nameless: bool
) -> list[str | None]:
    """Codes of what is unknown of each mask, and so null; None where nothing is."""
    flat = np.isnan(measured.axes.long_mm)
    no_suv = facts.modality == "PT" and facts.suv_factor is None
    codes = {
        NO_IN_PLANE_EXTENT: flat,
        ONE_VOXEL_WIDE: ~flat & np.isnan(measured.axes.short_mm),
        SINGLE_VOXEL: np.isnan(measured.max_diameter_mm),
        UNIT_UNKNOWN: np.full(len(flat), facts.unit is None),
        SUV_UNKNOWN: np.full(len(flat), no_suv),
        INSTANCES_UNKNOWN: np.full(len(flat), nameless),
    }
    table = np.array(list(codes.values()))
    listed: list[str | None] = []
    for mask, why in enumerate(values.reason):
        found = [code for code, holds in zip(codes, table[:, mask], strict=True) if holds]
        listed.append(", ".join([*found, why] if why else found) or None)
    return listed
