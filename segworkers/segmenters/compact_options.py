"""Parameters of the small Mask R-CNN, read without importing torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from schemas.models import ModelManifest
from segworkers.segmenters import options as parse
from segworkers.segmenters.channels import taking
from segworkers.segmenters.maskrcnn_options import MaskRcnnSettings, maskrcnn_settings
from segworkers.segmenters.options import Options

GROUP = 8
"""Channels of one normalisation group."""
OPTIONS = ("score_threshold", "mask_threshold", "box_nms", "detections_per_image", "proposals_per_image")
"""Parameters that a job may set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactShape:
    """The network's sizes: with them weights fit, without them they do not. Checks itself; raises ValueError."""

    bands: int = 1
    """Bands that it sees."""
    widths: tuple[int, ...] = (32, 48, 96, 128, 192)
    """Features at strides 2, 4, 8, 16 and 32; multiples of 8."""
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    """Residual blocks at strides 4 to 32."""
    features: int = 64
    """Features of every pyramid level; a multiple of 8."""
    hidden: int = 256
    """Features of the box head's two layers."""
    mask_layers: int = 3
    """Convolutions of the mask head."""
    anchors: tuple[float, ...] = (16.0, 32.0, 64.0, 128.0)
    """Side in pixels of the anchors at strides 4 to 32; each also twice as tall and twice as wide."""

    def __post_init__(self) -> None:
        if (len(self.widths), len(self.blocks), len(self.anchors)) != (5, 4, 4):
            raise ValueError(f"expected 5 widths, 4 blocks and 4 anchors, found {self}")
        if min(self.bands, self.hidden, self.mask_layers, *self.blocks) < 1 or min(self.anchors) <= 0:
            raise ValueError(f"expected bands, hidden, mask_layers, blocks and anchors above 0, found {self}")
        if any(width < GROUP or width % GROUP for width in (*self.widths, self.features)):
            raise ValueError(f"expected widths and features that are multiples of {GROUP}, found {self}")


def compact_parameters(
    manifest: ModelManifest, parameters: Mapping[str, object]
) -> tuple[CompactShape, MaskRcnnSettings]:
    """The network's sizes and the choices made when it runs. Raises SpecError with all problems.

    parameters: those of CompactShape under `shape`, `OPTIONS`, and `weights`, the name of the file.
    """
    read = Options(manifest.name, parameters)
    read.take("weights", str, None)
    shape = read.take("shape", _shape, CompactShape())
    for name in OPTIONS:
        read.take(name, _anything, None)
    if manifest.window[0] != 1 or manifest.kind != "instance":
        read.problems.append(
            f"{manifest.name}: Mask R-CNN gives instances in planes, expected kind instance and a window of 1 in z, "
            f"found {manifest.kind} and {manifest.window}"
        )
    if manifest.bands is not None and len(manifest.bands) not in (1, shape.bands):
        read.problems.append(f"{manifest.name}: the network sees {shape.bands} bands, found {list(manifest.bands)}")
    read.finish()
    chosen = {name: parameters[name] for name in OPTIONS if name in parameters}
    return shape, maskrcnn_settings({"window": manifest.window, "overlap": manifest.overlap, **chosen})


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest with what the network takes, one band for all too, after checking the parameters.

    Raises SpecError.
    """
    shape, _ = compact_parameters(manifest, parameters)
    return taking(manifest, 1, shape.bands)


def _anything(value: object) -> object:
    return value


def _shape(value: object) -> CompactShape:
    given = cast("dict[str, object]", value) if isinstance(value, dict) else {repr(value): value}
    known = [each.name for each in dataclasses.fields(CompactShape)]
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"expected {', '.join(known)} by name, found {', '.join(unknown)}")
    return CompactShape(**{name: _sizes(name, entry) for name, entry in given.items()})


def _sizes(name: str, value: object) -> Any:
    """A whole number, or a tuple of numbers for the fields that are tuples."""
    if name in ("widths", "blocks", "anchors"):
        number: Callable[[object], float] = parse.positive if name == "anchors" else parse.count
        return tuple(number(item) for item in parse.items(value))
    return parse.count(value)
