"""Whole-slide images: from the headers of a series to a `Slide`, and from one of its levels to a Source.

A series of VL Whole Slide Microscopy holds one instance, or a concatenation, for each resolution (PS3.3 A.32.8).
Frames are tiles of the total pixel matrix: TILED_FULL, all of them in a fixed order, or TILED_SPARSE, each with a
position, some absent. Of several optical paths and focal planes the first is read, and a note says so. LABEL, OVERVIEW
and THUMBNAIL images are left out by ImageType; of those nothing but the header is ever read.

Reason codes: `not_a_slide_level`, `slide_without_levels`, `slide_spacing_missing`, `slide_pixels_unsupported`,
`slide_tiles_inconsistent`, `too_coarse`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pydicom's elements have no types of their own.

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread

import segworkers.dicom.quiet  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schemas.errors import InputError
from schemas.grids import PixelGrid
from schemas.sources import DICOM_SCHEME, Source
from segworkers.dicom.elements import DamagedHeaderError, Elements
from segworkers.dicom.functional_groups import PER_FRAME, SHARED, tag_of
from segworkers.dicom.places import FileState
from segworkers.dicom.slide import Level, Slide, SlideFile, SlidePart
from segworkers.pseudonyms import Pseudonyms

WHOLE_SLIDE_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class of VL Whole Slide Microscopy images."""

_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "ImageType", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("InstanceNumber", "ConcatenationUID", "ConcatenationFrameOffsetNumber", "NumberOfFrames", "Rows", "Columns"),
    *("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths"),
    *("DimensionOrganizationType", "ImagedVolumeWidth", "ImagedVolumeHeight", "SamplesPerPixel", "BitsAllocated"),
    *("BitsStored", "PhotometricInterpretation", "PixelRepresentation", "OpticalPathSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "LossyImageCompression"),
)
_PLACE, _PATHS = tag_of("PlanePositionSlideSequence"), tag_of("OpticalPathIdentificationSequence")
_ROW, _COLUMN = tag_of("RowPositionInTotalImagePixelMatrix"), tag_of("ColumnPositionInTotalImagePixelMatrix")
_HEIGHT, _PATH = tag_of("ZOffsetInSlideCoordinateSystem"), tag_of("OpticalPathIdentifier")
_COLOURS = ("red", "green", "blue")


def is_level(image_type: Sequence[str]) -> bool:
    """Whether a whole-slide image shows the specimen itself: the third value of ImageType (PS3.3 C.8.12.4.1.1)."""
    return tuple(image_type[2:3]) == ("VOLUME",)


def read_part(file: BinaryIO, place: str, state: FileState) -> SlidePart:
    """Read the header of an open file; no pixels, and of images that are no level nothing beyond ImageType is used.

    Raises InputError: `not_a_slide_level` for other objects and for LABEL, OVERVIEW and THUMBNAIL images,
    `slide_spacing_missing`, `slide_pixels_unsupported`, `slide_tiles_inconsistent`, `read_failed`.
    """
    kind = _header(file, ("SOPClassUID", "ImageType"))
    if kind.get("SOPClassUID") != WHOLE_SLIDE_STORAGE or not is_level(_texts(kind.get("ImageType"))):
        raise InputError("not_a_slide_level", "expected an image of the slide itself, found another.", "Nothing to do.")
    header = _header(file, _TAGS)
    is_full = header.get("DimensionOrganizationType") == "TILED_FULL"
    refusal: InputError | None = None
    with suppress(AttributeError, TypeError, ValueError, IndexError, KeyError, OverflowError, DamagedHeaderError):
        try:
            return _part(header, place, state, is_full)
        except InputError as error:
            refusal = error
    raise refusal or InputError("read_failed", "the header lacks what a slide must have.", "Export the series again.")


def slides_of(parts: Iterable[SlidePart], series_id: str) -> Slide:
    """The slide of one series: a level for each size, finest first; of several images of one size the first.

    Raises InputError: `slide_without_levels`, `slide_tiles_inconsistent` where a concatenation lacks a file.
    """
    ordered = sorted(parts, key=lambda part: (-part.group[0] * part.group[1], part.group, part.order))
    if not ordered:
        raise InputError(
            "slide_without_levels",
            f"series {series_id}: expected images of the slide itself (ImageType VOLUME), found none.",
            "Nothing to do if it holds labels or overviews only; else export the whole series.",
        )
    levels: list[Level] = []
    for _, same_size in groupby(ordered, key=lambda part: part.group[:2]):
        images = [list(image) for _, image in groupby(same_size, key=lambda part: part.group)]
        images.sort(key=lambda image: min(part.order for part in image))
        notes = (f"images: {len(images)} of this size, the first is read",) if len(images) > 1 else ()
        levels.append(_joined(images[0], series_id, notes))
    first = ordered[0]
    return Slide(
        series_id=series_id,
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        levels=tuple(levels),
    )


def slide_source(slide: Slide, level: Level, names: Pseudonyms) -> Source:
    """The 2-D source that reads a level. Its pixels lie in no map and no patient: they have a size, `pixel_um`."""
    coarser = {round(level.columns / other.columns) for other in slide.levels if other.columns < level.columns}
    bands = _COLOURS if level.samples == 3 else ("gray",)
    return Source(
        uri=f"{DICOM_SCHEME}{slide.series_id}",
        fingerprint=names.of("file", level.fingerprint),
        grid=PixelGrid(shape=(1, level.rows, level.columns)),
        dtype=level.dtype,
        bands=bands,
        block=level.tile,
        overviews=tuple(sorted(coarser - {1})),
        bytes_per_pixel=len(bands) * (2 if level.dtype == "uint16" else 1),
        warnings=level.notes,
        pixel_um=level.pixel_um,
    )


def _joined(image: Sequence[SlidePart], series_id: str, notes: tuple[str, ...]) -> Level:
    """One level of the files of a concatenation."""
    levels = sorted((part.level for part in image), key=lambda level: level.files[0].first_frame)
    first, files, frames = levels[0], tuple(level.files[0] for level in levels), 0
    for file in files:
        if file.first_frame != frames:
            raise _inconsistent(f"series {series_id}: frame {frames + 1} of a concatenation is in none of its files")
        frames += file.frames
    positions = None
    if first.positions is not None:
        positions = tuple(each for level in levels for each in level.positions or ())
    elif frames < math.prod(
        -(-extent // tile) for extent, tile in zip((first.rows, first.columns), first.tile, strict=True)
    ):
        raise _inconsistent(f"series {series_id}: a fully tiled level has {frames} frames, fewer than tiles")
    return Level(
        rows=first.rows,
        columns=first.columns,
        tile=first.tile,
        pixel_um=first.pixel_um,
        samples=first.samples,
        dtype=first.dtype,
        files=files,
        positions=positions,
        notes=(*first.notes, *notes),
    )


def _part(header: Dataset, place: str, state: FileState, is_full: bool) -> SlidePart:
    rows, columns = int(header.TotalPixelMatrixRows), int(header.TotalPixelMatrixColumns)
    offset, sop_uid = int(header.get("ConcatenationFrameOffsetNumber") or 0), str(header.SOPInstanceUID)
    positions, focus, notes = None, 0.0, _notes(header)
    if not is_full:
        positions, focus, chosen = _positions(header, offset)
        notes = (*notes, *chosen)
    samples, dtype = _pixels(header)
    file = SlideFile(
        place=place,
        uid=sop_uid,
        size=state.size,
        stamp=state.stamp,
        first_frame=offset,
        frames=int(header.get("NumberOfFrames") or 1),
    )
    level = Level(
        rows=rows,
        columns=columns,
        tile=(int(header.Rows), int(header.Columns)),
        pixel_um=_pixel_um(header, rows, columns),
        samples=samples,
        dtype=dtype,
        files=(file,),
        positions=positions,
        notes=notes,
    )
    if min(rows, columns, *level.tile) < 1:
        raise _inconsistent("expected at least one pixel")
    return SlidePart(
        study_uid=str(header.StudyInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        frame_of_reference_uid=str(header.get("FrameOfReferenceUID") or ""),
        group=(rows, columns, str(header.get("ConcatenationUID") or sop_uid)),
        order=(focus, int(header.get("InstanceNumber") or 0), sop_uid),
        level=level,
    )


def _pixels(header: Dataset) -> tuple[int, str]:
    """Samples and dtype; colours are of 8 or 16 bits, unsigned, and no palette."""
    samples, bits = int(header.SamplesPerPixel), int(header.BitsAllocated)
    photometric = str(header.PhotometricInterpretation)
    good = (samples == 3 and photometric.startswith(("RGB", "YBR"))) or (samples == 1 and photometric == "MONOCHROME2")
    if not good or bits not in (8, 16) or int(header.get("PixelRepresentation") or 0) != 0:
        raise InputError(
            "slide_pixels_unsupported",
            f"expected unsigned RGB, YBR or MONOCHROME2 pixels, found {samples} samples of {bits} bits.",
            "Convert the slide first.",
        )
    return samples, f"uint{bits}"


def _pixel_um(header: Dataset, rows: int, columns: int) -> tuple[float, float]:
    """Micrometres between rows and columns: PixelSpacing, else the imaged volume's size; millimetres in the file."""
    spacing: tuple[float, float] = (math.nan, math.nan)
    with suppress(AttributeError, TypeError, IndexError, ValueError):
        found = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
        spacing = (float(found[0]) * 1000, float(found[1]) * 1000)
    if not all(math.isfinite(each) and each > 0 for each in spacing):
        with suppress(AttributeError, TypeError, ValueError):
            height, width = float(header.ImagedVolumeHeight), float(header.ImagedVolumeWidth)
            spacing = (height * 1000 / rows, width * 1000 / columns)
    if not all(math.isfinite(each) and each > 0 for each in spacing):
        raise InputError(
            "slide_spacing_missing",
            "expected the size of a pixel (PixelSpacing, or the imaged volume's), found none.",
            "Export the slide with its calibration: sizes of objects would be unknown.",
        )
    return spacing


def _notes(header: Dataset) -> tuple[str, ...]:
    notes: list[str] = []
    paths = header.get("OpticalPathSequence") or ()
    count = max(len(paths), int(header.get("NumberOfOpticalPaths") or 1))
    if count > 1:
        notes.append(f"optical_paths: {count} optical paths, the first is read")
    planes = int(header.get("TotalPixelMatrixFocalPlanes") or 1)
    if planes > 1:
        notes.append(f"focal_planes: {planes} focal planes, the first is read")
    if any("ICCProfile" in path for path in paths):
        notes.append("icc_profile: colours are as stored, the profile is not applied")
    if header.get("LossyImageCompression") == "01":
        notes.append("lossy: pixels were compressed with loss")
    return tuple(notes)


def _positions(header: Dataset, offset: int) -> tuple[tuple[tuple[int, int, int], ...], float, tuple[str, ...]]:
    """Tiles of the first optical path at the lowest focal plane (PS3.3 C.8.12.6.1), that plane's height, and notes."""
    frames = list(_places(header, offset))
    names = [str(path.get("OpticalPathIdentifier", "")) for path in header.get("OpticalPathSequence") or ()]
    present = {name for name, *_ in frames}
    path = next((name for name in names if name in present), min(present))
    low = min(height for name, height, *_ in frames if name == path)
    chosen = tuple((row, column, frame) for name, height, row, column, frame in frames if (name, height) == (path, low))
    heights = {height for _, height, *_ in frames}
    notes = (f"focal_planes: {len(heights)} focal planes, the first is read",) if len(heights) > 1 else ()
    return chosen, low, notes


def _places(header: Dataset, offset: int) -> Iterator[tuple[str, float, int, int, int]]:
    """Optical path, height, 0-based row and column, and frame of each tile, as raw elements: there may be 100,000."""
    top = Elements({tag: header.get_item(tag) for tag in (SHARED, PER_FRAME) if tag in header})
    common = "".join(_path_of(groups) for groups in top.items(SHARED))
    for frame, groups in enumerate(top.items(PER_FRAME), offset):
        place = groups.items(_PLACE)[0]
        row, column = place.integer(_ROW), place.integer(_COLUMN)
        if row is None or column is None:
            raise _inconsistent(f"frame {frame + 1} has no place")
        yield _path_of(groups) or common, place.number(_HEIGHT) or 0.0, row - 1, column - 1, frame


def _path_of(groups: Elements) -> str:
    return "".join(path.text(_PATH) for path in groups.items(_PATHS))


def _header(file: BinaryIO, tags: Sequence[str]) -> Dataset:
    """Some attributes of a file; stops before the pixels."""
    with suppress(Exception):  # whatever damaged bytes lead pydicom to
        file.seek(0)
        return dcmread(file, stop_before_pixels=True, specific_tags=list(tags))
    raise InputError("read_failed", "the header cannot be read.", "The file is damaged or no DICOM: copy it again.")


def _texts(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(each) for each in value]


def _inconsistent(what: str) -> InputError:
    return InputError("slide_tiles_inconsistent", f"{what}.", "Files are missing or damaged: export the series again.")
