"""DICOM Segmentation objects as truth: which segments, on which slices of which series, and their pixels.

Frames are put on slices by the images that they name (Derivation Image Sequence, PS3.3 C.7.6.16.2.6), else by their
position in the patient (PS3.3 C.7.6.16.2.3). Segments of `BINARY`, `LABELMAP` and `FRACTIONAL` objects are read (PS3.3
C.8.20.2), of the last where they fill at least half. Original identities stay in this module and the crosswalk.
"""
# pydicom and highdicom are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.seg import segread
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

import segworkers.dicom.quiet  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schemas.boxes import Zyx
from schemas.errors import SpecError, StoreError
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.stack import Stack
from segworkers.pseudonyms import Pseudonyms

SEGMENTATION_STORAGE = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage."""

_SAME_PLACE = 0.1
"""Steps of slices that a frame's position may be away from the slice that it is put on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegFrame:
    """One frame, on the slice that it belongs to."""

    number: int
    """1-based place in the object."""
    segment: int
    """Segment number; 0 where pixels tell it (LABELMAP)."""
    z: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What a segment is."""

    label: str = field(repr=False)
    """Free text: it may name a patient."""
    type: str
    """Meaning of its Segmented Property Type as the dictionary has it, not as the file does; "" where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentations:
    """A segmentation object on the grid of one volume."""

    path: Path = field(repr=False)
    segments: Mapping[int, Segment]
    """By Segment Number."""
    frames: tuple[SegFrame, ...]
    half: float
    """Stored value from which a voxel belongs to the segment, of BINARY and FRACTIONAL objects."""

    def planes(self, start: int, stop: int) -> Iterator[tuple[SegFrame, NDArray[Any]]]:
        """Frames on slices start..stop - 1, with their stored pixels (y, x)."""
        wanted = [frame for frame in self.frames if start <= frame.z < stop]
        if wanted:
            stored = segread(self.path, lazy_frame_retrieval=True)
            for frame in wanted:
                yield frame, np.asarray(stored.get_stored_frame(frame.number))


def series_of(path: Path) -> tuple[str, ...]:
    """Original, or research, UIDs of the series that a segmentation names. Raises SpecError where it is none."""
    header = _header(path)
    named = [str(item.SeriesInstanceUID) for item in header.get("ReferencedSeriesSequence") or ()]
    return tuple(dict.fromkeys(named))


def images_of(path: Path) -> frozenset[tuple[str, int]]:
    """SOP instances and 0-based frames that the frames of a segmentation name as their sources."""
    header = _header(path)
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    named = (_named_image(groups, shared) for groups in header.PerFrameFunctionalGroupsSequence)
    return frozenset(each for each in named if each is not None)


def images_in(stack: Stack, names: Pseudonyms) -> Mapping[tuple[str, int], int]:
    """z of each image of a volume, by SOP instance, the original one and the research one, and 0-based frame."""
    slices = {(each.uid, each.frame): z for z, each in enumerate(stack.slices)}
    return slices | {(names.uid("instance", uid), frame): z for (uid, frame), z in slices.items()}


def stacks_of(crosswalk: Crosswalk, series_id: str) -> list[Stack]:
    """All versions of a volume that a crosswalk holds, the newest first."""
    paths = sorted(
        Path(crosswalk.folder, "stacks").glob(f"{series_id}.*.json.gz"), key=lambda each: each.stat().st_mtime
    )
    return [Stack.from_bytes(path.read_bytes()) for path in reversed(paths)]


@dataclass(frozen=True, slots=True)
class NewestStacks(Crosswalk):
    """A crosswalk that gives the newest version of a volume, whatever fingerprint is asked for."""

    def stack(self, series_id: str, fingerprint: str) -> Stack:
        """See `Crosswalk`; the fingerprint is not looked at."""
        known = stacks_of(self, series_id)
        if not known:
            raise StoreError(f"series {series_id} is not in the crosswalk")
        return known[0]


def place_segments(
    path: Path,
    slices: Mapping[tuple[str, int], int],
    shape: Zyx,
    affine: Sequence[float],
    what: str,
    *,
    elsewhere: Collection[tuple[str, int]] = (),
) -> Segmentations:
    """A segmentation on the slices of a volume; frames about images `elsewhere` are left out.

    slices: as `images_in` gives them. affine: 16 numbers, voxel (x, y, z, 1) to LPS millimetres; () where it is not
    known, then frames must name images. what: how messages call the file: its path may name a patient. Raises SpecError
    where it does not fit.
    """
    header = _header(path)
    if (int(header.Rows), int(header.Columns)) != shape[1:]:
        raise SpecError(
            f"{what}: has {header.Rows} x {header.Columns} pixels (rows x columns), its series {shape[1]} x "
            f"{shape[2]}; segmentations on another grid must be resampled to that of their images first"
        )
    kind = str(header.get("SegmentationType", "BINARY"))
    whole = int(header.get("MaximumFractionalValue", 1)) if kind == "FRACTIONAL" else 1
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    frames: list[SegFrame] = []
    for number, groups in enumerate(header.PerFrameFunctionalGroupsSequence, 1):
        named = _named_image(groups, shared[0])
        if named in elsewhere:
            continue
        z = None if named is None else slices.get(named)
        z = _by_position(groups, shared[0], affine, shape) if z is None else z
        if z is None:
            raise SpecError(
                f"{what}: frame {number} names no image of its series and lies on no slice of it; give the "
                "segmentation of the images that were segmented"
            )
        segment = (
            0
            if kind == "LABELMAP"
            else int(_first(groups, shared[0], "SegmentIdentificationSequence").ReferencedSegmentNumber)
        )
        frames.append(SegFrame(number=number, segment=segment, z=z))
    segments = {
        int(item.SegmentNumber): Segment(label=str(item.get("SegmentLabel", "")), type=_type_of(item))
        for item in header.SegmentSequence
    }
    return Segmentations(path=path, segments=segments, frames=tuple(frames), half=whole / 2)


def _header(path: Path) -> Dataset:
    try:
        header = dcmread(path, stop_before_pixels=True)
    except Exception:  # noqa: BLE001 (whatever pydicom raises repeats what is in the file)
        raise SpecError("a DICOM file of the truth cannot be read; leave it out or restore it") from None
    if header.get("SOPClassUID") not in SEGMENTATION_STORAGE:
        kind = UID(str(header.get("SOPClassUID", "")))
        told = "another class" if kind.name == kind else kind.name
        raise SpecError(f"expected DICOM segmentations as truth, found an object of {told}")
    return header


def _type_of(segment: Dataset) -> str:
    code = _first(segment, Dataset(), "SegmentedPropertyTypeCodeSequence")
    scheme, value = str(code.get("CodingSchemeDesignator", "")), str(code.get("CodeValue", ""))
    return _meanings(scheme).get(value, "") if scheme in codes.schemes() else ""


@lru_cache(maxsize=8)
def _meanings(scheme: str) -> Mapping[str, str]:
    """Meanings of the codes of a scheme, by value."""
    return {str(each.value): str(each.meaning) for each in getattr(codes, scheme).concepts.values()}


def _first(groups: Dataset, shared: Dataset, name: str) -> Any:
    """The first item of a functional group, of the frame or of all; an empty one where there is none."""
    items = groups.get(name) or shared.get(name)
    return items[0] if items else Dataset()


def _named_image(groups: Dataset, shared: Dataset) -> tuple[str, int] | None:
    source = _first(_first(groups, shared, "DerivationImageSequence"), Dataset(), "SourceImageSequence")
    uid = source.get("ReferencedSOPInstanceUID")
    frame = source.get("ReferencedFrameNumber", 1)
    first = frame[0] if isinstance(frame, Sequence) and not isinstance(frame, str) else frame
    return None if uid is None else (str(uid), int(first or 1) - 1)


def _by_position(groups: Dataset, shared: Dataset, affine: Sequence[float], shape: Zyx) -> int | None:
    """The slice whose first voxel lies where the frame's does, if rows and columns run the same way."""
    position = _first(groups, shared, "PlanePositionSequence").get("ImagePositionPatient")
    cosines = _first(groups, shared, "PlaneOrientationSequence").get("ImageOrientationPatient")
    if len(affine) != 16 or position is None or cosines is None:
        return None
    matrix = np.array(affine, np.float64).reshape(4, 4)
    along_row, down_column, step = matrix[:3, 0], matrix[:3, 1], matrix[:3, 2]
    told = np.array(cosines, np.float64).reshape(2, 3)
    true = np.stack([along_row / np.linalg.norm(along_row), down_column / np.linalg.norm(down_column)])
    away = np.array(position, np.float64) - matrix[:3, 3]
    z = round(float(away @ step / (step @ step)))
    off = np.linalg.norm(away - z * step) / np.linalg.norm(step)
    if not 0 <= z < shape[0] or off > _SAME_PLACE or not np.allclose(told, true, atol=1e-3):
        return None
    return z
