"""Series: from the headers of an archive to volumes and refusals. One pure function, `decide`.

Every frame ends in exactly one decision: in a volume, or refused with a reason code. What is decided, and when, is the
table in `docs/dicom.md`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.errors import InputError
from schemas.volumes import VolumeFacts
from segworkers.dicom.geometry import place
from segworkers.dicom.grouping import Group, canonical, groups, is_localizer
from segworkers.dicom.header import Header
from segworkers.dicom.ordering import Ordered, PixelDigest, duplicate_sop_instance, order
from segworkers.dicom.pixel_facts import pixel_facts, rescale_of, transfer_syntaxes
from segworkers.dicom.series_rows import Found, identities_of, row_of
from segworkers.dicom.stack import Slice, Stack
from segworkers.dicom.suv import suv_of
from segworkers.pseudonyms import Kind, Pseudonyms

VOLUME_CLASSES = frozenset({
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.130",  # Enhanced PET
    "1.2.840.10008.5.1.4.1.1.128.1",  # Legacy Converted Enhanced PET
})  # fmt: skip
"""SOP classes (PS3.4 B.5) whose frames may make a volume; no others are opened further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One volume, or a refusal."""

    series_id: str
    """Pseudonym: of SeriesInstanceUID and what tells the stack apart within it; places of files have no part in it."""
    fingerprint: str
    """Changes when a file of it changes, or what is made of it; keyed, so that it says nothing about the originals."""
    row: dict[str, Any]
    """Of the `series` table; see `segworkers.dicom.series_rows`."""
    originals: tuple[tuple[Kind, str, str], ...] = field(repr=False)
    """For the crosswalk: kind, pseudonym, original."""
    stack: Stack | None = field(default=None, repr=False)
    facts: VolumeFacts | None = None
    problem: InputError | None = None
    """Why there is no volume: reason code, message without identities, hint."""


def decide(
    headers: Iterable[Header], names: Pseudonyms, digest: PixelDigest, shared: frozenset[str] = frozenset()
) -> list[Decision]:
    """Volumes and refusals, sorted by `series_id`: the same for the same headers in any order.

    All headers of a series must be given at once. `digest` is asked for the stored pixels of frames that may be copies
    of each other, and of no others; an InputError that it raises refuses the stack.
    shared: SOPInstanceUIDs that other series of the archive claim too; those series may be given at other times.
    """
    series: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        series[header.series_uid].append(header)
    made: list[Decision] = []
    for members in series.values():
        found = _found(canonical(members), digest, shared)
        again: Counter[str] = Counter()
        for one in sorted(found, key=lambda f: (f.key, f.headers[0].sop_uid, f.headers[0].frame)):
            text = "\0".join((one.headers[0].series_uid, *one.key))
            again[text] += 1
            made.append(_decision(one, names, f"{text}\0{again[text]}" if again[text] > 1 else text))
    return sorted(made, key=lambda decision: decision.series_id)


def _found(headers: Sequence[Header], digest: PixelDigest, shared: frozenset[str]) -> list[Found]:
    """Everything in one series."""
    found: list[Found] = []
    images: list[Header] = []
    others: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        if header.sop_class in VOLUME_CLASSES:
            images.append(header)
        else:
            others[header.sop_class].append(header)
    for sop_class, members in others.items():
        found.append(_refused(("other", sop_class), members, InputError(
            "not_an_image_volume",
            f"{len(members)} objects of {f'SOP class {sop_class}' if sop_class else 'no SOP class'} are no slices of "
            "a volume.",
        )))  # fmt: skip
    problem = identity_problem(images)
    if problem:
        return [*found, _refused(("all",), images, problem)]
    stacks = [one for group in _without_twins(groups(images), shared) for one in _of_group(group, digest)]
    if sum(one.problem is None for one in stacks) > 1:
        stacks = [one if one.problem else replace(one, notes=("several_volumes", *one.notes)) for one in stacks]
    return [*found, *stacks]


def identity_problem(headers: Sequence[Header]) -> InputError | None:
    """Why images of one series cannot be used: `missing_uid`, `mixed_patients`, `incomplete_concatenation`."""
    if not all(h.study_uid and h.series_uid and h.sop_uid for h in headers):
        return InputError(
            "missing_uid",
            f"{len(headers)} images of one series: some lack StudyInstanceUID, SeriesInstanceUID or SOPInstanceUID.",
            "Export them again from their source.",
        )
    if len({(h.patient_id, h.issuer, h.study_uid) for h in headers}) > 1:
        return InputError(
            "mixed_patients",
            f"{len(headers)} images of one SeriesInstanceUID belong to several patients or studies.",
            "Copies were edited without new UIDs: separate them at the source.",
        )
    parts: dict[str, set[int | None]] = defaultdict(set)
    for header in headers:
        if header.concatenation_uid:
            parts[header.concatenation_uid].add(header.concatenation_number)
    for header in headers:
        total = header.concatenation_total
        if header.concatenation_uid and total and len(parts[header.concatenation_uid]) < total:
            return InputError(
                "incomplete_concatenation",
                f"{len(parts[header.concatenation_uid])} of {total} objects of a concatenation are there.",
                "Wait until the study is complete, or export it again.",
            )
    return None


def _without_twins(found: Sequence[Group], shared: frozenset[str]) -> list[Group]:
    """Groups that claim the same image get `duplicate_sop_instance`: it differs, or they would be one group.

    So do those that claim an image of another series. Copies within one group are looked at by
    `segworkers.dicom.ordering`.
    """
    claimed = Counter(each for group in found for each in {(h.sop_uid, h.frame) for h in group.headers})
    made: list[Group] = []
    for group in found:
        twins = sum(claimed[each] > 1 for each in {(h.sop_uid, h.frame) for h in group.headers})
        problem = _twins(twins, len(group.headers)) if twins else shared_instances(group.headers, shared)
        made.append(group if group.problem or problem is None else replace(group, problem=problem))
    return made


def _twins(count: int, total: int) -> InputError:
    return duplicate_sop_instance(
        f"{count} of {total} images claim to be images (SOPInstanceUID) that the series holds in another form too."
    )


def shared_instances(headers: Sequence[Header], shared: frozenset[str]) -> InputError | None:
    """`duplicate_sop_instance` where some of the images are claimed by another series; else None.

    SOPInstanceUID is unique among all objects (PS3.3 C.12.1): a reference to one of them may mean either.
    """
    count = sum(h.sop_uid in shared for h in headers)
    if not count:
        return None
    return duplicate_sop_instance(
        f"{count} of {len(headers)} images claim to be images (SOPInstanceUID) that another series holds too."
    )


def _refused(key: tuple[str, ...], headers: Sequence[Header], problem: InputError, copies: int = 0) -> Found:
    return Found(key=key, headers=tuple(headers), problem=problem, copies=copies)


def _of_group(group: Group, digest: PixelDigest) -> list[Found]:
    problem = _group_problem(group)
    if problem:
        return [_refused(group.key, group.headers, problem)]
    return [_of_stack(stack) for stack in order(group, digest)]


def _group_problem(group: Group) -> InputError | None:
    count, first = len(group.headers), group.headers[0]
    if is_localizer(first):
        return InputError("localizer", f"{count} localizer images are no volume.")
    if "MOSAIC" in first.image_type:
        return InputError(
            "mosaic",
            f"{count} images are mosaics of many slices, whose geometry is in private attributes.",
            "Convert them to enhanced MR or to one image a slice.",
        )
    truncated = sum(h.is_truncated for h in group.headers)
    if truncated:
        return InputError(
            "truncated_file",
            f"{truncated} of {count} slices are in files that end before their pixels do.",
            "The study may still be being written: wait, or copy it again.",
        )
    return group.problem


def _of_stack(stack: Ordered) -> Found:
    try:
        if stack.problem:
            raise stack.problem
        first = stack.headers[0]
        pixels = pixel_facts(stack.headers)
        placed = place(stack.positions(), stack.iop, stack.pixel_spacing, (first.rows, first.columns))
    except InputError as error:
        return _refused(stack.key, stack.headers, error, stack.copies)
    except ValueError as error:
        return _refused(stack.key, stack.headers, InputError("invalid_geometry", f"{error}."), stack.copies)
    suv = suv_of(stack.headers)
    noticed = {
        "duplicates_dropped": stack.copies > 0,
        **{f"split_by_{name}": True for name in stack.split_by},
        "missing_frame_of_reference": not first.frame_of_reference_uid,
        "missing_patient_id": not first.patient_id,
    }
    return Found(
        key=stack.key,
        headers=stack.headers,
        copies=stack.copies,
        placed=placed,
        pixels=pixels,
        suv=suv,
        notes=(*placed.notes, *(name for name, is_so in noticed.items() if is_so), *pixels.notes),
    )


def _decision(found: Found, names: Pseudonyms, text: str) -> Decision:
    first, series_id = found.headers[0], names.of("series", text)
    who, originals = identities_of(first, names)
    facts = None
    if found.placed and found.pixels and found.suv:
        facts = VolumeFacts(
            geometry=found.placed.geometry,
            series_id=series_id,
            study_id=who.study_id,
            subject_id=who.subject_id,
            frame_of_reference_id=who.frame_of_reference_id,
            modality=first.modality,
            unit=found.pixels.unit,
            suv_factor=found.suv.factor,
            notes=found.notes,
        )
    stack = _stack(found, series_id)
    return Decision(
        series_id=series_id,
        fingerprint=_fingerprint(found.headers, stack, names),
        row=row_of(found, series_id, who),
        originals=(("series", series_id, first.series_uid), *originals),
        stack=stack,
        facts=facts,
        problem=found.problem,
    )


def _stack(found: Found, series_id: str) -> Stack | None:
    if found.pixels is None:
        return None
    first, pixels = found.headers[0], found.pixels
    return Stack(
        series_id=series_id,
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        transfer_syntaxes=transfer_syntaxes(found.headers),
        rows=first.rows,
        columns=first.columns,
        bits_stored=pixels.bits_stored,
        signed=pixels.signed,
        dtype=pixels.dtype,
        padding=pixels.padding,
        slices=tuple(map(_slice, found.headers)),
    )


def _slice(header: Header) -> Slice:
    slope, intercept = rescale_of(header)
    return Slice(
        place=header.place,
        frame=header.frame,
        uid=header.sop_uid,
        slope=slope,
        intercept=intercept,
        size=header.size,
        stamp=header.stamp,
    )


def _fingerprint(headers: Sequence[Header], stack: Stack | None, names: Pseudonyms) -> str:
    """Of the files, and of what is made of them: where they lie has no part in it."""
    files = sorted({(h.sop_uid, h.size, h.stamp) for h in headers})
    made = stack and replace(stack, slices=tuple(replace(each, place="") for each in stack.slices))
    return names.of("file", "\n".join((*(f"{uid} {size} {stamp}" for uid, size, stamp in files), repr(made))))
