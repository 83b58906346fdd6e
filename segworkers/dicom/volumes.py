"""Volumes: from headers in the cache to sources, refusals and rows of `series`; stacks go into the crosswalk."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.errors import InputError
from schemas.grids import PixelGrid
from schemas.sources import DICOM_SCHEME, Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.decoding import PixelFile
from segworkers.dicom.header import Header
from segworkers.dicom.header_cache import HeaderCache
from segworkers.dicom.opening import opened
from segworkers.dicom.places import FileState, Places
from segworkers.dicom.series import Decision, decide
from segworkers.pseudonyms import Kind


@dataclass(frozen=True, slots=True)
class Refused:
    """A series, or a part of one, that is no volume."""

    series_id: str
    problem: InputError


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of some series."""

    sources: tuple[Source, ...]
    refused: tuple[Refused, ...]
    rows: tuple[dict[str, Any], ...]
    names: tuple[tuple[Kind, str, str], ...] = field(repr=False)


def decide_series(crosswalk: Crosswalk, series: Collection[str], chunks: Iterable[str]) -> Decided:
    """Decide on the series (original UIDs) whose headers lie in those chunks of the cache; keep their stacks."""
    cache, wanted = HeaderCache(crosswalk.folder), frozenset(series)
    headers: dict[tuple[str, int], Header] = {}
    for key in chunks:
        for _, _, outcome in cache.load(key):
            if isinstance(outcome, tuple):
                headers.update({(each.place, each.frame): each for each in outcome if each.series_uid in wanted})
    decisions = decide(headers.values(), crosswalk.pseudonyms(), PixelDigests())
    for decision in decisions:
        if decision.stack is not None:
            crosswalk.put(decision.stack)
    return Decided(
        sources=tuple(source for source in map(source_of, decisions) if source is not None),
        refused=tuple(Refused(each.series_id, each.problem) for each in decisions if each.problem is not None),
        rows=tuple(decision.row for decision in decisions),
        names=tuple(dict.fromkeys(name for decision in decisions for name in decision.originals)),
    )


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
class PixelDigests:
    """Digests of stored pixels, for `segworkers.dicom.ordering.PixelDigest`."""

    places: Places = field(default_factory=Places)

    def __call__(self, header: Header) -> str:
        """Of one frame. Raises InputError where it cannot be read."""
        with opened(self.places, header.place, FileState(header.size, header.stamp)) as file:
            stored = PixelFile(file).stored(header.frame)
        told = f"{stored.dtype.str} {stored.shape}\n".encode()
        return hashlib.blake2b(told + np.ascontiguousarray(stored).tobytes(), digest_size=16).hexdigest()
