"""The models that come along: bundles of the package, and what is told of any bundle on a terminal."""

from __future__ import annotations

import os
import textwrap
import zipfile
from collections.abc import Iterable
from pathlib import PurePosixPath

from schemas.bundles import FILE_NAME, Code, ModelBundle, WeightsFile
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.readers.locations import redact
from segworkers.segmenters.bundle_models import channels_of
from segworkers.segmenters.bundles import OpenBundle, open_bundle, shipped_names
from segworkers.segmenters.channels import bands_text

FIRST_STAGES = ("liver",)
"""Bundles of the package that others begin with; a job cannot name them."""

_WIDTH, _LABEL = 100, 13


def model_names() -> tuple[str, ...]:
    """Names of the package's models that a job may use."""
    return tuple(name for name in shipped_names() if name not in FIRST_STAGES)


def find_bundle(reference: str) -> OpenBundle:
    """The package's bundle of that name, first stages included, or the one at that path. Raises SpecError."""
    if reference in shipped_names() or "/" in reference or reference.endswith(".zip"):
        return open_bundle(reference)
    if here := bundle_here(reference):
        raise SpecError(f"no built-in model {reference!r}; for the bundle of that name here give its path: {here}")
    raise SpecError(
        f"no built-in model {reference!r}; there are {', '.join(model_names())}; "
        f"for a bundle of your own give its path, such as ./{reference}"
    )


def bundle_here(name: str) -> str | None:
    """The path of a bundle, a folder or a zip, of that name in the working directory; None where there is none."""
    if not name or "/" in name:
        return None
    if os.path.isfile(os.path.join(name, FILE_NAME)):
        return f"./{name}"
    try:
        with zipfile.ZipFile(f"{name}.zip") as archive:
            return (
                f"./{name}.zip" if any(PurePosixPath(each).name == FILE_NAME for each in archive.namelist()) else None
            )
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None


def card_text(bundle: ModelBundle, state: str = "") -> str:
    """The whole model card for a terminal, 100 characters wide. state: what is known of the weights on this machine."""
    manifest, card = bundle.manifest, bundle.card
    entries = [
        ("task", card.task),
        ("kind", f"{manifest.kind}, family {bundle.family}"),
        ("licence", card.licence),
        ("attribution", card.attribution),
        ("training data", card.training_data),
        ("accuracy", card.accuracy),
        ("use", card.use),
        ("limits", card.limits),
        ("classes", "" if bundle.codes else ", ".join(manifest.classes)),
        *(("class", _class(bundle, name)) for name in manifest.classes if bundle.codes),
        ("modality", ", ".join(manifest.modalities)),
        ("window", _window(manifest)),
        ("bands", "" if manifest.bands is None else ", ".join(map(str, manifest.bands))),
        ("channels", bands_text(takes) if (takes := channels_of(bundle)) else ""),
        ("normalise", "" if manifest.normalise == "none" else manifest.normalise),
        ("parameters", ", ".join(f"{name} = {value}" for name, value in bundle.parameters.items() if name != "prior")),
    ]
    if "prior" in bundle.parameters:
        entries.append(("first stage", str(bundle.parameters["prior"]["reference"])))
    for each in bundle.weights:
        entries += _weights(each)
    entries += [("here", state), *(("source", source) for source in card.sources)]
    return "\n".join([f"{bundle.name}: {card.summary}", "", *_columns(entries)])


def megabytes(weights: Iterable[WeightsFile]) -> str:
    """The size of all files, where it is known."""
    sizes = [each.size for each in weights]
    return "" if None in sizes else f"{sum(size for size in sizes if size) / 1e6:.1f} MB"


def _columns(entries: Iterable[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    for label, text in entries:
        if text:
            lead = f"{label:{_LABEL}} "
            lines += textwrap.wrap(
                text, _WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead), break_on_hyphens=False
            )
    return lines


def _class(bundle: ModelBundle, name: str) -> str:
    codes = bundle.codes.get(name)
    if codes is None:
        return name
    named = [("category", codes.category), ("type", codes.type), *(("site", site) for site in codes.sites)]
    return f"{name}: " + ", ".join(f"{part} {_code(code)}" for part, code in named if code is not None)


def _code(code: Code) -> str:
    return f"{code.meaning} ({code.value}, {code.scheme})"


def _weights(entry: WeightsFile) -> list[tuple[str, str]]:
    where = redact(entry.uri or entry.file or "")
    pinned = "" if entry.sha256 is None else f", sha256 {entry.sha256}"
    lines = [("weights", f"{where}, {megabytes([entry]) or 'size not told'}{pinned}")]
    if entry.wheel is not None:
        lines.append(("package", f"{entry.wheel.filename}, sha256 {entry.wheel.sha256}"))
    return lines


def _window(manifest: ModelManifest) -> str:
    sides = " x ".join(map(str, manifest.window))
    text = f"{sides} {'voxels' if _is_volume(manifest) else 'pixels'} (z, y, x)"
    if any(manifest.overlap):
        text += f", overlapping by {' x '.join(map(str, manifest.overlap))}"
    if any(manifest.context):
        text += f" with {' x '.join(map(str, manifest.context))} around"
    if manifest.spacing is not None:
        text += f", {' x '.join(f'{mm:g}' for mm in manifest.spacing)} mm"
    if manifest.resolution is not None:
        text += f", {manifest.resolution:g} m a pixel"
    return text


def _is_volume(manifest: ModelManifest) -> bool:
    return manifest.window[0] > 1 or bool(manifest.modalities) or manifest.spacing is not None
