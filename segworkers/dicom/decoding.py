"""From one frame of a DICOM file to its stored values, with decoders in a fixed order.

Lossless decoders agree on every bit; the order only decides the time (measured on CT slices of 512 × 512: JPEG-LS 5 ms
by pyjpegls and 8 by GDCM, JPEG 2000 22 ms by OpenJPEG and 28 by GDCM, JPEG lossless 7 ms by GDCM and 9 by libjpeg).
Stored values are the BitsStored bits up to HighBit, sign-extended where PixelRepresentation is 1 (PS3.5 8.1.1),
whatever sign the codec believes in. Presentation (VOI LUT, MONOCHROME1) is for the eye and is not applied
(PS3.3 C.11.2, C.7.6.3.1.2).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pydicom's elements have no types of their own.

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import as_pixel_options

import segworkers.dicom.quiet  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schemas.errors import InputError
from segworkers.dicom.calibration import ModalityLut
from segworkers.dicom.elements import uid_or_empty
from segworkers.dicom.frames import FrameIndex, damaged, encapsulated_frames, native_frames

_JPEG_LS = (("pyjpegls", "pyjpegls"), ("gdcm", "python-gdcm"), ("pylibjpeg", "pylibjpeg-libjpeg"))
_JPEG_2000 = (("pylibjpeg", "pylibjpeg-openjpeg"), ("gdcm", "python-gdcm"))
_JPEG_LOSSLESS = (("gdcm", "python-gdcm"), ("pylibjpeg", "pylibjpeg-libjpeg"))
_JPEG_8_BIT = (("pillow", "pillow"), ("pylibjpeg", "pylibjpeg-libjpeg"), ("gdcm", "python-gdcm"))
DECODERS: dict[str, tuple[tuple[str, str], ...]] = {
    uid.RLELossless: (("pydicom", "pydicom"),),
    uid.JPEGBaseline8Bit: _JPEG_8_BIT,
    uid.JPEGExtended12Bit: (("pylibjpeg", "pylibjpeg-libjpeg"),),
    uid.JPEGLossless: _JPEG_LOSSLESS,
    uid.JPEGLosslessSV1: _JPEG_LOSSLESS,
    uid.JPEGLSLossless: _JPEG_LS,
    uid.JPEGLSNearLossless: _JPEG_LS,
    uid.JPEG2000Lossless: _JPEG_2000,
    uid.JPEG2000: _JPEG_2000,
    uid.HTJ2KLossless: _JPEG_2000[:1],
    uid.HTJ2KLosslessRPCL: _JPEG_2000[:1],
    uid.HTJ2K: _JPEG_2000[:1],
}
"""Transfer syntax: pydicom's plugins, the one to use first, each with the package that brings it."""
NATIVE = frozenset(
    {
        *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian),
        *(uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian),
    }
)
"""Transfer syntaxes that need no decoder."""

_KEYWORDS = {0x0010: "PixelData", 0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}
_TAGS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ModalityLUTSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


def available_syntaxes() -> dict[str, bool]:
    """Every transfer syntax this module knows, and whether an installed package decodes it."""
    return {str(syntax): True for syntax in NATIVE} | {str(syntax): _plugin(syntax) is not None for syntax in DECODERS}


def _plugin(syntax: str) -> str | None:
    installed = get_decoder(uid.UID(syntax)).available_plugins
    return next((plugin for plugin, _ in DECODERS[syntax] if plugin in installed), None)


def plugin_for(syntax: str) -> str:
    """The plugin that decodes a transfer syntax; "" where none is needed.

    Raises InputError: `no_decoder` where a package must be installed, `unsupported_syntax` where none is known.
    """
    if syntax in NATIVE:
        return ""
    name = uid.UID(syntax).name or "(none)"
    if syntax not in DECODERS:
        raise InputError(
            "unsupported_syntax",
            f"pixels of the transfer syntax {name} cannot be decoded.",
            "Convert the files first, to JPEG-LS lossless for instance.",
        )
    plugin = _plugin(syntax)
    if plugin is None:
        package = DECODERS[syntax][0][1]
        raise InputError(
            "no_decoder",
            f"no installed package decodes the transfer syntax {name}.",
            f"Install {package} where the workers run: pip install {package}",
        )
    return plugin


class PixelFile:
    """The pixel data of an open file. Not for several threads at a time."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the image pixel attributes, nothing else of the header, and find the pixel data.

        Raises InputError: `read_failed`, `no_decoder`, `unsupported_syntax`. Messages say neither file nor values.
        """
        self._header, self._file, self.syntax = _header(file)
        self._options = _options(self._header, self.syntax)
        self._plugin = plugin_for(self.syntax)
        self._decoder = get_decoder(uid.UID(self.syntax))
        self._frames = self._index()

    @property
    def frames(self) -> int:
        """Number of frames."""
        return int(self._options["number_of_frames"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and samples of a frame."""
        options = self._options
        return int(options["rows"]), int(options["columns"]), int(options["samples_per_pixel"])

    @property
    def is_monochrome(self) -> bool:
        """Whether samples are single and grey: not colours, and not indices of a palette."""
        return self.shape[2] == 1 and self._options["photometric_interpretation"] in ("MONOCHROME1", "MONOCHROME2")

    def modality_lut(self) -> ModalityLut | None:
        """The table of ModalityLUTSequence; None where the file has none."""
        if not self._header.get("ModalityLUTSequence"):
            return None
        with suppress(Exception):  # whatever its attributes lead pydicom to
            entries, first = self._header.ModalityLUTSequence[0].LUTDescriptor[:2]
            places = int(first) + np.arange(int(entries) or 1 << 16)
            return ModalityLut(int(first), apply_modality_lut(places, self._header).astype(np.float64))
        raise damaged("the Modality LUT cannot be read")

    def stored(self, frame: int) -> NDArray[Any]:
        """(rows, columns) stored values of one frame (0-based), in the machine's byte order; may be read-only.

        Integers of BitsAllocated bits, or floats where the file holds floats. Raises InputError(`read_failed`).
        """
        if not self.is_monochrome:
            raise InputError("read_failed", "expected one grey sample a pixel, found colour.", "Leave the series out.")
        pixels = self._plain(frame)
        if pixels is None:
            pixels = self._decoded(frame, raw=True, correct_unused_bits=False)
        if pixels.dtype.kind == "f":
            return pixels
        bits, high = int(self._options["bits_stored"]), int(self._header.get("HighBit", -1))
        # Codecs other than RLE, which stores bytes as they are, give values that begin at bit 0.
        placed = self.syntax in NATIVE or self.syntax == uid.RLELossless
        return to_stored(pixels, bits, high if placed and high >= 0 else bits - 1)

    def colours(self, frame: int) -> NDArray[Any]:
        """(rows, columns, samples) of one frame (0-based); YBR becomes RGB (PS3.3 C.7.6.3.1.2), no ICC profile applied.

        Raises InputError(`read_failed`).
        """
        options = self._options
        if self.syntax == uid.JPEGBaseline8Bit and options["photometric_interpretation"] in (
            "YBR_FULL",
            "YBR_FULL_422",
        ):
            fast = self._jpeg(frame)
            if fast is not None:
                return fast
        pixels = self._decoded(frame, raw=False)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _jpeg(self, frame: int) -> NDArray[np.uint8] | None:
        """A YBR JPEG turned to RGB as it is decoded: the same values, twice as fast. None where it is not one."""
        data = self._frames.read(self._file, frame)
        with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            image = Image.open(io.BytesIO(data), formats=("JPEG",))
            if image.mode == "RGB" and image.size == (self.shape[1], self.shape[0]):
                return np.array(image)
        return None

    def _index(self) -> FrameIndex:
        file, frames = self._file, self.frames
        self._options["pixel_keyword"], self._options["pixel_vr"], length = _element(file, self._header)
        start = file.tell()
        if self.syntax not in NATIVE:
            return encapsulated_frames(file, start, frames, self._options.pop("extended_offsets", None))
        rows, columns, samples = self.shape
        pixels = rows * columns * samples
        if self._options["photometric_interpretation"] == "YBR_FULL_422":
            pixels = pixels // 3 * 2  # two pixels share their colour: PS3.3 C.7.6.3.1.2
        return native_frames(file, start, length, pixels * int(self._options["bits_allocated"]) // 8, frames)

    def _plain(self, frame: int) -> NDArray[Any] | None:
        """Native grey integers as they lie in the file, read-only; None for what takes more than looking at them."""
        options, allocated = self._options, int(self._options["bits_allocated"])
        swapped = self.syntax == uid.ExplicitVRBigEndian
        if self.syntax not in NATIVE or options["pixel_keyword"] != "PixelData" or (swapped and allocated == 8):
            return None
        kind = f"{'>' if swapped else '<'}{'i' if options['pixel_representation'] else 'u'}{allocated // 8}"
        pixels = np.frombuffer(self._frames.read(self._file, frame), kind).reshape(self.shape[:2])
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

    def _decoded(self, frame: int, *, raw: bool, **more: Any) -> NDArray[Any]:
        data = self._frames.read(self._file, frame)
        if self.syntax not in NATIVE:
            data = _encapsulated(data)
        options: dict[str, Any] = self._options | more | {"number_of_frames": 1, "decoding_plugin": self._plugin}
        if self.syntax in NATIVE:
            options["view_only"] = True
        failure = ""
        try:
            pixels, _ = self._decoder.as_array(data, index=0, raw=raw, **options)
        except Exception as error:  # noqa: BLE001 - whatever a codec raises on damaged bytes
            failure = type(error).__name__
        if failure:  # raised here: the codec's own error, with its words, is no context of it
            raise damaged(f"{uid.UID(self.syntax).name} pixel data cannot be decoded ({failure})")
        rows, columns, _ = self.shape
        if pixels.shape[:2] != (rows, columns):  # pyright: ignore[reportPossiblyUnboundVariable]
            raise damaged(f"expected {rows} × {columns} pixels, found another size")
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)  # pyright: ignore[reportPossiblyUnboundVariable]


def to_stored(pixels: NDArray[Any], bits_stored: int, high_bit: int) -> NDArray[Any]:
    """The `bits_stored` bits up to `high_bit` of each integer, sign-extended where the dtype is signed.

    What lies in the other bits (overlays, rubbish) is lost. May return the array itself.
    """
    allocated = 8 * pixels.dtype.itemsize
    if not 0 < bits_stored <= high_bit + 1 <= allocated:
        raise damaged(f"expected BitsStored {bits_stored} up to HighBit {high_bit} within {allocated} bits")
    if bits_stored == allocated:
        return pixels
    values = np.left_shift(pixels, pixels.dtype.type(allocated - 1 - high_bit))
    return np.right_shift(values, values.dtype.type(allocated - bits_stored), out=values)


def _header(file: BinaryIO) -> tuple[Dataset, BinaryIO, str]:
    """The attributes of `_TAGS`; the file, inflated if need be, at the pixel data element; the transfer syntax."""
    with suppress(Exception):  # whatever damaged bytes lead pydicom to
        header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
        implicit, little = header.original_encoding
        default = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        told = header.file_meta.get("TransferSyntaxUID") or (default if little else uid.ExplicitVRBigEndian)
        syntax = uid_or_empty(str(told))
        inflated = header.buffer if syntax == uid.DeflatedExplicitVRLittleEndian else None
        return header, file if inflated is None else inflated, syntax  # pyright: ignore[reportReturnType]
    raise damaged("the header cannot be read")


def _options(header: Dataset, syntax: str) -> dict[str, Any]:
    """What pydicom's decoders want to know."""
    needed = ("rows", "columns", "bits_allocated", "samples_per_pixel", "photometric_interpretation")
    options: dict[str, Any] = {}
    with suppress(Exception):  # as above
        options = as_pixel_options(header)
        if any(options.get(name) is None for name in needed):
            options = {}
    if not options:
        raise damaged(f"expected {', '.join(needed)}, found not all of them")
    if options["bits_allocated"] not in (8, 16, 32, 64):
        raise damaged(f"expected 8, 16 or 32 bits allocated a sample, found {options['bits_allocated']}")
    options.setdefault("bits_stored", options["bits_allocated"])
    options.setdefault("pixel_representation", 0)
    return options | {"transfer_syntax_uid": uid.UID(syntax)}


def _element(file: BinaryIO, header: Dataset) -> tuple[str, str, int]:
    """Keyword, VR and length of the pixel data element at hand; the file is left at its value."""
    implicit, little = header.original_encoding
    order, size = "<" if little else ">", 8 if implicit else 12
    head = file.read(size)
    if len(head) < size:
        raise damaged("expected pixel data, found the end of the file")
    group, element = struct.unpack_from(f"{order}HH", head)
    if group != 0x7FE0 or element not in _KEYWORDS:
        raise damaged("expected pixel data, found none")
    vr = "OW" if implicit else head[4:6].decode("ascii", "replace")
    return _KEYWORDS[element], vr, struct.unpack(f"{order}L", head[-4:])[0]


def _encapsulated(frame: bytes) -> bytes:
    """One frame in one fragment after an empty Basic Offset Table, as decoders take it."""
    pad = b"\0" * (len(frame) % 2)
    head = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(frame) + len(pad))
    return b"".join((head, frame, pad))
