"""Parameters of the star-convex U-Net, read without importing torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from schemas.models import ModelManifest
from segworkers.segmenters import options as parse
from segworkers.segmenters.channels import taking
from segworkers.segmenters.options import Options
from segworkers.segmenters.star_decoding import StarSettings

OPTIONS = tuple(each.name for each in dataclasses.fields(StarSettings))
"""Parameters that a job may set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StarShape:
    """The network's sizes: with them weights fit, without them they do not. Checks itself; raises ValueError."""

    bands: int = 1
    """Bands that it sees."""
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Features at 1/2, 1/4, ... of the window's resolution."""
    rays: int = 32
    """Directions in which it says how far objects reach."""

    def __post_init__(self) -> None:
        if self.bands < 1 or len(self.widths) < 2 or min(self.widths) < 1 or self.rays < 4:
            raise ValueError(f"expected at least 1 band, 2 widths of at least 1 and 4 rays, found {self}")

    @property
    def multiple(self) -> int:
        """Sides of what the network sees must be multiples of this."""
        return int(2 ** len(self.widths))


def star_parameters(manifest: ModelManifest, parameters: Mapping[str, object]) -> tuple[StarShape, StarSettings]:
    """The network's sizes and how its maps become masks. Raises SpecError with all problems.

    parameters: those of StarShape under `shape`, `OPTIONS`, and `weights`, the name of the file.
    """
    read = Options(manifest.name, parameters)
    read.take("weights", str, None)
    shape = read.take("shape", _shape, StarShape())
    usual = StarSettings()
    chosen = {
        name: read.take(name, parse.count if name == "least" else parse.number, getattr(usual, name))
        for name in OPTIONS
    }
    settings = usual
    try:
        settings = dataclasses.replace(usual, **chosen)
    except ValueError as error:
        read.problems.append(f"model.options: {error}")
    read.problems += _misfits(manifest, shape)
    read.finish()
    return shape, settings


def plan(manifest: ModelManifest, parameters: Mapping[str, Any]) -> ModelManifest:
    """The manifest with what the network takes, after checking the parameters. Raises SpecError."""
    shape, _ = star_parameters(manifest, parameters)
    return taking(manifest, shape.bands)


def _misfits(manifest: ModelManifest, shape: StarShape) -> list[str]:
    """What of the manifest the network cannot do."""
    found = list[str]()
    if manifest.kind != "instance" or manifest.window[0] != 1 or len(manifest.classes) != 1 or any(manifest.context):
        found.append(
            f"{manifest.name}: the star-convex U-Net gives instances of one class in planes, expected kind instance, "
            f"a window of 1 in z, one class and no context, found {manifest.kind}, {manifest.window}, "
            f"{list(manifest.classes)} and {manifest.context}"
        )
    if manifest.bands is not None and len(manifest.bands) != shape.bands:
        found.append(f"{manifest.name}: the network sees {shape.bands} bands, found {list(manifest.bands)}")
    return found


def _shape(value: object) -> StarShape:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected the network's sizes by name, found {value!r}")  # noqa: TRY004 - Options reports it
    given = {str(name): entry for name, entry in cast("Mapping[object, object]", value).items()}
    known = {each.name for each in dataclasses.fields(StarShape)}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"expected {', '.join(sorted(known))}, found {', '.join(unknown)}")
    return StarShape(**{name: _sizes(name, entry) for name, entry in given.items()})


def _sizes(name: str, value: object) -> Any:
    """A whole number, or a tuple of them for the widths."""
    return tuple(parse.count(item) for item in parse.items(value)) if name == "widths" else parse.count(value)
