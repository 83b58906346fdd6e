"""Slide series: from the headers of whole-slide images to slides and refusals. Pure but for the digests of copies.

Every file ends in exactly one decision. What a slide is: `segworkers.dicom.slide_groups`.
A level that cannot be read is left out with its reason, unless it may be the one that is wanted: then the slide is
refused. Labels, overviews and thumbnails are counted in a refusal of their own, `not_a_slide_level`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.errors import InputError
from schemas.sources import Source
from schemas.volumes import SeriesFacts
from segworkers.dicom.grouping import canonical
from segworkers.dicom.header import Header
from segworkers.dicom.series import identity_problem, shared_instances
from segworkers.dicom.series_rows import Found, identities_of, row_of
from segworkers.dicom.slide import SPACING_TOLERANCE, Level, Slide, SlidePart, choose_level
from segworkers.dicom.slide_groups import SlideGroup, slide_groups
from segworkers.dicom.slides import slide_source, slides_of
from segworkers.pseudonyms import Kind, Pseudonyms

FileDigest = Callable[[Header], str]
"""Of the content of a whole file; may raise InputError. Asked for files that may be copies of each other only."""

NOT_A_LEVEL = "not_a_slide_level"
"""Reason code of labels, overviews and thumbnails."""

LEVEL_LEFT_OUT = "level_left_out"
"""Note: a level cannot be read, and is not the one that is wanted; the reason is the next note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideDecision:
    """One slide, or a refusal."""

    series_id: str
    """Pseudonym, of SeriesInstanceUID and what tells the slide apart within it."""
    row: dict[str, Any]
    """Of the `series` table."""
    originals: tuple[tuple[Kind, str, str], ...] = field(repr=False)
    """For the crosswalk: kind, pseudonym, original."""
    slide: Slide | None = field(default=None, repr=False)
    source: Source | None = None
    problem: InputError | None = None


def decide_slides(
    headers: Iterable[Header],
    names: Pseudonyms,
    wanted_um: float | None,
    digest: FileDigest,
    shared: frozenset[str] = frozenset(),
) -> list[SlideDecision]:
    """Slides and refusals, sorted by `series_id`: the same for the same headers in any order.

    headers: of whole-slide images, all of a series at once. wanted_um: see `segworkers.dicom.slide.choose_level`.
    shared: as in `segworkers.dicom.series.decide`.
    """
    series: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        series[header.series_uid].append(header)
    made = [
        _decision(found, names)
        for files in series.values()
        for found in _in_series(canonical(files), _Choice(names, wanted_um, digest, shared))
    ]
    return sorted(made, key=lambda decision: decision.series_id)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the decisions depend on besides headers."""

    names: Pseudonyms
    wanted_um: float | None
    digest: FileDigest
    shared: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One slide of a series, or what is none."""

    key: tuple[str, ...]
    headers: Sequence[Header]
    copies: int = 0
    slide: Slide | None = None
    level: Level | None = None
    notes: tuple[str, ...] = ()
    problem: InputError | None = None


def _in_series(files: Sequence[Header], choice: _Choice) -> list[_Found]:
    """Everything in one series."""
    levels: list[Header] = []
    others: list[Header] = []
    for header in files:
        (levels if header.slide or header.slide_problem else others).append(header)
    found: list[_Found] = []
    if others:
        problem = InputError(NOT_A_LEVEL, f"{len(others)} images show a label, an overview or a thumbnail of a slide.")
        found.append(_Found(key=("other",), headers=others, problem=problem))
    problem = identity_problem(levels)
    if problem:
        return [*found, _Found(key=("all",), headers=levels, problem=problem)]
    slides = [_of_slide(group, choice) for group in slide_groups(levels)]
    if len(slides) > 1:
        slides = [one if one.problem else replace(one, notes=("several_slides", *one.notes)) for one in slides]
    return [*found, *slides]


def _series_id(header: Header, key: tuple[str, ...], names: Pseudonyms) -> str:
    return names.of("series", "\0".join((header.series_uid, "slide", *key)))


def _of_slide(group: SlideGroup, choice: _Choice) -> _Found:
    """The slide that some files make, and the level to read."""
    key, files, copies = group.key, list(canonical(group.headers)), 0
    try:
        if problem := shared_instances(files, choice.shared):
            raise problem
        kept = _without_copies(files, choice.digest)
        copies, files = len(files) - len(kept), kept
        bad = [each for each in files if each.slide_problem]
        series_id = _series_id(files[0], key, choice.names)
        slide, level = _read([each.slide for each in files if each.slide], bad, series_id, choice.wanted_um)
    except InputError as error:
        return _Found(key=key, headers=files, copies=copies, problem=error)
    noticed = {
        "duplicates_dropped": copies > 0,
        LEVEL_LEFT_OUT: bool(bad),
        **dict.fromkeys(sorted({each.slide_problem[0] for each in bad}), True),
        "coarser_level": level != slide.levels[0],
        "missing_frame_of_reference": not slide.frame_of_reference_uid,
        "missing_patient_id": not files[0].patient_id,
        **{note.partition(":")[0]: True for note in level.notes},
        "burned_in_annotation": any(each.burned_in == "YES" for each in files),
    }
    notes = (*group.notes, *(name for name, is_so in noticed.items() if is_so))
    return _Found(key=key, headers=files, copies=copies, slide=slide, level=level, notes=notes)


def _without_copies(files: Sequence[Header], digest: FileDigest) -> list[Header]:
    """One of each SOPInstanceUID. Raises InputError `duplicate_sop_instance` where copies differ."""
    same: dict[str, list[Header]] = defaultdict(list)
    for header in files:
        same[header.sop_uid].append(header)
    for twins in same.values():
        if len(twins) > 1 and (len({each.size for each in twins}) > 1 or len(set(map(digest, twins))) > 1):
            raise InputError(
                "duplicate_sop_instance",
                f"{len(twins)} files claim to be one image (SOPInstanceUID) and differ.",
                "A transfer went wrong, or an edited copy kept its identity: export the series again.",
            )
    return [twins[0] for twins in same.values()]


def _read(
    parts: Sequence[SlidePart], bad: Sequence[Header], series_id: str, wanted_um: float | None
) -> tuple[Slide, Level]:
    """The slide, and the level to read.

    Raises InputError: those of `slides_of` and `choose_level`, and that of a bad level that might be the one.
    """
    refusals = [InputError(*each.slide_problem) for each in bad]
    if not parts:
        raise refusals[0]
    slide = slides_of(parts, series_id)
    try:
        level = choose_level(slide, wanted_um)
    except InputError as error:
        raise (refusals[0] if bad else error) from None
    for header, refusal in zip(bad, refusals, strict=True):
        if _may_be_wanted(header, level, wanted_um):
            raise refusal
    return slide, level


def _may_be_wanted(header: Header, level: Level, wanted_um: float | None) -> bool:
    """Whether a level that cannot be read would have been chosen before `level`, or is a part of it."""
    if len(header.matrix) != 2 or tuple(header.matrix) == (level.rows, level.columns):
        return True
    rows, columns = header.matrix
    if wanted_um is None:
        return rows * columns > level.rows * level.columns
    coarser = max(level.pixel_um[0] * level.rows / rows, level.pixel_um[1] * level.columns / columns)
    return max(level.pixel_um) < coarser <= wanted_um * (1 + SPACING_TOLERANCE)


def _decision(found: _Found, names: Pseudonyms) -> SlideDecision:
    first = found.headers[0]
    series_id = _series_id(first, found.key, names)
    read = {file.uid for file in found.level.files} if found.level else ()
    who, originals = identities_of(next((each for each in found.headers if each.sop_uid in read), first), names)
    source = None
    if found.slide and found.level:
        facts = SeriesFacts(
            series_id=series_id,
            study_id=who.study_id,
            subject_id=who.subject_id,
            frame_of_reference_id=who.frame_of_reference_id,
            modality=first.modality,
        )
        source = replace(slide_source(found.slide, found.level, names), slide=facts)
    told = Found(key=found.key, headers=tuple(found.headers), notes=found.notes, problem=found.problem)
    return SlideDecision(
        series_id=series_id,
        row=row_of(told, series_id, who) | _of_slides_only(found),
        originals=(("series", series_id, first.series_uid), *originals),
        slide=found.slide,
        source=source,
        problem=found.problem,
    )


def _of_slides_only(found: _Found) -> dict[str, Any]:
    """What a row says otherwise of a slide than of a volume."""
    level = found.level
    return {
        "files": len(found.headers) + found.copies,
        "slices": None,
        "duplicate_slices": None,
        "rows": level.rows if level else None,
        "columns": level.columns if level else None,
        "dtype": level.dtype if level else None,
    }
