"""Ordering: the frames of a group sorted by position along the normal, one for each position. Pure.

Where two frames lie at one position, in this order: copies of one image are dropped and counted; the group is split by
the first temporal attribute that tells its volumes apart; equal pixels are dropped and counted; and what then is left
is refused. InstanceNumber, SliceLocation and file names decide nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from segworkers.dicom.geometry import is_variable, normal_of
from segworkers.dicom.grouping import Floats, Group, canonical
from segworkers.dicom.header import Header

PixelDigest = Callable[[Header], str]
"""A digest of the stored pixels of one frame. Asked only of frames that may be copies; may raise InputError."""

SAME_PIXELS = 0.01
"""Two slices are at one position when they are nearer than this part of the smaller pixel spacing."""

_KEYS: tuple[tuple[str, Callable[[Header], Hashable]], ...] = (
    ("acquisition_number", lambda h: h.acquisition_number),
    ("trigger_time", lambda h: h.trigger_time),
    ("gradient", lambda h: h.gradient),
    ("echo_time", lambda h: h.echo_time),
    ("inversion_time", lambda h: h.inversion_time),
    ("frame_reference_time", lambda h: h.frame_reference_time),
    ("object", lambda h: h.sop_uid if h.frames > 1 and not h.concatenation_uid else ""),
)
"""Temporal attributes that may also change within one volume (step and shoot, bed positions), so that a group is split
by them only where it must be; the earlier ones first."""

_CLOCKS: tuple[tuple[str, Callable[[Header], str]], ...] = (
    ("acquisition_time", lambda h: h.acquisition_time),
    ("content_time", lambda h: h.content_time),
)
"""Last resort: passes over the same positions, one after the other."""


_Part = tuple[tuple[tuple[str, str], ...], list[Header]]
"""Names and values of the attributes that a stack was split off by, and its frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """Frames of one volume in the order of their place along the normal, one each."""

    key: tuple[str, ...]
    """The group's key and what it was split by."""
    headers: tuple[Header, ...]
    iop: Floats
    pixel_spacing: Floats
    split_by: tuple[str, ...] = ()
    """Temporal attributes that the group was split by."""
    copies: int = 0
    """Files or frames that were dropped because they are copies of others."""
    problem: InputError | None = None

    def positions(self) -> NDArray[np.float64]:
        """(z, 3) ImagePositionPatient."""
        return np.array([h.ipp for h in self.headers], np.float64).reshape(-1, 3)


def order(group: Group, digest: PixelDigest) -> list[Ordered]:
    """The stacks of a sound group. A stack with positions that two images claim has a `problem`."""
    assert group.problem is None
    try:
        headers, copies = _without_copies(group, digest)
    except InputError as error:
        return [_ordered(group, group.headers, problem=error)]
    whole = _sorted(group, headers)
    if _is_sound(group, whole):
        return [_ordered(group, whole, copies=copies)]
    parts = _split(group, whole)
    if parts is not None:
        return _label(group, parts, copies)
    if _is_unique(group, whole):
        return [_ordered(group, whole, copies=copies)]
    try:
        kept = _without_equals(group, whole, digest)
    except InputError as error:
        return [_ordered(group, whole, copies=copies, problem=error)]
    return [_ordered(group, kept, copies=copies + len(whole) - len(kept))]


def along(group: Group | Ordered, headers: Sequence[Header]) -> NDArray[np.float64]:
    """(n,) millimetres of each frame along the group's normal."""
    return np.array([h.ipp for h in headers], np.float64).reshape(-1, 3) @ normal_of(group.iop)


def _ordered(group: Group, headers: Sequence[Header], *, copies: int = 0, problem: InputError | None = None) -> Ordered:
    return Ordered(
        key=group.key,
        headers=tuple(headers),
        iop=group.iop,
        pixel_spacing=group.pixel_spacing,
        copies=copies,
        problem=problem,
    )


def _sorted(group: Group, headers: Sequence[Header]) -> list[Header]:
    ordered = canonical(headers)
    return [ordered[k] for k in np.argsort(along(group, ordered), kind="stable")]


def _without_copies(group: Group, digest: PixelDigest) -> tuple[list[Header], int]:
    """One of each SOPInstanceUID and frame. Raises InputError `duplicate_sop_instance` where copies differ."""
    same: dict[tuple[str, int], list[Header]] = defaultdict(list)
    for header in group.headers:
        same[header.sop_uid, header.frame].append(header)
    for twins in same.values():
        if len(twins) > 1 and not _are_equal(twins, digest):
            raise duplicate_sop_instance(
                f"{len(twins)} files claim to be one image (SOPInstanceUID) and differ in pixels or geometry."
            )
    return [twins[0] for twins in same.values()], len(group.headers) - len(same)


def duplicate_sop_instance(message: str) -> InputError:
    """The error, with what to do."""
    return InputError(
        "duplicate_sop_instance",
        message,
        "A transfer went wrong, or an edited copy kept its identity: export the series again.",
    )


def _are_equal(twins: Sequence[Header], digest: PixelDigest) -> bool:
    first = twins[0]
    return all(_content(h) == _content(first) for h in twins) and len({digest(h) for h in twins}) == 1


def _content(header: Header) -> Header:
    """What two headers of equal images share, whatever their files and identities are."""
    return replace(
        header,
        place="", size=0, stamp="", sop_uid="", frame=0, frames=1, instance_number=None, in_stack_position=None,
        acquisition_number=None, acquisition_time="", content_time="", concatenation_number=None, pet=None,
    )  # fmt: skip


def _clusters(group: Group, ordered: Sequence[Header]) -> list[list[Header]]:
    """Frames of one position together; `ordered` along the normal."""
    if not ordered:
        return []
    apart = np.diff(along(group, ordered)) > SAME_PIXELS * min(group.pixel_spacing)
    starts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(ordered)]
    return [list(ordered[a:b]) for a, b in pairwise(starts)]


def _is_unique(group: Group, ordered: Sequence[Header]) -> bool:
    return len(_clusters(group, ordered)) == len(ordered)


def _is_sound(group: Group, ordered: Sequence[Header]) -> bool:
    """One frame a position, and positions at equal steps or with whole ones missing."""
    if not _is_unique(group, ordered):
        return False
    positions = np.array([h.ipp for h in ordered], np.float64).reshape(-1, 3)
    return not is_variable(positions, along(group, ordered))


def _split(group: Group, ordered: Sequence[Header]) -> list[_Part] | None:
    """Stacks of two slices and more by temporal attributes, each sound or at least unique; None where none does it.

    Uneven but unique positions are split only into sound stacks: two scans side by side.
    """
    is_good = _is_unique if not _is_unique(group, ordered) else _is_sound
    for name, key in _KEYS:
        parts: dict[Hashable, list[Header]] = defaultdict(list)
        for header in ordered:
            parts[key(header)].append(header)
        if len(parts) < 2 or min(map(len, parts.values())) < 2:
            continue
        found: list[_Part] = []
        for value, members in sorted(parts.items(), key=lambda item: repr(item[0])):
            label = (name, "" if name == "object" else repr(value))
            if is_good(group, members):
                found.append(((label,), members))
                continue
            deeper = _split(group, members)
            if deeper is None:
                break
            found += [((label, *labels), stack) for labels, stack in deeper]
        else:
            return found
    return None if _is_unique(group, ordered) else _by_clock(group, ordered)


def _by_clock(group: Group, ordered: Sequence[Header]) -> list[_Part] | None:
    """Passes over the same positions, each wholly before the next by one of the clocks."""
    clusters = _clusters(group, ordered)
    count = len(clusters[0])
    if count < 2 or any(len(cluster) != count for cluster in clusters) or len(clusters) < 2:
        return None
    for name, clock in _CLOCKS:
        if not all(map(clock, ordered)):
            continue
        passes = [list(p) for p in zip(*(sorted(c, key=clock) for c in clusters), strict=True)]
        ends = [(min(map(clock, p)), max(map(clock, p))) for p in passes]
        if all(before[1] < after[0] for before, after in pairwise(ends)):
            return [(((name, str(k)),), headers) for k, headers in enumerate(passes)]
    return None


def _label(group: Group, parts: Iterable[_Part], copies: int) -> list[Ordered]:
    made: list[Ordered] = []
    for k, (labels, headers) in enumerate(parts):
        text = tuple(f"{name} {value}" for name, value in labels)
        names = tuple(name for name, _ in labels)
        one = _ordered(group, headers, copies=copies if k == 0 else 0)
        made.append(replace(one, key=(*group.key, *text), split_by=names))
    return made


def _without_equals(group: Group, ordered: Sequence[Header], digest: PixelDigest) -> list[Header]:
    """One of each position where all that lie there are equal. Raises InputError `duplicate_positions`."""
    clusters = _clusters(group, ordered)
    differ = [k for k, cluster in enumerate(clusters) if len(cluster) > 1 and not _are_equal(cluster, digest)]
    if differ:
        raise InputError(
            "duplicate_positions",
            f"{len(differ)} of {len(clusters)} positions (the first is slice {differ[0]}) are claimed by images that "
            "differ, and no temporal attribute tells them apart.",
            "Two reconstructions or passes share the series: separate them at the source.",
        )
    return [cluster[0] for cluster in clusters]
