"""Parameters of the dense U-Net, read without importing torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from schemas.models import ModelManifest
from segworkers.segmenters import options as parse
from segworkers.segmenters.channels import taking
from segworkers.segmenters.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetShape:
    """The network's sizes: with them weights fit, without them they do not. Checks itself; raises ValueError."""

    bands: int = 1
    """Bands that it sees."""
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Features at 1, 1/2, 1/4, ... of the window's resolution."""
    axes: int = 2
    """2: planes, windows of 1 in z. 3: volumes."""

    def __post_init__(self) -> None:
        if self.bands < 1 or len(self.widths) < 2 or min(self.widths) < 1 or self.axes not in (2, 3):
            raise ValueError(f"expected at least 1 band, 2 widths of at least 1 and 2 or 3 axes, found {self}")

    @property
    def multiple(self) -> int:
        """Sides of what the network sees are made multiples of this."""
        return int(2 ** (len(self.widths) - 1))


def unet_shape(manifest: ModelManifest, parameters: Mapping[str, object]) -> UNetShape:
    """The network's sizes. Raises SpecError with all problems.

    parameters: those of UNetShape under `shape`, and `weights`, the name of the file.
    """
    read = Options(manifest.name, parameters)
    read.take("weights", str, None)
    shape = read.take("shape", _shape, UNetShape())
    if manifest.kind != "dense" or any(manifest.context) or (shape.axes == 2 and manifest.window[0] != 1):
        read.problems.append(
            f"{manifest.name}: a U-Net of {shape.axes} axes gives a class for each pixel of the window, expected kind "
            "dense, no context and, in planes, a window of 1 in z, "
            f"found {manifest.kind}, {manifest.context} and {manifest.window}"
        )
    if manifest.bands is not None and len(manifest.bands) != shape.bands:
        read.problems.append(f"{manifest.name}: the network sees {shape.bands} bands, found {list(manifest.bands)}")
    read.finish()
    return shape


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest with what the network takes, after checking the parameters. Raises SpecError."""
    return taking(manifest, unet_shape(manifest, parameters).bands)


def _shape(value: object) -> UNetShape:
    given = cast("dict[str, object]", value) if isinstance(value, dict) else {repr(value): value}
    known = [each.name for each in dataclasses.fields(UNetShape)]
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"expected {', '.join(known)} by name, found {', '.join(unknown)}")
    return UNetShape(**{name: _sizes(name, entry) for name, entry in given.items()})


def _sizes(name: str, value: object) -> Any:
    """A whole number, or a tuple of them for the widths."""
    return tuple(parse.count(item) for item in parse.items(value)) if name == "widths" else parse.count(value)
