"""Whether two runs of one job found the same objects, up to what the rounding of another device can change.

Devices sum in another order, so scores differ in their last digits, pixels flip where two classes are as likely, and an
object at a threshold may be there on one device only. Nothing else may differ.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.rle import from_coco_rles
from tests.runs import rows

Row = Mapping[str, Any]

NAMED_BY_MASK = ("instance_id", "mask_value", "mask_rle", "geometry", "bbox", "polygon_px")
"""Columns that say again what the mask is, or follow from the order of all rows."""
OF_THE_MERGE = ("n_views", "assembled", "min_link_overlap")
"""Columns that tell of views, which other pixels of the same object may link otherwise."""
SIZES = (
    *("pixel_count", "voxel_count", "area_m2", "length_m", "width_m", "length_px", "width_px", "volume_mm3"),
    *("long_axis_mm", "short_axis_mm", "max_diameter_mm", "value_mean"),
)
"""Columns that change little where a mask changes little; `angle_deg` of a round object does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What may differ."""

    iou: float = 0.95
    """Least IoU of the two masks of an object."""
    pixels: int = 2
    """Masks that differ in no more pixels agree whatever their IoU; and the margin at `least_pixels`."""
    score: float = 1e-3
    """Difference of scores; and the margin at `least_score`."""
    size: float = 0.05
    """Relative difference of sizes, where masks differ."""
    least_score: float | None = None
    """Threshold of scores: what is nearer to it than `score` may be missing on one side."""
    least_pixels: int = 1
    """Threshold of sizes: what has at most `pixels` more may be missing on one side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What a comparison found."""

    objects: tuple[int, int]
    matched: int
    identical: int
    """Matched objects whose masks are the same pixel by pixel."""
    marginal: int
    """Objects on one side only that a threshold explains."""
    least_iou: float
    """Of matched objects; 1 without any."""
    most_score: float
    """Largest difference of two scores."""
    problems: tuple[str, ...]
    """What rounding does not explain; empty where the runs agree."""

    def __str__(self) -> str:
        """One line."""
        first, second = self.objects
        return (
            f"{first} and {second} objects, {self.matched} matched ({self.identical} with the same mask), "
            f"{self.marginal} at a threshold, IoU at least {self.least_iou:.4f}, "
            f"scores differ by at most {self.most_score:.1e}, {len(self.problems)} problems"
        )


def compare(first: Path | str, second: Path | str, allowed: Allowed) -> Agreement:
    """Match the objects of two finished runs of the same inputs one to one, and compare them and the images."""
    one, two = rows(first, "instances"), rows(second, "instances")
    pairs = _pairs(one, two)
    problems: list[str] = []
    for a, b, iou, differing in pairs:
        problems += _differences(one[a], two[b], iou, differing, allowed)
    lone = [one[a] for a in sorted(set(range(len(one))) - {pair[0] for pair in pairs})]
    other = [two[b] for b in sorted(set(range(len(two))) - {pair[1] for pair in pairs})]
    unexplained = [row for row in (*lone, *other) if not _marginal(row, allowed)]
    problems += [f"{_name(row)} is found on one device only" for row in unexplained]
    marginal = len(lone) + len(other) - len(unexplained)
    problems += _images(rows(first, "images"), rows(second, "images"), [*lone, *other], allowed)
    return Agreement(
        objects=(len(one), len(two)),
        matched=len(pairs),
        identical=sum(differing == 0 for *_, differing in pairs),
        marginal=marginal,
        least_iou=min((iou for _, _, iou, _ in pairs), default=1.0),
        most_score=max((_apart(one[a]["score"], two[b]["score"]) for a, b, *_ in pairs), default=0.0),
        problems=tuple(problems),
    )


def _pairs(one: Sequence[Row], two: Sequence[Row]) -> list[tuple[int, int, float, int]]:
    """Indices of matched rows, their IoU and how many pixels differ: those of one class first, then by IoU."""
    masks = [[_pixels(row) for row in side] for side in (one, two)]
    found: list[tuple[bool, float, int, int, int]] = []
    for a, b in _near(one, two):
        both = len(np.intersect1d(masks[0][a], masks[1][b], assume_unique=True))
        union = len(masks[0][a]) + len(masks[1][b]) - both
        if both * 2 > union:
            found.append((one[a]["label"] != two[b]["label"], -both / union, a, b, union - both))
    taken: tuple[set[int], set[int]] = (set(), set())
    pairs: list[tuple[int, int, float, int]] = []
    for _, iou, a, b, differing in sorted(found):
        if a not in taken[0] and b not in taken[1]:
            taken[0].add(a)
            taken[1].add(b)
            pairs.append((a, b, -iou, differing))
    return pairs


def _near(one: Sequence[Row], two: Sequence[Row]) -> Iterable[tuple[int, int]]:
    """Pairs of rows of one source whose boxes overlap."""
    for a, row in enumerate(one):
        for b, other in enumerate(two):
            if row["source_id"] == other["source_id"] and all(
                row[f"{axis}_min"] < other[f"{axis}_max"] and other[f"{axis}_min"] < row[f"{axis}_max"]
                for axis in "zyx"
            ):
                yield a, b


def _pixels(row: Row) -> NDArray[np.int64]:
    """A number for each pixel of the mask, ascending within a run."""
    text = np.frombuffer(row["mask_rle"].encode(), np.uint8)
    box = np.array([[row[f"{axis}_{side}"] for side in ("min", "max") for axis in "zyx"]])
    runs = from_coco_rles(text, np.array([0, len(text)]), box)[0]
    return np.concatenate([((z << 21 | x) << 21) + np.arange(y0, y1) for z, x, y0, y1 in runs.astype(np.int64)])


def _differences(a: Row, b: Row, iou: float, differing: int, allowed: Allowed) -> list[str]:
    """What two rows of one object say otherwise than they may."""
    problems: list[str] = []
    if a["label"] != b["label"]:
        problems.append(f"{_name(a)}: is {b['label']} on the other device")
    if iou < allowed.iou and differing > allowed.pixels:
        problems.append(f"{_name(a)}: expected an IoU of at least {allowed.iou}, found {iou:.4f}")
    if _apart(a["score"], b["score"]) > allowed.score:
        problems.append(f"{_name(a)}: expected a score of {a['score']} ± {allowed.score}, found {b['score']}")
    if differing == 0:
        left = (*NAMED_BY_MASK, *OF_THE_MERGE, "label", "score")
        unequal = [name for name in a if name not in left and not _close(a[name], b[name], 1e-9)]
    else:
        within = max(allowed.size, allowed.pixels / a["pixel_count"])
        unequal = [name for name in SIZES if not _close(a.get(name), b.get(name), within)]
    return problems + [f"{_name(a)}: {name} is {a[name]} and {b[name]}" for name in unequal]


def _images(one: Sequence[Row], two: Sequence[Row], lone: Sequence[Row], allowed: Allowed) -> list[str]:
    """What the images say otherwise than their objects explain. lone: rows without a partner."""
    first, second = ({row["source_id"]: row for row in side} for side in (one, two))
    if first.keys() != second.keys():
        return [f"images: expected the sources {sorted(first)}, found {sorted(second)}"]
    problems: list[str] = []
    for source, a in first.items():
        b = second[source]
        same = ("status", "reason", "pixels", "pixels_nodata", "pixels_failed", "capped_windows", "model_digest")
        problems += [f"image {source}: {name} is {a[name]} and {b[name]}" for name in same if a[name] != b[name]]
        here = [row for row in lone if row["source_id"] == source]
        if abs((a["object_count"] or 0) - (b["object_count"] or 0)) > len(here):
            problems.append(f"image {source}: counts {a['object_count']} and {b['object_count']}")
        if not here and _apart(a["mean_score"], b["mean_score"]) > allowed.score:
            problems.append(f"image {source}: mean_score is {a['mean_score']} and {b['mean_score']}")
        counts = [Counter({each["label"]: each["object_count"] for each in row["classes"] or ()}) for row in (a, b)]
        if sum(((counts[0] - counts[1]) + (counts[1] - counts[0])).values()) > len(here):
            problems.append(f"image {source}: counts {dict(counts[0])} and {dict(counts[1])}")
    return problems


def _marginal(row: Row, allowed: Allowed) -> bool:
    at_score = allowed.least_score is not None and _apart(row["score"], allowed.least_score) <= allowed.score
    return at_score or row["pixel_count"] <= allowed.least_pixels + allowed.pixels


def _apart(a: float | None, b: float | None) -> float:
    """The difference of two scores; infinite where one is missing."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return abs(a - b)


def _close(a: Any, b: Any, relative: float) -> bool:
    both = isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool)
    return math.isclose(a, b, rel_tol=relative, abs_tol=1e-9) if both else a == b


def _name(row: Row) -> str:
    place = ", ".join(f"{axis} {row[f'{axis}_min']}..{row[f'{axis}_max']}" for axis in "zyx")
    return f"{row['label']} of {row['pixel_count']} px at {place}, score {row['score']}"
