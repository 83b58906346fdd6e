"""Series of every awkward kind, each by a name: `make("gantry_tilt", folder)`.

A maker returns the datasets (in the order of their place where they have one) and the truth that goes with them;
`make` writes them. `NAMES` lists all.
"""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    BasicTextSRStorage,
    EnhancedMRImageStorage,
    JPEG2000Lossless,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
)

from tests.dicom_files import (
    AXIAL_REVERSED,
    CORONAL,
    OBLIQUE,
    SAGITTAL,
    Layout,
    Made,
    Phantom,
    Pixels,
    add_pixels,
    add_study,
    blank,
    ct_series,
    save,
    stored_of,
    uid,
)
from tests.dicom_multiframe import concatenation, enhanced


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Datasets to be written, and the truth about them."""

    slices: Sequence[Dataset]
    layout: Layout = field(default_factory=Layout)
    """Of the slices that make the volume."""
    phantom: Phantom = field(default_factory=Phantom)
    damage: Callable[[Made], None] | None = None
    """What is done to the files afterwards."""
    names: Sequence[str] | None = None


Maker = Callable[[], Variant]
_MAKERS: dict[str, Maker] = {}


def make(name: str, folder: Path, *, word: str | None = None, alone: bool = True) -> tuple[Made, Variant]:
    """Write the fixture of that name into a folder.

    alone: False for an archive of several: another patient, study and series for each of them.
    """
    variant = _MAKERS[name]()
    for one in () if alone else variant.slices:
        one.PatientID = name
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(one, keyword, uid(name, getattr(one, keyword)))
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    made = save(variant.slices, folder, variant.names, word=word)
    if variant.damage:
        variant.damage(made)
    return made, variant


def _maker(function: Callable[[], Variant]) -> Maker:
    _MAKERS[function.__name__] = function
    return function


# --- order and geometry ---------------------------------------------------------------------------------------------


@_maker
def regular() -> Variant:
    return Variant(slices=ct_series())


@_maker
def shuffled_instance_numbers() -> Variant:
    slices = ct_series()
    numbers = list(range(1, len(slices) + 1))
    random.Random(7).shuffle(numbers)
    for one, number in zip(slices, numbers, strict=True):
        one.InstanceNumber = number
        one.SliceLocation = str(-number)
    return Variant(slices=slices)


def _oriented(iop: tuple[float, ...]) -> Variant:
    layout = Layout(iop=iop)
    return Variant(slices=ct_series(layout), layout=layout)


@_maker
def reversed_normal() -> Variant:
    """Column cosines (0, -1, 0)."""
    return _oriented(AXIAL_REVERSED)


@_maker
def coronal() -> Variant:
    return _oriented(CORONAL)


@_maker
def sagittal() -> Variant:
    return _oriented(SAGITTAL)


@_maker
def oblique() -> Variant:
    return _oriented(OBLIQUE)


@_maker
def non_square_pixels() -> Variant:
    """PixelSpacing [0.5, 0.8]: 0.5 mm between rows, 0.8 mm between columns."""
    layout = Layout(shape=(24, 72, 56), spacing=(2.5, 0.5, 0.8))
    return Variant(slices=ct_series(layout), layout=layout)


def _placed(places: Sequence[float]) -> Variant:
    layout = Layout(shape=(len(places), 40, 48), at=tuple(places))
    return Variant(slices=ct_series(layout), layout=layout)


@_maker
def missing_slice() -> Variant:
    return _placed([k for k in range(24) if k != 9])


@_maker
def missing_slices() -> Variant:
    """Slices 9, 14 and 15 of 24 are not there."""
    return _placed([k for k in range(24) if k not in {9, 14, 15}])


@_maker
def two_spacings() -> Variant:
    """2.5 mm, and 1.75 mm from the middle on."""
    return _placed([float(k) for k in range(12)] + [11 + 0.7 * k for k in range(1, 17)])


@_maker
def jittered_spacing() -> Variant:
    """Positions rounded to 0.01 mm, as decimal strings are: regular."""
    slices = ct_series(layout := Layout(spacing=(2.4983, 1.0, 1.0)))
    for one in slices:
        one.ImagePositionPatient = [f"{float(v):.2f}" for v in one.ImagePositionPatient]
    return Variant(slices=slices, layout=layout)


@_maker
def gantry_tilt() -> Variant:
    layout = Layout(tilt_deg=13.5)
    return Variant(slices=ct_series(layout), layout=layout)


@_maker
def single_slice() -> Variant:
    return Variant(slices=ct_series()[:1])


@_maker
def two_slices() -> Variant:
    layout = Layout(shape=(2, 40, 48))
    return Variant(slices=ct_series(layout), layout=layout)


# --- several stacks in a series -------------------------------------------------------------------------------------


@_maker
def scout_in_series() -> Variant:
    """A coronal topogram and an axial one of the same matrix, both in the same series."""
    scout = ct_series(Layout(shape=(1, 120, 48), iop=CORONAL, spacing=(1.0, 1.0, 1.0)), name="scout")[0]
    axial = ct_series(Layout(shape=(1, 40, 48), middle=(12.3, -45.6, 250.0)), name="axial scout")[0]
    for one in (scout, axial):
        one.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return Variant(slices=[*ct_series(), scout, axial])


@_maker
def two_phases() -> Variant:
    """The same places twice, distinguished by TemporalPositionIdentifier; the later is 40 HU brighter inside."""
    early, late = ct_series(name="early"), ct_series(values=Phantom(inside=100.0), name="late")
    for phase, slices in enumerate((early, late), start=1):
        for one in slices:
            one.TemporalPositionIdentifier = phase
    return Variant(slices=[*early, *late])


@_maker
def two_acquisitions() -> Variant:
    """Two phases by AcquisitionNumber, of which the second covers more."""
    early, late = ct_series(name="early"), ct_series(Layout(shape=(30, 40, 48)), name="late")
    for one in late:
        one.AcquisitionNumber = 2
    return Variant(slices=[*early, *late])


@_maker
def uneven_acquisitions() -> Variant:
    """Two phases by AcquisitionNumber whose slices lie between each other, 0.7 mm apart: no two at one position."""
    early = ct_series(name="early")
    late = ct_series(Layout(middle=(12.3, -45.6, 79.6)), values=Phantom(inside=100.0), name="late")
    for one in late:
        one.AcquisitionNumber = 2
    return Variant(slices=[*early, *late])


@_maker
def one_acquisition_number_each() -> Variant:
    """A step-and-shoot scan: each slice is an acquisition of its own, and the volume is still one."""
    slices = ct_series()
    for k, one in enumerate(slices):
        one.AcquisitionNumber, one.ContentTime, one.AcquisitionTime = k + 1, f"1017{k:02d}", f"1017{k:02d}"
    return Variant(slices=slices)


@_maker
def phases_by_time() -> Variant:
    """Two passes that nothing but ContentTime tells apart."""
    early, late = ct_series(name="early"), ct_series(values=Phantom(inside=100.0), name="late")
    for minute, slices in ((20, early), (30, late)):
        for one in slices:
            one.ContentTime = f"10{minute}00.5"
    return Variant(slices=[*early, *late])


@_maker
def duplicate_positions() -> Variant:
    """Two images of one place with other content, and nothing that tells them apart."""
    slices = ct_series()
    other = ct_series(values=Phantom(inside=100.0), name="other")
    return Variant(slices=[*slices, other[11], other[12]])


MR_PHANTOM = Phantom(inside=700.0, outside=100.0)


def _mr_series(name: str, **options: Any) -> list[Dataset]:
    slices = ct_series(
        values=MR_PHANTOM,
        name=name,
        sop_class=MRImageStorage,
        modality="MR",
        pixels=Pixels(intercept=0.0),
    )
    for one in slices:
        one.ImageType, one.ScanningSequence, one.EchoTime = ["ORIGINAL", "PRIMARY", "M"], "GR", "2.5"
        for keyword, value in options.items():
            setattr(one, keyword, value)
        del one.KVP, one.ConvolutionKernel, one.RescaleSlope, one.RescaleIntercept
    return slices


@_maker
def mr_two_echoes() -> Variant:
    """In-phase and opposed-phase echoes, by EchoNumbers."""
    return Variant(
        phantom=MR_PHANTOM,
        slices=[*_mr_series("echo 1", EchoNumbers=1), *_mr_series("echo 2", EchoNumbers=2, EchoTime="4.9")],
    )


@_maker
def mr_dixon() -> Variant:
    """Water and fat images, by ImageType."""
    water, fat = _mr_series("water"), _mr_series("fat")
    for kind, slices in (("WATER", water), ("FAT", fat)):
        for one in slices:
            one.ImageType = ["DERIVED", "PRIMARY", "DIXON", kind]
    return Variant(phantom=MR_PHANTOM, slices=[*water, *fat])


@_maker
def mr_diffusion() -> Variant:
    """Two b-values."""
    return Variant(
        phantom=MR_PHANTOM, slices=[s for b in (0.0, 800.0) for s in _mr_series(f"b {b}", DiffusionBValue=b)]
    )


@_maker
def cardiac() -> Variant:
    """Three cardiac phases, by TriggerTime."""
    return Variant(
        phantom=MR_PHANTOM, slices=[s for t in (0, 120, 240) for s in _mr_series(f"t {t}", TriggerTime=str(t))]
    )


@_maker
def mixed_matrices() -> Variant:
    """Some slices of another matrix in the same series."""
    odd = ct_series(Layout(shape=(6, 32, 32), middle=(12.3, -45.6, 300.0)), name="odd")
    return Variant(slices=[*ct_series(), *odd])


# --- duplicates, damage ---------------------------------------------------------------------------------------------


@_maker
def identical_duplicates() -> Variant:
    slices = ct_series()
    return Variant(slices=[*slices, deepcopy(slices[3]), deepcopy(slices[3]), deepcopy(slices[20])])


@_maker
def identical_pixels() -> Variant:
    """A slice twice under two SOPInstanceUIDs, equal to the last pixel."""
    slices = ct_series()
    again = deepcopy(slices[7])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = uid("again")
    return Variant(slices=[*slices, again])


@_maker
def duplicate_sop_uid() -> Variant:
    """Two files claim one SOPInstanceUID and differ in their pixels."""
    slices = ct_series()
    other = ct_series(values=Phantom(inside=100.0))[11]
    assert other.SOPInstanceUID == slices[11].SOPInstanceUID
    return Variant(slices=[*slices, other])


@_maker
def zero_byte_file() -> Variant:
    return Variant(slices=ct_series(), damage=lambda made: (made.folder / "IM9999").write_bytes(b"") and None)


@_maker
def truncated_file() -> Variant:
    """The pixels of one slice end early."""

    def cut(made: Made) -> None:
        data = made.files[8].read_bytes()
        made.files[8].write_bytes(data[:-700])

    return Variant(slices=ct_series(), damage=cut)


@_maker
def truncated_header() -> Variant:
    """One file ends within its header."""

    def cut(made: Made) -> None:
        made.files[8].write_bytes(made.files[8].read_bytes()[:700])

    return Variant(slices=ct_series(), damage=cut)


@_maker
def no_preamble() -> Variant:
    """Neither preamble nor file meta information, implicit VR little endian: as ACR-NEMA's heirs wrote them."""

    def strip(made: Made) -> None:
        for file in made.files:
            one = pydicom.dcmread(file)
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, Dataset(one), implicit_vr=True, little_endian=True)
            file.write_bytes(buffer.getvalue())

    return Variant(slices=ct_series(), damage=strip)


def _without(keyword: str, value: Any = None, only: int | None = None) -> Variant:
    slices = ct_series()
    for k, one in enumerate(slices):
        if only is None or k == only:
            if value is None:
                delattr(one, keyword)
            else:
                setattr(one, keyword, value)
    return Variant(slices=slices)


@_maker
def missing_position() -> Variant:
    return _without("ImagePositionPatient")


@_maker
def missing_position_of_one() -> Variant:
    return _without("ImagePositionPatient", only=5)


@_maker
def blank_position() -> Variant:
    return _without("ImagePositionPatient", "")


@_maker
def missing_orientation() -> Variant:
    return _without("ImageOrientationPatient")


@_maker
def zero_cosines() -> Variant:
    return _without("ImageOrientationPatient", ["0"] * 6)


@_maker
def missing_spacing() -> Variant:
    return _without("PixelSpacing")


@_maker
def zero_spacing() -> Variant:
    return _without("PixelSpacing", ["0", "0"])


@_maker
def missing_frame_of_reference() -> Variant:
    return _without("FrameOfReferenceUID")


def _patched(old: bytes, new: bytes) -> Callable[[Made], None]:
    assert len(old) == len(new)

    def patch(made: Made) -> None:
        for file in made.files:
            data = file.read_bytes()
            assert data.count(old) == 1
            file.write_bytes(data.replace(old, new))

    return patch


@_maker
def nan_position() -> Variant:
    """The text NaN in a decimal string, which pydicom would not write."""
    slices = ct_series()
    for one in slices:
        one.ImagePositionPatient = ["-11.25", "-65.125", one.ImagePositionPatient[2]]
    return Variant(slices=slices, damage=_patched(b"-11.25\\", b"NaN   \\"))


@_maker
def overlong_position() -> Variant:
    """Decimal strings of more than 16 characters, wrong by the standard and of good meaning."""
    slices = ct_series()
    for one in slices:
        element = one.data_element("ImagePositionPatient")
        text = "\\".join(f"{float(v):.17f}"[:20] for v in element.value)
        one.add_new(element.tag, "LO", text.split("\\"))
    return Variant(slices=slices, damage=_relabelled)


def _relabelled(made: Made) -> None:
    """Turn the VR LO of ImagePositionPatient into DS, in explicit VR little endian."""
    for file in made.files:
        data = file.read_bytes()
        tag = b"\x20\x00\x32\x00"
        assert data.count(tag + b"LO") == 1
        file.write_bytes(data.replace(tag + b"LO", tag + b"DS"))


# --- values ---------------------------------------------------------------------------------------------------------


@_maker
def monochrome1() -> Variant:
    slices = ct_series()
    for one in slices:
        one.PhotometricInterpretation = "MONOCHROME1"
    return Variant(slices=slices)


@_maker
def signed_12_bits() -> Variant:
    """BitsStored 12, two's complement, with rubbish in the four bits above."""
    slices = ct_series(pixels=Pixels(bits=12, signed=True, intercept=0.0))
    for one in slices:
        rubbish = (stored_of(one).astype(np.uint16) & 0x0FFF) | 0x5000
        one.PixelData = rubbish.astype("<u2").tobytes()
    return Variant(slices=slices)


def _padded(padding: int, limit: int | None) -> Variant:
    """Stored values outside the scanner's circle are padding, in a 16-bit signed image."""
    layout = Layout()
    slices = ct_series(layout, pixels=Pixels(bits=16, signed=True))
    for one in slices:
        stored = stored_of(one)[0].copy()
        y, x = np.indices(stored.shape)
        outside = np.hypot(y - 19.5, x - 23.5) > 21
        stored[outside] = padding if limit is None else padding + (limit - padding) * (x[outside] % 2)
        one.add_new("PixelData", "OW", stored.astype("<i2").tobytes())
        one.add_new("PixelPaddingValue", "SS", padding)
        if limit is not None:
            one.add_new("PixelPaddingRangeLimit", "SS", limit)
    return Variant(slices=slices, layout=layout)


@_maker
def padding() -> Variant:
    return _padded(-2000, None)


@_maker
def padding_range() -> Variant:
    """PixelPaddingRangeLimit -1990: -2000..-1990 are padding."""
    return _padded(-2000, -1990)


@_maker
def fractional_slope() -> Variant:
    return Variant(slices=ct_series(pixels=Pixels(slope=0.5, intercept=-1000.0)))


@_maker
def one_fractional_slope() -> Variant:
    """Slope 1 on every slice but the last: the type must not be taken from the first."""
    each = [Pixels()] * 23 + [Pixels(slope=0.5, intercept=-1000.0)]
    return Variant(slices=ct_series(pixels=each))


def _pet(**changes: Any) -> Variant:
    """BQML, slope different on each slice, the first slice empty."""
    layout = Layout()
    phantom = Phantom(inside=20_000.0, outside=1_500.0)
    values = phantom.values(layout.positions())
    values[0] = 0
    each = [Pixels(slope=round(0.5 + 0.13 * (k % 7), 2), intercept=0.0, bits=16) for k in range(layout.shape[0])]
    slices = ct_series(layout, values, pixels=each, sop_class=PositronEmissionTomographyImageStorage, modality="PT")
    for k, one in enumerate(slices):
        del one.KVP, one.ConvolutionKernel
        one.ImageType, one.Units, one.DecayCorrection = ["ORIGINAL", "PRIMARY"], "BQML", "START"
        one.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"]
        one.PatientWeight, one.ImageIndex = "75", k + 1
        one.AcquisitionTime = f"10{17 + k // 8}30"
        one.SeriesType = ["WHOLE BODY", "IMAGE"]
        drug = Dataset()
        drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = str(int(DOSE_BQ)), "6586.2"
        drug.RadiopharmaceuticalStartTime = "091500.00"
        drug.RadiopharmaceuticalStartDateTime = "20210305091500.00"
        one.RadiopharmaceuticalInformationSequence = [drug]
        for keyword, value in changes.items():
            owner = drug if keyword.startswith("Radio") else one
            if value is None:
                delattr(owner, keyword)
            else:
                setattr(owner, keyword, value)
    return Variant(slices=slices, layout=layout, phantom=phantom)


DOSE_BQ = 3.7e8
"""Injected activity of the PET fixtures; half-life 6586.2 s (F-18), 75 kg, injected 3,720 s before the series."""


@_maker
def pet() -> Variant:
    return _pet()


@_maker
def pet_without_weight() -> Variant:
    return _pet(PatientWeight=None)


@_maker
def pet_without_half_life() -> Variant:
    return _pet(RadionuclideHalfLife=None)


@_maker
def pet_not_attenuation_corrected() -> Variant:
    return _pet(CorrectedImage=["NORM", "DECY"])


@_maker
def pet_decay_to_administration() -> Variant:
    return _pet(DecayCorrection="ADMIN")


@_maker
def pet_gml() -> Variant:
    """Values that are SUVbw already."""
    return _pet(Units="GML", SUVType="BW")


@_maker
def pet_philips_counts() -> Variant:
    """Units CNTS, with Philips' private factor to SUV (7053,1000)."""
    variant = _pet(Units="CNTS", Manufacturer="Philips Medical Systems")
    for one in variant.slices:
        block = one.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.000271")
        block.add_new(0x09, "DS", "1.75")
    return variant


# --- transfer syntaxes ----------------------------------------------------------------------------------------------

TRANSFER_SYNTAXES: dict[str, str] = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg_lossless": "1.2.840.10008.1.2.4.70",
    "jpeg_ls": "1.2.840.10008.1.2.4.80",
    "jpeg_2000": "1.2.840.10008.1.2.4.90",
}
"""Lossless ones that we can write, by a short name."""


def in_transfer_syntax(slices: Sequence[Dataset], syntax: str) -> list[Dataset]:
    """Copies of uncompressed datasets in a transfer syntax of `TRANSFER_SYNTAXES` (its short name)."""
    target, made = TRANSFER_SYNTAXES[syntax], [deepcopy(one) for one in slices]
    for k, one in enumerate(made):
        if syntax in {"implicit", "explicit", "deflated"}:
            one.file_meta.TransferSyntaxUID = target
        elif syntax == "jpeg_lossless":
            made[k] = _by_gdcm(one)
        else:
            one.compress(target, generate_instance_uid=False)
    return made


def _by_gdcm(one: Dataset) -> Dataset:
    """JPEG lossless, selection value 1, which no encoder of pydicom's writes; skips the test where GDCM is not."""
    gdcm: Any = pytest.importorskip("gdcm")
    with tempfile.TemporaryDirectory() as folder:
        raw, packed = f"{folder}/raw", f"{folder}/packed"
        one.save_as(raw, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(raw)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(packed)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        one.PixelData = pydicom.dcmread(packed).PixelData
    one["PixelData"].VR = "OB"
    one["PixelData"].is_undefined_length = True
    one.file_meta.TransferSyntaxUID = TRANSFER_SYNTAXES["jpeg_lossless"]
    return one


@_maker
def j2k_sign_mismatch() -> Variant:
    """PixelRepresentation says signed, the JPEG 2000 codestream unsigned; the bits are two's complement."""
    slices = ct_series(pixels=Pixels(bits=16, signed=True, intercept=0.0))
    for one in slices:
        unsigned: NDArray[np.uint16] = stored_of(one)[0].astype(np.uint16)
        one.PixelData = encapsulate([encode_array(unsigned, bits_stored=16, codec_format=0)])
        one["PixelData"].VR = "OB"
        one.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return Variant(slices=slices)


def _in(syntax: str) -> Maker:
    def maker() -> Variant:
        return Variant(slices=in_transfer_syntax(ct_series(), syntax))

    maker.__name__ = f"transfer_{syntax}"
    return maker


for _syntax in TRANSFER_SYNTAXES:
    _maker(_in(_syntax))


@_maker
def lossy() -> Variant:
    slices = ct_series()
    for one in slices:
        one.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        one.LossyImageCompression, one.LossyImageCompressionRatio = "01", "12"
        one.LossyImageCompressionMethod = "ISO_10918_1"
    return Variant(slices=slices)


@_maker
def burned_in() -> Variant:
    return _without("BurnedInAnnotation", "YES")


# --- multi-frame ----------------------------------------------------------------------------------------------------


def _shuffled(count: int) -> list[int]:
    order = list(range(count))
    random.Random(3).shuffle(order)
    return order


@_maker
def enhanced_ct() -> Variant:
    """Frames in random order, a rescale of its own for each."""
    each = [Pixels(intercept=-1024.0 + k) for k in range(24)]
    return Variant(slices=[enhanced(ct_series(pixels=each), _shuffled(24))])


@_maker
def enhanced_mr() -> Variant:
    """Two b-values in one object."""
    slices = [s for b in (0, 800) for s in _enhanceable_mr(f"b {b}")]
    b_values = [0.0] * 24 + [800.0] * 24
    made = enhanced(slices, _shuffled(48), sop_class=EnhancedMRImageStorage, b_values=b_values, modality="MR")
    return Variant(phantom=MR_PHANTOM, slices=[made])


def _enhanceable_mr(name: str) -> list[Dataset]:
    slices = _mr_series(name)
    for one in slices:
        one.RescaleSlope, one.RescaleIntercept = "1", "0"
    return slices


@_maker
def enhanced_two_stacks() -> Variant:
    """An axial stack and one of the same orientation farther up, by StackID, at a distance that fits no gap."""
    other = Layout(shape=(10, 40, 48), middle=(12.3, -45.6, 201.3))
    slices = [*ct_series(), *ct_series(other, name="other")]
    return Variant(slices=[enhanced(slices, _shuffled(34), stacks=["1"] * 24 + ["2"] * 10)])


@_maker
def enhanced_phases() -> Variant:
    """Two phases by TemporalPositionIndex."""
    slices = [*ct_series(), *ct_series(values=Phantom(inside=100.0), name="late")]
    return Variant(slices=[enhanced(slices, _shuffled(48), temporal=[1] * 24 + [2] * 24)])


@_maker
def enhanced_concatenation() -> Variant:
    return Variant(slices=concatenation(ct_series(), 3))


@_maker
def mosaic() -> Variant:
    """Siemens: many slices as tiles of one picture, with one position."""
    slices = _mr_series("mosaic")[:3]
    for one in slices:
        one.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        block = one.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", 36)
    return Variant(slices=slices)


# --- other objects --------------------------------------------------------------------------------------------------


def _other(sop_class: str, modality: str, *, pixels: bool = False) -> Dataset:
    made = blank(sop_class, uid("other", sop_class))
    add_study(made, modality=modality, series="9")
    if pixels:
        add_pixels(made, np.zeros((16, 16), np.uint16), Pixels())
    return made


@_maker
def with_other_objects() -> Variant:
    """Segmentation, report, screen shot, ultrasound and text beside the slices, all without an extension."""
    others = [
        _other(SegmentationStorage, "SEG"),
        _other(BasicTextSRStorage, "SR"),
        _other(SecondaryCaptureImageStorage, "OT", pixels=True),
        _other(UltrasoundImageStorage, "US", pixels=True),
        _other("1.2.840.10008.5.1.4.1.1.11.1", "PR"),
        _other("1.2.840.10008.5.1.4.1.1.88.59", "KO"),
        _other("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"),
        _other("1.2.840.10008.5.1.4.1.1.104.1", "DOC"),
    ]

    def add_text(made: Made) -> None:
        (made.folder / "README").write_text("not DICOM\n")

    return Variant(slices=[*ct_series(), *others], damage=add_text)


NAMES = tuple(_MAKERS)
"""Of all fixtures."""
