"""Enhanced multi-frame objects (PS3.3 A.38, A.36) made from the classic slices of `tests.dicom_files`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedCTImageStorage

from tests.dicom_files import Pixels, add_pixels, add_study, blank, stored_of, uid

_CT_TYPE = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]


def enhanced(
    slices: Sequence[Dataset],
    order: Sequence[int] | None = None,
    *,
    sop_class: str = EnhancedCTImageStorage,
    name: str = "",
    stacks: Sequence[str] | None = None,
    temporal: Sequence[int] | None = None,
    b_values: Sequence[float] | None = None,
    modality: str = "CT",
) -> Dataset:
    """One object of all slices, its frames in `order` (indices into `slices`); geometry and rescale for each frame.

    `stacks` (StackID), `temporal` (TemporalPositionIndex) and `b_values` go with the slices.
    """
    order = list(order) if order is not None else list(range(len(slices)))
    first = slices[0]
    made = blank(sop_class, uid("enhanced", name, first.SOPInstanceUID))
    add_study(made, modality=modality)
    made.ImageType, made.InstanceNumber = _CT_TYPE, 1
    frames = np.concatenate([stored_of(slices[k]) for k in order])
    add_pixels(made, frames, Pixels(bits=first.BitsStored, signed=bool(first.PixelRepresentation)))
    made.NumberOfFrames = len(order)
    made.SharedFunctionalGroupsSequence = [_shared(first)]
    made.PerFrameFunctionalGroupsSequence = [
        _frame(slices[k], k, _at(stacks, k), _at(temporal, k), _at(b_values, k)) for k in order
    ]
    made.ContentQualification, made.BurnedInAnnotation = "PRODUCT", "NO"
    return made


def concatenation(slices: Sequence[Dataset], parts: int, **options: Any) -> list[Dataset]:
    """The same volume in several objects of one concatenation (PS3.3 C.7.6.16.2.2.4)."""
    made: list[Dataset] = []
    start = 0
    for k, indices in enumerate(np.array_split(np.arange(len(slices)), parts)):
        part = enhanced(slices, [int(i) for i in indices], name=f"part {k}", **options)
        part.ConcatenationUID = uid("concatenation")
        part.SOPInstanceUIDOfConcatenationSource = uid("concatenation source")
        part.InConcatenationNumber, part.InConcatenationTotalNumber = k + 1, parts
        part.ConcatenationFrameOffsetNumber = start
        start += len(indices)
        made.append(part)
    return made


def _at(values: Sequence[Any] | None, k: int) -> Any:
    return None if values is None else values[k]


def _shared(first: Dataset) -> Dataset:
    groups, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = first.PixelSpacing, first.SliceThickness
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    groups.PixelMeasuresSequence = DicomSequence([measures])
    groups.PlaneOrientationSequence = DicomSequence([orientation])
    return groups


def _frame(one: Dataset, k: int, stack: str | None, temporal: int | None, b_value: float | None) -> Dataset:
    groups, position, content, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = one.ImagePositionPatient
    content.StackID, content.InStackPositionNumber = stack or "1", k + 1
    content.FrameAcquisitionNumber = 1
    content.DimensionIndexValues = [1, k + 1]
    if temporal is not None:
        content.TemporalPositionIndex = temporal
    rescale.RescaleSlope, rescale.RescaleIntercept = one.RescaleSlope, one.RescaleIntercept
    rescale.RescaleType = one.get("RescaleType", "US")
    groups.PlanePositionSequence = DicomSequence([position])
    groups.FrameContentSequence = DicomSequence([content])
    groups.PixelValueTransformationSequence = DicomSequence([rescale])
    kind = Dataset()
    kind.FrameType = _CT_TYPE
    setattr(groups, f"{one.Modality}ImageFrameTypeSequence", DicomSequence([kind]))
    if b_value is not None:
        diffusion = Dataset()
        diffusion.DiffusionBValue = b_value
        groups.MRDiffusionSequence = DicomSequence([diffusion])
    return groups
