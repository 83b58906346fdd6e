"""Why an input could not be opened, and which version of it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import PurePosixPath

from schemas.errors import InputError
from segworkers.readers.locations import Location
from segworkers.readers.remote import UNPINNED, RemoteStat, http_stat, s3_stat

_MAGIC = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"<VRTDataset": "VRT",
}
_PROPRIETARY = {".ecw": "ECW", ".sid": "MrSID"}
_IGNORED_SIDECARS = (".aux.xml", ".ovr")


def refusal(location: Location, detail: str) -> InputError:
    """Explain why GDAL could not open an input. `detail`: GDAL's own words, fit to show; may be empty."""
    if location.is_remote:
        try:
            stat = http_stat(location.full) if location.kind == "http" else s3_stat(location.full)
        except InputError as error:
            return error
        if not stat.has_ranges:
            return InputError(
                "no_range_requests",
                f"{location.uri}: the server sends only whole files, not parts of them.",
                "Download it first, or serve it from storage that supports range requests.",
            )
    elif location.kind == "local":
        found = _local_refusal(location.full)
        if found is not None:
            return found
    suffix = PurePosixPath(location.uri.split("?")[0]).suffix.lower()
    if suffix in _PROPRIETARY:
        return InputError(
            "unsupported_format",
            f"{location.uri}: {_PROPRIETARY[suffix]} needs a proprietary decoder that this GDAL does not have.",
            "Convert it to a cloud-optimised GeoTIFF where that decoder is installed.",
        )
    said = f" ({detail})" if detail else ""
    return InputError(
        "unsupported_format",
        f"{location.uri}: expected a raster that GDAL reads, found something else{said}.",
        "Convert it to GeoTIFF, or remove it from the inputs.",
    )


def _local_refusal(path: str) -> InputError | None:
    """The reason that a look at a local file gives; None where it can be read but is of no known kind."""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        return InputError("not_found", f"{path}: no such file.", "Check the path.")
    except IsADirectoryError:
        return InputError("unsupported_format", f"{path}: a folder, expected a file.", "Give the files in it.")
    except PermissionError:
        return InputError("access_denied", f"{path}: not readable by this user.", "Check the file's permissions.")
    except OSError as error:
        return InputError("unreadable", f"{path}: cannot be opened ({error.strerror}).", "Check the disk.")
    if not head:
        return InputError("unreadable", f"{path}: the file is empty (0 bytes).", "Copy it again.")
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return InputError(
                "unreadable",
                f"{path}: begins as a {name} file, but its header cannot be read: truncated or damaged.",
                "Copy it again.",
            )
    return None


def local_fingerprint(files: Sequence[str]) -> str:
    """Size and modification time of a file; of a VRT or a file with a mask beside it, of all that it is made of."""
    stats: list[str] = []
    for name in files:
        if not name.endswith(_IGNORED_SIDECARS) and os.path.exists(name):
            stat = os.stat(name)
            stats.append(f"{stat.st_size}-{stat.st_mtime_ns}")
    if len(stats) < 2:
        return stats[0] if stats else UNPINNED
    return f"{stats[0]}-{hashlib.blake2b(' '.join(stats[1:]).encode(), digest_size=8).hexdigest()}"


def remote_fingerprint(location: Location) -> str:
    """Which version of a remote object it is; `UNPINNED` where only GDAL can reach it.

    Raises InputError(`not_found`) where it is gone and (`unreachable`) where its http server does not answer.
    """
    if location.kind == "http":
        return http_stat(location.full).fingerprint
    try:
        stat: RemoteStat = s3_stat(location.full)
    except InputError as error:
        if error.reason == "not_found":
            raise
        return UNPINNED  # GDAL opened it, with credentials from a place that obstore does not look at
    return stat.fingerprint
