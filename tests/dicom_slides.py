"""Whole-slide DICOM for tests: levels of a picture, tiled in full or sparsely, and images that nobody may look at."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from segworkers.dicom.slides import WHOLE_SLIDE_STORAGE
from tests.dicom_files import add_study, blank, ds, uid


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a level is stored."""

    tile: tuple[int, int] = (16, 24)
    sparse: bool = False
    absent: Collection[int] = ()
    """Numbers of the tiles (row by row) that a sparse level leaves out."""
    jpeg: bool = False
    pixel_um: tuple[float, float] = (0.5, 0.5)
    flavour: str = "VOLUME"
    planes: int = 1
    """Focal planes; the second and later ones show the picture inverted."""
    paths: int = 1
    """Optical paths; likewise."""


def picture(rows: int = 70, columns: int = 100) -> NDArray[np.uint8]:
    """(rows, columns, 3), smooth, no two neighbours alike."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([2 * y % 256, 2 * x % 256, (y + x) % 256], axis=-1).astype(np.uint8)


def level(image: NDArray[Any], tiling: Tiling | None = None, *, name: str = "0", number: int = 1) -> Dataset:
    """One instance that shows `image` (rows, columns, 3), or (rows, columns) for grey."""
    tiling = tiling or Tiling()
    made = blank(WHOLE_SLIDE_STORAGE, uid("slide", name))
    add_study(made, modality="SM")
    made.ImageType, made.InstanceNumber = ["ORIGINAL", "PRIMARY", tiling.flavour, "NONE"], number
    made.TotalPixelMatrixRows, made.TotalPixelMatrixColumns = image.shape[:2]
    made.TotalPixelMatrixFocalPlanes, made.NumberOfOpticalPaths = tiling.planes, tiling.paths
    made.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    made.LossyImageCompression = "01" if tiling.jpeg else "00"
    made.DimensionOrganizationType = "TILED_SPARSE" if tiling.sparse else "TILED_FULL"
    made.OpticalPathSequence = DicomSequence([_path(k) for k in range(tiling.paths)])
    made.SharedFunctionalGroupsSequence = DicomSequence([_shared(tiling)])
    places = [
        (k, p, row, column)
        for p in range(tiling.paths)
        for k in range(tiling.planes)
        for row, column in _grid(image, tiling)
    ]
    count = len(places) // (tiling.planes * tiling.paths)
    kept = [each for n, each in enumerate(places) if n % count not in tiling.absent]
    frames = [_tile(image if k == p == 0 else 255 - image, row, column, tiling.tile) for k, p, row, column in kept]
    if tiling.sparse:
        made.PerFrameFunctionalGroupsSequence = DicomSequence([_position(*each, tiling) for each in kept])
    _store(made, frames, tiling)
    return made


def pyramid(tilings: Sequence[Tiling], image: NDArray[np.uint8] | None = None) -> list[Dataset]:
    """Levels of `picture`, each of half the size of the one before, with pixels of twice the size."""
    image = picture() if image is None else image
    made: list[Dataset] = []
    for k, tiling in enumerate(tilings):
        made.append(level(image[:: 2**k, :: 2**k], tiling, name=str(k), number=k + 1))
    return made


def unreadable(flavour: str, name: str) -> Dataset:
    """A LABEL, OVERVIEW or THUMBNAIL whose pixel data nobody can decode: opening them is an error."""
    made = level(picture(32, 48), Tiling(flavour=flavour, jpeg=True), name=name, number=9)
    made.PixelData = encapsulate([b"\xff\xd8ZZPHI patient's name\xff\xd9"] * int(made.NumberOfFrames))
    return made


def _grid(image: NDArray[Any], tiling: Tiling) -> list[tuple[int, int]]:
    height, width = tiling.tile
    return [(row, column) for row in range(0, image.shape[0], height) for column in range(0, image.shape[1], width)]


def _tile(image: NDArray[Any], row: int, column: int, tile: tuple[int, int]) -> NDArray[Any]:
    """A whole tile; beyond the picture it is 7."""
    made = np.full((*tile, *image.shape[2:]), 7, image.dtype)
    part = image[row : row + tile[0], column : column + tile[1]]
    made[: part.shape[0], : part.shape[1]] = part
    return made


def _store(made: Dataset, frames: list[NDArray[Any]], tiling: Tiling) -> None:
    samples, bits = (3 if frames[0].ndim == 3 else 1), 8 * frames[0].dtype.itemsize
    made.SamplesPerPixel, made.NumberOfFrames = samples, len(frames)
    made.Rows, made.Columns = tiling.tile
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = bits, bits, bits - 1, 0
    if samples == 3:
        made.PlanarConfiguration = 0
    made.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "YBR_FULL_422" if tiling.jpeg else "RGB"
    if not tiling.jpeg:
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = b"".join(frame.astype(frame.dtype.newbyteorder("<")).tobytes() for frame in frames)
        made.add_new("PixelData", "OB" if bits == 8 else "OW", data + b"\0" * (len(data) % 2))
        return
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.add_new("PixelData", "OB", encapsulate([_jpeg(frame) for frame in frames]))
    made["PixelData"].is_undefined_length = True


def _jpeg(frame: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=98)
    return buffer.getvalue()


def _path(k: int) -> Dataset:
    path = Dataset()
    path.OpticalPathIdentifier = str(k + 1)
    path.add_new("ICCProfile", "OB", b"profile!")
    return path


def _shared(tiling: Tiling) -> Dataset:
    groups, measures = Dataset(), Dataset()
    measures.PixelSpacing = [ds(each / 1000) for each in tiling.pixel_um]
    measures.SliceThickness, measures.SpacingBetweenSlices = "0.001", "0.002"
    groups.PixelMeasuresSequence = DicomSequence([measures])
    return groups


def _position(plane: int, path: int, row: int, column: int, tiling: Tiling) -> Dataset:
    groups, place, identity = Dataset(), Dataset(), Dataset()
    place.XOffsetInSlideCoordinateSystem, place.YOffsetInSlideCoordinateSystem = "0", "0"
    place.ZOffsetInSlideCoordinateSystem = ds(2.0 * plane)
    place.RowPositionInTotalImagePixelMatrix, place.ColumnPositionInTotalImagePixelMatrix = row + 1, column + 1
    identity.OpticalPathIdentifier = str(path + 1)
    groups.PlanePositionSlideSequence = DicomSequence([place])
    groups.OpticalPathIdentificationSequence = DicomSequence([identity])
    return groups
