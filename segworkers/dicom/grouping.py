"""Grouping: frames of one series to candidates for one volume. Pure; independent of the order of the frames.

SeriesInstanceUID does not identify a volume. Frames belong together when they agree in frame of reference, orientation
and pixel spacing within a tolerance, matrix, image type, stack and the temporal attributes that never change within a
volume. What may change within one (acquisition number, trigger and other times) is left to `segworkers.dicom.ordering`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.errors import InputError
from segworkers.dicom.header import Header

COSINE_TOLERANCE = 1e-3
"""Greatest difference of two direction cosines of one orientation, and their greatest error: 0.06 degrees."""

SPACING_TOLERANCE = 1e-3
"""Greatest relative difference of two pixel spacings that are one."""

Floats = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Frames that may make one volume."""

    key: tuple[str, ...]
    """What distinguishes it within its series, as text: the same for the same frames, wherever their files lie."""
    headers: tuple[Header, ...]
    """In canonical order, see `canonical`."""
    iop: Floats = ()
    """Orthonormal cosines along a row and down a column; () where the geometry is no good."""
    pixel_spacing: Floats = ()
    problem: InputError | None = None
    """Why there can be no volume: what is wrong with the geometry of one of the frames."""


def canonical(headers: Iterable[Header]) -> list[Header]:
    """By SOPInstanceUID, frame and place: an order that does not depend on who came first."""
    return sorted(headers, key=lambda h: (h.sop_uid, h.frame, h.place))


def groups(headers: Iterable[Header]) -> list[Group]:
    """The groups of one series, by their keys. A frame without a sound geometry spoils all that it might belong to."""
    parts: dict[tuple[Hashable, ...], list[Header]] = defaultdict(list)
    for header in canonical(headers):
        parts[_identity(header)].append(header)
    found: list[Group] = []
    for identity, members in parts.items():
        text = tuple(_text(part) for part in identity)
        problem = next(iter(_problems(members)), None)
        if problem:
            found.append(Group(key=text, headers=tuple(members), problem=problem))
        else:
            found += _by_geometry(text, members)
    return sorted(found, key=lambda group: (group.key, group.headers[0].sop_uid, group.headers[0].frame))


def is_localizer(header: Header) -> bool:
    """A scout or topogram: ImageType says so in any of its values (PS3.3 C.8.2.1.1.1 value 3)."""
    return any(word in {"LOCALIZER", "SCOUT", "TOPOGRAM"} for word in map(str.upper, header.image_type))


def _identity(header: Header) -> tuple[Hashable, ...]:
    return (
        header.sop_class,
        header.modality,
        header.frame_of_reference_uid,
        (header.rows, header.columns, header.samples),
        header.image_type,
        header.stack_id,
        header.temporal_position,
        header.echo_numbers,
        None if header.b_value is None or math.isnan(header.b_value) else header.b_value,
    )


def _problems(headers: Sequence[Header]) -> Iterable[InputError]:
    """An error for each thing that is wrong in any of the frames, the most basic first."""
    for reason, what, is_bad in _CHECKS:
        bad = sum(map(is_bad, headers))
        if bad:
            yield InputError(
                reason,
                f"{bad} of {len(headers)} slices {what}; a position is never made up, so none of them is used.",
                "Export the series again from its source, or leave it out.",
            )


def _is(values: Floats | None, count: int) -> bool:
    return values is not None and len(values) == count and all(map(math.isfinite, values))


def _is_frame(iop: Floats | None) -> bool:
    if iop is None or not _is(iop, 6):
        return False
    row, column = iop[:3], iop[3:]
    lengths = (math.hypot(*row) - 1, math.hypot(*column) - 1)
    return max(*map(abs, lengths), abs(_dot(row, column))) <= COSINE_TOLERANCE


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _is_size(header: Header) -> bool:
    return _is(header.pixel_spacing, 2) and min(header.pixel_spacing or (0,)) > 0


_CHECKS: tuple[tuple[str, str, Callable[[Header], bool]], ...] = (
    ("missing_position", "have no ImagePositionPatient", lambda h: h.ipp is None),
    ("missing_orientation", "have no ImageOrientationPatient", lambda h: h.iop is None),
    ("missing_spacing", "have no PixelSpacing", lambda h: h.pixel_spacing is None),
    ("invalid_position", "have a position that is not three numbers", lambda h: not _is(h.ipp, 3)),
    ("invalid_orientation", "have cosines that are not two orthogonal unit vectors", lambda h: not _is_frame(h.iop)),
    ("invalid_spacing", "have a pixel spacing that is not two positive lengths", lambda h: not _is_size(h)),
)


def _by_geometry(identity: tuple[str, ...], headers: Sequence[Header]) -> list[Group]:
    """Orientations, and pixel spacings, that agree within the tolerances are one."""
    orientation = _representatives([h.iop or () for h in headers], COSINE_TOLERANCE, 0.0)
    spacing = _representatives([h.pixel_spacing or () for h in headers], 0.0, SPACING_TOLERANCE)
    parts: dict[tuple[Floats, Floats], list[Header]] = defaultdict(list)
    for header in headers:
        parts[orientation[header.iop or ()], spacing[header.pixel_spacing or ()]].append(header)
    return [
        Group(
            key=(*identity, _text(tuple(round(v, 3) + 0.0 for v in iop)), _text(tuple(round(v, 4) for v in size))),
            headers=tuple(members),
            iop=_orthonormal(iop),
            pixel_spacing=size,
        )
        for (iop, size), members in parts.items()
    ]


def _representatives(values: Sequence[Floats], absolute: float, relative: float) -> dict[Floats, Floats]:
    """For each vector the commonest one of its neighbourhood: vectors in sorted order join the first that is near."""
    counts = Counter(values)
    clusters: list[list[Floats]] = []
    for value in sorted(counts):
        near = (c for c in clusters if all(_near(a, b, absolute, relative) for a, b in zip(c[0], value, strict=True)))
        cluster = next(near, None)
        if cluster is None:
            clusters.append([value])
        else:
            cluster.append(value)
    best = [max(cluster, key=lambda value: (counts[value], value)) for cluster in clusters]
    return {value: chosen for cluster, chosen in zip(clusters, best, strict=True) for value in cluster}


def _near(a: float, b: float, absolute: float, relative: float) -> bool:
    return abs(a - b) <= absolute + relative * max(abs(a), abs(b))


def _orthonormal(iop: Floats) -> Floats:
    """The nearest sound frame: lengths 1, the column turned onto the plane across the row."""
    row = np.array(iop[:3]) / np.linalg.norm(iop[:3])
    column = np.array(iop[3:]) - row * (row @ np.array(iop[3:]))
    column /= np.linalg.norm(column)
    return tuple(float(v) for v in (*row, *column))


def _text(part: Any) -> str:
    return repr(part)
