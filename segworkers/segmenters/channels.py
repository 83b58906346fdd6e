"""How many bands a network takes: what its family knows of it goes into the manifest, where planning finds it."""

from __future__ import annotations

from dataclasses import replace

from schemas.errors import SpecError
from schemas.models import ModelManifest


def taking(manifest: ModelManifest, *numbers: int) -> ModelManifest:
    """The manifest of a network that takes images with so many bands; a narrower declaration of its own stays.

    Raises SpecError where it declares numbers that the network does not take.
    """
    if not set(manifest.channels) <= set(numbers):
        raise SpecError(
            f"{manifest.name}: manifest.channels: the network takes {bands_text(numbers)}, "
            f"found {list(manifest.channels)}; leave it out"
        )
    return manifest if manifest.channels else replace(manifest, channels=tuple(sorted(set(numbers))))


def bands_text(numbers: tuple[int, ...]) -> str:
    """`1 band`, `3 bands`, `1 or 3 bands`."""
    told = sorted(set(numbers))
    return f"{' or '.join(map(str, told))} {'band' if told == [1] else 'bands'}"
