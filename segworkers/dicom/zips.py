"""Zip archives: their members as candidates, from the archive's directory alone. Bombs are refused, not defused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from obstore.exceptions import BaseError

from segworkers.dicom.places import (
    DICOM_SUFFIXES,
    ZIP_ERRORS,
    Candidate,
    FileState,
    Places,
    Unusable,
    member_place,
    member_state,
    storage_refusal,
)

MAX_MEMBERS = 1_000_000
"""Members of one archive; the directory of a larger one would not fit a small machine's memory."""

MAX_MEMBER_BYTES = 4 * 2**30
"""Bytes of one member: a compressed one is unpacked whole, into a temporary file where it is large."""

FREE_BYTES = 2**30
"""An archive that unpacks to less than this is harmless, however well it is compressed."""

MAX_RATIO = 200
"""Unpacked over packed bytes of a larger archive; slices reach 2 to 10, empty ones included."""

_ENCRYPTED = 0x1


def members(places: Places, archive: str, state: FileState) -> Iterator[Candidate | Unusable]:
    """Members in the order of their names: not folders, hidden files (`__MACOSX` too) or zips in the zip.

    What is wrong with the whole archive is told once: `damaged_archive`, `encrypted_archive`, `oversized_archive`,
    `nested_archive`, `access_denied`, `read_failed`. Nothing is unpacked.
    """
    try:
        listed = places.archive(archive).NameToInfo
    except (OSError, BaseError, *ZIP_ERRORS) as error:
        yield Unusable(archive, storage_refusal(error).reason, state)
        return
    found = [info for name, info in sorted(listed.items()) if not (info.is_dir() or _is_hidden(name))]
    total = sum(info.file_size for info in found)
    if len(found) > MAX_MEMBERS or (total > FREE_BYTES and total > MAX_RATIO * max(state.size, 1)):
        yield Unusable(archive, "oversized_archive", state)
        return
    if any(info.flag_bits & _ENCRYPTED for info in found):
        yield Unusable(archive, "encrypted_archive", state)
    for info in found:
        if not info.flag_bits & _ENCRYPTED:
            yield _member(archive, info)


def _member(archive: str, info: zipfile.ZipInfo) -> Candidate | Unusable:
    place, state = member_place(archive, info.filename), member_state(info)
    if info.filename.lower().endswith(".zip"):
        return Unusable(place, "nested_archive", state)
    if info.file_size > MAX_MEMBER_BYTES:
        return Unusable(place, "oversized_archive", state)
    return Candidate(place, state, promised=info.filename.lower().endswith(DICOM_SUFFIXES))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
