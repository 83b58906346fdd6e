"""From a folder of images and annotations to samples to train on.

Every image is taken to be annotated throughout: what no annotation covers is background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.training.finding import find_annotated
from jobs.truth.base import Target, Truth
from jobs.truth.opening import TruthOptions, TruthSet, open_truth
from schemas.boxes import Box
from schemas.errors import InputError, SpecError
from schemas.masks import to_array
from schemas.models import Normalisation
from schemas.sources import Source
from segworkers.readers.base import Reader
from segworkers.statistics import Statistics, image_statistics, needs_statistics, normalise
from segworkers.training.samples import Sample

UNNAMED = "object"
"""The class of objects whose file names none, where the user names none either."""
PIECE = 1024
"""px: sides of the pieces that large images are cut into."""
_SHARED = 128
"""px that neighbouring pieces share, so that what one border cuts is whole in the other."""
_THUMBNAIL = 2048
"""px: longest side of the reduced image that statistics are taken from, as when a model runs."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How images are shown to the network, and what their annotations mean."""

    classes: tuple[str, ...] | None = None
    """Names in the order of the model's classes; None: those that the annotations name, sorted."""
    known: tuple[str, ...] = ()
    """Classes of the model to go on from: taken where they include all that the annotations name."""
    class_field: str | None = None
    """Field of vector files that holds the class."""
    bands: tuple[int, ...] | None = None
    """0-based; None: all but alpha."""
    normalise: Normalisation | None = None
    """None: `unit` for 8-bit images, else `percentile`."""
    part: float | None = None
    """Where there is only one image: the share of it, at the end of its longer side, that is a group of its own."""
    most_pixels: int = 2_000_000_000
    """Of all images together: they are held in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """What a folder holds."""

    samples: tuple[Sample, ...]
    """Pieces of images; several of one image have its path as the beginning of their names."""
    groups: tuple[int, ...]
    """For each sample the number of its image, or of its part of the only image."""
    classes: tuple[str, ...]
    bands: tuple[int, ...] | None
    normalise: Normalisation
    images: int
    objects: int
    """Annotated, pieces of one object counted once."""


@dataclass(frozen=True, slots=True)
class _Image:
    source: Source
    target: Target
    truth: Truth


def read_annotated(data: Path, truth: Sequence[Path], reader: Reader, options: ReadOptions) -> Annotated:
    """Read a folder. truth: annotations that lie elsewhere; none: those in the folder.

    Raises SpecError with all that is wrong: no images, an image without annotations, annotations outside their image,
    classes that are not among those asked for, images of different bands.
    """
    images, annotations = find_annotated(data, truth)
    sources = _described(images, reader)
    targets = [_target(source) for source in sources]
    truths = open_truth(annotations, targets, reader, TruthOptions(class_field=options.class_field))
    pairs = _paired(sources, targets, truths, data)
    bands, kind = _bands(sources, options), options.normalise or _usual(sources)
    pixels = sum(source.grid.shape[1] * source.grid.shape[2] for source in sources)
    if pixels > options.most_pixels:
        raise SpecError(f"{data}: expected images of at most {options.most_pixels:,} pixels together, found {pixels:,}")
    share = options.part if len(pairs) == 1 else None
    read = [group for image in pairs for group in _pieces(image, reader, bands, kind, share)]
    return replace(_gathered(read, options, kind, data), images=len(pairs))


def _described(images: Sequence[Path], reader: Reader) -> list[Source]:
    sources, problems = list[Source](), list[str]()
    for path in images:
        try:
            sources.append(reader.describe(str(path)))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise SpecError(problems)
    return sources


def _target(source: Source) -> Target:
    return Target(source_id=source.source_id, uri=source.uri, shape=source.grid.shape)


def _paired(sources: Sequence[Source], targets: Sequence[Target], truths: TruthSet, data: Path) -> list[_Image]:
    found = [(source, target, truths.of(target)) for source, target in zip(sources, targets, strict=True)]
    missing = [source.uri for source, _, truth in found if truth is None]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" …" if len(missing) > _SHOWN else "")
        spare = f"; about no image: {', '.join(truths.unused[:_SHOWN])}" if truths.unused else ""
        raise SpecError(
            f"{data}: no annotations for {len(missing)} of {len(found)} images: {shown}{spare}. An image without "
            "objects is listed in COCO's `images`, or has an empty label raster; else take it out of the folder"
        )
    return [_Image(source, target, truth) for source, target, truth in found if truth is not None]


def _bands(sources: Sequence[Source], options: ReadOptions) -> tuple[int, ...]:
    colours = {len(source.colour_bands) for source in sources}
    if options.bands is None and len(colours) > 1:
        raise SpecError(f"expected images of one number of bands, found {sorted(colours)}; choose with --bands")
    bands = options.bands or tuple(index for index in range(len(sources[0].bands)) if index != sources[0].alpha_band)
    for source in sources:
        if max(bands) >= len(source.bands):
            raise SpecError(f"{source.uri}: has {len(source.bands)} bands, --bands asks for {list(bands)} (0-based)")
    return bands


def _usual(sources: Sequence[Source]) -> Normalisation:
    return "unit" if all(source.dtype == "uint8" for source in sources) else "percentile"


@dataclass(frozen=True, slots=True)
class _Piece:
    sample: Sample
    """With class indices still to be set."""
    keys: tuple[int, ...]
    """What the truth calls object k at [k - 1]."""
    labels: tuple[str | None, ...]
    """Its class."""


def _pieces(
    image: _Image, reader: Reader, bands: tuple[int, ...], kind: Normalisation, share: float | None
) -> list[list[_Piece]]:
    """An image in pieces of at most `PIECE` px a side, and its objects in each; by part of the image.

    share: of the second part; None: one part. Raises SpecError.
    """
    statistics = None
    if needs_statistics(kind):
        statistics = image_statistics(reader.thumbnail(image.source, bands, _THUMBNAIL))
    whole = Box.of_shape(image.source.grid.shape)
    parts = [
        [_piece(image, reader, bands, kind, statistics, box, whole=box == whole) for box in cut(part)]
        for part in parted(whole, share)
    ]
    _require_inside(image, {key for part in parts for piece in part for key in piece.keys})
    return parts


def parted(image: Box, share: float | None) -> list[Box]:
    """The image, or the two sides of a cut across its longer side."""
    if share is None:
        return [image]
    (_, _, _), (_, height, width) = image.start, image.stop
    if height >= width:
        at = round(height * (1 - share))
        return [Box((0, 0, 0), (1, at, width)), Box((0, at, 0), (1, height, width))]
    at = round(width * (1 - share))
    return [Box((0, 0, 0), (1, height, at)), Box((0, 0, at), (1, height, width))]


def _require_inside(image: _Image, seen: set[int]) -> None:
    unseen = [image.truth.item(key) for key in image.truth.known if key not in seen]
    outside = [item.name for item in unseen if not item.crowd]
    if outside:
        _, height, width = image.target.shape
        raise SpecError(
            f"{image.source.uri}: {len(outside)} annotations have no pixel of the image's {height} x {width} (rows x "
            f"columns): {', '.join(outside[:_SHOWN])}; they lie outside it or are too thin; correct or remove them"
        )


def cut(part: Box) -> list[Box]:
    """Boxes that cover a part of an image, `_SHARED` px or more in common, evenly spread."""
    starts: list[list[int]] = []
    for first, side in zip(part.start[1:], part.shape[1:], strict=True):
        count = max(1, -(-(side - _SHARED) // (PIECE - _SHARED)))
        starts.append([first + round(k * (side - PIECE) / (count - 1)) for k in range(count)] if count > 1 else [first])
    _, bottom, right = part.stop
    return [Box((0, y, x), (1, min(y + PIECE, bottom), min(x + PIECE, right))) for y in starts[0] for x in starts[1]]


def _piece(
    image: _Image,
    reader: Reader,
    bands: tuple[int, ...],
    kind: Normalisation,
    statistics: Statistics | None,
    box: Box,
    *,
    whole: bool,
) -> _Piece:
    block = reader.read(image.source, box, bands)
    shown = normalise(block.pixels[None], kind, statistics, image.source.dtype)[0, :, 0].astype(np.float32)
    valid = block.valid[0]
    labels, ignored, keys = _painted(image.truth, box)
    sample = Sample(
        name=image.source.uri if whole else f"{image.source.uri} at {box.start[1:]}",
        image=np.where(valid, shown, np.float32(0)),
        labels=np.where(valid, labels, 0).astype(np.int32),
        ignored=ignored if ignored.any() else None,
    )
    return _Piece(sample, keys, tuple(image.truth.item(key).label for key in keys))


def _painted(truth: Truth, box: Box) -> tuple[NDArray[np.int32], NDArray[np.bool_], tuple[int, ...]]:
    """Instance map (y, x), what crowds cover, and the key of object k at [k - 1]; smaller objects lie on top."""
    block = truth.block(box)
    labels, ignored = np.zeros(box.shape[1:], np.int32), np.zeros(box.shape[1:], np.bool_)
    keys = list[int]()
    counts = block.masks.pixel_counts(len(block.keys))
    for owner in np.argsort(-counts, kind="stable").tolist():
        key, runs = int(block.keys[owner]), block.masks.runs[block.masks.owner == owner]
        mask = to_array(runs, box)[0]
        if truth.item(key).crowd:
            ignored |= mask
            continue
        keys.append(key)
        labels[mask] = len(keys)
    return labels, ignored, tuple(keys)


def _gathered(read: Sequence[Sequence[_Piece]], options: ReadOptions, kind: Normalisation, data: Path) -> Annotated:
    named = sorted({label for image in read for piece in image for label in piece.labels if label is not None})
    known = options.known if set(named) <= set(options.known) else ()
    classes = options.classes or known or tuple(named) or (UNNAMED,)
    unknown = [name for name in named if name not in classes]
    unnamed = any(label is None for image in read for piece in image for label in piece.labels)
    if unknown:
        raise SpecError(
            f"{data}: annotations name the classes {', '.join(unknown)}, expected {', '.join(classes)}; add them to "
            "--classes, or take these annotations out"
        )
    if unnamed and len(classes) > 1:
        raise SpecError(f"{data}: some annotations name no class, and there are several: {', '.join(classes)}")
    index = {name: k for k, name in enumerate(classes)}
    samples = [(number, _classed(piece, index)) for number, image in enumerate(read) for piece in image]
    objects = sum(len({key for piece in image for key in piece.keys}) for image in read)
    if not objects:
        raise SpecError(f"{data}: expected annotated objects, found none in {len(read)} images")
    return Annotated(
        samples=tuple(sample for _, sample in samples),
        groups=tuple(number for number, _ in samples),
        classes=classes,
        bands=options.bands,
        normalise=kind,
        images=len(read),
        objects=objects,
    )


def _classed(piece: _Piece, index: dict[str, int]) -> Sample:
    classes = np.array([0 if label is None else index[label] for label in piece.labels], np.int64)
    return replace(piece.sample, classes=classes)
