"""From what the user names as truth to the true objects of each source.

1. Folders are searched one level deep; a CSV with the columns `source` and `truth` says itself what belongs together.
2. Formats are told by content: COCO and GeoJSON are both JSON, DICOM needs no suffix. DICOM objects in folders that are
   no segmentations, such as reports, are passed over and counted.
3. COCO finds its images by file name, DICOM by the series that it names. A label raster or a vector file is about the
   source whose file name it has, or begins with (`plot_7.tif`: `plot_7.geojson`, `plot_7_labels.tif`). A vector file
   that is about none of them is a map: about every source on the map that its polygons reach into, or about the only
   source. Several maps count together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.truth.base import ShapeTruth, Target, Truth
from jobs.truth.files import Kind, TruthFile, about, is_segmentation, json_of, kind_of, truth_files
from schemas.errors import SpecError
from segworkers.readers.base import Reader

if TYPE_CHECKING:
    from jobs.truth.vectors import VectorFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthOptions:
    """How truth is read."""

    class_field: str | None = None
    boxes_only: bool = False
    components: bool = False
    crosswalk: Path | None = None


@dataclass(slots=True)
class TruthMap:
    """Polygons that are about whatever they reach into."""

    name: str
    place: Callable[[Target], ShapeTruth]
    """What of it lies in a source. Raises SpecError or InputError where it cannot be placed on it."""
    reached: bool = False
    """Whether any source so far was reached."""


@dataclass(slots=True)
class TruthSet:
    """Truth by source."""

    components: bool = False
    """Each connected piece is an object of its own."""
    openers: dict[str, Callable[[], Truth]] = field(default_factory=dict[str, Callable[[], Truth]])
    """By source_id; opened when it is compared."""
    maps: list[TruthMap] = field(default_factory=list[TruthMap])
    """About whatever they reach into."""
    unpaired: list[str] = field(default_factory=list[str])
    """What no source of the run is meant by, by its name: images and files."""
    vectors: list[tuple[str, VectorFile]] = field(default_factory=list[tuple[str, "VectorFile"]])
    """Vector files and their names, to ask what of them lies on no source."""
    passed_over: int = 0
    """DICOM objects in folders that are no segmentations."""
    pictures: int = 0
    """Pictures beside segmentations that have no source's name: runs write some of objects there."""

    @property
    def unused(self) -> list[str]:
        """What is about no source: known when all of them were asked for, because maps are placed only then."""
        return [*self.unpaired, *(each.name for each in self.maps if not each.reached)]

    def off(self) -> Iterator[str]:
        """How many polygons of files about some source lie on none: known when the truth of all was asked for."""
        for name, polygons in self.vectors:
            off = polygons.off() if polygons.reached else 0
            if off:
                yield f"{off:,} of the {polygons.count:,} polygons of {name}"

    def notes(self) -> Iterator[str]:
        """What a reader of the figures should know. No file is named: its name may be a patient's."""
        if self.passed_over:
            objects = "object that is no segmentation" if self.passed_over == 1 else "objects that are no segmentations"
            yield f"{self.passed_over:,} DICOM {objects}: passed over in the folders of the truth"
        if self.pictures:
            pictures = "picture" if self.pictures == 1 else "pictures"
            yield f"{self.pictures:,} {pictures} beside segmentations: passed over in the folders of the truth"

    def is_about(self, target: Target) -> bool:
        """Whether there is truth about a source. Raises as `of` does."""
        reaching = self._reaching(target)
        return target.source_id in self.openers or bool(reaching)

    def of(self, target: Target) -> Truth | None:
        """The true objects of a source; None where nothing is about it.

        Raises SpecError where both a map and a file of its own are about it, SpecError or InputError where truth
        cannot be read or placed.
        """
        reaching = self._reaching(target)
        if target.source_id in self.openers:
            truth = self.openers[target.source_id]()
        elif reaching:
            truth = reaching[0][1] if len(self.maps) == 1 else ShapeTruth.together(reaching)
        else:
            return None
        if not self.components:
            return truth
        from jobs.truth.rasters import components

        return components(truth, target.shape)

    def _reaching(self, target: Target) -> list[tuple[str, ShapeTruth]]:
        """The maps that reach into a source, and their objects in it."""
        found: list[tuple[str, ShapeTruth]] = []
        for each in self.maps if target.is_raster else ():
            truth = each.place(target)
            if len(truth.known):
                each.reached = True
                found.append((each.name, truth))
        if found and target.source_id in self.openers:
            raise SpecError(
                f"{found[0][0]}: reaches into {target.name}, for which there is other truth; leave one of them out, or "
                "say in a CSV with the columns source and truth which image each file is about"
            )
        return found


def open_truth(paths: Sequence[Path], targets: Sequence[Target], reader: Reader, options: TruthOptions) -> TruthSet:
    """Find out what belongs together; masks are read later. Raises SpecError with what does not fit."""
    made = TruthSet(options.components)
    by_kind: dict[Kind, list[TruthFile]] = {}
    for file in truth_files(paths, targets):
        by_kind.setdefault(kind_of(file), []).append(file)
    made.unpaired += [file.listed for file in by_kind.get("other", ())]
    rasters = [each for each in targets if each.is_raster]
    for file in by_kind.get("coco", ()):
        _add_coco(made, file, rasters, options)
    _add_vectors(made, by_kind.get("vector", ()), rasters, reader, options)
    dicom = by_kind.get("dicom", ())
    segmentations = [file.path for file in dicom if is_segmentation(file)]
    _add_rasters(made, by_kind.get("raster", ()), targets, reader, {path.parent for path in segmentations})
    made.passed_over = len(dicom) - len(segmentations)
    if segmentations:
        from jobs.truth.segs import SegFiles

        files = SegFiles(segmentations, targets, options.crosswalk)
        made.unpaired += files.unused
        for source_id in files.paths:
            _add(made, source_id, "DICOM", lambda source_id=source_id: files.truth(source_id))
    return made


def _add(made: TruthSet, source_id: str, what: str, opener: Callable[[], Truth]) -> None:
    if source_id in made.openers:
        raise SpecError(f"{what}: there is other truth for the same source; give one file for each")
    made.openers[source_id] = opener


def _add_coco(made: TruthSet, file: TruthFile, targets: Sequence[Target], options: TruthOptions) -> None:
    from jobs.truth.coco import CocoFile

    coco = CocoFile(file, json_of(file), boxes_only=options.boxes_only)
    pairs, unused = coco.pair(targets)
    made.unpaired += unused
    by_id = {each.source_id: each for each in targets}
    for source_id, key in pairs.items():
        _add(made, source_id, file.name, lambda key=key, target=by_id[source_id]: coco.truth(key, target))


def _add_vectors(
    made: TruthSet, files: Sequence[TruthFile], targets: Sequence[Target], reader: Reader, options: TruthOptions
) -> None:
    from jobs.truth.vectors import VectorFile

    pairs = [(file, about(file, targets)) for file in files]
    nameless = sum(target is None for _, target in pairs)
    for file, named in pairs:
        polygons = VectorFile(file, options.class_field, boxes_only=options.boxes_only)
        made.vectors.append((file.listed, polygons))
        target = named or (targets[0] if len(targets) == nameless == 1 else None)
        if target is None:
            made.maps.append(TruthMap(file.listed, partial(_of_map, polygons, reader, alone=len(targets) == 1)))
        else:
            _add(made, target.source_id, file.name, partial(_of_file, polygons, reader, target))


def _of_map(polygons: VectorFile, reader: Reader, target: Target, *, alone: bool) -> ShapeTruth:
    """What of a map lies in a source; alone: there is no other, so that it may be meant in pixels too."""
    grid = reader.describe(target.uri).grid
    return polygons.truth(grid, target.name) if alone or grid.is_measurable else ShapeTruth.nothing()


def _of_file(polygons: VectorFile, reader: Reader, target: Target) -> ShapeTruth:
    """The polygons of a file about one source. Raises SpecError where there are some, and all lie elsewhere."""
    grid = reader.describe(target.uri).grid
    truth = polygons.truth(grid, target.name)
    if not polygons.reached and polygons.off():
        raise polygons.missed(grid, target.name)
    return truth


def _add_rasters(
    made: TruthSet, files: Sequence[TruthFile], targets: Sequence[Target], reader: Reader, beside: Collection[Path]
) -> None:
    """beside: folders with segmentations."""
    from jobs.truth.rasters import open_raster

    for file in files:
        alone = len(files) == len(targets) == 1 and targets[0].is_raster
        target = about(file, targets) or (targets[0] if alone else None)
        if target is None and file.path.parent in beside and file.searched and file.path.suffix.lower() == ".png":
            made.pictures += 1
        elif target is None:
            made.unpaired.append(file.listed)
        else:
            _add(made, target.source_id, file.name, lambda file=file, target=target: open_raster(reader, file, target))
