"""Drawing for previews: image values to colours, masks to outlines on a reduced grid. Arrays in, arrays out."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.masks import Runs

FILL = 0.4
"""Share of the instance's colour inside its outline."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture's grid within its source: picture pixel (row, column) shows the source at the middle of its step."""

    y0: float
    """Row of the source at the picture's upper edge."""
    x0: float
    """Column of the source at the picture's left edge."""
    step_y: float
    """Source pixels per picture pixel, down; at least 1."""
    step_x: float
    """Source pixels per picture pixel, to the right; at least 1."""
    height: int
    width: int

    @property
    def box(self) -> Box:
        """The part of the source that the picture shows."""
        y1 = int(np.ceil(self.y0 + self.height * self.step_y))
        x1 = int(np.ceil(self.x0 + self.width * self.step_x))
        return Box((0, int(self.y0), int(self.x0)), (1, y1, x1))

    def rows_from(self, y: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """First picture row whose middle lies at or below the top edge of source row `y`, within 0..height."""
        return np.clip(np.ceil((y - self.y0) / self.step_y - 0.5), 0, self.height).astype(np.int64)

    def columns_from(self, x: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """First picture column whose middle lies at or right of the left edge of source column `x`, within 0..width."""
        return np.clip(np.ceil((x - self.x0) / self.step_x - 0.5), 0, self.width).astype(np.int64)


def stretch(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Bands (1 or 3, height, width) as RGB (height, width, 3): 1st..99th percentile of each band to 0..255.

    Invalid pixels are dark grey and do not enter the percentiles.
    """
    seen = valid & np.isfinite(pixels).all(axis=0)
    layers = [_stretch_band(band, seen) for band in pixels]
    rgb = np.stack(layers if len(layers) == 3 else layers[:1] * 3, axis=-1)
    rgb[~seen] = 40
    return rgb


def _stretch_band(band: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    values = band[seen].astype(np.float64)
    if not values.size:
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(values, [1, 99])
    if high <= low:
        low, high = values.min(), max(values.max(), values.min() + 1)
    scaled = np.clip((np.nan_to_num(band.astype(np.float64)) - low) / (high - low), 0, 1)
    return (scaled * 255).round().astype(np.uint8)


def colours(instance_ids: Sequence[str]) -> NDArray[np.uint8]:
    """One bright colour (n, 3) for each instance; the same id has the same colour in every picture."""
    return np.array([_colour(key) for key in instance_ids], np.uint8).reshape(-1, 3)


def _colour(key: str) -> tuple[int, int, int]:
    digest = hashlib.blake2b(key.encode(), digest_size=2).digest()
    red, green, blue = colorsys.hsv_to_rgb(int.from_bytes(digest, "big") / 65536, 0.85, 1.0)
    return (round(red * 255), round(green * 255), round(blue * 255))


def draw(
    owner: NDArray[np.int32],
    frame: Frame,
    runs: Runs,
    offsets: NDArray[np.int64],
    boxes: NDArray[np.int64],
    first: int,
) -> None:
    """Write `first + i` into `owner` (height, width) where mask i lies, later masks over earlier ones.

    runs, offsets: m masks as of `schemas.masks`; boxes: (m, 6). A mask too small to be met by any picture pixel gets
    the one at the middle of its box.
    """
    index = np.repeat(np.arange(len(boxes)), np.diff(offsets))
    column, column_stop = frame.columns_from(runs[:, 1]), frame.columns_from(runs[:, 1] + 1)
    row, row_stop = frame.rows_from(runs[:, 2]), frame.rows_from(runs[:, 3])
    # A step is at least one source pixel, so a source column meets at most one picture column.
    kept = np.flatnonzero((column_stop > column) & (row_stop > row))
    lengths = row_stop[kept] - row[kept]
    of = np.repeat(kept, lengths)
    down = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    small = np.setdiff1d(np.arange(len(boxes)), index[kept])
    middle = (boxes[small, :3] + boxes[small, 3:]) / 2
    y = np.floor((middle[:, 1] - frame.y0) / frame.step_y).astype(np.int64)
    x = np.floor((middle[:, 2] - frame.x0) / frame.step_x).astype(np.int64)
    inside = (y >= 0) & (x >= 0) & (y < frame.height) & (x < frame.width)
    owner[row[of] + down, column[of]] = first + index[of]
    owner[y[inside], x[inside]] = first + small[inside]


def blend(picture: NDArray[np.uint8], owner: NDArray[np.int32], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture (height, width, 3) with instances blended in and outlined; owner 0 is none, k has palette[k - 1]."""
    edge = np.zeros(owner.shape, np.bool_)
    edge[1:] |= owner[1:] != owner[:-1]
    edge[:-1] |= owner[:-1] != owner[1:]
    edge[:, 1:] |= owner[:, 1:] != owner[:, :-1]
    edge[:, :-1] |= owner[:, :-1] != owner[:, 1:]
    inside = owner > 0
    share = np.where(edge, 1.0, FILL)[inside][:, None]
    result = picture.copy()
    result[inside] = (picture[inside] * (1 - share) + palette[owner[inside] - 1] * share).round().astype(np.uint8)
    return result


def caption_strip(text: str, width: int) -> NDArray[np.uint8]:
    """A dark strip (rows, width, 3) with `text` in as many lines as it needs."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= width - 12 or not lines[-1] else [*lines, word]
    strip = Image.new("RGB", (width, 20 * len(lines) + 8), (24, 24, 24))
    for number, line in enumerate(lines):
        ImageDraw.Draw(strip).text((6, 4 + 20 * number), line, font=font, fill=(235, 235, 235))
    return np.asarray(strip)
