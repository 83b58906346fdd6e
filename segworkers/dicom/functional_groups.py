"""Functional groups: what an enhanced multi-frame image says of each of its frames (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from pydicom.datadict import tag_for_keyword

from segworkers.dicom.elements import DamagedHeaderError, Elements


@cache
def tag_of(keyword: str) -> int:
    """The tag of an attribute of the standard."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


SHARED = tag_of("SharedFunctionalGroupsSequence")
PER_FRAME = tag_of("PerFrameFunctionalGroupsSequence")

_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ImagePositionPatient": (("PlanePositionSequence",),),
    "ImageOrientationPatient": (("PlaneOrientationSequence",),),
    "PixelSpacing": (("PixelMeasuresSequence",),),
    "SliceThickness": (("PixelMeasuresSequence",),),
    "RescaleSlope": (("PixelValueTransformationSequence",),),
    "RescaleIntercept": (("PixelValueTransformationSequence",),),
    "RescaleType": (("PixelValueTransformationSequence",),),
    "RealWorldValueMappingSequence": ((),),
    "StackID": (("FrameContentSequence",),),
    "InStackPositionNumber": (("FrameContentSequence",),),
    "TemporalPositionIndex": (("FrameContentSequence",),),
    "FrameAcquisitionNumber": (("FrameContentSequence",),),
    "FrameAcquisitionDateTime": (("FrameContentSequence",),),
    "FrameType": (("CTImageFrameTypeSequence",), ("MRImageFrameTypeSequence",), ("PETFrameTypeSequence",)),
    "EffectiveEchoTime": (("MREchoSequence",),),
    "InversionTimes": (("MRModifierSequence",),),
    "DiffusionBValue": (("MRDiffusionSequence",),),
    "DiffusionGradientOrientation": (("MRDiffusionSequence", "DiffusionGradientDirectionSequence"),),
    "NominalCardiacTriggerDelayTime": (("CardiacSynchronizationSequence",),),
    "ConvolutionKernel": (("CTReconstructionSequence",),),
    "KVP": (("CTXRayDetailsSequence",),),
    "GantryDetectorTilt": (("CTAcquisitionDetailsSequence",),),
}
"""Where an attribute may be, from a frame's (or the shared) item down."""


@dataclass(frozen=True, slots=True)
class FrameGroups:
    """Where one frame's attributes are looked for: its own groups, the shared ones, the data set itself."""

    own: Elements | None
    shared: Elements | None
    top: Elements

    def holder(self, keyword: str) -> Elements:
        """The elements that hold an attribute; the data set's own where no group has it."""
        if self.own is None and self.shared is None:
            return self.top
        tag = tag_of(keyword)
        for groups in (self.own, self.shared):
            if groups is not None:
                for path in _PATHS.get(keyword, ()):
                    found = _descend(groups, path)
                    if found is not None and tag in found.raw:
                        return found
        return self.top

    def text(self, keyword: str) -> str:
        """See `Elements.text`."""
        return self.holder(keyword).text(tag_of(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """See `Elements.texts`."""
        return self.holder(keyword).texts(tag_of(keyword))

    def number(self, keyword: str) -> float | None:
        """See `Elements.number`."""
        return self.holder(keyword).number(tag_of(keyword))

    def numbers(self, keyword: str) -> tuple[float, ...] | None:
        """See `Elements.numbers`."""
        return self.holder(keyword).numbers(tag_of(keyword))

    def integer(self, keyword: str) -> int | None:
        """See `Elements.integer`."""
        return self.holder(keyword).integer(tag_of(keyword))

    def has_items(self, keyword: str) -> bool:
        """Whether a sequence is there and is not empty."""
        raw = self.holder(keyword).raw.get(tag_of(keyword))
        return raw is not None and bool(raw.value)


def _descend(groups: Elements, path: Sequence[str]) -> Elements | None:
    at = groups
    for keyword in path:
        items = at.items(tag_of(keyword))
        if not items:
            return None
        at = items[0]
    return at


def frames_of(top: Elements, count: int) -> list[FrameGroups]:
    """One for each frame of an image; only one where there are no groups. Raises DamagedHeaderError.

    count: NumberOfFrames.
    """
    if PER_FRAME not in top.raw:
        return [FrameGroups(None, next(iter(top.items(SHARED)), None), top)]
    own, shared = top.items(PER_FRAME), next(iter(top.items(SHARED)), None)
    if len(own) != count:
        raise DamagedHeaderError
    return [FrameGroups(each, shared, top) for each in own]
