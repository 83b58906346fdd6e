"""Options of the Mask R-CNN segmenter, read without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from schemas.boxes import Zyx
from schemas.errors import SpecError
from schemas.models import ModelManifest, Normalisation
from segworkers.segmenters import options as parse
from segworkers.segmenters.channels import taking
from segworkers.segmenters.options import Options

Version = Literal["v1", "v2"]
"""torchvision's `maskrcnn_resnet50_fpn` and `maskrcnn_resnet50_fpn_v2`."""

TAKES = (1, 3)
"""Numbers of bands: red, green and blue, or one that is shown as all three."""

_ABOUT = {
    "classes": "Names of the network's classes, in its order, without background.",
    "keep": "Classes to keep; by default all.",
    "bands": "One, shown three times, or three as red, green, blue; by default all of the image's.",
    "normalise": "unit is for 8-bit images; 16-bit ones usually need percentile.",
    "resolution": "Metres per pixel; by default the image's own.",
    "window": "Pixels that it sees at once; z is 1.",
    "overlap": "Pixels that neighbouring windows share, at most half a window.",
    "batch": "Windows that form one batch.",
    "score_threshold": "Detections with a lower score are dropped.",
    "mask_threshold": "Probability from which a pixel is in the mask.",
    "box_nms": "IoU above which the weaker of two boxes of a class and window is dropped.",
    "detections_per_image": "A window that reaches so many is reported as capped.",
    "proposals_per_image": "Regions that enter the box head; by default twice detections_per_image, at least 1000.",
    "resize": "Whether windows are shown at torchvision's 800 to 1333 pixels instead of their own size.",
    "norm_eps": "Epsilon of frozen batch norms; by default 0 for torchvision's COCO_V1 file, else 1e-5.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRcnnSettings:
    """Every choice there is. Defaults are torchvision's unless said otherwise."""

    classes: tuple[str, ...] | None
    """Names of the network's classes in order, without background; None: COCO's where the weights are COCO's."""
    keep: tuple[str, ...] | None
    """Names to keep; the others are dropped before their masks are computed."""
    bands: tuple[str | int, ...] | None
    """One band (shown three times) or three, as red, green, blue; None: all of the image's."""
    normalise: Normalisation
    """Default `unit`: 0..255 becomes 0..1. 16-bit images usually need `percentile`."""
    resolution: float | None
    window: Zyx
    overlap: Zyx
    batch: Zyx
    score_threshold: float
    """Default 0.5; torchvision's is 0.05, of use for evaluation curves only."""
    mask_threshold: float
    box_nms: float
    """IoU above which the weaker of two boxes of one class is dropped inside a window."""
    detections_per_image: int
    """Default 1000; torchvision keeps 100. A window that reaches it is marked as capped."""
    proposals_per_image: int
    """Candidate regions that enter the box head, and per pyramid level before their NMS; default twice
    `detections_per_image`, at least torchvision's 1000."""
    resize: bool
    """Default false: the network sees windows at their own size. True: torchvision's 800 to 1333 pixels."""
    norm_eps: float | None
    """Epsilon of frozen batch norms; None: 0 for torchvision's COCO_V1 file, as torchvision does, else 1e-5. Set 0 for
    weights fine-tuned from COCO_V1 with torchvision's own builder."""


def maskrcnn_settings(options: Mapping[str, object]) -> MaskRcnnSettings:
    """Read the options. Raises SpecError with all their problems."""
    read = Options("maskrcnn", options, about=_ABOUT)
    detections = read.take("detections_per_image", parse.count, 1000)
    settings = MaskRcnnSettings(
        classes=read.take("classes", parse.names, None),
        keep=read.take("keep", parse.names, None),
        bands=read.take("bands", parse.bands, None),
        normalise=cast(
            Normalisation,
            read.take("normalise", parse.choice("none", "unit", "percentile", "zscore", "otsu"), "unit"),
        ),
        resolution=read.take("resolution", parse.positive, None),
        window=read.take("window", parse.triple(1, 1), (1, 1024, 1024)),
        overlap=read.take("overlap", parse.triple(0, 0), (0, 256, 256)),
        batch=read.take("batch", parse.triple(1, 1), (1, 1, 1)),
        score_threshold=read.take("score_threshold", parse.between(0, 1), 0.5),
        mask_threshold=read.take("mask_threshold", parse.between(0, 1), 0.5),
        box_nms=read.take("box_nms", parse.between(0, 1), 0.5),
        detections_per_image=detections,
        proposals_per_image=read.take("proposals_per_image", parse.count, max(1000, 2 * detections)),
        resize=read.take("resize", parse.flag, False),
        norm_eps=read.take("norm_eps", parse.between(0, 1), None),
    )
    if settings.window[0] != 1 or settings.overlap[0] != 0:
        read.problems.append(f"model.options.window: Mask R-CNN sees planes, z must be 1, found {settings.window}")
    if settings.bands is not None and len(settings.bands) not in TAKES:
        read.problems.append(f"model.options.bands: expected one or three bands, found {len(settings.bands)}")
    if any(2 * o > w for o, w in zip(settings.overlap, settings.window, strict=True)):
        read.problems.append(
            f"model.options.overlap: {settings.overlap} is more than half the window {settings.window}"
        )
    read.finish()
    return settings


def bundle_settings(manifest: ModelManifest, parameters: Mapping[str, object]) -> MaskRcnnSettings:
    """The settings of a bundle: how images are shown is the manifest's business, the rest are its parameters.

    Raises SpecError with all their problems.
    """
    shown = {"window": manifest.window, "overlap": manifest.overlap, "batch": manifest.batch}
    wrong = [name for name in (*shown, "bands", "normalise", "resolution") if name in parameters]
    if wrong:
        raise SpecError(f"{manifest.name}: parameters: {', '.join(wrong)} belong into the manifest")
    return maskrcnn_settings({name: value for name, value in parameters.items() if name != "weights"} | shown)


def plan(manifest: ModelManifest, parameters: Mapping[str, object]) -> ModelManifest:
    """The manifest of a bundle with the classes that `keep` chooses, in its own order. Raises SpecError."""
    settings = bundle_settings(manifest, parameters)
    if manifest.kind != "instance" or manifest.window[0] != 1:
        raise SpecError(
            f"{manifest.name}: Mask R-CNN is of kind instance and sees one plane, "
            f"found kind {manifest.kind} and window {manifest.window}"
        )
    unknown = [name for name in settings.keep or () if name not in manifest.classes]
    if unknown:
        there = ", ".join(manifest.classes)
        raise SpecError(f"{manifest.name}: model.options.keep: no class {', '.join(unknown)}; there are {there}")
    kept = tuple(name for name in manifest.classes if settings.keep is None or name in settings.keep)
    return taking(replace(manifest, classes=kept), *TAKES)


def maskrcnn_manifest(settings: MaskRcnnSettings, name: str, classes: tuple[str, ...]) -> ModelManifest:
    """The manifest for the classes that are kept, without digest."""
    return ModelManifest(
        name=name,
        kind="instance",
        window=settings.window,
        overlap=settings.overlap,
        classes=classes,
        bands=settings.bands,
        channels=TAKES,
        normalise=settings.normalise,
        resolution=settings.resolution,
        batch=settings.batch,
    )
