"""Columns of `instances`, from objects and what was measured of them: one array for each column, by name."""
# pyarrow and shapely are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from schemas.models import ModelManifest
from schemas.patient_tables import SLIDE_MEASURES, VOLUME_COLUMNS
from schemas.rle import coco_rle_strings
from schemas.sources import Source
from schemas.tables import INSTANCES
from segworkers.hilbert import hilbert_distances
from segworkers.lonlat import lonlat_bounds, lonlat_polygons
from segworkers.measures import GroundMeasurements, Measurements
from segworkers.objects import Objects
from segworkers.plans import SourcePlan
from segworkers.runs import Runs, RunTable

SHAPE_COLUMNS = (
    *("geometry", "bbox", "polygon_px"),
    *("centroid_lon", "centroid_lat", "area_m2", "length_m", "width_m", "angle_deg"),
)
"""What lies flat on the ground: volumes have none of it."""


def object_columns(
    objects: Objects,
    masks: RunTable,
    offsets: NDArray[np.int64],
    measured: Measurements,
    plan: SourcePlan,
    model: ModelManifest,
) -> dict[str, Any]:
    """Columns that all objects have; not those of completeness."""
    n = len(objects)
    names = np.array(model.classes, object)
    labels = names[objects.label] if n else names[:0]
    box, centroid = measured.bbox, measured.centroid_px
    codes, ends = coco_rle_strings(masks.runs, offsets, box)
    text = codes.tobytes().decode("ascii")
    axes = ("z", "y", "x")
    return (
        {
            "instance_id": _identities(plan.source.source_id, labels, masks.runs, offsets),
            "source_id": [plan.source.source_id] * n,
            "source_uri": [plan.source.uri] * n,
            "label": labels,
            "score": objects.score,
            "pixel_count": measured.pixel_count,
            "touches_border": measured.touches_border,
            "n_views": objects.n_views,
            "assembled": objects.assembled,
            "min_link_overlap": objects.min_overlap,
            "mask_rle": [text[a:b] for a, b in pairwise(ends.tolist())],
            "length_px": measured.length_px,
            "width_px": measured.width_px,
            "order": hilbert_distances(centroid[:, [2, 1]], float(max(plan.source.grid.shape[1:]))),
        }
        | {f"{axis}_min": box[:, k] for k, axis in enumerate(axes)}
        | {f"{axis}_max": box[:, 3 + k] for k, axis in enumerate(axes)}
        | {f"centroid_{axis}_px": centroid[:, k] for k, axis in enumerate(axes)}
    )


def shape_columns(shapes: NDArray[np.object_], frame: Any, ground: GroundMeasurements | None, n: int) -> dict[str, Any]:
    """Polygons and what is measured on the ground; null where it cannot be known."""
    unknown = np.full(n, np.nan)
    metres = ("centroid_lon", "centroid_lat", "area_m2", "length_m", "width_m", "angle_deg")
    if frame is None or ground is None:
        wkb = shapely.to_wkb(shapes, byte_order=1)
        return {"geometry": [None] * n, "bbox": [None] * n, "polygon_px": wkb} | dict.fromkeys(metres, unknown)
    world = lonlat_polygons(frame, shapes)
    bounds = lonlat_bounds(world)
    sides = [pa.array(bounds[:, k]) for k in range(4)]
    missing = pa.array(np.isnan(bounds).any(axis=1))
    return {
        "geometry": shapely.to_wkb(world, byte_order=1),
        "bbox": pa.StructArray.from_arrays(sides, fields=list(INSTANCES.field("bbox").type), mask=missing),
        "polygon_px": [None] * n,
    } | {name: getattr(ground, name) for name in metres}


def slide_columns(measured: Measurements, source: Source) -> dict[str, Any]:
    """What only slides have, and that they have none of what volumes have; null for rasters."""
    n, found = len(measured.pixel_count), measured.micrometres
    columns: dict[str, Any] = dict.fromkeys(VOLUME_COLUMNS, [None] * n)
    if source.slide is not None:
        columns |= {"series_id": [source.slide.series_id] * n, "study_id": [source.slide.study_id] * n}
    if found is None:
        return columns | unmeasured_columns(n)
    return columns | {field.name: getattr(found, field.name) for field in SLIDE_MEASURES}


def unmeasured_columns(n: int) -> dict[str, Any]:
    """Columns of slides for n objects of anything else."""
    return {field.name: [None] * n for field in SLIDE_MEASURES}


def _identities(source_id: str, labels: NDArray[Any], runs: Runs, offsets: NDArray[np.int64]) -> list[str]:
    """Hash of source, label and canonical mask of each object."""
    if not len(labels):
        return []
    data = memoryview(np.ascontiguousarray(runs, "<i4").tobytes())
    begun = {label: hashlib.blake2b(f"{source_id}/{label}\0".encode(), digest_size=16) for label in set(labels)}
    names: list[str] = []
    for label, (a, b) in zip(labels, pairwise(offsets.tolist()), strict=True):
        state = begun[label].copy()
        state.update(data[16 * a : 16 * b])
        names.append(state.hexdigest())
    return names
