"""Where each frame's bytes lie in the pixel data element of an open file, native or encapsulated (PS3.5 A.4).

Found once for a file, so that any frame of a file of many costs one seek. Nothing is decoded. A frame that would reach
beyond the end of the file is refused: decoders make up what is missing.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from schemas.errors import InputError

_ITEM = 0xE000FFFE
_DELIMITER = 0xE0DDFFFE
_UNDEFINED = 0xFFFFFFFF
_END_OF_IMAGE = b"\xff\xd9"

Extent = tuple[int, int]
"""Offset in the file, and length in bytes."""


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Byte extents of the frames."""

    extents: Sequence[tuple[Extent, ...]]
    """For each frame its fragments, in order."""
    file_bytes: int

    def read(self, file: BinaryIO, frame: int) -> bytes:
        """The bytes of one frame (0-based), fragments joined.

        Raises InputError(`read_failed`) where there is no such frame, or the file ends before its end.
        """
        if not 0 <= frame < len(self.extents):
            raise damaged(f"expected a frame {frame + 1}, found {len(self.extents)}")
        parts: list[bytes] = []
        for offset, length in self.extents[frame]:
            if offset + length > self.file_bytes:
                raise damaged("the file ends before the end of the frame")
            file.seek(offset)
            parts.append(file.read(length))
            if len(parts[-1]) != length:
                raise damaged("the file ends before the end of the frame")
        return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True, slots=True)
class _Native(Sequence[tuple[Extent, ...]]):
    """Frames of equal length, one after the other; nothing to look up."""

    start: int
    frame_bytes: int
    frames: int

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> tuple[Extent, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ((self.start + index * self.frame_bytes, self.frame_bytes),)


def damaged(what: str) -> InputError:
    """The error for pixel data that are not what the header says."""
    return InputError("read_failed", f"{what}.", "The file is truncated or damaged: copy it again.")


def native_frames(file: BinaryIO, start: int, length: int, frame_bytes: int, frames: int) -> FrameIndex:
    """Index of uncompressed frames that begin at `start`, in an element of `length` bytes.

    Raises InputError(`read_failed`) where the element is too short for its frames.
    """
    if length < frame_bytes * frames:
        raise damaged(f"expected {frame_bytes * frames} bytes of pixel data, found {length}")
    return FrameIndex(_Native(start, frame_bytes, frames), _size_of(file))


def encapsulated_frames(
    file: BinaryIO, start: int, frames: int, extended: tuple[bytes, bytes] | None = None
) -> FrameIndex:
    """Index of compressed frames; `start` is where the item of the Basic Offset Table begins.

    By the Extended Offset Table (`extended`: offsets and lengths, PS3.3 C.7.6.3.1.8) where there is one, else by the
    Basic Offset Table, else by the fragments: one a frame; or all of one frame; or, of several frames, up to the one
    that holds the end of an image. Raises InputError(`read_failed`) where the frames cannot be told apart.
    """
    size = _size_of(file)
    length = _item_length(file, start)
    if length is None:
        raise damaged("expected a Basic Offset Table, found none")
    table = file.read(length)
    first = start + 8 + length
    if extended is not None:
        return FrameIndex(_by_extended(*extended, first), size)
    fragments = _fragments(file, first, size)
    basic = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    if len(basic) == frames and frames > 1:
        return FrameIndex(_by_offsets(fragments, [first + offset for offset in basic]), size)
    return FrameIndex(_by_fragments(file, fragments, frames), size)


def _by_extended(offsets: bytes, lengths: bytes, first: int) -> list[tuple[Extent, ...]]:
    if len(offsets) != len(lengths):
        raise damaged("the Extended Offset Table and its lengths do not fit together")
    count = len(offsets) // 8
    pairs = zip(struct.unpack(f"<{count}Q", offsets), struct.unpack(f"<{count}Q", lengths), strict=True)
    return [((first + offset + 8, length),) for offset, length in pairs]


def _by_offsets(fragments: list[Extent], starts: list[int]) -> list[tuple[Extent, ...]]:
    """Each frame's fragments begin where the table says, at an item, and end where the next frame begins."""
    position = {offset - 8: index for index, (offset, _) in enumerate(fragments)}
    try:
        firsts = [position[start] for start in starts]
    except KeyError:
        firsts = []
    if not firsts or firsts[0] != 0 or any(a >= b for a, b in itertools.pairwise(firsts)):
        raise damaged("the Basic Offset Table does not point to fragments in order")
    return [tuple(fragments[a:b]) for a, b in itertools.pairwise([*firsts, len(fragments)])]


def _by_fragments(file: BinaryIO, fragments: list[Extent], frames: int) -> list[tuple[Extent, ...]]:
    if len(fragments) == frames:
        return [(fragment,) for fragment in fragments]
    if frames == 1 and fragments:
        return [tuple(fragments)]
    groups: list[tuple[Extent, ...]] = []
    group: list[Extent] = []
    for offset, length in fragments:
        group.append((offset, length))
        tail = min(length, 10)
        file.seek(offset + length - tail)
        if _END_OF_IMAGE in file.read(tail):
            groups.append(tuple(group))
            group = []
    if len(groups) != frames or group:
        raise damaged(f"expected {frames} frames, found {len(fragments)} fragments that cannot be told apart")
    return groups


def _fragments(file: BinaryIO, first: int, size: int) -> list[Extent]:
    """Offsets and lengths of the fragments, up to the delimiter, or the last that begins inside the file."""
    found: list[Extent] = []
    at = first
    while at + 8 <= size:
        length = _item_length(file, at)
        if length is None:
            break
        found.append((at + 8, length))
        at += 8 + length
    return found


def _item_length(file: BinaryIO, at: int) -> int | None:
    """Length of the item that begins here; None at the delimiter."""
    file.seek(at)
    head = file.read(8)
    if len(head) < 8:
        raise damaged("the file ends inside the pixel data")
    tag, length = struct.unpack("<II", head)
    if tag == _DELIMITER:
        return None
    if tag != _ITEM or length == _UNDEFINED:
        raise damaged("expected an item of the pixel data, found something else")
    return length


def _size_of(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
