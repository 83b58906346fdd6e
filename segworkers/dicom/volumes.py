"""Volumes and slides: from headers in the cache to sources, refusals and rows of `series`.

Stacks and slides go into the crosswalk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.errors import InputError, StoreError
from schemas.grids import PixelGrid
from schemas.sources import DICOM_SCHEME, Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.decoding import PixelFile
from segworkers.dicom.header import Header
from segworkers.dicom.header_cache import HeaderCache, Outcome
from segworkers.dicom.opening import opened
from segworkers.dicom.partitions import Stretch
from segworkers.dicom.places import FileState, Places
from segworkers.dicom.scanning import instance_digest
from segworkers.dicom.series import Decision, decide
from segworkers.dicom.slide_series import decide_slides
from segworkers.dicom.slides import WHOLE_SLIDE_STORAGE
from segworkers.pseudonyms import Kind

_PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Refused:
    """A series, or a part of one, that is neither volume nor slide."""

    series_id: str
    problem: InputError


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of some series."""

    sources: tuple[Source, ...]
    refused: tuple[Refused, ...]
    rows: tuple[dict[str, Any], ...]
    names: tuple[tuple[Kind, str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SeriesBatch:
    """Some series, and where all their headers are: in chunks of the cache, or in stretches of partitions."""

    series: Mapping[str, int] = field(repr=False)
    """SeriesInstanceUID, the original: number of frames."""
    chunks: tuple[str, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    shared: frozenset[bytes] = frozenset()
    """`segworkers.dicom.scanning.instance_digest` of SOP instances that another series claims too."""


def decide_series(crosswalk: Crosswalk, batch: SeriesBatch, slide_um: float | None = None) -> Decided:
    """Decide on a batch; keep stacks and slides.

    slide_um: micrometres a pixel that are wanted of slides; see `segworkers.dicom.slide.choose_level`.
    Raises StoreError where fewer frames are found than were counted: a volume would lack slices.
    """
    headers = _headers(HeaderCache(crosswalk.folder), batch)
    shared = {h.sop_uid for h in headers.values() if instance_digest(h.sop_uid) in batch.shared} if batch.shared else ()
    names, of_slides = crosswalk.pseudonyms(), [h for h in headers.values() if h.sop_class == WHOLE_SLIDE_STORAGE]
    of_volumes = (h for h in headers.values() if h.sop_class != WHOLE_SLIDE_STORAGE)
    stacks = decide(of_volumes, names, PixelDigests(), frozenset(shared))
    slides = decide_slides(of_slides, names, slide_um, FileDigests(), frozenset(shared))
    for decision in stacks:
        if decision.stack is not None:
            crosswalk.put(decision.stack, decision.fingerprint)
    for decision in slides:
        if decision.slide is not None and decision.source is not None:
            crosswalk.put_slide(decision.slide, decision.source.fingerprint)
    sources = [*map(source_of, stacks), *(decision.source for decision in slides)]
    decisions = [*stacks, *slides]
    return Decided(
        sources=tuple(source for source in sources if source is not None),
        refused=tuple(Refused(each.series_id, each.problem) for each in decisions if each.problem is not None),
        rows=tuple(decision.row for decision in decisions),
        names=tuple(dict.fromkeys(name for decision in decisions for name in decision.originals)),
    )


def _headers(cache: HeaderCache, batch: SeriesBatch) -> dict[tuple[str, int], Header]:
    """By place and frame: overlapping inputs have found some twice."""
    headers: dict[tuple[str, int], Header] = {}
    count, expected = 0, sum(batch.series.values())
    for outcome in _outcomes(cache, batch):
        for each in outcome if isinstance(outcome, tuple) else ():
            if each.series_uid in batch.series:
                headers[each.place, each.frame] = each
                count += 1
    if count != expected:
        raise StoreError(
            f"the crosswalk's folder `headers` holds {count} of {expected} headers that were just written. "
            "Another program has changed it, or other versions of this one run beside it: run again."
        )
    return headers


def _outcomes(cache: HeaderCache, batch: SeriesBatch) -> Iterator[Outcome]:
    for key in batch.chunks:
        yield from (outcome for _, _, outcome in cache.load(key))
    for stretch in batch.stretches:
        yield from stretch.outcomes()


def source_of(decision: Decision) -> Source | None:
    """The source of a volume; None for a refusal."""
    if decision.facts is None or decision.stack is None:
        return None
    shape, dtype = decision.facts.geometry.shape, decision.stack.dtype
    return Source(
        uri=DICOM_SCHEME + decision.series_id,
        fingerprint=decision.fingerprint,
        grid=PixelGrid(shape=shape),
        dtype=dtype,
        bands=("value",),
        block=(shape[1], shape[2]),
        bytes_per_pixel=np.dtype(dtype).itemsize,
        volume=decision.facts,
    )


@dataclass(slots=True)
class FileDigests:
    """Digests of whole files, for `segworkers.dicom.slide_series.FileDigest`."""

    places: Places = field(default_factory=Places)

    def __call__(self, header: Header) -> str:
        """Raises InputError where the file cannot be read."""
        digest = hashlib.blake2b(digest_size=16)
        with opened(self.places, header.place, FileState(header.size, header.stamp)) as file:
            while part := file.read(_PART_BYTES):
                digest.update(part)
        return digest.hexdigest()


@dataclass(slots=True)
class PixelDigests:
    """Digests of stored pixels, for `segworkers.dicom.ordering.PixelDigest`."""

    places: Places = field(default_factory=Places)

    def __call__(self, header: Header) -> str:
        """Of one frame. Raises InputError where it cannot be read."""
        with opened(self.places, header.place, FileState(header.size, header.stamp)) as file:
            stored = PixelFile(file).stored(header.frame)
        told = f"{stored.dtype.str} {stored.shape}\n".encode()
        return hashlib.blake2b(told + np.ascontiguousarray(stored).tobytes(), digest_size=16).hexdigest()
