"""DicomReader: calibrated voxels of the stacks, and pixels of the slides, that a crosswalk knows.

Values are calibrated slice by slice before they are stacked (slope and intercept may differ: PS3.3 C.11.1), into the
stack's dtype. Padding is compared in stored values, before that (PS3.3 C.7.5.1.1.2). A read decodes each slice once;
the slices decoded last are kept, as stored values, because windows of neighbouring tiles overlap. Errors name the
series by its pseudonym and the slice by its number, never a file, an original UID or a value.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import discretion
from schemas.boxes import Box
from schemas.errors import InputError
from schemas.sources import DICOM_SCHEME, Source
from segworkers.dicom.calibration import ModalityLut, calibrate, mark_valid
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.decoding import PixelFile
from segworkers.dicom.frames import damaged
from segworkers.dicom.opening import opened
from segworkers.dicom.places import FileState, Places
from segworkers.dicom.planes import Kept
from segworkers.dicom.slide_reader import SlideReader
from segworkers.dicom.stack import Stack
from segworkers.readers.base import PixelBlock

THUMBNAIL_SLICES = 64
"""Slices that a thumbnail decodes at most."""
SLIDE_CACHE_MB = 128
"""Decoded tiles of slides that are kept, at most."""

_STACKS = 8
"""Stacks whose lists of files are held at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plane:
    """A decoded slice."""

    stored: NDArray[Any]
    lut: ModalityLut | None

    @property
    def nbytes(self) -> int:
        return self.stored.nbytes + (self.lut.table.nbytes if self.lut else 0)


class DicomReader:
    """The `Reader` port for sources whose uri is `dicom:SERIES`. Safe to call from several threads; may be pickled."""

    def __init__(self, crosswalk: Crosswalk, *, cache_mb: int = 128) -> None:
        """Open nothing yet; from now on this process is discreet (`schemas.discretion`).

        crosswalk: where stacks are found.
        cache_mb: decoded slices that are kept, in MiB; 256 slices of 512 × 512 fill the default. Tiles of slides are
            kept in at most `SLIDE_CACHE_MB`.
        """
        discretion.begin()
        self.crosswalk, self._cache_mb = crosswalk, cache_mb
        self._places = Places()
        self._planes = Kept[_Plane](cache_mb << 20)
        self._stacks: dict[tuple[str, str], Stack] = {}
        self._slides = SlideReader(crosswalk, self._places, min(cache_mb, SLIDE_CACHE_MB) << 20)

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (self.crosswalk, self._cache_mb)

    def describe(self, uri: str) -> Source:
        """Always raises InputError(`not_in_catalog`): volumes are found by the catalog, file by file."""
        raise InputError(
            "not_in_catalog",
            "a DICOM volume cannot be opened by its name alone.",
            "Give the folder, archive or DICOMDIR that holds its files as the input.",
        )

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """Calibrated values of a box, in the source's dtype; `bands` are 0, the only one of a volume.

        Raises InputError: `changed`, `missing_file`, `access_denied`, `unreachable`, `read_failed`, `no_decoder`,
        `unsupported_syntax`. ValueError for a box outside.
        """
        if source.pixel_um is not None:
            return self._slides.read(source, box, bands)
        stack = self._stack(source)
        if box not in Box.of_shape(source.grid.shape):
            raise ValueError(f"{source.uri}: the box {box} must lie inside the volume of shape {source.grid.shape}")
        _, rows, columns = box.within((0, 0, 0))
        return self._block(stack, range(box.start[0], box.stop[0]), (rows, columns), box, bands)

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        """Every k-th slice, row and column, none of them averaged; at most `THUMBNAIL_SLICES` slices are decoded.

        Raises as `read` does.
        """
        if source.pixel_um is not None:
            return self._slides.thumbnail(source, bands, max_side)
        stack = self._stack(source)
        at = [
            range(step // 2, extent, step)
            for extent, most in zip(
                source.grid.shape, (min(max_side, THUMBNAIL_SLICES), max_side, max_side), strict=True
            )
            for step in [-(-extent // most)]
        ]
        rows, columns = (slice(each.start, each.stop, each.step) for each in at[1:])
        box = Box.of_shape([len(each) for each in at])
        return self._block(stack, at[0], (rows, columns), box, bands)

    def instance_ids(self, source: Source) -> tuple[str, ...]:
        """Pseudonym of the SOP instance of each slice, in the order of z; of a slide of each file."""
        if source.pixel_um is not None:
            return self._slides.instance_ids(source)
        names = self.crosswalk.pseudonyms()
        return tuple(names.of("instance", each.uid) for each in self._stack(source).slices)

    def _stack(self, source: Source) -> Stack:
        planned = (source.uri, source.fingerprint)
        stack = self._stacks.get(planned)
        if stack is None:
            stack = self.crosswalk.stack(source.uri.removeprefix(DICOM_SCHEME), source.fingerprint)
            while len(self._stacks) >= _STACKS:
                self._stacks.pop(next(iter(self._stacks)), None)
            self._stacks[planned] = stack
        if (len(stack.slices), stack.rows, stack.columns) != source.grid.shape or stack.dtype != source.dtype:
            raise InputError(
                "changed",
                f"{source.uri}: the crosswalk holds another volume under this name than the one that was planned.",
                "Run again without resuming.",
            )
        return stack

    def _block(
        self, stack: Stack, at: range, crop: tuple[slice, slice], box: Box, bands: tuple[int, ...]
    ) -> PixelBlock:
        if any(band != 0 for band in bands):
            raise ValueError(f"series {stack.series_id}: a volume has band 0 only, got {bands}")
        values = np.empty(box.shape, stack.dtype)
        valid = np.empty(box.shape, np.bool_)
        for k, plane in self._decoded(stack, at):
            each, stored = stack.slices[at[k]], plane.stored[crop]
            mark_valid(stored, stack.padding, valid[k])
            try:
                calibrate(stored, each.slope, each.intercept, values[k], plane.lut)
            except ValueError as error:  # our own text, without values
                raise _at(stack, at[k], InputError("read_failed", f"{error}.", "Leave the series out.")) from None
        pixels = values[None] if len(bands) == 1 else np.repeat(values[None], len(bands), axis=0)
        return PixelBlock(pixels, valid, box)

    def _decoded(self, stack: Stack, at: range) -> Iterator[tuple[int, _Plane]]:
        """Places in `at` and their planes, in any order; a plane is decoded, and a file opened, at most once."""
        wanted: list[int] = []
        for k, z in enumerate(at):
            plane = self._planes.get(stack.slices[z])
            if plane is None:
                wanted.append(k)
            else:
                yield k, plane
        wanted.sort(key=lambda k: stack.slices[at[k]].place)
        for _, group in itertools.groupby(wanted, key=lambda k: stack.slices[at[k]].place):
            yield from self._opened(stack, at, list(group))

    def _opened(self, stack: Stack, at: range, group: list[int]) -> Iterator[tuple[int, _Plane]]:
        """The planes of one file."""
        first = stack.slices[at[group[0]]]
        k, failure = group[0], None
        try:
            with opened(self._places, first.place, FileState(first.size, first.stamp)) as file:
                pixels = PixelFile(file)
                lut = pixels.modality_lut()
                for k in group:
                    each = stack.slices[at[k]]
                    plane = _Plane(_checked(pixels.stored(each.frame), stack), lut)
                    self._planes.put(each, plane)
                    yield k, plane
        except InputError as error:
            failure = _at(stack, at[k], error)
        if failure is not None:
            raise failure


def _checked(stored: NDArray[Any], stack: Stack) -> NDArray[Any]:
    if stored.shape != (stack.rows, stack.columns):
        raise damaged(f"expected {stack.rows} × {stack.columns} pixels, found {stored.shape[0]} × {stored.shape[1]}")
    return stored


def _at(stack: Stack, z: int, error: InputError) -> InputError:
    """The error, with the place that may be named."""
    where = f"series {stack.series_id}, slice {z + 1} of {len(stack.slices)}"
    return InputError(error.reason, f"{where}: {error.message}", error.hint)


def _remade(crosswalk: Crosswalk, cache_mb: int) -> DicomReader:
    return DicomReader(crosswalk, cache_mb=cache_mb)
