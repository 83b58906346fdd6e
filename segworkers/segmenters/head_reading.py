"""From what a bundle declares to a head, with every problem reported at once. Imports no runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters import options as parse
from segworkers.segmenters.heads import Activation, ClassesHead, Head, LabelsHead, SemanticHead
from segworkers.segmenters.instance_heads import (
    BoxesHead,
    BoxFormat,
    BoxShape,
    Detections,
    MaskRcnnHead,
    PrototypeHead,
    StarHead,
)
from segworkers.segmenters.options import Options
from segworkers.segmenters.star_decoding import StarSettings


def read_head(
    declared: object, manifest: ModelManifest, overrides: Mapping[str, object], where: str = "parameters.head"
) -> Head:
    """The head that a bundle declares.

    overrides: values that a job sets instead; those that are None are left out. Raises SpecError with all problems.
    """
    if not isinstance(declared, Mapping) or declared.get("type") not in HEADS:  # pyright: ignore[reportUnknownMemberType]
        raise SpecError(f"{where}: expected an object whose type is one of {', '.join(HEADS)}, found {declared!r}")
    values = dict(cast(Mapping[str, object], declared))
    kind = str(values.pop("type"))
    read = Options(f"the head {kind}", values | {k: v for k, v in overrides.items() if v is not None}, where)
    head = HEADS[kind](read, manifest)
    if head.kind != manifest.kind:
        read.problems.append(
            f"{where}: the head {kind} is of a model of kind {head.kind}, the manifest says {manifest.kind}"
        )
    read.finish()
    return head


def read_outputs(declared: object, head: Head, where: str = "parameters.outputs") -> dict[str, str | int]:
    """Which of the network's outputs, by name or 0-based position, plays which role; default: in the roles' order."""
    if declared is None:
        return {role: index for index, role in enumerate(head.roles)}
    roles = {**head.roles, **head.optional_roles}
    if not isinstance(declared, Mapping):
        raise SpecError(f"{where}: expected an object of roles {', '.join(roles)}, found {declared!r}")
    given = cast(Mapping[str, object], declared)
    problems = [f"{where}: no output for {role}" for role in head.roles if role not in given]
    problems += [
        f"{where}.{role}: the head has no such role; it has {', '.join(roles)}" for role in given if role not in roles
    ]
    problems += [
        f"{where}.{role}: expected an output's name or its position from 0, found {value!r}"
        for role, value in given.items()
        if isinstance(value, bool) or not isinstance(value, (str, int)) or (isinstance(value, int) and value < 0)
    ]
    if problems:
        raise SpecError(problems)
    return cast("dict[str, str | int]", dict(given))


def _read_semantic(read: Options, _manifest: ModelManifest) -> SemanticHead:
    background = read.take("background", parse.flag, True)
    fallback = "softmax" if background else "sigmoid"
    activation = read.take("activation", parse.choice("softmax", "sigmoid", "none"), fallback)
    if activation == "softmax" and not background:
        read.problems.append("parameters.head.activation: softmax without a background channel always names a class")
    return SemanticHead(
        activation=cast(Activation, activation),
        background=background,
        threshold=read.take("threshold", parse.between(0, 1), 0.5),
    )


def _read_detections(read: Options, manifest: ModelManifest, first_label: int, nms: float | None) -> Detections:
    first = read.take("first_label", _label, first_label)
    names = read.take("names", parse.names, manifest.classes)
    missing = [name for name in manifest.classes if name not in names]
    if missing:
        read.problems.append(f"parameters.head.names: the network has no output {', '.join(missing)} of the manifest")
    wanted = {name: index for index, name in enumerate(manifest.classes)}
    return Detections(
        class_of={first + place: wanted[name] for place, name in enumerate(names) if name in wanted} or {first: 0},
        score_threshold=read.take("score_threshold", parse.between(0, 1), 0.5),
        nms=read.take("nms", parse.between(0, 1), nms),
        limit=read.take("limit", parse.count, None),
    )


def _label(value: object) -> int:
    number = parse.number(value)
    if number not in (0, 1):
        raise ValueError(f"expected 0, or 1 where label 0 is background, found {value!r}")
    return int(number)


def _read_boxes(read: Options, manifest: ModelManifest) -> BoxesHead:
    _require_planes(read, manifest)
    return BoxesHead(
        detections=_read_detections(read, manifest, 1, None),
        shape=cast(BoxShape, read.take("shape", parse.choice("ellipse", "rectangle"), "ellipse")),
        format=cast(BoxFormat, read.take("format", parse.choice("xyxy", "xywh", "cxcywh"), "xyxy")),
        relative=read.take("relative", parse.flag, False),
    )


def _read_maskrcnn(read: Options, manifest: ModelManifest) -> MaskRcnnHead:
    _require_planes(read, manifest)
    threshold = read.take("mask_threshold", parse.between(0, 1), 0.5)
    return MaskRcnnHead(detections=_read_detections(read, manifest, 1, None), mask_threshold=threshold)


def _read_prototypes(read: Options, manifest: ModelManifest) -> PrototypeHead:
    _require_planes(read, manifest)
    detections = _read_detections(read, manifest, 0, 0.5)
    count = len(read.take("names", parse.names, manifest.classes))
    return PrototypeHead(detections=detections, outputs_count=count)


def _read_star(read: Options, manifest: ModelManifest) -> StarHead:
    _require_planes(read, manifest)
    default = StarSettings()
    values: dict[str, Any] = {
        name: read.take(name, parse.between(0, 1), getattr(default, name))
        for name in ("middle", "overlap", "foreground")
    }
    values |= {name: read.take(name, parse.positive, getattr(default, name)) for name in ("reach", "core")}
    values["least"] = read.take("least", parse.count, default.least)
    logits = read.take("logits", parse.flag, True)
    try:
        return StarHead(settings=StarSettings(**values), logits=logits)
    except ValueError as error:
        read.problems.append(f"parameters.head: {error}")
        return StarHead(settings=default, logits=logits)


def _require_planes(read: Options, manifest: ModelManifest) -> None:
    if manifest.window[0] != 1:
        read.problems.append(f"manifest.window: this head is for planes, z must be 1, found {manifest.window}")
    if any(manifest.context):
        read.problems.append(f"manifest.context: this head answers for all it sees, found {manifest.context}")


HEADS: Mapping[str, Callable[[Options, ModelManifest], Head]] = {
    "semantic": _read_semantic,
    "classes": lambda _read, _manifest: ClassesHead(),
    "labels": lambda _read, _manifest: LabelsHead(),
    "boxes": _read_boxes,
    "maskrcnn": _read_maskrcnn,
    "yolo-seg": _read_prototypes,
    "star": _read_star,
}
"""By the name that a bundle gives."""
