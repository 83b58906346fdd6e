"""Header: what the decisions need to know of one frame, or of one file that is no image. Pure data, no library.

It holds originals (UIDs, patient identity, places of files), so it stays on the driver and in the crosswalk's company:
it is never written to a table, a log or a message, and its representation shows none of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from segworkers.dicom.slide import SlidePart


@dataclass(frozen=True, slots=True, kw_only=True)
class PetHeader:
    """What SUV needs (PS3.3 C.8.9.1, C.8.9.2); None or "" where the file does not say."""

    units: str = ""
    """Units (0054,1001): BQML, GML, CNTS …"""
    suv_type: str = ""
    """SUVType (0054,1006); "" means body weight."""
    decay_correction: str = ""
    """DecayCorrection (0054,1102): START, ADMIN or NONE."""
    corrected_image: tuple[str, ...] = ()
    """CorrectedImage (0028,0051)."""
    weight_kg: float | None = None
    dose_bq: float | None = None
    """RadionuclideTotalDose (0018,1074)."""
    half_life_s: float | None = None
    """RadionuclideHalfLife (0018,1075)."""
    injection_datetime: str = ""
    """RadiopharmaceuticalStartDateTime (0018,1078), as DICOM writes it."""
    injection_time: str = ""
    """RadiopharmaceuticalStartTime (0018,1072)."""
    series_datetime: str = ""
    """SeriesDate and SeriesTime, joined."""
    acquisition_datetime: str = ""
    """AcquisitionDate and AcquisitionTime joined, or AcquisitionDateTime."""
    ge_scan_datetime: str = ""
    """GE's private (0009,xx0D), block "GEMS_PETD_01": the scan's start, to which a derived series is corrected."""
    philips_suv_factor: float | None = None
    """Philips' private (7053,xx00), block "Philips PET Private Group": from calibrated counts to SUVbw."""
    philips_activity_factor: float | None = None
    """Philips' private (7053,xx09): from calibrated counts to Bq/ml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One frame of one file. A multi-frame object gives one for each frame, with the frame's own functional groups.

    Numbers are as the file says them: NaN where a decimal string is no number, None where the attribute is absent or
    empty. `ipp`, `iop` and `pixel_spacing` keep whatever count of values the file has. Codes (CS) are stripped.
    """

    place: str = field(repr=False)
    """Absolute path, s3:// URL, or `ARCHIVE.zip!member`."""
    frame: int = 0
    """0-based frame in that file."""
    frames: int = 1
    """NumberOfFrames of the file."""
    size: int = 0
    """Bytes of the file, and"""
    stamp: str = ""
    """its modification time in nanoseconds, or ETag."""
    is_truncated: bool = False
    """The file ends before its pixels do (PixelData of known length, or fragments without their end)."""

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    """IssuerOfPatientID (0010,0021)."""
    study_uid: str = field(default="", repr=False)
    series_uid: str = field(default="", repr=False)
    sop_uid: str = field(default="", repr=False)
    frame_of_reference_uid: str = field(default="", repr=False)
    sop_class: str = ""
    """SOPClassUID (0008,0016); by it alone is decided whether a file can be part of a volume. Like"""
    transfer_syntax: str = ""
    """it is "" where it has other characters than digits and dots."""
    modality: str = ""
    """Modality (0008,0060): one of `segworkers.dicom.modalities.MODALITIES`, OT for another; "" where absent."""
    image_type: tuple[str, ...] = ()
    """ImageType (0008,0008); of an enhanced frame its FrameType (0008,9007)."""
    instance_number: int | None = None
    """Recorded, never sorted by."""

    rows: int = 0
    columns: int = 0
    ipp: tuple[float, ...] | None = None
    """ImagePositionPatient (0020,0032), LPS mm."""
    iop: tuple[float, ...] | None = None
    """ImageOrientationPatient (0020,0037): cosines along a row, then down a column."""
    pixel_spacing: tuple[float, ...] | None = None
    """PixelSpacing (0028,0030): between rows, between columns, mm. Never ImagerPixelSpacing."""
    slice_thickness: float | None = None
    gantry_tilt: float | None = None
    """GantryDetectorTilt (0018,1120): nominal, "not intended for mathematical computations"; recorded only."""

    samples: int = 1
    """SamplesPerPixel (0028,0002)."""
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    signed: bool = False
    """PixelRepresentation (0028,0103) 1."""
    photometric: str = "MONOCHROME2"
    padding: int | None = None
    """PixelPaddingValue (0028,0120), a stored value."""
    padding_limit: int | None = None
    """PixelPaddingRangeLimit (0028,0121)."""
    has_pixels: bool = True
    """PixelData (7FE0,0010) is there; False for float pixel data and for files that hold none."""
    slope: float | None = None
    """RescaleSlope (0028,1053)."""
    intercept: float | None = None
    """RescaleIntercept (0028,1052)."""
    rescale_type: str = ""
    """RescaleType (0028,1054)."""
    has_modality_lut: bool = False
    """ModalityLUTSequence (0028,3000) has items."""
    has_real_world_mapping: bool = False
    """RealWorldValueMappingSequence (0040,9096) has items, of the image or of the frame."""
    real_world: tuple[float, ...] = ()
    """Slope, intercept, first and last stored value of its only item, where that is linear and its unit is known."""
    real_world_unit: str = ""
    """UCUM code of that item, one of `segworkers.dicom.real_world.UNITS`."""
    is_lossy: bool = False
    """LossyImageCompression (0028,2110) 01."""
    burned_in: str = ""
    """BurnedInAnnotation (0028,0301): YES, NO, or "" where the file says neither, which is not NO."""

    stack_id: str = ""
    """StackID (0020,9056)."""
    in_stack_position: int | None = None
    """InStackPositionNumber (0020,9057); recorded, never sorted by."""
    concatenation_uid: str = field(default="", repr=False)
    """ConcatenationUID (0020,9161)."""
    concatenation_number: int | None = None
    """InConcatenationNumber (0020,9162)."""
    concatenation_total: int | None = None
    """InConcatenationTotalNumber (0020,9163)."""
    acquisition_number: int | None = None
    """AcquisitionNumber (0020,0012), or FrameAcquisitionNumber (0020,9156)."""
    temporal_position: int | None = None
    """TemporalPositionIdentifier (0020,0100), or TemporalPositionIndex (0020,9128)."""
    trigger_time: float | None = None
    """TriggerTime (0018,1060), or NominalCardiacTriggerDelayTime (0020,9153), ms."""
    echo_numbers: tuple[int, ...] = ()
    """EchoNumbers (0018,0086)."""
    echo_time: float | None = None
    """EchoTime (0018,0081), or EffectiveEchoTime (0018,9082), ms."""
    inversion_time: float | None = None
    """InversionTime (0018,0082), ms."""
    b_value: float | None = None
    """DiffusionBValue (0018,9087)."""
    gradient: tuple[float, ...] = ()
    """DiffusionGradientOrientation (0018,9089)."""
    frame_reference_time: float | None = None
    """FrameReferenceTime (0054,1300) of a dynamic PET, ms."""
    acquisition_time: str = field(default="", repr=False)
    """AcquisitionDate and AcquisitionTime joined, or FrameAcquisitionDateTime (0018,9074)."""
    content_time: str = field(default="", repr=False)
    """ContentDate and ContentTime, joined."""

    pet: PetHeader | None = field(default=None, repr=False)
    """None for other modalities."""

    pyramid_uid: str = field(default="", repr=False)
    """PyramidUID (0008,0019): what the levels of one slide share; "" in older files."""
    container: str = field(default="", repr=False)
    """ContainerIdentifier (0040,0512) of a slide: the glass."""
    matrix: tuple[int, ...] = ()
    """TotalPixelMatrixRows (0048,0007) and TotalPixelMatrixColumns (0048,0006) of a level of a slide."""
    slide: SlidePart | None = field(default=None, repr=False)
    """Of a file that holds a level of a slide, or a part of one."""
    slide_problem: tuple[str, ...] = ()
    """Reason code, message and hint where it holds a level that cannot be read."""

    manufacturer: str = ""
    """Manufacturer (0008,0070); like model and kernel "" where it may not be shown
    (`segworkers.dicom.technical_texts`)."""
    model: str = ""
    """ManufacturerModelName (0008,1090)."""
    kvp: float | None = None
    kernel: str = ""
    """ConvolutionKernel (0018,1210)."""
    has_contrast: bool | None = None
    """Whether ContrastBolusAgent (0018,0010) or its code sequence says something; its text never leaves the file."""
