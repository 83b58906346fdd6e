"""The catalog of DICOM: from what the user typed to volumes, slides, refusals and rows of the `series` table.

Files are found and their headers read by `segworkers.dicom.scanning`, in parallel and through a cache in the crosswalk;
then all headers of a series are decided on at once. What comes out names no file, no patient and no original UID.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from jobs.catalog import RASTER_SUFFIXES, Skipped
from jobs.dicom_batches import FEW_TASKS, HeaderIndex
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

NO_DICOM = "neither DICOM nor pictures"
"""Kind of files that were looked into and are none of ours."""

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
    given: tuple[str, ...] = ()
    """All inputs, manifests replaced by what they list."""
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    """Of each input that holds DICOM, how many of its other files are passed over, by what they are. No pictures."""


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
        decided = _decide(found.index, crosswalk, workers, slide_um)
    unusable = found.all_unusable()
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
        found_in=frozenset(found.found_in),
        files=found.files,
        reused=found.reused,
        given=found.given,
        left_out=found.left_out(),
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


@dataclass(slots=True)
class _Found:
    """What a search came to; chunks are entered as they come, and forgotten."""

    given: tuple[str, ...]
    index: HeaderIndex = field(default_factory=HeaderIndex)
    unusable: list[Unusable] = field(default_factory=list[Unusable])
    doubtful: list[Unusable] = field(default_factory=list[Unusable])
    folders: set[str] = field(default_factory=set[str])
    """Where DICOM files lie."""
    found_in: set[str] = field(default_factory=set[str])
    passed: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict[str, Counter[str]](Counter))
    """By input and kind, how many files are not read or no DICOM."""
    files: int = 0
    reused: int = 0

    def add(self, scanned: Scanned) -> None:
        """Enter a chunk."""
        self.index.add(scanned)
        self.unusable += scanned.unusable
        self.doubtful += scanned.doubtful
        self.folders |= scanned.folders
        if scanned.files or scanned.unusable:
            self.found_in.add(scanned.searched)
        self.passed[scanned.searched][NO_DICOM] += scanned.others
        self.files += scanned.files
        self.reused += scanned.reused

    def all_unusable(self) -> list[Unusable]:
        """Each place once, sorted; empty files without an ending count where DICOM lies beside them."""
        found = {each.place: each for each in self.unusable}
        found.update((each.place, each) for each in self.doubtful if os.path.dirname(each.place) in self.folders)
        return [found[place] for place in sorted(found)]

    def left_out(self) -> dict[str, dict[str, int]]:
        """By input with DICOM and kind; what is not there is not listed."""
        listed = {given: {k: n for k, n in self.passed[given].items() if n} for given in sorted(self.found_in)}
        return {given: counts for given, counts in listed.items() if counts}


def _scan(inputs: Sequence[str], crosswalk: Crosswalk, workers: Processes) -> _Found:
    """Headers of all inputs into the cache."""
    locations = _locations(inputs)
    found = _Found(tuple(each.uri for each in locations))
    tasks = _tasks(locations, crosswalk, found)
    first = list(islice(tasks, FEW_CHUNKS + 1))
    for scanned in workers.run(scan, chain(first, tasks), alone=len(first) <= FEW_CHUNKS):
        found.add(scanned)
    return found


def _tasks(
    locations: Iterable[Location], crosswalk: Crosswalk, found: _Found
) -> Iterator[tuple[HeaderCache, str, list[Candidate]]]:
    """Arguments of `scan`; what cannot be read, or is passed over, is put aside."""
    cache, places = HeaderCache(crosswalk.folder), Places()
    for location in locations:
        search = Search(places, RASTER_SUFFIXES)
        for chunk in chunks(_readable(search.candidates(location), found.unusable)):
            yield cache, location.uri, chunk
        found.passed[location.uri].update(search.counts)


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


def _decide(index: HeaderIndex, crosswalk: Crosswalk, workers: Processes, slide_um: float | None) -> list[Decided]:
    """Decisions on whole series, in batches of about equal size."""
    with index.batches(crosswalk, workers) as batches:
        tasks = ((crosswalk, batch, slide_um) for batch in batches)
        first = list(islice(tasks, FEW_TASKS + 1))
        return list(workers.run(decide_series, chain(first, tasks), alone=len(first) <= FEW_TASKS))


def _skipped_series(series_id: str, problem: InputError) -> Skipped:
    return Skipped(f"dicom:{series_id}", problem.reason, f"dicom:{series_id}: {problem.message}", problem.hint)


def _skipped_file(found: Unusable, pseudonyms: Pseudonyms, names: set[tuple[Kind, str, str]]) -> Skipped:
    """The file under its pseudonym, which is added to the names."""
    original = found.place.encode("utf-8", "backslashreplace").decode()
    pseudonym = pseudonyms.of("file", original)
    names.add(("file", pseudonym, original))
    message, hint = _MESSAGES.get(found.reason, ("a file that cannot be used.", "Look at it."))
    return Skipped(f"dicom-file:{pseudonym}", found.reason, f"dicom-file:{pseudonym}: {message}", hint)
