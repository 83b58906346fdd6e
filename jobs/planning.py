"""Planning: from the words of a spec to sources with lattices and work tiles. Reads headers, no pixels.

Used by `segworkers plan`, which shows it (`jobs.plan_report`), and by a run, which does it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jobs import bootstrap
from jobs.catalog import Skipped, describe_all, find_inputs
from jobs.config import JobSpec, expand_extent
from jobs.dicom_catalog import DicomCatalog, catalog_dicom, holds_dicom, is_dicom_input
from jobs.privacy import crosswalk_folder, passed_over, without_names, without_neighbours, without_repeats
from jobs.source_plans import require_own_pixels, source_plan
from jobs.tiles import slices_bytes
from jobs.volumes import in_space
from schemas import discretion
from schemas.errors import InputError, SpecError
from schemas.models import ModelManifest
from schemas.sources import Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.georeferencing import GroundFrame, ground_frame
from segworkers.plans import SourcePlan
from segworkers.readers.base import Reader
from segworkers.segmenters.loading import ModelSpec, require_usable, resolve_model


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
    sources = [_of_stated_size(source, spec.raster.pixel_um) for source in sources]
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
            require_own_pixels(source, named)
            plans.append(source_plan(source, manifest, spec))
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


def check_model(spec: JobSpec) -> None:
    """Whether the model is there and takes what the spec tells it; fetches no weights. Raises SpecError."""
    given = spec.model
    manifest, _ = resolve_model(given.reference, given.options, given.device, spec.engine.threads, fetch=False)
    _overridden(manifest, spec)


def _of_stated_size(source: Source, pixel_um: tuple[float, float] | None) -> Source:
    """What does not lie on a map has the size that the spec tells of its pixels."""
    if pixel_um is None or isinstance(ground_frame(source.grid), GroundFrame):
        return source
    return replace(source, pixel_um=pixel_um)


def _dicom(spec: JobSpec) -> tuple[Crosswalk, DicomCatalog] | None:
    """The DICOM volumes and slides among the inputs, and their crosswalk, which is made; None where there are none."""
    discretion.begin()
    if not holds_dicom(spec.inputs):
        discretion.end()
        return None
    crosswalk = Crosswalk.open(crosswalk_folder(spec))
    return crosswalk, catalog_dicom(spec.inputs, crosswalk, spec.dicom.processes, spec.dicom.slide_um_per_pixel)


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
