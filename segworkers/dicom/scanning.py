"""Scanning: candidates in, chunk by chunk; headers into the cache, and what they are about out. No decisions.

A chunk ends after a file whose name says so, not after a number of files: so a file more or less changes one chunk, and
all others are found in the cache again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from segworkers.dicom.file_headers import read_headers
from segworkers.dicom.header_cache import HeaderCache, Outcome, chunk_key
from segworkers.dicom.locations import suffix_of
from segworkers.dicom.places import Candidate, Places, Unusable

CHUNK_FILES = 256
"""Of a chunk, on average."""

LARGEST_CHUNK = 4 * CHUNK_FILES
"""Of any chunk."""

REQUESTS = 16
"""Objects that one process asks an object store for at once."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What is in one chunk."""

    searched: str
    key: str
    """Of the chunk in the cache."""
    series: dict[str, int]
    """SeriesInstanceUID, the original: number of frames."""
    folders: frozenset[str]
    """Where DICOM files lie."""
    unusable: tuple[Unusable, ...] = ()
    doubtful: tuple[Unusable, ...] = ()
    """Empty files without an ending: DICOM where their neighbours are."""
    reused: int = 0
    """Files whose headers were in the cache."""
    files: int = 0
    """DICOM files."""
    others: int = 0
    """Files that are neither DICOM nor promised to be."""
    instances: bytes = field(default=b"", repr=False)
    """Of each DICOM file `instance_digest` of its SOP instance, then of its series: 16 bytes."""


DIGEST_BYTES = 8
"""Of `instance_digest`: among 10⁸ files two different UIDs share one with a probability of 1 in 4,000."""


def instance_digest(uid: str) -> bytes:
    """Stands for a UID where UIDs of a whole archive are compared."""
    return hashlib.blake2b(uid.encode(), digest_size=DIGEST_BYTES).digest()


def chunks(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Cut after files whose name says so."""
    chunk: list[Candidate] = []
    for candidate in candidates:
        chunk.append(candidate)
        if _ends_chunk(candidate.place) or len(chunk) == LARGEST_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _ends_chunk(place: str) -> bool:
    digest = hashlib.blake2b(place.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % CHUNK_FILES == 0


def scan(cache: HeaderCache, searched: str, chunk: list[Candidate]) -> Scanned:
    """Read the headers of a chunk that the cache does not have, and keep them there.

    searched: the input that the chunk was found in, part of the chunk's name.
    """
    key = chunk_key(searched, chunk[0])
    known = {(place, state): outcome for place, state, outcome in cache.load(key)}
    fresh = [each for each in chunk if (each.place, each.state) not in known]
    read = dict(zip(fresh, _read(fresh), strict=True))
    found: list[tuple[Candidate, Outcome]] = [
        (each, read[each] if each in read else known[each.place, each.state]) for each in chunk
    ]
    if fresh or len(known) != len(chunk):
        cache.store(key, found)
    return _summary(searched, key, found, len(chunk) - len(fresh))


def _read(candidates: list[Candidate]) -> list[Outcome]:
    places = Places()
    read = partial(_outcome, places)
    try:
        if candidates and candidates[0].place.startswith("s3://"):
            with ThreadPoolExecutor(REQUESTS) as pool:
                return list(pool.map(read, candidates))
        return [read(each) for each in candidates]
    finally:
        places.close()


def _outcome(places: Places, candidate: Candidate) -> Outcome:
    found = read_headers(places, candidate)
    return tuple(found) if isinstance(found, list) else found


def _summary(searched: str, key: str, found: list[tuple[Candidate, Outcome]], reused: int) -> Scanned:
    series: Counter[str] = Counter()
    folders: set[str] = set()
    unusable: list[Unusable] = []
    doubtful: list[Unusable] = []
    files, others, instances = 0, 0, bytearray()
    for candidate, outcome in found:
        if isinstance(outcome, tuple):
            files += 1
            folders.add(os.path.dirname(candidate.place))
            series[outcome[0].series_uid] += len(outcome)
            if outcome[0].sop_uid:
                instances += instance_digest(outcome[0].sop_uid) + instance_digest(outcome[0].series_uid)
        elif outcome is None:
            others += 1
        elif outcome.reason != "empty_file" or candidate.promised:
            unusable.append(outcome)
        elif not suffix_of(candidate.place):
            doubtful.append(outcome)
    return Scanned(
        searched=searched,
        key=key,
        series=dict(series),
        folders=frozenset(folders),
        unusable=tuple(unusable),
        doubtful=tuple(doubtful),
        reused=reused,
        files=files,
        others=others,
        instances=bytes(instances),
    )
