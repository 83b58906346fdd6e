"""RasterReader: GeoTIFF and everything else GDAL reads, local or remote.

Decisions. Pixels come in stored order: an EXIF orientation flag turns neither pixels nor georeference, so they agree
with each other (GDAL does the same); a warning names the flag. Sidecar files (.msk, .ovr, .aux.xml, world files) of
remote sources are not looked for unless `remote_sidecars` is set: each open would cost several requests. Validity of a
pixel belongs to the file, not to the bands asked for: mask band, else alpha band (by colour interpretation, at any
position) above 0, else any band differs from its nodata; and NaN in a band asked for is never valid. A block that is
damaged but still decodes cannot be told from a good one.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false
# rasterio is not typed.

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # not exported; some header reads raise it bare
from rasterio.enums import Resampling
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.session import DummySession
from rasterio.windows import Window

from schemas.boxes import Box
from schemas.errors import InputError
from schemas.sources import Source
from segworkers.readers.base import PixelBlock
from segworkers.readers.gdal_facts import MaskKind, alpha_band, header_of, mask_kind
from segworkers.readers.headers import source_of
from segworkers.readers.locations import Location, gdal_s3_options, locate, redact
from segworkers.readers.refusals import local_fingerprint, refusal, remote_fingerprint
from segworkers.readers.remote import UNPINNED

# A missing georeference is reported in Source.warnings, once, instead of at every open.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

_GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError)
_GDAL_OPTIONS = {
    # GDAL's shortcut for whole PNGs returns garbage for a truncated file; the row by row decoder reports it.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_TIMEOUT": "120",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_VERSION": "2",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "VSI_CACHE": "TRUE",
    # Closing a file forgets its cached bytes: an object replaced under the same name is never read from the cache.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",
}


@dataclass(slots=True)
class _Open:
    """An open file, for one thread."""

    dataset: Any
    mask: MaskKind
    alpha: int | None
    """1-based alpha band."""


class _ThreadFiles(threading.local):
    """Each thread's open files, least recently used first; closed when the thread ends."""

    def __init__(self) -> None:
        self.files: OrderedDict[tuple[str, str], _Open] = OrderedDict()


class RasterReader:
    """The `Reader` port for rasters. Safe to call from several threads; may be pickled, without its open files."""

    def __init__(
        self,
        *,
        cache_mb: int = 256,
        max_open: int = 8,
        threads: int = 1,
        remote_sidecars: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        """Open nothing yet.

        cache_mb: GDAL's block cache in MiB, one for the whole process: the reader that opened a file last decides.
        max_open: files kept open by each thread.
        threads: threads that GDAL may decode one read with.
        remote_sidecars: look for sidecar files of remote sources.
        secrets: full URLs of sources whose public `uri` lacks a signature or password; `describe` adds what it learns,
            and pickling keeps them, so a reader sent to another process can open what this one described.
        """
        self._cache_mb, self._max_open, self._threads = cache_mb, max_open, threads
        self._remote_sidecars = remote_sidecars
        self._secrets = dict(secrets or {})
        self._thread = _ThreadFiles()

    @property
    def secrets(self) -> dict[str, str]:
        """Full URLs by public `uri`, for readers in other processes; empty unless inputs were signed. Never show it."""
        return dict(self._secrets)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._thread = _ThreadFiles()

    def describe(self, uri: str) -> Source:
        """Read the header of a path, URL or GDAL name. No pixels are read.

        Raises InputError with a reason: `not_found`, `access_denied`, `unreachable`, `no_range_requests`, `unreadable`
        (empty, damaged), `unsupported_format`, `unsupported_dtype`, `subdatasets`, `no_bands`.
        """
        location = locate(uri)
        with self._environment(location), self._open_dataset(location) as dataset:
            try:
                header = header_of(dataset)
            except _GDAL_ERRORS as error:
                raise InputError(
                    "unreadable",
                    f"{location.uri}: the header cannot be read in full ({_detail(location, error)}).",
                    "Copy it again, with the files that it refers to.",
                ) from None
            fingerprint = _fingerprint(location, dataset)
            parts = tuple(os.path.abspath(name) for name in dataset.files[1:]) if dataset.driver == "VRT" else ()
        notes = ("unpinned: the storage tells no version; changes go unnoticed",) if fingerprint == UNPINNED else ()
        source = source_of(header, location.uri, fingerprint, notes, parts)
        if location.full != location.uri:
            self._secrets[location.uri] = location.full
        return source

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """Read `bands` (0-based) of a box inside the image, at full resolution, never from an overview.

        Raises InputError: `changed` where the file is no longer what `describe` saw, `read_failed` where bytes cannot
        be had or decoded, and what `describe` raises where it cannot be opened. ValueError for a box outside.
        """
        if box not in Box.of_shape(source.grid.shape):
            raise ValueError(f"{source.uri}: the box {box} must lie inside the image of shape {source.grid.shape}")
        (_, top, left), (_, height, width) = box.start, box.shape
        window = Window(left, top, width, height)  # pyright: ignore[reportCallIssue]
        return self._block(source, bands, box, {"window": window}, (height, width))

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        """The whole image by nearest neighbour, at most `max_side` a side, from overviews where there are any.

        Nearest keeps the distribution of values (statistics) and the labels of a palette. Without overviews the whole
        file is decoded, block by block. Raises as `read` does.
        """
        _, height, width = source.grid.shape
        factor = max(1.0, max(height, width) / max_side)
        shape = (max(1, round(height / factor)), max(1, round(width / factor)))
        options = {"out_shape": shape, "resampling": Resampling.nearest}
        return self._block(source, bands, Box.of_shape((1, *shape)), options, shape)

    def _block(
        self, source: Source, bands: tuple[int, ...], box: Box, how: dict[str, Any], shape: tuple[int, int]
    ) -> PixelBlock:
        location = locate(self._secrets.get(source.uri, source.uri))
        with self._environment(location):
            file = self._file(source, location)
            try:
                pixels = _read_bands(file.dataset, [band + 1 for band in bands], source.dtype, how, shape)
                valid = _read_valid(file, [band + 1 for band in bands], pixels, how)
            except _GDAL_ERRORS as error:
                self._forget(source)
                raise _read_failed(source, box, error) from None
        return PixelBlock(pixels[:, None], valid[None], box)

    def _file(self, source: Source, location: Location) -> _Open:
        """This thread's open file; opened, and compared with what `describe` saw, where it is not open yet."""
        files, key = self._thread.files, (source.uri, source.fingerprint)
        file = files.get(key)
        if file is None:
            dataset = self._open_dataset(location)
            file = files[key] = _Open(dataset, mask_kind(dataset), alpha_band(dataset))
            while len(files) > self._max_open:
                files.popitem(last=False)[1].dataset.close()
            check = True
        else:
            check = location.kind == "local" and len(file.dataset.files) < 8  # a stat is cheap
        files.move_to_end(key)
        if check and _fingerprint(location, file.dataset) != source.fingerprint:
            self._forget(source)
            raise InputError(
                "changed",
                f"{source.uri}: the file is no longer the one that was planned (size, time or version differ).",
                "Run again without resuming, or restore the file.",
            )
        return file

    def _forget(self, source: Source) -> None:
        file = self._thread.files.pop((source.uri, source.fingerprint), None)
        if file is not None:
            file.dataset.close()

    def _open_dataset(self, location: Location) -> Any:
        if location.kind == "local" and not os.path.isfile(location.full):
            raise refusal(location, "")
        # Process-wide and in bytes. As an option of Env it would fall back to a share of the machine's memory whenever
        # one thread leaves its Env.
        set_gdal_config("GDAL_CACHEMAX", self._cache_mb << 20)
        try:
            return rasterio.open(location.gdal_name)
        except _GDAL_ERRORS as error:
            raise refusal(location, _detail(location, error)) from None

    def _environment(self, location: Location) -> rasterio.Env:
        options: dict[str, Any] = dict(_GDAL_OPTIONS, GDAL_NUM_THREADS=self._threads)
        if location.is_remote:
            options["GDAL_DISABLE_READDIR_ON_OPEN"] = "TRUE" if self._remote_sidecars else "EMPTY_DIR"
            options.update(gdal_s3_options(os.environ))
        # Without a session GDAL finds credentials itself, as obstore does; rasterio's own would need boto3.
        return rasterio.Env(session=DummySession(), **options)


def _read_bands(
    dataset: Any, bands: list[int], dtype: str, how: dict[str, Any], shape: tuple[int, int]
) -> NDArray[Any]:
    """(bands, y, x) of the common dtype."""
    if len(set(dataset.dtypes)) == 1 and bands:
        return dataset.read(bands, **how)
    pixels = np.empty((len(bands), *shape), dtype)
    for row, band in zip(pixels, bands, strict=True):
        row[...] = dataset.read(band, **how)
    return pixels


def _read_valid(file: _Open, bands: list[int], pixels: NDArray[Any], how: dict[str, Any]) -> NDArray[np.bool_]:
    """(y, x) of validity, as the module's text says."""
    dataset, shape = file.dataset, pixels.shape[1:]
    if file.mask == "band":
        valid = dataset.read_masks(1, **how) != 0
    elif file.mask == "alpha":
        valid = dataset.read(file.alpha, **how) != 0
    elif file.mask == "nodata":
        valid = np.zeros(shape, np.bool_)
        # The bands at hand first: mostly no other is needed.
        for band in dict.fromkeys([*bands, *dataset.indexes]):
            nodata = dataset.nodatavals[band - 1]
            if band in bands and pixels.dtype.kind in "iu" and pixels.dtype.itemsize < 8:
                valid |= True if nodata is None else pixels[bands.index(band)] != nodata
            else:  # GDAL knows how near a float must come
                valid |= dataset.read_masks(band, **how) != 0
            if valid.all():
                break
    else:
        valid = np.ones(shape, np.bool_)
    if pixels.dtype.kind == "f":
        for row in pixels:
            valid &= ~np.isnan(row)
    return valid


def _fingerprint(location: Location, dataset: Any) -> str:
    return remote_fingerprint(location) if location.is_remote else local_fingerprint(dataset.files)


def _detail(location: Location, error: Exception) -> str:
    """GDAL's own words, without names that may hold secrets."""
    text = str(error.__cause__ or error).replace(location.gdal_name, location.uri).replace(location.full, location.uri)
    return redact(text)


def _read_failed(source: Source, box: Box, error: Exception) -> InputError:
    text = redact(str(error.__cause__ or error)).removeprefix(f"{source.uri}, ")  # GDAL begins with the name
    return InputError(
        "read_failed",
        f"{source.uri}: pixels of {box.start} to {box.stop} (z, y, x) cannot be read ({text}).",
        "The file may be truncated or damaged: copy it again.",
    )
