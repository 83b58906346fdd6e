"""Stack: where the slices of one volume are stored and how their values are calibrated.

A stack names files and original UIDs, so it is kept in the crosswalk only (`segworkers.dicom.crosswalk`), never in a
run folder, a table or a log. Workers open it by its pseudonym.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One plane of the volume."""

    place: str
    """Absolute path, s3:// URL, or `ARCHIVE.zip!member`."""
    frame: int
    """0-based frame in that file; 0 where it has one."""
    uid: str
    """SOPInstanceUID, the original."""
    slope: float = 1.0
    intercept: float = 0.0
    size: int = 0
    """Bytes of the file, and"""
    stamp: str = ""
    """its modification time in nanoseconds, or ETag, when the header was read: other bytes are refused as `changed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """All slices of one volume, in the order of the volume's z."""

    series_id: str
    """The pseudonym under which it is kept."""
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    transfer_syntaxes: tuple[str, ...]
    """Distinct transfer syntaxes of the files."""
    rows: int
    columns: int
    bits_stored: int
    signed: bool
    """PixelRepresentation 1."""
    dtype: str
    """NumPy name of the calibrated values: int16 where all of them are exact in it, else float32."""
    padding: tuple[int, int] | None
    """Stored values low..high (inclusive) that are padding: PixelPaddingValue and its range limit."""
    slices: tuple[Slice, ...]

    def to_bytes(self) -> bytes:
        """Compressed JSON, for `from_bytes`."""
        return gzip.compress(json.dumps(asdict(self), sort_keys=True).encode(), mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> Stack:
        """The inverse of `to_bytes`."""
        raw = json.loads(gzip.decompress(data))
        padding = raw.pop("padding")
        return cls(
            slices=tuple(Slice(**each) for each in raw.pop("slices")),
            transfer_syntaxes=tuple(raw.pop("transfer_syntaxes")),
            padding=None if padding is None else (padding[0], padding[1]),
            **raw,
        )
