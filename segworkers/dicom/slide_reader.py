"""SlideReader: pixels of a level of a whole-slide image, from the tiles that a box needs and no others.

Where a sparse level has no tile, pixels are white (0 where they are grey) and not valid. Colours are RGB as stored,
without the ICC profile. Errors name the series by its pseudonym and the frame by its number.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.errors import InputError
from schemas.sources import DICOM_SCHEME, Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.decoding import PixelFile
from segworkers.dicom.frames import damaged
from segworkers.dicom.opening import opened
from segworkers.dicom.places import FileState, Places
from segworkers.dicom.planes import Kept
from segworkers.dicom.slide import Level, Slide, SlideFile
from segworkers.readers.base import PixelBlock

_MAX_OPEN = 4
"""Files that each thread keeps open: finding the frames of a large one takes a while."""
_SLIDES = 8


@dataclass(slots=True)
class _Open:
    pixels: PixelFile
    closing: ExitStack


class _ThreadFiles(threading.local):
    """Each thread's open files, least recently used first."""

    def __init__(self) -> None:
        self.files: OrderedDict[SlideFile, _Open] = OrderedDict()


class SlideReader:
    """Reads sources that `segworkers.dicom.slides.slide_source` made. Safe to call from several threads."""

    def __init__(self, crosswalk: Crosswalk, places: Places, cache_bytes: int) -> None:
        """Open nothing yet. `cache_bytes`: decoded tiles that are kept."""
        self._crosswalk, self._places = crosswalk, places
        self._tiles = Kept[NDArray[Any]](cache_bytes)
        self._slides: dict[tuple[str, str], Slide] = {}
        self._thread = _ThreadFiles()

    def read(self, source: Source, box: Box, bands: tuple[int, ...]) -> PixelBlock:
        """`bands` (0-based) of a box of the level. Raises as `segworkers.dicom.reader.DicomReader.read` does."""
        slide = self._slide(source)
        level = slide.level_of(source.grid.shape[1:])
        if box not in Box.of_shape(source.grid.shape):
            raise ValueError(f"{source.uri}: the box {box} must lie inside the slide of shape {source.grid.shape}")
        return self._block(slide, level, (box.start[1:], box.stop[1:]), 1, bands)

    def thumbnail(self, source: Source, bands: tuple[int, ...], max_side: int) -> PixelBlock:
        """The whole slide at most `max_side` a side: strided pixels of the smallest level that is large enough."""
        slide = self._slide(source)
        level = slide.level_of(source.grid.shape[1:])
        for other in slide.levels:
            if max(other.rows, other.columns) >= max_side and other.columns < level.columns and _alike(other, level):
                level = other
        step = -(-max(level.rows, level.columns) // max_side)
        return self._block(slide, level, ((0, 0), (level.rows, level.columns)), step, bands)

    def instance_ids(self, source: Source) -> tuple[str, ...]:
        """Pseudonyms of the SOP instances of the level."""
        names, level = self._crosswalk.pseudonyms(), self._slide(source).level_of(source.grid.shape[1:])
        return tuple(names.of("instance", file.uid) for file in level.files)

    def _slide(self, source: Source) -> Slide:
        planned = (source.uri, source.fingerprint)
        slide = self._slides.get(planned)
        if slide is None:
            slide = self._crosswalk.slide(source.uri.removeprefix(DICOM_SCHEME), source.fingerprint)
            while len(self._slides) >= _SLIDES:
                self._slides.pop(next(iter(self._slides)), None)
            self._slides[planned] = slide
        return slide

    def _block(
        self,
        slide: Slide,
        level: Level,
        region: tuple[tuple[int, ...], tuple[int, ...]],
        step: int,
        bands: tuple[int, ...],
    ) -> PixelBlock:
        """Every `step`-th pixel of rows and columns start..stop."""
        (top, left), (bottom, right) = region
        shape = (-(-(bottom - top) // step), -(-(right - left) // step))
        blank = np.iinfo(level.dtype).max if level.samples == 3 else 0
        pixels = np.full((len(bands), *shape), blank, level.dtype)
        valid = np.zeros(shape, np.bool_)
        for row, column, frame in level.tiles((top, left), (bottom, right)):
            ys, from_y = _overlap(row, level.tile[0], top, bottom, step)
            xs, from_x = _overlap(column, level.tile[1], left, right, step)
            if ys.start >= ys.stop or xs.start >= xs.stop:
                continue
            tile = self._tile(slide, level, frame)
            valid[ys, xs] = True
            for k, band in enumerate(bands):
                pixels[k, ys, xs] = tile[from_y, from_x, band]
        start = (0, top, left) if step == 1 else (0, 0, 0)
        box = Box(start, (1, start[1] + shape[0], start[2] + shape[1]))
        return PixelBlock(pixels[:, None], valid[None], box)

    def _tile(self, slide: Slide, level: Level, frame: int) -> NDArray[Any]:
        """(rows, columns, samples) of one frame."""
        failure: InputError | None = None
        try:
            return self._decoded(level, *level.frame_of(frame))
        except InputError as error:
            where = f"series {slide.series_id}, frame {frame + 1} of {sum(each.frames for each in level.files)}"
            failure = InputError(error.reason, f"{where}: {error.message}", error.hint)
        raise failure  # here, so that nothing is its context

    def _decoded(self, level: Level, file: SlideFile, index: int) -> NDArray[Any]:
        tile = self._tiles.get((file, index))
        if tile is None:
            tile = self._opened(file).colours(index)
            if tile.shape != (*level.tile, level.samples) or tile.dtype != level.dtype:
                raise damaged(f"expected a tile of {level.tile} pixels of {level.dtype}, found another")
            self._tiles.put((file, index), tile)
        return tile

    def _opened(self, file: SlideFile) -> PixelFile:
        """This thread's open file; compared with what the catalog saw when it is opened."""
        files = self._thread.files
        found = files.get(file)
        if found is None:
            with ExitStack() as stack:
                handle = stack.enter_context(opened(self._places, file.place, FileState(file.size, file.stamp)))
                found = files[file] = _Open(PixelFile(handle), stack.pop_all())
            while len(files) > _MAX_OPEN:
                files.popitem(last=False)[1].closing.close()
        files.move_to_end(file)
        return found.pixels


def _alike(a: Level, b: Level) -> bool:
    return (a.samples, a.dtype) == (b.samples, b.dtype)


def _overlap(tile: int, extent: int, start: int, stop: int, step: int) -> tuple[slice, slice]:
    """Along one axis: which places of the block a tile fills, and from which of its pixels.

    The block shows pixels start, start + step, … below stop; the tile holds tile .. tile + extent.
    """
    first = max(0, -(-(tile - start) // step))
    last = -(-(min(tile + extent, stop) - start) // step)
    begin = start + first * step - tile
    return slice(first, last), slice(begin, begin + (last - first - 1) * step + 1 if last > first else begin, step)
