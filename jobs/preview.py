"""`segworkers preview`: one source, or a box of it, with its instances drawn over it, as a PNG.

The image comes from the overviews where the whole source is shown and is read exactly where a box is; masks come from
`mask_rle`, sampled at the pixels of the picture, so that neither costs what the raster would.
"""
# pyarrow has no type information.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.overlay import Frame, blend, caption_strip, colours, draw, stretch
from jobs.results import Results
from schemas.boxes import Box
from schemas.errors import SpecError
from schemas.masks import Runs
from schemas.rle import from_coco_rles
from schemas.sources import DICOM_SCHEME, Source
from segworkers.readers.base import PixelBlock, Reader

MOST_INSTANCES = 20_000
"""Instances drawn; the largest ones where there are more, and the caption says so."""
_STRIP_PIXELS = 16_000_000
_OVERVIEW_SHARE = 4
"""A box whose sides are at least 1/4 of the source's is cut out of a thumbnail instead of being read exactly."""

_TOUCHES = "source_id = ? AND y_max > ? AND x_max > ? AND y_min < ? AND x_min < ?"
_BOX = ("z_min", "y_min", "x_min", "z_max", "y_max", "x_max")


@dataclass(frozen=True, slots=True)
class Preview:
    """What was written."""

    path: Path
    source_uri: str
    box: Box
    """The part of the source that is shown."""
    counts: dict[str, int]
    """Objects of each class that touch the box."""
    drawn: int
    """How many of them were drawn."""


def preview(
    results: Results, reader: Reader, source: str | None, *, box: str | None, max_side: int, path: Path | None
) -> Preview:
    """Write the overlay of one source.

    source: source_id, URI or the end of one; None: the first. box: "y0,x0,y1,x1" in pixels of the source.
    max_side: longest side of the picture; a smaller image or box is shown pixel for pixel.
    path: None makes a name in the working directory from the source's.
    Raises SpecError for a source or box that is not there, InputError where the source can no longer be read.
    """
    from PIL import Image

    uri = find_source(results, source)
    if uri.startswith(DICOM_SCHEME):
        raise SpecError(
            f"{uri}: preview draws rasters only, not DICOM; for a picture of each object of a volume run again with "
            "--resume --set output.montages=true: they are PNG files in the folder dicom of the run"
        )
    described = reader.describe(uri)
    if described.grid.shape[0] != 1:
        raise SpecError(f"{uri}: preview shows images of one plane, this one has {described.grid.shape[0]}")
    shown = parse_box(box, described.grid.shape) if box else Box.of_shape(described.grid.shape)
    pixels, frame = _image(reader, described, shown, max_side)
    counts = _counts(results, described.source_id, shown)
    picture, drawn = _draw_instances(results, described.source_id, pixels, frame)
    strip = caption_strip(_caption(uri, frame, counts, drawn), picture.shape[1])
    target = path or Path(f"{Path(uri.rsplit('/', 1)[-1]).stem}.preview.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([picture, strip])).save(target, "PNG")
    return Preview(target, uri, shown, counts, drawn)


def find_source(results: Results, name: str | None) -> str:
    """URI of the source with this source_id, URI, file name or end of URI; None: the first that did not fail.

    Raises SpecError where none or several fit equally well.
    """
    if name is None:
        rank, parameters = "CASE WHEN status = 'failed' THEN 2 ELSE 1 END", []
    else:
        rank = """CASE WHEN source_id = $1 OR source_uri = $1 THEN 1 WHEN suffix(source_uri, '/' || $1) THEN 2
            WHEN suffix(source_uri, $1) THEN 3 END"""
        parameters = [name]
    query = f"""SELECT source_uri FROM (SELECT source_uri, {rank} AS rank FROM images)
        WHERE rank IS NOT NULL QUALIFY rank = min(rank) OVER () ORDER BY source_uri LIMIT 5"""
    uris: list[str] = results.sql(query, parameters).column(0).to_pylist()
    if not uris:
        known = results.sql("SELECT source_uri FROM images ORDER BY 1 LIMIT 5").column(0).to_pylist()
        raise SpecError(
            f"no source is called {name!r}; the first ones are: {', '.join(known) or 'none, images is empty'}"
        )
    if len(uris) > 1 and name is not None:
        raise SpecError(f"several sources end in {name!r}: {', '.join(uris)}; name one in full")
    return uris[0]


def parse_box(text: str, shape: tuple[int, int, int]) -> Box:
    """Four numbers y0,x0,y1,x1 as a box of the source, cut at its edges. Raises SpecError."""
    try:
        y0, x0, y1, x1 = (int(part) for part in text.split(","))
        asked = Box((0, y0, x0), (shape[0], y1, x1))
    except ValueError as error:
        raise SpecError(f"--box {text}: expected y0,x0,y1,x1 in pixels with y0 < y1 and x0 < x1") from error
    inside = asked & Box.of_shape(shape)
    if inside is None:
        raise SpecError(f"--box {text}: lies outside the source's {shape[1]} rows x {shape[2]} columns")
    return inside


def _image(reader: Reader, source: Source, box: Box, max_side: int) -> tuple[NDArray[np.uint8], Frame]:
    """The picture (height, width, 3) without instances, and where its pixels lie."""
    if max_side < 16:
        raise SpecError(f"--max-side {max_side}: expected at least 16")
    colour = [index for index in range(len(source.bands)) if index != source.alpha_band][:3]
    bands = tuple(colour if len(colour) == 3 else colour[:1])
    whole = max(source.grid.shape)
    side = max(box.shape)
    if side > max_side and whole <= _OVERVIEW_SHARE * side:
        block, frame = _from_thumbnail(reader, source, bands, box, max_side * whole // side)
    else:
        block, frame = _exact(reader, source, bands, box, step=-(-side // max_side))
    return stretch(block.pixels[:, 0], block.valid[0]), frame


def _from_thumbnail(
    reader: Reader, source: Source, bands: tuple[int, ...], box: Box, side: int
) -> tuple[PixelBlock, Frame]:
    block = reader.thumbnail(source, bands, side)
    _, height, width = source.grid.shape
    step_y, step_x = height / block.box.shape[1], width / block.box.shape[2]
    y0, x0 = int(box.start[1] / step_y), int(box.start[2] / step_x)
    y1, x1 = max(y0 + 1, round(box.stop[1] / step_y)), max(x0 + 1, round(box.stop[2] / step_x))
    part = Box((0, y0, x0), (1, y1, x1)) & block.box
    if part is None:  # cannot be: the box lies inside the source
        raise SpecError(f"the box {box} is smaller than a pixel of the thumbnail; use a larger --max-side")
    cut = part.within(block.box.start)
    frame = Frame(part.start[1] * step_y, part.start[2] * step_x, step_y, step_x, part.shape[1], part.shape[2])
    return PixelBlock(block.pixels[:, *cut], block.valid[cut], part), frame


def _exact(reader: Reader, source: Source, bands: tuple[int, ...], box: Box, step: int) -> tuple[PixelBlock, Frame]:
    """One pixel of every `step` x `step` of the box, read in strips so that memory follows the picture."""
    _, height, width = box.shape
    step_y, step_x = min(step, height), min(step, width)
    rows = max(_STRIP_PIXELS // (width * step_y), 1) * step_y
    pixels: list[NDArray[Any]] = []
    valid: list[NDArray[np.bool_]] = []
    for y in range(box.start[1], box.stop[1], rows):
        strip = Box((0, y, box.start[2]), (1, min(y + rows, box.stop[1]), box.stop[2]))
        block = reader.read(source, strip, bands)
        sampled = (..., slice(step_y // 2, None, step_y), slice(step_x // 2, None, step_x))
        pixels.append(block.pixels[sampled].copy())
        valid.append(block.valid[sampled].copy())
    seen = np.concatenate(valid, axis=1)
    frame = Frame(box.start[1], box.start[2], step_y, step_x, seen.shape[1], seen.shape[2])
    return PixelBlock(np.concatenate(pixels, axis=2), seen, Box.of_shape(seen.shape)), frame


def _counts(results: Results, source_id: str, box: Box) -> dict[str, int]:
    query = f"SELECT label, count(*) FROM instances WHERE {_TOUCHES} GROUP BY label ORDER BY 2 DESC, 1"
    table = results.sql(query, _touches(source_id, box))
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))


def _touches(source_id: str, box: Box) -> list[Any]:
    return [source_id, box.start[1], box.start[2], box.stop[1], box.stop[2]]


def _draw_instances(
    results: Results, source_id: str, pixels: NDArray[np.uint8], frame: Frame
) -> tuple[NDArray[np.uint8], int]:
    query = f"""SELECT instance_id, mask_rle, {", ".join(_BOX)} FROM instances WHERE {_TOUCHES}
        ORDER BY pixel_count DESC, instance_id LIMIT {MOST_INSTANCES}"""
    table = results.sql(query, _touches(source_id, frame.box))
    owner = np.zeros(pixels.shape[:2], np.int32)
    first = 1
    for batch in table.to_batches(max_chunksize=1_000):
        boxes = np.stack([batch.column(name).to_numpy() for name in _BOX], axis=1)
        runs, offsets = _decode(batch.column("mask_rle"), boxes)
        draw(owner, frame, runs, offsets, boxes, first)
        first += batch.num_rows
    return blend(pixels, owner, colours(table.column("instance_id").to_pylist())), table.num_rows


def _decode(codes: pa.Array, boxes: NDArray[np.int64]) -> tuple[Runs, NDArray[np.int64]]:
    texts = [code.encode() for code in codes.to_pylist()]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    return from_coco_rles(np.frombuffer(b"".join(texts), np.uint8), offsets, boxes)


def _caption(uri: str, frame: Frame, counts: dict[str, int], drawn: int) -> str:
    total = sum(counts.values())
    classes = ", ".join(f"{label} {count:,}" for label, count in counts.items())
    parts = [
        f"{total:,} objects" + (f" ({classes})" if len(counts) > 1 else f" ({next(iter(counts))})" if counts else "")
    ]
    if drawn < total:
        parts.append(f"the {drawn:,} largest are drawn")
    if frame.step_y != 1:
        parts.append(f"1 px = {frame.step_y:.3g} px of the source")
    return f"{uri.rsplit('/', 1)[-1]}: {'; '.join(parts)}"
