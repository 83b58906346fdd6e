"""Evidence about seams: rows of `seams`, columns of `images`, one verdict for the run, and what to warn of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.models import ModelManifest
from segworkers.plans import SourcePlan
from segworkers.receipts import CellCounts
from segworkers.seam_test import SeamVerdict, Stratum, seam_verdict
from segworkers.seam_totals import TYPICAL, ObjectSizes, SeamTotals

STEP = 16
"""Overlaps and windows are recommended in multiples of so many pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSeams:
    """One source's profile: pixels and objects by bin, and what they say."""

    plan: SourcePlan
    pixels: tuple[int, ...]
    """Done and empty ones by bin of its `SeamFrame`, the margins last."""
    totals: SeamTotals
    stratum: Stratum | None
    """None where no window ends inside the source."""

    @classmethod
    def of(cls, plan: SourcePlan, counts: CellCounts, totals: SeamTotals | None) -> SourceSeams:
        """From the ledger's counts and the published rows' sums, None where there are no rows."""
        frame = plan.seams
        totals = totals or SeamTotals.of(frame)
        pixels = counts.by_distance or (0,) * frame.size
        stratum = totals.stratum(frame, pixels) if frame.has_seams else None
        return cls(plan=plan, pixels=pixels, totals=totals, stratum=stratum)

    def rows(self) -> list[dict[str, Any]]:
        """Its rows of the `seams` table."""
        frame = self.plan.seams
        ends = (*frame.bins[1:], frame.reach + 1)
        inner = _density(sum(self.totals.objects[:-1]), sum(self.pixels[:-1]))
        rows: list[dict[str, Any]] = []
        for k, (pixels, objects) in enumerate(zip(self.pixels, self.totals.objects, strict=True)):
            is_margin = k == len(frame.bins)
            density = _density(objects, pixels)
            rows.append(
                {
                    "source_id": self.plan.source.source_id,
                    "source_uri": self.plan.source.uri,
                    "zone": "margin" if is_margin else "near" if k < frame.near else "far",
                    "distance_min_px": None if is_margin else frame.bins[k],
                    "distance_max_px": None if is_margin else ends[k],
                    "pixels": pixels,
                    "object_count": objects,
                    "objects_per_mpx": density,
                    "ratio": density / inner if inner and density is not None else None,
                }
            )
        return rows

    def columns(self) -> dict[str, Any]:
        """Its columns of the `images` table, where its objects are known."""
        verdict = seam_verdict([self.stratum] if self.stratum else [])
        sizes = ObjectSizes()
        for each in self.totals.sizes.values():
            sizes.add(each)
        return {
            "seam_verdict": verdict.verdict,
            "seam_ratio": verdict.ratio,
            "seam_ratio_low": verdict.low,
            "seam_ratio_high": verdict.high,
            "object_size_p95_px": sizes.typical,
            "assembled_count": sizes.assembled,
        }


def run_verdict(sources: Sequence[SourceSeams]) -> SeamVerdict:
    """One verdict over all sources."""
    return seam_verdict([each.stratum for each in sources if each.stratum is not None])


def verdict_line(verdict: SeamVerdict) -> str:
    """The verdict in one line for people."""
    figures = ""
    if verdict.ratio is not None:
        interval = f"95 % interval {verdict.low:.3f} to {verdict.high:.3f}"
        figures = f" (ratio of densities {verdict.ratio:.3f}, {interval})"
    if verdict.verdict == "flat" and not _holds_one(verdict):
        return f"no clear sign of a seam: near windows' borders about as many objects as elsewhere{figures}"
    return {
        "flat": f"no seam: as many objects near windows' borders as elsewhere{figures}",
        "excess near borders": f"SEAM: too many objects near windows' borders{figures}",
        "lack near borders": f"SEAM: too few objects near windows' borders{figures}",
        "too few objects": f"too few objects to tell whether there is a seam{figures}",
        "cannot tell": (
            "cannot tell whether there is a seam: windows overlap so far that several saw every place, which leaves "
            f"nothing to compare with{figures}; a smaller model.overlap would show it"
        ),
        "no borders": "no seam to look for: no source took more than one window",
    }[verdict.verdict]


def _holds_one(verdict: SeamVerdict) -> bool:
    """Whether the interval holds 1; true without one."""
    return verdict.low is None or verdict.high is None or verdict.low <= 1 <= verdict.high


def seam_warnings(verdict: SeamVerdict, sources: Sequence[SourceSeams], model: ModelManifest) -> list[str]:
    """What a careful person would want to know about the finished merge."""
    warnings: list[str] = []
    if verdict.verdict in ("excess near borders", "lack near borders"):
        warnings.append(f"{verdict_line(verdict)}; {_what_to_do(model)}")
    # Components of a class map are joined pixel by pixel: no overlap is needed for them, however large they are.
    if model.kind == "instance":
        sizes = _sizes(sources)
        sides = (max(each.plan.grid.shape[1:]) for each in sources if each.stratum is not None)
        side = max(sides, default=0)
        found = (_size_warning(label, sizes[label], model, side) for label in model.classes if label in sizes)
        warnings += [text for text in found if text]
    return warnings


def _what_to_do(model: ModelManifest) -> str:
    if model.kind == "dense":
        return "look at the tables `seams` and `images`, and at what the model says at its windows' borders"
    look = "look at the tables `seams` and `images`, and at `segworkers verify OUT --doubtful`"
    can_grow = any(2 * o < w for o, w in zip(model.overlap[1:], model.window[1:], strict=True))
    return f"{look}, and try a larger model.overlap" if can_grow else look


def _sizes(sources: Sequence[SourceSeams]) -> Mapping[str, ObjectSizes]:
    """Of all sources that windows cut at all, by class."""
    sizes: dict[str, ObjectSizes] = {}
    for source in sources:
        if source.stratum is not None:
            for label, each in source.totals.sizes.items():
                sizes.setdefault(label, ObjectSizes()).add(each)
    return sizes


def _size_warning(label: str, sizes: ObjectSizes, model: ModelManifest, side: int) -> str:
    """Why the overlap is too small for a class; empty where it is not, or where nothing was cut.

    side: the longest side of the images, in pixels of the model's grid; no advice goes beyond it.
    """
    typical, overlap, window = sizes.typical, min(model.overlap[1:]), min(model.window[1:])
    if typical is None or typical <= overlap or not sizes.assembled:
        return ""
    wanted = (typical // STEP + 1) * STEP
    if 2 * wanted <= window:
        advice = f"set model.overlap to {wanted} or more"
    elif 2 * wanted < side:
        advice = f"take windows of {2 * wanted:,} pixels or more with model.overlap {wanted:,}, or coarser pixels"
    else:
        advice = "take one window over the whole image, or coarser pixels"
    outcome = (
        "had to be assembled" if overlap else "were left as windows cut them, for nothing says what belongs together"
    )
    return (
        f"{label}: {_how_many(sizes, typical)} {typical:,} pixels long or longer, the overlap is {overlap}; "
        f"{sizes.assembled:,} of {sizes.objects:,} were seen whole by no window and {outcome}; {advice}"
    )


def _how_many(sizes: ObjectSizes, typical: int) -> str:
    """Of how many objects the typical length is spoken: a share, or, of a few objects, their number."""
    one_in = 100 // (100 - TYPICAL)
    if sizes.objects >= one_in:
        return f"one in {one_in} objects is"
    long = sum(count for size, count in sizes.counts.items() if size >= typical)
    return f"{long} of {sizes.objects} objects {'is' if long == 1 else 'are'}"


def _density(objects: int, pixels: int) -> float | None:
    return objects / (pixels / 1e6) if pixels else None
