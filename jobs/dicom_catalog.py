"""The catalog of DICOM: from what the user typed to volumes, slides, refusals and rows of the `series` table.

Files are found and their headers read by `segworkers.dicom.scanning`, in parallel and through a cache in the crosswalk;
then all headers of a series are decided on at once. What comes out names no file, no patient and no original UID.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from jobs.catalog import RASTER_SUFFIXES, Skipped
from jobs.manifests import MANIFEST_SUFFIXES, read_manifest
from schemas.errors import InputError
from schemas.sources import Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.dicomdir import is_dicomdir
from segworkers.dicom.file_headers import read_headers
from segworkers.dicom.header_cache import HeaderCache
from segworkers.dicom.locations import Search, suffix_of
from segworkers.dicom.places import DICOM_SUFFIXES, Candidate, Places, Unusable
from segworkers.dicom.processes import Processes, processors
from segworkers.dicom.scanning import Scanned, chunks, scan
from segworkers.dicom.volumes import Decided, decide_series
from segworkers.pseudonyms import Kind, Pseudonyms
from segworkers.readers.locations import Location, locate

FEW_CHUNKS = 8
"""Up to so many chunks, about 2,000 files, are read in this process: children take about a second to start."""

FEW_BATCHES = 2
"""Up to so many batches are decided on in this process."""

BATCH_FRAMES = 5_000
"""Frames that one process decides on at a time: some 10 MB of headers, half a second."""

NOT_VOLUMES = frozenset(("not_an_image_volume", "localizer", "not_a_slide_level"))
"""Refusals that are no failures: archives are full of them. They are rows of `series` only."""

_MESSAGES = {
    "empty_file": ("a file of zero bytes.", "The study may still be being written; else copy it again."),
    "not_dicom": ("the name says DICOM, the content does not.", "Look at the file, or leave it out."),
    "damaged_header": ("the header of a DICOM file ends early or cannot be read.", "Copy the file again."),
    "header_too_long": ("a DICOM header of more than 256 MiB.", "Leave the file out."),
    "missing_file": ("a file that is listed is not there.", "Check that the archive is complete."),
    "bad_name": ("a file name that is not UTF-8, or looks like a member of a zip archive.", "Rename the file."),
    "access_denied": ("a file or folder that may not be read.", "Check permissions or credentials."),
    "read_failed": ("a file that cannot be read.", "Check the storage and try again."),
    "damaged_archive": ("a zip archive that cannot be read.", "Copy it again."),
    "damaged_dicomdir": ("a DICOMDIR that cannot be read.", "Give its folder: files are found by their content."),
    "encrypted_archive": ("a zip archive with encrypted members, which are left out.", "Unpack it first."),
    "nested_archive": ("a zip archive inside a zip archive.", "Unpack the outer one first."),
    "oversized_archive": ("a zip archive that unpacks to far more than its size.", "Unpack it first, with care."),
}
"""Reason codes of files, with what is told and advised."""


@dataclass(frozen=True, slots=True)
class DicomCatalog:
    """What the inputs hold of DICOM; sorted, the same for the same files."""

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...]
    """Files that cannot be used (`dicom-file:PSEUDONYM`), and series that are refused (`dicom:SERIES`)."""
    series: tuple[dict[str, Any], ...]
    """Rows of the `series` table, accepted and refused."""
    found_in: frozenset[str]
    """Inputs, as `jobs.catalog.Skipped.uri` shows them, that hold DICOM: `no_match` is not true of them."""
    files: int = 0
    """DICOM files."""
    reused: int = 0
    """Files, DICOM or not, that were known from an earlier catalog and not read again."""


def catalog_dicom(
    inputs: Sequence[str], crosswalk: Crosswalk, processes: int | None = None, slide_um: float | None = None
) -> DicomCatalog:
    """All DICOM volumes and slides of the inputs, which then are in the crosswalk. Nothing bad in a file raises.

    inputs: files, folders (recursive), globs, DICOMDIRs, zip archives, s3:// objects and prefixes, and manifests of
    them; what is not DICOM is passed over. processes: None for one a core. slide_um: micrometres a pixel that are
    wanted of slides, see `segworkers.dicom.slide.choose_level`.
    """
    with Processes(processes or processors()) as workers:
        found = _scan(inputs, crosswalk, workers)
        decided = _decide(found.scanned, crosswalk, workers, slide_um)
    unusable = list(found.all_unusable())
    names: set[tuple[Kind, str, str]] = {name for each in decided for name in each.names}
    pseudonyms = crosswalk.pseudonyms()
    skipped = [_skipped_file(each, pseudonyms, names) for each in unusable]
    skipped += [
        _skipped_series(refused.series_id, refused.problem)
        for each in decided
        for refused in each.refused
        if refused.problem.reason not in NOT_VOLUMES
    ]
    crosswalk.add_names(sorted(names))
    return DicomCatalog(
        sources=tuple(sorted((s for each in decided for s in each.sources), key=lambda source: source.uri)),
        skipped=tuple(sorted(skipped, key=lambda each: (each.uri, each.reason))),
        series=tuple(sorted((row for each in decided for row in each.rows), key=lambda row: str(row["series_id"]))),
        found_in=frozenset(each.searched for each in found.scanned if each.files or each.unusable),
        files=sum(each.files for each in found.scanned),
        reused=sum(each.reused for each in found.scanned),
    )


def holds_dicom(inputs: Sequence[str]) -> bool:
    """Whether there is anything among the inputs for this catalog to tell of: looks until it finds one, keeps none."""
    places = Places()
    search = Search(places, RASTER_SUFFIXES)
    try:
        for location in _locations(inputs):
            if is_dicom_input(location.full):
                return True
            for candidate in search.candidates(location):
                if isinstance(candidate, Unusable):
                    continue
                if candidate.promised or isinstance(read_headers(places, candidate), list):
                    return True
    finally:
        places.close()
    return False


def is_dicom_input(text: str) -> bool:
    """Whether an argument names a file that only this catalog can use: DICOM by its content or ending, DICOMDIR, zip.

    For `jobs.catalog`, which takes any file that is named for an image. Objects of a store are judged by their names.
    """
    try:
        location = locate(text)
    except InputError:
        return False
    name, suffix = location.full, suffix_of(location.full)
    if location.kind not in ("local", "s3") or suffix in RASTER_SUFFIXES or suffix in MANIFEST_SUFFIXES:
        return False
    if is_dicomdir(name) or suffix in DICOM_SUFFIXES or suffix == ".zip":
        return location.kind == "s3" or os.path.isfile(name)
    if location.kind == "s3" or not os.path.isfile(name):
        return False
    try:
        return Places().read(name, 128, 132) == b"DICM"
    except InputError:
        return False


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search came to."""

    scanned: list[Scanned]
    unusable: list[Unusable]
    """What was not even a file to read."""

    def all_unusable(self) -> list[Unusable]:
        """Each place once, sorted; empty files without an ending count where DICOM lies beside them."""
        folders = frozenset(chain.from_iterable(each.folders for each in self.scanned))
        found = {each.place: each for each in self.unusable}
        for scanned in self.scanned:
            found.update((each.place, each) for each in scanned.unusable)
            found.update((each.place, each) for each in scanned.doubtful if os.path.dirname(each.place) in folders)
        return [found[place] for place in sorted(found)]


def _scan(inputs: Sequence[str], crosswalk: Crosswalk, workers: Processes) -> _Found:
    """Headers of all inputs into the cache."""
    unusable: list[Unusable] = []
    tasks = _tasks(inputs, crosswalk, unusable)
    first = list(islice(tasks, FEW_CHUNKS + 1))
    scanned = workers.run(scan, chain(first, tasks), alone=len(first) <= FEW_CHUNKS)
    return _Found(list(scanned), unusable)


def _tasks(
    inputs: Sequence[str], crosswalk: Crosswalk, unusable: list[Unusable]
) -> Iterator[tuple[HeaderCache, str, list[Candidate]]]:
    """Arguments of `scan`; what cannot be read is put aside."""
    cache, search = HeaderCache(crosswalk.folder), Search(Places(), RASTER_SUFFIXES)
    for location in _locations(inputs):
        for chunk in chunks(_readable(search.candidates(location), unusable)):
            yield cache, location.uri, chunk


def _readable(found: Iterable[Candidate | Unusable], unusable: list[Unusable]) -> Iterator[Candidate]:
    for each in found:
        if isinstance(each, Unusable):
            unusable.append(each)
        else:
            yield each


def _locations(inputs: Sequence[str]) -> list[Location]:
    """Distinct inputs, manifests replaced by what they list; what is wrong with them is told by `jobs.catalog`."""
    found: dict[str, Location] = {}
    for text in inputs:
        try:
            location = locate(text)
            listed = [location]
            if suffix_of(location.uri.partition("?")[0]) in MANIFEST_SUFFIXES and not os.path.isdir(location.full):
                listed = [locate(entry) for entry in read_manifest(location)]
        except InputError:
            continue
        found.update((each.uri, each) for each in listed)
    return list(found.values())


def _decide(
    scanned: Sequence[Scanned], crosswalk: Crosswalk, workers: Processes, slide_um: float | None
) -> list[Decided]:
    """Decisions on whole series, in batches of about equal size."""
    batches = list(_batches(scanned))
    tasks = ((crosswalk, series, keys, slide_um) for series, keys in batches)
    return list(workers.run(decide_series, tasks, alone=len(batches) <= FEW_BATCHES))


def _batches(scanned: Sequence[Scanned]) -> Iterator[tuple[dict[str, int], list[str]]]:
    """Series (original UID: frames) and the chunks that hold their headers; neighbours together, so chunks are few."""
    frames: dict[str, int] = defaultdict(int)
    keys: dict[str, dict[str, None]] = defaultdict(dict)
    for each in scanned:
        for uid, count in each.series.items():
            frames[uid] += count
            keys[uid][each.key] = None
    series: dict[str, int] = {}
    total = 0
    for uid in sorted(frames, key=lambda uid: (min(keys[uid]), uid)):
        series[uid] = frames[uid]
        total += frames[uid]
        if total >= BATCH_FRAMES:
            yield series, _union(keys, series)
            series, total = {}, 0
    if series:
        yield series, _union(keys, series)


def _union(keys: dict[str, dict[str, None]], series: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(keys[uid] for uid in series)))


def _skipped_series(series_id: str, problem: InputError) -> Skipped:
    return Skipped(f"dicom:{series_id}", problem.reason, f"dicom:{series_id}: {problem.message}", problem.hint)


def _skipped_file(found: Unusable, pseudonyms: Pseudonyms, names: set[tuple[Kind, str, str]]) -> Skipped:
    """The file under its pseudonym, which is added to the names."""
    original = found.place.encode("utf-8", "backslashreplace").decode()
    pseudonym = pseudonyms.of("file", original)
    names.add(("file", pseudonym, original))
    message, hint = _MESSAGES.get(found.reason, ("a file that cannot be used.", "Look at it."))
    return Skipped(f"dicom-file:{pseudonym}", found.reason, f"dicom-file:{pseudonym}: {message}", hint)
