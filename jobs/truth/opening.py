"""From what the user names as truth to the true objects of each source.

1. Folders are searched one level deep; a CSV with the columns `source` and `truth` says itself what belongs together.
2. Formats are told by content: COCO and GeoJSON are both JSON, DICOM needs no suffix.
3. COCO finds its images by file name, DICOM by the series that it names. A label raster or a vector file is about the
   source whose file name it has, or begins with (`plot_7.tif`: `plot_7.geojson`, `plot_7_labels.tif`). A vector file
   that is about none of them is a map: about every source that its polygons reach into. Several maps count together.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.truth.base import ShapeTruth, Target, Truth
from schemas.errors import SpecError
from segworkers.readers.base import Reader

Kind = Literal["coco", "vector", "raster", "dicom"]

_VECTORS = {".geojson", ".gpkg", ".shp", ".fgb", ".gml", ".kml"}
_RASTERS = {".tif", ".tiff", ".png", ".vrt", ".jp2", ".bmp"}
_JOINTS = "._- "


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

    @property
    def unused(self) -> list[str]:
        """What is about no source: known when all of them were asked for, because maps are placed only then."""
        return [*self.unpaired, *(each.name for each in self.maps if not each.reached)]

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
    made = TruthSet(options.components, unpaired=_strangers(paths, targets))
    by_kind: dict[Kind, list[tuple[Path, Target | None]]] = {}
    for path, source in _files(paths, targets):
        by_kind.setdefault(kind_of(path), []).append((path, source))
    rasters = [each for each in targets if each.is_raster]
    for path, _ in by_kind.get("coco", ()):
        _add_coco(made, path, rasters, options)
    _add_vectors(made, by_kind.get("vector", ()), rasters, reader, options)
    _add_rasters(made, by_kind.get("raster", ()), targets, reader)
    if "dicom" in by_kind:
        from jobs.truth.segs import SegFiles

        files = SegFiles([path for path, _ in by_kind["dicom"]], targets, options.crosswalk)
        made.unpaired += files.unused
        for source_id in files.paths:
            _add(made, source_id, "DICOM", lambda source_id=source_id: files.truth(source_id))
    return made


def kind_of(path: Path) -> Kind:
    """By content. Raises SpecError where it is nothing that truth is read from."""
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as error:
        raise SpecError(f"{path}: the truth cannot be read: {error.strerror}") from error
    if head[128:] == b"DICM":
        return "dicom"
    if suffix in _RASTERS:
        return "raster"
    if suffix in _VECTORS:
        return "vector"
    if suffix == ".json" or head.lstrip()[:1] == b"{":
        return "coco" if "annotations" in _json(path) else "vector"
    raise SpecError(
        f"{path}: expected COCO JSON, GeoJSON, GeoPackage, a label raster (TIFF or PNG) or a DICOM segmentation"
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError(f"{path}: is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise SpecError(f"{path}: expected a JSON object, COCO's or GeoJSON's")
    return body  # pyright: ignore[reportUnknownVariableType]


def _files(paths: Sequence[Path], targets: Sequence[Target]) -> Iterable[tuple[Path, Target | None]]:
    """All files, with the source that a CSV says they are about."""
    for path in paths:
        if path.is_dir():
            yield from ((each, None) for each in sorted(path.iterdir()) if _looks_like_truth(each))
        elif path.suffix.lower() == ".csv":
            yield from _listed(path, targets)
        elif path.exists():
            yield path, None
        else:
            raise SpecError(f"{path}: the truth does not exist")


def _looks_like_truth(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    suffix = path.suffix.lower()
    return suffix in _VECTORS | _RASTERS | {".json", ".dcm"} or suffix.lstrip(".").isdigit() or _has_truth(path)


def _has_truth(path: Path) -> bool:
    """Whether a file without suffix is DICOM or JSON, or cannot be read, which is to be told."""
    if path.suffix:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return True
    return head[128:] == b"DICM" or head.lstrip()[:1] == b"{"


def _strangers(paths: Sequence[Path], targets: Sequence[Target]) -> list[str]:
    """Files without suffix that lie beside truth, such as a README: names, or where these may be patients' a number."""
    names = [
        each.name
        for path in paths
        if path.is_dir()
        for each in sorted(path.iterdir())
        if each.is_file() and not each.suffix and not each.name.startswith(".") and not _has_truth(each)
    ]
    if names and not all(each.is_raster for each in targets):
        return [f"{len(names)} files without suffix"]
    return names


def _listed(path: Path, targets: Sequence[Target]) -> Iterable[tuple[Path, Target | None]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"source", "truth"} <= rows[0].keys():
        raise SpecError(f"{path}: expected the columns source and truth, a line for each source")
    for row in rows:
        named = [each for each in targets if row["source"] in (each.uri, each.name, each.source_id, each.series_id)]
        if len(named) != 1:
            raise SpecError(f"{path}: {row['source']} names {len(named)} sources of the run, expected one")
        yield path.parent / row["truth"], named[0]


def about(path: Path, targets: Sequence[Target]) -> Target | None:
    """The source that a file is about by its name: the longest that it has or begins with. None where there is none.

    Raises SpecError where several sources fit equally well.
    """
    fits = [each for each in targets if _begins_with(path.stem, each.stem)]
    longest = max((len(each.stem) for each in fits), default=0)
    best = [each for each in fits if len(each.stem) == longest]
    if len(best) > 1:
        raise SpecError(
            f"{path}: its name fits several sources ({', '.join(each.uri for each in best[:3])}); say which in a CSV "
            "with the columns source and truth"
        )
    return best[0] if best else None


def _begins_with(stem: str, source: str) -> bool:
    return stem == source or (stem.startswith(source) and stem[len(source)] in _JOINTS)


def _add(made: TruthSet, source_id: str, what: object, opener: Callable[[], Truth]) -> None:
    if source_id in made.openers:
        raise SpecError(f"{what}: there is other truth for the same source; give one file for each")
    made.openers[source_id] = opener


def _add_coco(made: TruthSet, path: Path, targets: Sequence[Target], options: TruthOptions) -> None:
    from jobs.truth.coco import CocoFile

    file = CocoFile(path, _json(path), boxes_only=options.boxes_only)
    pairs, unused = file.pair(targets)
    made.unpaired += unused
    by_id = {each.source_id: each for each in targets}
    for source_id, key in pairs.items():
        _add(made, source_id, path, lambda key=key, target=by_id[source_id]: file.truth(key, target))


def _add_vectors(
    made: TruthSet,
    files: Iterable[tuple[Path, Target | None]],
    targets: Sequence[Target],
    reader: Reader,
    options: TruthOptions,
) -> None:
    from jobs.truth.vectors import VectorFile

    pairs = [(path, told or about(path, targets)) for path, told in files]
    nameless = sum(target is None for _, target in pairs)
    for path, named in pairs:
        file = VectorFile(path, options.class_field, boxes_only=options.boxes_only)

        def truth(target: Target, file: VectorFile = file) -> ShapeTruth:
            return file.truth(reader.describe(target.uri).grid)

        target = named or (targets[0] if len(targets) == nameless == 1 else None)
        if target is None:
            made.maps.append(TruthMap(path.name, truth))
        else:
            _add(made, target.source_id, path, lambda target=target, truth=truth: truth(target))


def _add_rasters(
    made: TruthSet, files: Iterable[tuple[Path, Target | None]], targets: Sequence[Target], reader: Reader
) -> None:
    from jobs.truth.rasters import open_raster

    listed = list(files)
    for path, told in listed:
        target = told or about(path, targets) or (targets[0] if len(listed) == len(targets) == 1 else None)
        if target is None:
            made.unpaired.append(path.name)
        else:
            uri = str(path.absolute())
            _add(made, target.source_id, path, lambda uri=uri, target=target: open_raster(reader, uri, target))
