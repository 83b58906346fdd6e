"""COCO run-length code of masks: the lossless mask column of the tables.

1. A mask is cut out by a box and read column after column: the crop is an image of height dz·dy and width dx (for a
   2-D raster, exactly COCO's `size = [dy, dx]`).
2. `counts` are the lengths of alternating runs of absent and present pixels, absent first (0 where the crop begins with
   a pixel); runs continue from the bottom of one column into the top of the next.
3. Compressed, each count from the fourth on is the difference to the one two before, written in groups of 5 bits,
   lowest first: bit 5 says "more follows", the highest written bit is the sign; 48 is added to make it printable.

The strings equal those of pycocotools byte for byte. Nothing here builds a bitmap. The plural functions take batches:
runs with offsets (m + 1), boxes (m, 6) of (z0, y0, x0, z1, y1, x1), strings as one uint8 array with offsets (m + 1),
which is how Arrow keeps binary columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Box
from schemas.masks import Runs

_Ints = NDArray[np.int64]

_MAX_GROUPS = 12
"""Groups of 5 bits in a number: 60 bits, above any pixel count and safely within int64."""


def coco_counts(runs: Runs, box: Box) -> _Ints:
    """Uncompressed counts (n,) of the crop; their sum is the box's volume. Raises ValueError on pixels outside."""
    return _counts(runs, np.array([0, len(runs)]), _box_rows(box))[0]


def coco_rle_string(runs: Runs, box: Box) -> bytes:
    """Compressed code of the crop. Raises ValueError on pixels outside the box."""
    return coco_rle_strings(runs, np.array([0, len(runs)]), _box_rows(box))[0].tobytes()


def from_coco_rle(string: bytes | str, box: Box) -> Runs:
    """Canonical runs in source coordinates. Raises ValueError where the string does not describe a crop of this box."""
    data = np.frombuffer(string.encode() if isinstance(string, str) else string, np.uint8)
    return from_coco_rles(data, np.array([0, len(data)]), _box_rows(box))[0]


def from_coco_counts(counts: Sequence[int] | NDArray[np.integer[Any]], box: Box) -> Runs:
    """Canonical runs of uncompressed counts. Raises ValueError where they do not fill this box."""
    lengths = np.asarray(counts, np.int64)
    if (lengths < 0).any() or int(lengths.sum()) != box.volume:
        raise ValueError(f"counts must be at least 0 and add up to {box.volume} pixels, they make {int(lengths.sum())}")
    ends = np.cumsum(lengths)[1::2]
    starts = ends - lengths[1::2]
    present = np.flatnonzero(ends > starts)
    mask = np.zeros(len(present), np.intp)
    return _cut_into_columns(starts[present], ends[present], mask, _box_rows(box))[0]


def coco_rle_strings(
    runs: Runs, offsets: NDArray[np.integer[Any]], boxes: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.uint8], _Ints]:
    """Compressed codes of m crops: bytes and offsets (m + 1). Raises ValueError on pixels outside the boxes."""
    counts, starts = _counts(runs, offsets, boxes)
    delta = counts.copy()
    later = np.flatnonzero(_index_within(starts) > 2)
    delta[later] -= counts[later - 2]
    magnitude = delta ^ (delta >> 63)
    groups = np.ones(len(delta), np.int64)
    for bit in range(4, 5 * _MAX_GROUPS, 5):
        groups += magnitude >> bit != 0
    position = np.concatenate([[0], np.cumsum(groups)])
    data = np.empty(int(position[-1]), np.uint8)
    for group in range(int(groups.max(initial=0))):
        longer = np.flatnonzero(groups > group)
        more = np.where(groups[longer] > group + 1, 0x20, 0)
        data[position[longer] + group] = ((delta[longer] >> (5 * group)) & 0x1F | more) + 48
    return data, position[starts]


def from_coco_rles(
    data: NDArray[np.uint8], offsets: NDArray[np.integer[Any]], boxes: NDArray[np.integer[Any]]
) -> tuple[Runs, _Ints]:
    """Canonical runs and offsets (m + 1) of m compressed codes. Raises ValueError where one does not fill its box."""
    counts, starts = _parse(data, offsets.astype(np.int64))
    box = boxes.astype(np.int64)
    depth, height, width = (box[:, 3:] - box[:, :3]).T
    ends = _cumsum_within(counts, starts)
    total = np.zeros(len(box), np.int64)
    filled = np.flatnonzero(np.diff(starts))
    total[filled] = ends[starts[1:][filled] - 1]
    wrong = np.flatnonzero(total != depth * height * width)
    if len(wrong) or (counts < 0).any():
        raise ValueError(
            f"run-length codes must fill their boxes with counts of at least 0; the first that does not is mask "
            f"{wrong[0] if len(wrong) else 'with a negative count'}: check that code and box belong together"
        )
    present = np.flatnonzero((_index_within(starts) % 2 == 1) & (counts > 0))
    mask = np.repeat(np.arange(len(box)), np.diff(starts))[present]
    return _cut_into_columns(ends[present] - counts[present], ends[present], mask, box)


def _counts(runs: Runs, offsets: NDArray[np.integer[Any]], boxes: NDArray[np.integer[Any]]) -> tuple[_Ints, _Ints]:
    """Uncompressed counts of m crops and their offsets (m + 1)."""
    mask = np.repeat(np.arange(len(boxes)), np.diff(offsets))
    box = boxes.astype(np.int64)
    volume = np.prod(box[:, 3:] - box[:, :3], axis=1)
    start, stop = _linear_in_crop(runs, mask, box)
    joins_previous = np.zeros(len(start), np.bool_)
    joins_previous[1:] = (start[1:] == stop[:-1]) & (mask[1:] == mask[:-1])
    heads = np.flatnonzero(~joins_previous)
    tails = np.append(heads[1:], len(start))[: len(heads)] - 1
    start, stop, mask = start[heads], stop[tails], mask[heads]
    spans = np.bincount(mask, minlength=len(box))
    first_span = np.cumsum(spans) - spans
    reached = np.zeros(len(box), np.int64)
    filled = np.flatnonzero(spans)
    reached[filled] = stop[(first_span + spans - 1)[filled]]
    has_tail = reached < volume
    starts = np.concatenate([[0], np.cumsum(2 * spans + has_tail)])
    counts = np.empty(int(starts[-1]), np.int64)
    slot = starts[mask] + 2 * (np.arange(len(mask)) - first_span[mask])
    previous = np.concatenate([[0], stop[:-1]])[: len(start)]
    previous[first_span[filled]] = 0
    counts[slot] = start - previous
    counts[slot + 1] = stop - start
    counts[starts[1:][has_tail] - 1] = (volume - reached)[has_tail]
    return counts, starts


def _linear_in_crop(runs: Runs, mask: NDArray[np.intp], box: _Ints) -> tuple[_Ints, _Ints]:
    """Starts and stops of runs in the crop's column-major order, sorted within each mask."""
    low, high = box[mask, :3], box[mask, 3:]
    z, x, y_start, y_stop = (runs[:, column] - low[:, axis] for column, axis in enumerate((0, 2, 1, 1)))
    depth, height, width = (high - low).T
    if ((z < 0) | (z >= depth) | (x < 0) | (x >= width) | (y_start < 0) | (y_stop > height)).any():
        raise ValueError(
            "a mask has pixels outside the box that it is encoded for; clip it or use its own bounding box"
        )
    column = (x * depth + z) * height
    start, stop = column + y_start, column + y_stop
    if (depth > 1).any():
        order = np.lexsort((start, mask))
        return start[order], stop[order]
    return start, stop


def _parse(data: NDArray[np.uint8], offsets: _Ints) -> tuple[_Ints, _Ints]:
    """Uncompressed counts of m compressed codes and their offsets (m + 1)."""
    code = data.astype(np.int64) - 48
    last = np.flatnonzero((code & 0x20) == 0)
    ends = offsets[1:][np.diff(offsets) > 0] - 1
    if len(code) and ((code < 0).any() or (code > 63).any() or (code[ends] & 0x20).any()):
        raise ValueError("a run-length code holds characters outside '0'..'o' or breaks off within a number")
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    groups = last - first + 1
    if (groups > _MAX_GROUPS).any():
        raise ValueError(f"a run-length code holds a number of more than {5 * _MAX_GROUPS} bits")
    shift = 5 * (np.arange(len(code)) - np.repeat(first, groups))
    delta = np.add.reduceat((code & 0x1F) << shift, first) if len(first) else np.zeros(0, np.int64)
    delta -= np.where(code[last] & 0x10, np.int64(1) << (5 * groups), 0)
    starts = np.searchsorted(last, offsets)
    # Even and odd places (the first apart) are sums of their own: bring each together, add up, put back.
    index = _index_within(starts)
    series = np.repeat(np.arange(len(starts) - 1), np.diff(starts)) * 3 + np.where(index == 0, 0, 1 + index % 2)
    order = np.argsort(series, kind="stable")
    counts = np.empty_like(delta)
    series_starts = np.searchsorted(series[order], np.arange(3 * (len(starts) - 1) + 1))
    counts[order] = _cumsum_within(delta[order], series_starts)
    return counts, starts


def _cut_into_columns(start: _Ints, stop: _Ints, mask: NDArray[np.intp], box: _Ints) -> tuple[Runs, _Ints]:
    """Runs of spans in the crop's column-major order, with offsets (m + 1)."""
    depth, height, _ = (box[mask, 3:] - box[mask, :3]).T
    first = start // height
    pieces = (stop - 1) // height - first + 1
    of = np.repeat(np.arange(len(start)), pieces)
    column = first[of] + (np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
    base = column * height[of]
    low = box[mask[of], :3]
    x, z = np.divmod(column, depth[of])
    y_start = np.maximum(start[of] - base, 0)
    y_stop = np.minimum(stop[of] - base, height[of])
    runs = np.stack([z + low[:, 0], x + low[:, 2], y_start + low[:, 1], y_stop + low[:, 1]], axis=1).astype(np.int32)
    if (depth > 1).any():
        runs = runs[np.lexsort((runs[:, 2], runs[:, 1], runs[:, 0], mask[of]))]
    return runs, np.concatenate([[0], np.cumsum(np.bincount(mask[of], minlength=len(box)))])


def _cumsum_within(values: _Ints, starts: _Ints) -> _Ints:
    """Running sums that begin anew at each of `starts` (m + 1)."""
    total = np.concatenate([[0], np.cumsum(values)])
    return total[1:] - np.repeat(total[starts[:-1]], np.diff(starts))


def _index_within(starts: _Ints) -> _Ints:
    """0, 1, 2 … within each part of `starts` (m + 1)."""
    return np.arange(int(starts[-1])) - np.repeat(starts[:-1], np.diff(starts))


def _box_rows(box: Box) -> _Ints:
    """One box as an array (1, 6)."""
    return np.array([(*box.start, *box.stop)], np.int64)
