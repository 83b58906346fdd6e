"""What can be run: one entry for each way of merging that a peer offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rule:
    """A merge rule of a peer."""

    name: str
    package: str
    """Distribution that it comes from; empty for what this package does itself, which needs no other environment."""
    module: str
    """Adapter in this package; its `merge(case, **options)` returns an Outcome."""
    dims: tuple[int, ...]
    """2 for images, 3 for volumes."""
    classes: bool
    """Whether the peer itself keeps classes apart. Where not, each class is merged alone and the results are joined."""
    overlaps: bool
    """Whether masks of one window may overlap. Where not, the better scored one is on top and the other loses pixels.
    """
    text: str
    """The rule in one line, for tables."""
    options: Mapping[str, object] = field(default_factory=dict[str, object])


def _sahi(name: str, kind: str, metric: str, text: str) -> Rule:
    options = {"kind": kind, "metric": metric}
    return Rule(name, "sahi", "with_sahi", (2,), classes=True, overlaps=True, text=text, options=options)


def _supervision(name: str, kind: str, metric: str, text: str) -> Rule:
    options = {"kind": kind, "metric": metric}
    return Rule(name, "supervision", "with_supervision", (2,), classes=True, overlaps=True, text=text, options=options)


def _arrays(
    name: str, package: str, module: str, dims: tuple[int, ...], text: str, options: Mapping[str, object] | None = None
) -> Rule:
    return Rule(name, package, module, dims, classes=False, overlaps=False, text=text, options=options or {})


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("none", "", "with_nothing", (2, 3), classes=True, overlaps=True, text="every detection is an object"),
        _sahi("sahi", "GREEDYNMM", "IOS", "SAHI's default: greedy merging, box IoS 0.5"),
        _sahi("sahi_nms", "NMS", "IOU", "SAHI: suppression, box IoU 0.5"),
        _sahi("sahi_nmm", "NMM", "IOS", "SAHI: transitive merging, box IoS 0.5"),
        _supervision("supervision", "non_max_suppression", "IOU", "supervision's default: suppression, mask IoU 0.5"),
        _supervision("supervision_ios", "non_max_suppression", "IOS", "supervision: suppression, mask IoS 0.5"),
        _supervision("supervision_nmm", "non_max_merge", "IOU", "supervision: merging, mask IoU 0.5"),
        _supervision("supervision_nmm_ios", "non_max_merge", "IOS", "supervision: merging, mask IoS 0.5"),
        _arrays(
            "patchworks_iou", "patchworks", "with_patchworks", (2, 3), "patchworks: IoU 0.5 in the halo", {"iou": True}
        ),
        _arrays(
            "patchworks", "patchworks", "with_patchworks", (2, 3), "patchworks's default: what touches", {"iou": False}
        ),
        _arrays("dask_image", "dask-image", "with_dask_image", (2, 3), "dask-image: components of the foreground"),
        _arrays("cellpose", "cellpose", "with_cellpose", (2, 3), "Cellpose's distributed stitching; inert on images"),
        _arrays(
            "cellpose_stacked",
            "cellpose",
            "with_cellpose",
            (2,),
            "the same, the image as a stack of three planes",
            {"planes": 3},
        ),
    )
}
"""By name."""
