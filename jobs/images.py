"""Rows of the `images` table: what the ledger counted and what was published of each source."""

# pyarrow ships no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.ledger import Failed, Ledger
from jobs.seams import SourceSeams
from schemas.models import ModelManifest
from schemas.sources import Source, source_id_of
from schemas.tables import SCHEMAS
from segworkers.receipts import AREA_UNIT, CellCounts, Receipt
from segworkers.segmenters.two_stage import NO_ORGAN
from segworkers.totals import SCORE_UNIT, ClassTotals


def image_rows(
    model: ModelManifest,
    ledger: Ledger,
    totals: dict[str, dict[str, ClassTotals]],
    seams: Sequence[SourceSeams],
    failed: Sequence[Failed],
) -> list[dict[str, Any]]:
    """One row for each source, and one with nulls for each input that could not be used, by URI.

    totals: sums over the published objects by source and class; seams: the profile of each source.
    """
    rows = [_image_row(each, model, ledger.of(each.plan), totals.get(each.plan.source.source_id, {})) for each in seams]
    for each in failed:
        if each.scope == "input":
            unknown = dict.fromkeys(SCHEMAS["images"].names)
            rows.append(
                unknown
                | {
                    "source_id": source_id_of(each.uri),
                    "source_uri": each.uri,
                    "status": "failed",
                    "reason": each.reason,
                    "is_lower_bound": True,
                    **_model_columns(model),
                }
            )
    return sorted(rows, key=lambda row: (row["source_uri"], row["source_id"]))


def _image_row(
    seams: SourceSeams, model: ModelManifest, receipts: Sequence[Receipt], by_class: dict[str, ClassTotals]
) -> dict[str, Any]:
    source = seams.plan.source
    counts = sum((receipt.counts for receipt in receipts), CellCounts())
    unsegmented = counts.failed > 0 and counts.done + counts.empty == 0
    unknown = unsegmented or seams.plan.lacks_organ
    area = None if unknown or counts.valid_area is None else counts.valid_area / AREA_UNIT
    everything = ClassTotals()
    for part in by_class.values():
        everything.add(part)
    reasons = {receipt.reason for receipt in receipts if receipt.reason}
    if seams.plan.lacks_organ:
        reasons.add(NO_ORGAN)
    evidence = dict.fromkeys(SCHEMAS["images"].names) if unknown else seams.columns()
    return evidence | {
        "source_id": source.source_id,
        "source_uri": source.uri,
        "status": "failed" if unsegmented else "partial" if counts.failed else "done",
        "reason": ", ".join(sorted(reasons)) or None,
        "is_lower_bound": _may_lack_objects(seams, counts),
        "object_count": None if unknown else everything.objects,
        "mean_score": _mean_score(everything),
        "classes": None
        if unknown
        else [_class_row(label, by_class.get(label, ClassTotals()), area) for label in model.classes],
        "pixels": counts.total,
        "pixels_done": counts.done,
        "pixels_empty": counts.empty,
        "pixels_nodata": counts.nodata,
        "pixels_failed": counts.failed,
        "valid_area_m2": area,
        "objects_per_km2": _density(everything.objects, area),
        "capped_windows": sum(receipt.capped_windows for receipt in receipts),
        "depth": source.grid.shape[0],
        "height": source.grid.shape[1],
        "width": source.grid.shape[2],
        "dtype": source.dtype,
        "bands": list(source.bands),
        "georeference": source.grid.georeference,
        "crs": source.grid.crs_wkt,
        **_dicom_columns(source, counts),
        **_slide_columns(source, counts, None if unknown else everything.objects),
        **_model_columns(model),
    }


def _may_lack_objects(seams: SourceSeams, counts: CellCounts) -> bool:
    volume = seams.plan.source.volume
    return counts.failed > 0 or seams.plan.lacks_organ or (volume is not None and bool(volume.geometry.gaps))


def _dicom_columns(source: Source, counts: CellCounts) -> dict[str, Any]:
    """What only volumes and slides have; of unevenly spaced volumes the valid one is not known from counts."""
    found: dict[str, Any] = {}
    if source.series is not None:
        found = {name: getattr(source.series, name) for name in ("series_id", "study_id", "subject_id", "modality")}
    if source.volume is not None and source.volume.geometry.kind != "variable":
        found["valid_volume_mm3"] = (counts.done + counts.empty) * source.volume.geometry.voxel_volume_mm3
    return found


def _slide_columns(source: Source, counts: CellCounts, objects: int | None) -> dict[str, Any]:
    """Where pixels have a size, but no place on Earth; objects: None where they could not be counted."""
    if source.pixel_um is None:
        return {}
    y, x = source.pixel_um
    area = None if objects is None else (counts.done + counts.empty) * y * x / 1e6
    return {
        "pixel_um_y": y,
        "pixel_um_x": x,
        "valid_area_mm2": area,
        "objects_per_mm2": objects / area if area and objects is not None else None,
    }


def _model_columns(model: ModelManifest) -> dict[str, str]:
    return {"model": model.name, "model_kind": model.kind, "model_digest": model.digest}


def _class_row(label: str, totals: ClassTotals, valid_area: float | None) -> dict[str, Any]:
    measured = valid_area is not None and totals.area is not None
    return {
        "label": label,
        "object_count": totals.objects,
        "mean_score": _mean_score(totals),
        "pixel_count": totals.pixels,
        "area_m2": totals.area / AREA_UNIT if measured and totals.area is not None else None,
        "objects_per_km2": _density(totals.objects, valid_area),
    }


def _mean_score(totals: ClassTotals) -> float | None:
    return totals.score / SCORE_UNIT / totals.scored if totals.scored else None


def _density(objects: int, valid_area: float | None) -> float | None:
    return objects / (valid_area / 1e6) if valid_area else None
