"""NIfTI-1 files of a volume: its lesions as a label map (`.nii.gz`).

NIfTI counts millimetres to the right, front and head (RAS), DICOM to the left, back and head (LPS): the affine is
turned once, here; voxels stay in their order. Files are written slice by slice and hold no name, date or description;
the same input makes the same bytes.
"""
# nibabel is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.volumes import VolumeFacts, VolumeGeometry
from segworkers.dicom.lesions import Lesion, check_inside, in_order, paint, painting_order
from segworkers.whole_files import appearing

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER_BYTES = 352
_LONGEST_SIDE = 32_767
"""NIfTI-1 writes the shape in signed shorts."""
_SCANNER = 1
"""Code of coordinates that are the scanner's (NIFTI_XFORM_SCANNER_ANAT)."""


def write_nifti(facts: VolumeFacts, objects: Iterable[Lesion], folder: Path) -> list[Path]:
    """Write `SERIES-labels.nii.gz`: 0, or the lesion's `mask_value` (1, 2, … in order where those are not distinct).

    Where lesions overlap the higher score is on top, then the smaller one. Raises InputError `nifti_variable_spacing`
    or `nifti_too_large`: the format cannot say where such voxels lie, or holds no such shape.
    """
    lesions = in_order(objects)
    check_inside(lesions, facts.geometry.shape)
    values = [lesion.mask_value for lesion in lesions]
    if len(set(values)) < len(values) or min(values, default=1) < 1:
        values = list(range(1, len(lesions) + 1))
    dtype = _label_type(max(values, default=0))
    path = folder / f"{facts.series_id}-labels.nii.gz"
    return [_write(path, facts, dtype, _label_planes(lesions, values, facts.geometry, dtype))]


def ras_affine(geometry: VolumeGeometry) -> NDArray[np.float64]:
    """(4, 4) from (column, row, slice, 1) to millimetres RAS; shear is kept. ValueError where steps vary."""
    affine = geometry.affine()
    affine[:3, :3] = affine[:3, 2::-1]
    return _LPS_TO_RAS @ affine


def _label_type(highest: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if highest < 1 << 8 else np.uint16 if highest < 1 << 16 else np.int32)


def _label_planes(
    lesions: tuple[Lesion, ...], values: list[int], geometry: VolumeGeometry, dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    order = painting_order(lesions)
    for z in range(geometry.shape[0]):
        plane = np.zeros(geometry.shape[1:], dtype)
        for index in order:
            paint(plane, lesions[index].plane(z), values[index])
        yield plane


def _write(path: Path, facts: VolumeFacts, dtype: np.dtype[Any], planes: Iterable[NDArray[Any]]) -> Path:
    """Slices are NIfTI's slowest axis and columns its fastest, so that planes (y, x) follow each other as they are."""
    header = _header(facts, dtype)
    with (
        appearing(path) as partial,
        partial.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=file, mtime=0) as packed,
    ):
        header.write_to(packed)
        for plane in planes:
            packed.write(np.ascontiguousarray(plane, dtype.newbyteorder("<")).tobytes())
    return path


def _header(facts: VolumeFacts, dtype: np.dtype[Any]) -> Nifti1Header:
    geometry = facts.geometry
    if geometry.kind == "variable":
        raise InputError(
            "nifti_variable_spacing",
            f"series {facts.series_id}: its slices are not at equal steps, which NIfTI cannot express.",
            "Use the DICOM segmentation, which places every slice.",
        )
    if max(geometry.shape) > _LONGEST_SIDE:
        raise InputError(
            "nifti_too_large",
            f"series {facts.series_id}: expected at most {_LONGEST_SIDE} voxels a side, found {max(geometry.shape)}.",
            "Use the DICOM segmentation.",
        )
    header = Nifti1Header(endianness="<")
    header.set_data_shape(geometry.shape[::-1])
    header.set_data_dtype(dtype)
    affine = ras_affine(geometry)
    if geometry.kind == "regular":
        header.set_qform(affine, code=_SCANNER)
    else:  # a quaternion holds no shear
        header.set_qform(None, code=0)
        header.set_zooms(tuple(float(np.linalg.norm(column)) for column in affine[:3, :3].T))
    header.set_sform(affine, code=_SCANNER)
    header.set_xyzt_units("mm")
    header.set_data_offset(_HEADER_BYTES)
    return header
