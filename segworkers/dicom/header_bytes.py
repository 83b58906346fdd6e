"""Header bytes: from the first bytes of a file to the wanted elements, and no more bytes than that takes.

The loop over the elements of the top level (PS3.5 7.1) is our own: in a catalog of millions of files it is most of the
time, and objects for attributes that nobody asks for are most of it in a general reader. Sequences are pydicom's.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pydicom's elements have no types of their own.

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from struct import Struct
from typing import Any, BinaryIO, cast

from pydicom.filereader import read_sequence
from pydicom.fileutil import read_undefined_length_value
from pydicom.tag import SequenceDelimiterTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from segworkers.dicom.elements import UNDEFINED, DamagedHeaderError, Elements, RawElement

Fetch = Callable[[int, int], bytes]
"""Bytes start..stop of the file; fewer where it ends before."""

FIRST_BYTES = 16 * 1024
"""Read at first: most headers of CT and MR slices fit."""

GROWTH = 16
"""How many times as much is read where that was not enough."""

MAX_HEADER_BYTES = 256 * 2**20
"""Of a header, decompressed; an enhanced image of 20,000 frames needs a quarter of it."""

SOP_CLASS = 0x00080016
TRANSFER_SYNTAX = 0x00020010
MEDIA_SOP_CLASS = 0x00020002
PIXEL_DATA = 0x7FE00010
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"

_META = frozenset((MEDIA_SOP_CLASS, TRANSFER_SYNTAX))
_PREAMBLE = 128
_META_END = 0x00030000
_PIXELS = 0x7FE00008
"""Float, double float and other pixel data begin here."""
_LAST_UID = 0x0020000F
"""Behind StudyInstanceUID and SeriesInstanceUID."""
_ITEM = b"\xfe\xff\x00\xe0"
_VRS = {each.value.encode(): each.value for each in VR if len(each.value) == 2}
_LONG = frozenset(each.value.encode() for each in EXPLICIT_VR_LENGTH_32)
"""VRs whose length has four bytes (PS3.5 7.1.2)."""


class NotDicomError(Exception):
    """The bytes are no DICOM file."""


class _ShortError(Exception):
    """The header goes on behind the bytes at hand."""


def read_elements(
    fetch: Fetch, size: int, wanted: frozenset[int], keep: Callable[[Elements], bool], first: int = FIRST_BYTES
) -> Elements:
    """The elements `wanted` of a file of `size` bytes.

    keep: whether an object is of interest, by its elements up to SOPClassUID, ImageType among them; of others nothing
    behind the UIDs of study and series is read.
    first: bytes that are read at first.
    Raises NotDicomError, DamagedHeaderError (`damaged_header`, `header_too_long`), and what `fetch` raises. What has no
    preamble and cannot be read to its end is no DICOM: other files begin with those two bytes too.
    """
    data = fetch(0, min(size, first))
    start = _start(data)
    try:
        return _read(data, start, fetch, size, wanted, keep)
    except DamagedHeaderError:
        if start == 0:
            raise NotDicomError from None
        raise


def _read(
    data: bytes, start: int, fetch: Fetch, size: int, wanted: frozenset[int], keep: Callable[[Elements], bool]
) -> Elements:
    while True:
        try:
            return _parse(data, start, len(data) >= size, wanted, keep)
        except _ShortError:
            if len(data) >= MAX_HEADER_BYTES:
                raise DamagedHeaderError("header_too_long") from None
        more = fetch(len(data), min(size, len(data) * GROWTH, MAX_HEADER_BYTES))
        if not more:  # the file is shorter than it was when it was found
            raise DamagedHeaderError
        data += more


def _start(data: bytes) -> int:
    """Where the elements begin. Raises NotDicomError.

    Without preamble (PS3.10 7.1 asks for one; old archives have none) the file must begin with group 2 or 8.
    """
    if data[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return _PREAMBLE + 4
    if len(data) < 16 or data[0] not in (2, 8) or data[1] != 0 or data[3] != 0:
        raise NotDicomError
    explicit = data[4:6] in _VRS
    length = int.from_bytes(data[6:8] if explicit else data[4:8], "little")
    if length > 256 or length % 2:
        raise NotDicomError
    return 0


def _parse(data: bytes, start: int, whole: bool, wanted: frozenset[int], keep: Callable[[Elements], bool]) -> Elements:
    """Elements from the first bytes. Raises _ShortError where they do not reach and there are more."""
    try:
        return _parsed(data, start, whole, wanted, keep)
    except (DamagedHeaderError, _ShortError):
        raise
    except Exception:  # noqa: BLE001 - whatever comes of bytes that end too soon, or are damaged
        raise (DamagedHeaderError if whole else _ShortError) from None


def _parsed(data: bytes, start: int, whole: bool, wanted: frozenset[int], keep: Callable[[Elements], bool]) -> Elements:
    meta, at = Elements({}), start
    if data[start : start + 2] == b"\2\0":
        scan = _Scan(data, start, limit=_META_END)
        meta, at = scan.elements(_META), scan.next
    if at >= len(data):
        raise EOFError  # nothing but file meta information, or a part of it
    syntax = meta.text(TRANSFER_SYNTAX)
    if syntax == DEFLATED_LITTLE_ENDIAN:
        _require(whole)
        data, at = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at:], MAX_HEADER_BYTES), 0
    scan = _Scan(data, at, little=syntax != EXPLICIT_BIG_ENDIAN)
    elements = scan.elements(wanted, keep)
    _require(scan.stopped is not None or whole)
    elements.has_preamble = start > 0
    elements.syntax = syntax or (IMPLICIT_LITTLE_ENDIAN if scan.implicit else EXPLICIT_LITTLE_ENDIAN)
    if scan.stopped is not None and scan.stopped[0] >= _PIXELS:
        elements.has_pixels, elements.pixel_bytes = scan.stopped[0] == PIXEL_DATA, scan.stopped[1]
        elements.pixels_at = scan.at
    if syntax == DEFLATED_LITTLE_ENDIAN:
        elements.inflated = len(data)
    elements.raw.update(meta.raw)
    return elements


def _require(enough: bool) -> None:
    if not enough:
        raise _ShortError


class _Scan:
    """The elements of the top level, from `at` on, up to one that is not wanted any more."""

    def __init__(self, data: bytes, at: int, *, little: bool = True, limit: int = _PIXELS) -> None:
        self.data, self.at, self.limit = data, at, limit
        self.implicit = data[at + 4 : at + 6] not in _VRS  # what is there counts, not what the syntax promises
        self.next = at
        """Where the element begins that was looked at last."""
        self.stopped: tuple[int, int] | None = None
        """Tag and length of the element that ended it, whose value then begins at `at`."""
        self._little = little
        order = "<" if little else ">"
        self._short, self._long = Struct(f"{order}HH2sH").unpack_from, Struct(f"{order}L").unpack_from

    def elements(self, wanted: frozenset[int], keep: Callable[[Elements], bool] | None = None) -> Elements:
        """Raises EOFError, IndexError, struct.error or what pydicom raises where the bytes end within an element."""
        found: dict[int, Any] = {}
        data, size, short, long = self.data, len(self.data), self._short, self._long
        at = self.at
        while at < size:
            self.next = at
            group, element, vr, length = short(data, at)
            tag, at = group << 16 | element, at + 8
            if self.implicit or vr not in _VRS:
                vr, length = None, long(data, at - 4)[0]
            elif vr in _LONG:
                length, at = long(data, at)[0], at + 4
            if tag >= self.limit:
                self.stopped, self.at = (tag, length), at
                return Elements(found, self._little)
            if length == UNDEFINED:
                value, at = self._undefined(at, vr)
            else:
                value, at = data[at : at + length], at + length
                if at > size:
                    raise EOFError
            if tag in wanted:
                found[tag] = RawElement(_VRS[vr] if vr else None, value, vr is None)
                if tag == SOP_CLASS and keep is not None and not keep(Elements(found)):
                    self.limit = _LAST_UID
        self.next = at
        return Elements(found, self._little)

    def _undefined(self, at: int, vr: bytes | None) -> tuple[Any, int]:
        """Value of undefined length, and what follows its delimiter (PS3.5 7.5)."""
        buffer = cast("BinaryIO", io.BytesIO(self.data))
        buffer.seek(at)
        first = self.data[at : at + 4]
        if vr in (b"SQ", b"UN") or (vr is None and first == _ITEM):
            value: Any = read_sequence(buffer, self.implicit, self._little, UNDEFINED, "iso8859")
        else:
            value = read_undefined_length_value(buffer, self._little, SequenceDelimiterTag)
        return value, buffer.tell()
